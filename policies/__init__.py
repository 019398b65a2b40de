"""The ground floor: words, fleet, policies and the engine that decides. Pure: no clock, no randomness, no Ray, no HTTP, no ONNX.

Importing this package costs next to nothing; the heavier parts (pydantic, networkx, numba) load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine import Engine
    from .faults import BadInput, Fault
    from .fleet import Fleet
    from .fleet_file import load_fleet
    from .model import Decision, Outcome, Request, Tier
    from .policy import Policy
    from .policy_file import load_policies, load_policy
    from .snapshot import Snapshot

_HOMES = {
    "Engine": "engine",
    "BadInput": "faults",
    "Fault": "faults",
    "Fleet": "fleet",
    "load_fleet": "fleet_file",
    "Decision": "model",
    "Outcome": "model",
    "Request": "model",
    "Tier": "model",
    "Policy": "policy",
    "load_policies": "policy_file",
    "load_policy": "policy_file",
    "Snapshot": "snapshot",
}

__all__ = [
    "BadInput",
    "Decision",
    "Engine",
    "Fault",
    "Fleet",
    "Outcome",
    "Policy",
    "Request",
    "Snapshot",
    "Tier",
    "load_fleet",
    "load_policies",
    "load_policy",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its home module the first time it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
