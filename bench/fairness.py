"""What a flood does to a calm tenant: `python bench/fairness.py [--rounds 3] [--seconds 12] [--places 4]`.

A real system of one site (`infercast up`: Ray, Serve, HAProxy), and behind it a service of four places (`--places`) that takes 200 ms
a call (`--service-ms`) and no processor time of this machine to speak of: so what is measured is who waits for whom, not who computes.
The calm tenant makes a fifth of the calls that the service can take, at random times. Beside it, the other tenant is silent, or
sends its fair half, or ten and twenty times that, or as fast as 256 callers can that never wait. Every round has all of
these, in turn, on the same system; what is told is the median over rounds, with the least and the most.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from infercast import system  # noqa: E402 - the root had to come first
from infercast.router.serving.cluster import free_ports  # noqa: E402
from infercast.router.telemetry.journal import read_journal  # noqa: E402
from tests.support import TRUSTED, card, link, site  # noqa: E402
from tests.trouble.service import Service  # noqa: E402

PLACES, SERVICE_MS, QUEUE_MAX = 4, 200.0, 64
CALM_SHARE = 0.2
FLOODS = {"alone": 0.0, "fair half": 0.5, "10x": 5.0, "20x": 10.0, "256 callers": -1.0}
"""What the other tenant sends, as a share of the capacity; below 0: as fast as it is answered."""
CALLERS = 256
BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64], "data": [0.0] * 64}]}).encode()
SETTLE_S = 2.0


@dataclass(frozen=True)
class Ends:
    """How a tenant's calls ended: how long the answered ones took, in ms, and how many were refused, or failed."""

    took_ms: list[float]
    refused: int
    failed: int

    def quantile(self, q: float) -> float:
        """A quantile of how long answers took, in ms."""
        ordered = sorted(self.took_ms)
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else float("nan")


def write_world(folder: Path, port: int, weights: dict[str, int], places: int, service_ms: float) -> tuple[Path, Path]:
    """Write fleet, card and policies."""
    here = site("here", "cloud", "DE", operator="me", trust=TRUSTED)
    away = site("away", "cloud", "DE", operator="me", trust=TRUSTED)
    del away["accelerators"]
    away["upstream"] = {"url": f"http://127.0.0.1:{port}", "api": "oip", "private": True}
    fleet = {
        "version": 1,
        "name": "fairness",
        "sites": [here, away],
        "zones": [{"id": "home", "country": "DE", "lat": 50.1, "lon": 8.7}],
        "links": [link("home", "here", 0.1, "DE"), link("here", "away", 0.5, "DE")],
        "models": [{"id": "score", "variants": [{"id": "scorer", "card": "scorer.card.json"}]}],
        "deployments": [
            {"site": "away", "variant": "scorer", "hosted": "upstream", "concurrency": places, "queue_max": QUEUE_MAX}
        ],
    }
    folder.mkdir(parents=True)
    (folder / "scorer.card.json").write_text(json.dumps(card("scorer", None, service_ms, service_ms * 1.1)))
    (folder / "cluster.yaml").write_text(json.dumps(fleet))
    (folder / "tenants").mkdir()
    for tenant, weight in weights.items():
        policy = {"version": 1, "tenant": tenant, "classes": {"plain": {}}, "limits": {"weight": weight}}
        policy["always"] = {"deadline_ms": 5000}
        (folder / "tenants" / f"{tenant}.yaml").write_text(json.dumps(policy))
    return folder / "cluster.yaml", folder / "tenants"


class Sender:
    """Sends one tenant's calls over connections that are kept, each as soon as it is due."""

    def __init__(self, port: int, secret: str) -> None:
        self._port = port
        head = f"POST /here/v2/models/score/infer HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {secret}\r\n"
        self._call = f"{head}infercast-class: plain\r\ncontent-length: {len(BODY)}\r\n\r\n".encode() + BODY
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.ends = Ends([], 0, 0)
        self._refused = self._failed = 0

    async def one(self) -> None:
        """Send one call and read its answer."""
        began = time.perf_counter()
        try:
            reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(self._call)
            top = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in top.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError, StopIteration):
            self._failed += 1
            return
        if b"connection: close" in top.lower():
            writer.close()
        else:
            self._idle.append((reader, writer))
        status = top[9:12]
        if status == b"200":
            self.ends.took_ms.append((time.perf_counter() - began) * 1000)
        elif status == b"503":
            self._refused += 1
        else:
            self._failed += 1

    async def paced(self, per_s: float, seconds: float, luck: random.Random) -> None:
        """Send calls at random times, so many a second, whatever becomes of them."""
        until, due, calls = time.perf_counter() + seconds, time.perf_counter(), set()
        while due < until:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            call = asyncio.create_task(self.one())
            calls.add(call)
            call.add_done_callback(calls.discard)
            due += luck.expovariate(per_s)
        await asyncio.gather(*calls)

    async def crowd(self, callers: int, seconds: float) -> None:
        """Let so many callers send, each its next call as soon as the last is answered or refused."""
        until = time.perf_counter() + seconds

        async def caller() -> None:
            while time.perf_counter() < until:
                await self.one()

        await asyncio.gather(*(caller() for _ in range(callers)))

    def done(self) -> Ends:
        """Return how the calls ended."""
        return Ends(self.ends.took_ms, self._refused, self._failed)


def send(port: int, secret: str, per_s: float, seconds: float, seed: int, ends: Any) -> None:
    """Send calls from a process of its own (`per_s` below 0: a crowd's) and hand over how they ended."""

    async def whole() -> Ends:
        sender = Sender(port, secret)
        if per_s < 0:
            await sender.crowd(CALLERS, seconds)
        elif per_s:
            await sender.paced(per_s, seconds, random.Random(seed))
        return sender.done()

    ends.put(asyncio.run(whole()))


