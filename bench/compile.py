"""What it takes to make a large world ready to decide in: time and peak memory, phase by phase, in a fresh process.

`python bench/compile.py` prints one JSON object. A phase that does not end in time is given as null, with the others kept.
"""

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bench.timing import peak_mb  # noqa: E402 - the root had to come first
from bench.worlds import ENTRY, Size, raw_fleet, raw_policies  # noqa: E402
from infercast.policies.engine import Engine  # noqa: E402
from infercast.policies.fleet import Fleet  # noqa: E402
from infercast.policies.fleet_file import load_fleet  # noqa: E402
from infercast.policies.model import Request  # noqa: E402
from infercast.policies.policy import Policy  # noqa: E402
from infercast.policies.snapshot import Snapshot  # noqa: E402

PHASES = ("imports", "fleet", "digests", "policies", "policy digests", "engine", "warm", "first choices")
FIRST_CHOICES = 2000


def main() -> None:
    """Run the phases in a process of their own and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    for field in fields(Size):
        parser.add_argument(f"--{field.name}", type=int, default=field.default)
    parser.add_argument("--timeout-s", type=float, default=120.0, help="end the process after so long")
    parser.add_argument("--files", action="store_true", help="read the fleet from a cluster.yaml and cards instead")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    size = Size(**{field.name: getattr(options, field.name) for field in fields(Size)})
    if options.inside:
        run_phases(size, files=options.files)
    else:
        print(json.dumps(measure(size, options.timeout_s, files=options.files), indent=1))


def measure(size: Size, timeout_s: float, *, files: bool = False) -> dict[str, Any]:
    """Return seconds and peak memory by phase: `{"size", "phases": {name: {"s", "peak_mb"} | None}, "timed_out"}`."""
    sizes = [word for name, value in asdict(size).items() for word in (f"--{name}", str(value))]
    command = [sys.executable, __file__, "--inside", *sizes, *(["--files"] if files else [])]
    timed_out = False
    with tempfile.TemporaryFile("w+") as lines:
        try:
            subprocess.run(command, stdout=lines, check=True, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            timed_out = True
        lines.seek(0)
        told = [json.loads(line) for line in lines if line.endswith("\n")]
    phases: dict[str, Any] = dict.fromkeys(PHASES)
    phases.update({line.pop("phase"): line for line in told})
    return {
        "size": asdict(size),
        "from_files": files,
        "phases": phases,
        "ready_s": None if phases["warm"] is None else round(sum(phases[name]["s"] for name in PHASES[1:-1]), 3),
        "peak_mb": max((line["peak_mb"] for line in told), default=None),
        "timed_out": timed_out,
        "timeout_s": timeout_s,
    }


def run_phases(size: Size, *, files: bool) -> None:
    """Make the world ready and print a line of JSON after each phase. Making up its raw values is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        read: Callable[[], Fleet]
        if files:
            path = write_files(raw_fleet(size), Path(folder))

            def read() -> Fleet:
                return load_fleet(path)
        else:
            raw = raw_fleet(size)

            def read() -> Fleet:
                return Fleet.model_validate(raw)

        raws = raw_policies(size)
        gc.collect()
        _say("imports", 0.0)
        fleet = _phase("fleet", read)
    _phase("digests", lambda: (fleet.digest, fleet.network))
    policies = _phase("policies", lambda: {name: Policy.model_validate(raw) for name, raw in raws.items()})
    _phase("policy digests", lambda: [policy.digest for policy in policies.values()])
    engine = _phase("engine", lambda: Engine(fleet, policies))
    _phase("warm", lambda: engine.warm(ENTRY, [zone.id for zone in fleet.zones]))
    took_us = _phase("first choices", lambda: first_choices(engine))
    _say("of them", 0.0, median_us=round(median(took_us), 1), p99_us=round(quantiles(took_us, n=100)[98], 1))


def first_choices(engine: Engine) -> list[float]:
    """Return what calls of kinds never seen took, in microseconds: what `warm` left undone would show here."""
    fleet, dice, snapshot = engine.fleet, Random(2), Snapshot.declared(engine.fleet)
    tenants, took_us = list(engine.policies), []
    for at in range(FIRST_CHOICES):
        tenant = dice.choice(tenants)
        classes = dice.choice([(), *((name,) for name in engine.policies[tenant].classes)])
        model, origin = dice.choice(fleet.models).id, dice.choice(fleet.zones).id
        call = Request(f"r{at}", tenant, model, ENTRY, origin, classes, payload_bytes=dice.randint(100, 500_000))
        start_ns = time.perf_counter_ns()
        engine.choose(call, snapshot)
        took_us.append((time.perf_counter_ns() - start_ns) / 1000)
    return took_us


def write_files(raw: dict[str, Any], folder: Path) -> Path:
    """Write a raw fleet as `cluster.yaml` with its cards beside it, and return the file's path."""
    for name, card in raw["cards"].items():
        (folder / f"{name}.json").write_text(json.dumps(card), encoding="utf-8")
    path = folder / "cluster.yaml"
    file = {key: value for key, value in raw.items() if key != "cards"}
    path.write_text(json.dumps(file, indent=1), encoding="utf-8")  # JSON is YAML
    return path


def _phase(name: str, work: Callable[[], Any]) -> Any:
    start_s = time.perf_counter()
    made = work()
    _say(name, time.perf_counter() - start_s)
    return made


def _say(name: str, took_s: float, **more: float) -> None:
    print(json.dumps({"phase": name, "s": round(took_s, 4), "peak_mb": round(peak_mb(), 1), **more}), flush=True)


if __name__ == "__main__":
    main()
