"""Worlds small enough to work out by hand: a zone, an edge 10 ms away, a cloud 20 ms behind it, one model, 4 ms a call."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from infercast.policies.policy import Policy
from infercast.sim.model import NEVER_EQUAL, Calls, Kind, World
from tests.support import Raw, card, fleet_of, link, policy_of, raw_fleet, site

PLAIN = Kind("t", "m", "zone", ("edge",), ("plain",))
USUAL_PPM = 1_000_000
LUCK = 0
ACCESS_US = 5_008
"""From the zone to the edge: half of 10 ms, and 1,000 bytes at 8 ns."""
BACK_US = 5_009
"""From the edge to the zone: half of 10 ms, and 1,024 bytes at 8 ns, rounded up."""
NUSD_PER_S = 100_000
"""0.36 USD an hour."""


def tiny_fleet(*deployments: Raw, service_ms: float = 4.0, **parts: Any) -> Raw:
    """The fleet; deployments of the one variant `v`, at the edge unless said otherwise."""
    whole: Raw = {
        "call_overhead_ms": 0.0,
        "sites": [site("edge", "edge", "DE"), site("cloud", "cloud", "DE"), site("far", "cloud", "DE")],
        "zones": [{"id": "zone", "country": "DE", "lat": 52.5, "lon": 13.4}],
        "links": [
            link("zone", "edge", 10, "DE"),
            link("edge", "cloud", 20, "DE", egress_usd_per_gb=0.1, egress_back_usd_per_gb=0.2),
            link("cloud", "far", 30, "DE"),
        ],
        "models": [{"id": "m", "variants": [{"id": "v", "card": "v.json"}]}],
        "deployments": [{"variant": "v", "site": "edge", **each} for each in deployments or ({},)],
        "cards": {"v": card("v", 0.9, service_ms, service_ms)},
    }
    return raw_fleet(**{**whole, **parts})


def calls_at(*at_us: int, kinds: Sequence[Kind] = (PLAIN,), **columns: Any) -> Calls:
    """Calls at these times, of 1,000 bytes and the usual work, unless columns say otherwise."""
    n = len(at_us)
    whole = {"kind": 0, "payload_bytes": 1_000, "work_ppm": USUAL_PPM, "content": NEVER_EQUAL, "luck": LUCK, **columns}
    types = {"kind": np.int32}
    made: dict[str, Any] = {
        name: np.array(value if isinstance(value, list) else [value] * n, dtype=types.get(name, np.int64))
        for name, value in whole.items()
    }
    return Calls(kinds=tuple(kinds), at_us=np.array(at_us, dtype=np.int64), **made)


def tiny(
    *at_us: int,
    fleet: Raw | None = None,
    policy: Raw | None = None,
    kinds: Sequence[Kind] = (PLAIN,),
    columns: Raw | None = None,
    **parts: Any,
) -> World:
    """A world; nothing in it varies unless `parts` say so."""
    calls = calls_at(*at_us, kinds=kinds, **(columns or {}))
    whole = {"estimates": "declared", "jitter": False, **parts}
    return World(fleet=fleet_of(fleet or tiny_fleet()), policies={"t": tiny_policy(policy)}, calls=calls, **whole)


def tiny_policy(parts: Raw | None = None) -> Policy:
    """A policy that prefers what is fastest."""
    return policy_of(**{"objective": {"preference": "fastest"}, **(parts or {})})


__all__ = ["ACCESS_US", "BACK_US", "LUCK", "NUSD_PER_S", "PLAIN", "calls_at", "tiny", "tiny_fleet"]