def together(port: int, secrets: dict[str, str], rates: dict[str, float], seconds: float, seed: int) -> dict[str, Ends]:
    """Let tenants send at once, each from its own process."""
    context = multiprocessing.get_context("spawn")
    found = {}
    running = []
    for number, (tenant, per_s) in enumerate(rates.items()):
        ends = context.Queue()
        arguments = (port, secrets[tenant], per_s, seconds, seed + number, ends)
        process = context.Process(target=send, args=arguments)
        process.start()
        running.append((tenant, process, ends))
    for tenant, process, ends in running:
        found[tenant] = ends.get(timeout=seconds + 120)
        process.join()
    return found


def spread(values: list[float], digits: int = 1) -> str:
    """Return the median of several values, and the least and the most."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def measure(weights: dict[str, int], rounds: int, seconds: float, places: int, service_ms: float) -> dict[str, Any]:
    """Start a system with these weights, and measure every flood in every round."""
    with tempfile.TemporaryDirectory() as temporary, Service.started("away") as service:
        service.tell(after_ms=service_ms)
        capacity_per_s = places * 1000 / service_ms
        folder = Path(temporary)
        state = folder / "state"
        fleet, policies = write_world(folder / "world", service.port, weights, places, service_ms)
        running = system.start(fleet, policies, state, free_ports(1)[0], lambda _: None)
        try:
            secrets = {tenant: system.secret_of(state, f"{tenant}.home") for tenant in weights}
            together(running.port, secrets, {"calm": CALM_SHARE * capacity_per_s}, SETTLE_S, 0)
            found: dict[str, list[dict[str, Ends]]] = {name: [] for name in FLOODS}
            both: list[dict[str, Ends]] = []
            for number in range(rounds):
                for name, share in FLOODS.items():
                    rates = {
                        "calm": CALM_SHARE * capacity_per_s,
                        "flood": share * capacity_per_s if share >= 0 else -1.0,
                    }
                    found[name].append(together(running.port, secrets, rates, seconds, 100 * number))
                    time.sleep(SETTLE_S)
            queued = [
                line["queued_us"] / 1000
                for line in read_journal(state / "journal")
                if line["kind"] == "call" and line["tenant"] == "calm" and line["outcome"] == "answered"
            ]
            for number in range(rounds):
                rates = {"calm": 3 * capacity_per_s, "flood": 3 * capacity_per_s}
                both.append(together(running.port, secrets, rates, seconds, 100 * number))
                time.sleep(SETTLE_S)
        finally:
            system.stop(state)
    return {"floods": found, "both": both, "queued_ms": sorted(queued)}


def pooled(rounds: list[dict[str, Ends]], tenant: str) -> Ends:
    """All of a tenant's calls, whichever round they were made in."""
    return Ends([ms for ends in rounds for ms in ends[tenant].took_ms], 0, 0)


def tell(weights: dict[str, int], measured: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Print a table, and return its numbers."""
    print(f"\nweights calm {weights['calm']} : flood {weights['flood']}\n")
    print(
        "| the other tenant | calm p50, ms | calm p95, ms | to alone | to fair half | calm refused | flood answered/s | refused/s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    floods = measured["floods"]
    base = {name: pooled(floods[name], "calm").quantile(0.95) for name in ("alone", "fair half")}
    told = {}
    for name, rounds in floods.items():
        calm = [ends["calm"] for ends in rounds]
        p50, p95 = [ends.quantile(0.5) for ends in calm], [ends.quantile(0.95) for ends in calm]
        other = [ends["flood"] for ends in rounds]
        ratios = [pooled(rounds, "calm").quantile(0.95) / base[which] - 1 for which in base]
        refused = sum(ends.refused + ends.failed for ends in calm)
        answered = median(len(ends.took_ms) / seconds for ends in other)
        shed = median(ends.refused / seconds for ends in other)
        print(
            f"| {name} | {spread(p50)} | {spread(p95)} | {ratios[0]:+.0%} | {ratios[1]:+.0%} | {refused} of "
            f"{sum(len(ends.took_ms) for ends in calm) + refused} | {answered:.0f} | {shed:.0f} |"
        )
        told[name] = {"p50_ms": p50, "p95_ms": p95, "refused": refused, "flood_per_s": answered, "shed_per_s": shed}
    queued = measured["queued_ms"]
    waited = sum(1 for ms in queued if ms) / len(queued)
    print(
        f"\nof calm's calls beside all of these, {waited:.0%} waited for their turn; p95 {queued[int(0.95 * len(queued))]:.1f} ms"
    )
    shares = [len(ends["calm"].took_ms) / max(1, len(ends["flood"].took_ms)) for ends in measured["both"]]
    print(f"\nboth send three times the capacity: answered calm : flood = {spread(shares, 2)} : 1")
    return {"floods": told, "shares": shares}


def main() -> None:
    """Measure, and print."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--seconds", type=float, default=12.0)
    words.add_argument("--weights", default="1:1,3:1")
    words.add_argument("--places", type=int, default=PLACES)
    words.add_argument("--service-ms", type=float, default=SERVICE_MS)
    words.add_argument("--json", type=Path)
    given = words.parse_args()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    told = {}
    for pair in given.weights.split(","):
        calm, flood = (int(weight) for weight in pair.split(":"))
        weights = {"calm": calm, "flood": flood}
        told[pair] = tell(
            weights, measure(weights, given.rounds, given.seconds, given.places, given.service_ms), given.seconds
        )
    if given.json:
        given.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
