"""A client that sends real calls, as the demo and the tests do: one stream after another's fashion, each on its own.

The distance from where a call comes from to its entry is emulated here, by waiting; the distances between sites are
emulated by the sites. A call that gets no answer at one entry is sent to the stream's next one, inside its deadline.
"""

import asyncio
import importlib.util
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
import numpy.typing as npt
import orjson
from pydantic import Field

from infercast.policies.documents import Document, read_document, validate
from infercast.policies.faults import BadInput, Fault, did_you_mean
from infercast.policies.fleet import Fleet, Name, Strict
from infercast.policies.policy import Policy
from infercast.policies.tables import one_way_us

PATIENCE_S = 5.0
"""How long a client waits where the policy sets no deadline."""
PAUSE_S = 0.15
"""Between the end of a stream's call and its next, in the demo's traffic."""
LOST = "no answer"


class Stream(Strict):
    """Calls of one kind."""

    name: str
    tenant: Name
    model: Name
    origin: Name = Field(alias="from")
    data_class: Name | None = Field(default=None, alias="class")
    entries: tuple[Name, ...] = ()
    calls: int = Field(ge=1, le=1_000_000)


class Traffic(Strict):
    """A traffic file. `kill` names the site whose power is cut in the second round."""

    version: Literal[1]
    kill: Name | None = None
    streams: tuple[Stream, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Ended:
    """How one call ended, as its caller saw it. Emulated distance to the entry is part of `latency_ms`.

    `call` is the id that its answer named; `sent_s` when it was sent, in seconds since 1970.
    """

    outcome: Literal["answered", "refused", "failed"]
    reason: str
    entry: str
    site: str = ""
    variant: str = ""
    latency_ms: float = 0.0
    cost_usd: float = 0.0
    attempts: int = 0
    right: bool | None = None
    tried: tuple[str, ...] = ()
    call: str = ""
    sent_s: float = 0.0


@dataclass(slots=True)
class Sent:
    """A stream, and how each of its calls ended."""

    stream: Stream
    ended: list[Ended] = field(default_factory=list)

    def latencies_ms(self) -> list[float]:
        """Latencies of the answered calls."""
        return [end.latency_ms for end in self.ended if end.outcome == "answered"]


class Payloads:
    """Real images with their labels for `digits`; seeded random ones, without labels, for anything else."""

    def __init__(self, fleet: Fleet, beside: Path) -> None:
        self._fleet = fleet
        images, labels = _held_out(beside)
        self._images, self._labels = images, labels
        self._made: dict[str, tuple[bytes, int]] = {}

    def of(self, model: str, number: int) -> tuple[bytes, int, int | None]:
        """Return a call's body, the length of its JSON part, and the right label where there is one."""
        if model == "digits":
            at = number % len(self._images)
            return *_body("image", self._images[at : at + 1]), int(self._labels[at])
        if model not in self._made:
            self._made[model] = self._make(model)
        return *self._made[model], None

    def _make(self, model: str) -> tuple[bytes, int]:
        card = self._fleet.cards[self._fleet.model_by_id[model].variants[0].id]
        shape = [1 if size == -1 else size for size in card.inputs[0].shape]
        return _body(card.inputs[0].name, np.random.default_rng(7).standard_normal(shape, dtype=np.float32))


def _held_out(beside: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    path = beside / "examples" / "models" / "digits.py"
    spec = importlib.util.spec_from_file_location("infercast_example_digits", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise BadInput([Fault(str(path), 0, "", "the example's images are not there", "run from the repository")])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    images, labels = module.held_out()
    return images, labels


def _body(name: str, value: npt.NDArray[np.float32]) -> tuple[bytes, int]:
    blob = value.tobytes()
    tensor: dict[str, Any] = {"name": name, "datatype": "FP32", "shape": list(value.shape)}
    tensor["parameters"] = {"binary_data_size": len(blob)}
    header = orjson.dumps({"inputs": [tensor]})
    return header + blob, len(header)


def load_traffic(path: Path, fleet: Fleet, policies: dict[str, Policy]) -> Traffic:
    """Read a traffic file. Raises BadInput with every fault at once."""
    document = read_document(path)
    traffic = validate(document, Traffic)
    faults: list[Fault] = []
    served = [site.id for site in fleet.served]
    if traffic.kill is not None and traffic.kill not in served:
        faults.append(
            document.fault(("kill",), f"no raylet runs for {traffic.kill!r}", did_you_mean(traffic.kill, served))
        )
    places = {*fleet.site_by_id, *fleet.zone_by_id}
    for index, stream in enumerate(traffic.streams):
        known: dict[str, Collection[str]] = {"tenant": policies, "model": fleet.model_by_id, "from": places}
        given = {"tenant": stream.tenant, "model": stream.model, "from": stream.origin}
        faults += [
            document.fault(("streams", index, name), f"{word!r} is not declared", did_you_mean(word, known[name]))
            for name, word in given.items()
            if word not in known[name]
        ]
        if stream.tenant in policies:
            faults += _at_tenant(document, index, stream, policies[stream.tenant])
        faults += [
            document.fault(("streams", index, "entries"), f"{word!r} is no site", did_you_mean(word, fleet.site_by_id))
            for word in stream.entries
            if word not in fleet.site_by_id
        ]
    if faults:
        raise BadInput(faults)
    return traffic


def _at_tenant(document: Document, index: int, stream: Stream, policy: Policy) -> list[Fault]:
    """Return what a stream names that its tenant does not have."""
    faults = []
    if stream.data_class is not None and stream.data_class not in policy.classes:
        message = f"{policy.tenant!r} has no class {stream.data_class!r}"
        remedy = did_you_mean(stream.data_class, policy.classes)
        faults.append(document.fault(("streams", index, "class"), message, remedy))
    if policy.models is not None and stream.model not in policy.models:
        message = f"{policy.tenant!r} may not call {stream.model!r}"
        faults.append(document.fault(("streams", index, "model"), message, did_you_mean(stream.model, policy.models)))
    return faults


class Sender:
    """Sends streams. `where` gives the URL and the key for (tenant, entry, origin)."""

    def __init__(
        self,
        fleet: Fleet,
        policies: dict[str, Policy],
        payloads: Payloads,
        where: Callable[[str, str, str], tuple[str, str]],
        on_end: Callable[[], None],
    ) -> None:
        self._fleet, self._policies, self._payloads = fleet, policies, payloads
        self._where = where
        self._on_end = on_end

    async def send(self, streams: Sequence[Stream], pause_s: float = 0.0) -> list[Sent]:
        """Send all streams side by side, each one call after the other, `pause_s` apart."""
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(limits=limits) as client:
            await self._open(client, streams)
            return list(await asyncio.gather(*(self._stream(client, stream, pause_s) for stream in streams)))

    async def _open(self, client: httpx.AsyncClient, streams: Iterable[Stream]) -> None:
        """Open the connections first: a client that starts with its caller pays for that once, not within a deadline."""
        urls = {self._where(stream.tenant, self.entries(stream)[0], stream.origin)[0] for stream in streams}
        await asyncio.gather(*(client.get(f"{url}/v2/health/ready", timeout=PATIENCE_S) for url in urls))

    def entries(self, stream: Stream) -> list[str]:
        """Return where a stream's calls enter: its first entry, and the others where that gives no answer."""
        return list(stream.entries) or [self._nearest(stream.origin)]

    async def _stream(self, client: httpx.AsyncClient, stream: Stream, pause_s: float) -> Sent:
        sent = Sent(stream)
        entries = self.entries(stream)
        for number in range(stream.calls):
            sent_s = time.time()
            end = replace(await self._call(client, stream, entries, number), sent_s=sent_s)
            if end.reason == LOST and len(entries) > 1:
                entries.append(entries.pop(0))
            sent.ended.append(end)
            self._on_end()
            await asyncio.sleep(pause_s)
        return sent

    async def _call(self, client: httpx.AsyncClient, stream: Stream, entries: list[str], number: int) -> Ended:
        began = time.perf_counter()
        left_s = self.patience_s(stream)
        tried: list[str] = []
        for entry in entries:
            share_s = left_s - (time.perf_counter() - began)
            if share_s <= 0:
                break
            tried.append(entry)
            try:
                return await asyncio.wait_for(self._try(client, stream, entry, number, began), share_s)
            except (httpx.HTTPError, TimeoutError):
                continue
        return Ended("failed", LOST, entries[0], tried=tuple(tried))

    async def _try(self, client: httpx.AsyncClient, stream: Stream, entry: str, number: int, began: float) -> Ended:
        url, secret = self._where(stream.tenant, entry, stream.origin)
        body, header_bytes, label = self._payloads.of(stream.model, number)
        path = self._fleet.network.path(stream.origin, entry)
        headers = {"authorization": f"Bearer {secret}", "inference-header-content-length": str(header_bytes)}
        headers["cache-control"] = "no-store"  # a load is there to see calls run, and it has few pictures
        if stream.data_class:
            headers["infercast-class"] = stream.data_class
        await asyncio.sleep(one_way_us(path, len(body)) / 1e6)
        response = await client.post(
            f"{url}/v2/models/{stream.model}/infer", content=body, headers=headers, timeout=None
        )
        await asyncio.sleep(one_way_us(path, len(response.content)) / 1e6)
        latency_ms = (time.perf_counter() - began) * 1000
        if response.status_code >= 500 and "infercast-outcome" not in response.headers:
            raise httpx.RemoteProtocolError("the entry's replicas are gone")
        if response.status_code != 200:
            kind = response.headers.get("infercast-outcome", str(response.status_code))
            rule = response.json().get("infercast", {}).get("rule", "")
            failed = kind in ("deadline", "fault")
            return Ended("failed" if failed else "refused", f"{kind} {rule}".strip(), entry, latency_ms=latency_ms)
        return Ended(
            "answered",
            "",
            entry,
            response.headers["infercast-site"],
            response.headers["infercast-variant"],
            latency_ms,
            float(response.headers["infercast-cost-usd"]),
            int(response.headers["infercast-attempts"]),
            None if label is None else _label(response) == label,
            call=response.headers["infercast-id"],
        )

    def patience_s(self, stream: Stream) -> float:
        """Return how long a caller waits for an answer."""
        blocks = self._policies[stream.tenant].blocks([stream.data_class] if stream.data_class else [])
        deadlines_ms = [block.deadline_ms for block in blocks if block.deadline_ms is not None]
        return min(deadlines_ms) / 1000 if deadlines_ms else PATIENCE_S

    def _nearest(self, origin: str) -> str:
        ways = [(self._fleet.network.path(origin, site.id), site.id) for site in self._fleet.sites]
        return min((path.rtt_us, site) for path, site in ways if path is not None)[1]


def _label(response: httpx.Response) -> int:
    answer = orjson.loads(response.content)
    return int(next(output["data"][0] for output in answer["outputs"] if output["name"] == "label"))
