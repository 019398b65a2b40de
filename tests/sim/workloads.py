"""Small workloads on a small fleet, and bounds that chance keeps to: wrong once in a thousand million tries at most."""

import os
from collections.abc import Sequence
from math import log, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infercast.policies.documents import Document
from infercast.policies.faults import Fault
from infercast.policies.fleet import Fleet
from infercast.sim.model import Calls, Ints
from infercast.sim.traffic import TrafficChange
from infercast.sim.workload import calls_of
from infercast.sim.workload_file import Source, Workload
from infercast.sim.workload_names import faults_of
from tests.support import Raw, card, fleet_of, link, policy_of, raw_fleet, site, write

ROOT = Path(__file__).resolve().parents[2]
ONCE_IN = 1e-9
NOON_S = 1_764_072_000
"""2025-11-25 12:00 UTC: 13:00 in Berlin, 21:00 in Tokyo, 7:00 in New York."""
POLICIES = {"t": policy_of(), "u": policy_of(tenant="u", models=["vision"])}


def world() -> Fleet:
    """The small fleet with client zones on three continents, an isle without links, and a second model."""
    raw = raw_fleet()
    raw["zones"] += [
        {"id": "tokyo", "country": "JP", "lat": 35.8, "lon": 140.4},
        {"id": "newyork", "country": "US", "lat": 40.7, "lon": -74.2},
        {"id": "isle", "country": "FR", "lat": 0, "lon": 0},
        {"id": "nowhere", "country": "ZZ", "lat": 0, "lon": 0},
    ]
    raw["links"] += [
        link("tokyo", "iad", 160, "JP", "US"),
        link("newyork", "iad", 8, "US"),
        link("nowhere", "par", 1),
        link("cam", "par", 1),
    ]
    raw["sites"].append(site("cam", "device", "FR", tenant="u"))
    raw["models"].append({"id": "vision", "variants": [{"id": "net", "card": "net.json"}]})
    raw["cards"]["net"] = card("net", None, 9.0)
    return fleet_of(raw)


FLEET = world()


def source(**parts: Any) -> Raw:
    """A made-up source of ten calls a second from Berlin, unless told otherwise."""
    whole = {"name": "s", "tenant": "t", "model": "digits", "origins": ["berlin"], "rate": {"poisson_per_s": 10}}
    return {name: value for name, value in {**whole, **parts}.items() if value is not None}


def workload(*sources: Raw, duration: str = "100s") -> Workload:
    return Workload.model_validate({"duration": duration, "sources": list(sources) or [source()]})


def calls(
    *sources: Raw,
    duration: str = "100s",
    seed: int = 1,
    changes: Sequence[TrafficChange] = (),
    starts_at_s: int = NOON_S,
    folder: Path = ROOT,
) -> Calls:
    found = calls_of(workload(*sources, duration=duration), FLEET, POLICIES, seed, folder, changes, starts_at_s)
    assert_whole(found)
    return found


def assert_whole(found: Calls) -> None:
    """What holds of every workload: order, types, equal lengths, bounds."""
    n = len(found.at_us)
    arrays = (found.at_us, found.payload_bytes, found.work_ppm, found.content, found.luck)
    assert all(array.dtype == np.int64 and len(array) == n for array in arrays)
    assert found.kind.dtype == np.int32
    assert len(found.kind) == n
    assert (np.diff(found.at_us) >= 0).all()
    if n:
        assert 0 <= found.kind.min() <= found.kind.max() < len(found.kinds)
        assert found.at_us.min() >= 0
        assert found.payload_bytes.min() >= 0
        assert 1 <= found.work_ppm.min() <= found.work_ppm.max() <= 10**9
        assert found.content.min() >= -1
        assert 0 <= found.luck.min() <= found.luck.max() < 2**60
    assert len(set(found.kinds)) == len(found.kinds)


def origins(found: Calls) -> list[str]:
    return [found.kinds[kind].origin for kind in found.kind.tolist()]


def rows(found: Calls) -> dict[int, tuple[Any, ...]]:
    """Every call by its luck, with all else that it is."""
    columns = (found.luck, found.kind, found.at_us, found.payload_bytes, found.work_ppm, found.content)
    lists = zip(*(column.tolist() for column in columns), strict=True)
    return {luck: (found.kinds[kind], *rest) for luck, kind, *rest in lists}


def poisson_margin(expected: float) -> float:
    """How far a Poisson count is from its mean at most (Bernstein's inequality), but once in a thousand million."""
    t = log(2 / ONCE_IN)
    return t / 3 + sqrt(t * t / 9 + 2 * expected * t)


def share_margin(n: int) -> float:
    """How far a share of n independent draws is from its probability at most (Hoeffding's inequality)."""
    return sqrt(log(2 / ONCE_IN) / (2 * n))


def furthest(values: Ints | Any, below: Any) -> float:
    """How far the distribution of values is from one whose share up to each value is `below(sorted values)`.

    With n independent values this is at most share_margin(n) (Dvoretzky, Kiefer, Wolfowitz; Massart's constant).
    """
    values = np.sort(values)
    n = len(values)
    truth = below(values)
    return float(max(np.abs(np.arange(1, n + 1) / n - truth).max(), np.abs(np.arange(n) / n - truth).max()))


def faults(*sources: Raw, path: Path, **parts: Any) -> list[Fault]:
    """The faults of names of a workload that stands in a file."""
    raw = {"duration": "100s", "sources": list(sources), **parts}
    raw = {name: value for name, value in raw.items() if value is not None}
    document = Document("scenario.yaml", write(path / "w.yaml", {"workload": raw}).read_text())
    return faults_of(Workload.model_validate(raw), FLEET, POLICIES, document)


def made(**parts: Any) -> Source:
    return Source.model_validate(source(**parts))


def data(name: str) -> Path:
    """A file of public data beside the repository; the test is skipped where it is not there."""
    path = Path(os.environ.get("INFERCAST_DATA", ROOT.parent / "shared" / "data")) / name
    if not path.is_file():
        pytest.skip(f"{name} is not there: public data is not part of the repository (INFERCAST_DATA names its folder)")
    return path
