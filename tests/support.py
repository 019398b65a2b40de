"""Hand-made worlds for tests of behaviour: one small fleet whose every part can be overwritten, and its policies."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

from infercast.policies.engine import Engine
from infercast.policies.fleet import Fleet
from infercast.policies.model import Decision, Request, Rule
from infercast.policies.policy import Policy
from infercast.policies.snapshot import Snapshot

Raw = dict[str, Any]
TRUSTED: Raw = {
    "retention_days": 0,
    "trains_on_inputs": False,
    "attestation": "tdx",
    "certifications": ["iso27001"],
}


def card(variant: str, accuracy: float | None, p50: float, p95: float | None = None) -> Raw:
    """A card as the model scripts write it, with one time for every accelerator."""
    measured = None
    if accuracy is not None:
        measured = {"value": accuracy, "correct": 9, "n": 10, "low_95": 0.0, "high_95": 1.0}
    return {
        "variant": variant,
        "artefact": f"{variant}.onnx",
        "artefact_bytes": 1000,
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 64]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 10]}],
        "accuracy": measured,
        "service_time_ms": {"cpu": {"p50": p50, "p95": p50 * 2 if p95 is None else p95}},
    }


def site(name: str, tier: str, country: str, **more: Any) -> Raw:
    """A site with one kind of accelerator."""
    return {
        "id": name,
        "tier": tier,
        "country": country,
        "lat": 50.0,
        "lon": 8.0,
        "accelerators": {"cpu": {"slots": 100, "usd_per_hour": 0.36}},
        **more,
    }


def link(start: str, end: str, rtt_ms: float, *countries: str, **more: Any) -> Raw:
    """A link of 1 Gbit/s; no countries named means that nobody knows where it runs."""
    known = {"countries": list(countries)} if countries else {}
    return {"from": start, "to": end, "rtt_ms": rtt_ms, "bandwidth_mbps": 1000, **known, **more}


def raw_fleet(**parts: Any) -> Raw:
    """Berlin's phone and edge, Paris' and Virginia's clouds, in a row; every part can be overwritten."""
    whole: Raw = {
        "version": 1,
        "name": "test",
        "jurisdictions": {"eea": ["DE", "FR"], "europe": ["eea", "CH"]},
        "sites": [
            site("phone", "device", "DE", operator="me", trust=TRUSTED),
            site("ber", "edge", "DE", operator="acme", trust=TRUSTED),
            site("par", "cloud", "FR", operator="acme", trust=TRUSTED),
            site("iad", "cloud", "US", operator="hyper"),
        ],
        "zones": [{"id": "berlin", "country": "DE", "lat": 52.5, "lon": 13.4}],
        "links": [
            link("phone", "ber", 8, "DE"),
            link("berlin", "ber", 5, "DE"),
            link("ber", "par", 12, "DE", "FR"),
            link("par", "iad", 80, "FR", "US", egress_usd_per_gb=0.02, egress_back_usd_per_gb=0.09),
        ],
        "models": [
            {"id": "digits", "variants": [{"id": "small", "card": "small.json"}, {"id": "large", "card": "large.json"}]}
        ],
        "deployments": [
            {"variant": "small", "site": "phone"},
            {"variant": "small", "site": "ber"},
            {"variant": "large", "site": "par"},
            {"variant": "large", "site": "iad"},
        ],
        "cards": {"small": card("small", 0.90, 1.0), "large": card("large", 0.98, 4.0)},
    }
    return deepcopy({**whole, **parts})


def raw_policy(always: Raw | None = None, **parts: Any) -> Raw:
    """A policy of one class that asks for nothing, unless told otherwise."""
    whole: Raw = {"version": 1, "tenant": "t", "always": always or {}, "classes": {"plain": {}}}
    return deepcopy({**whole, **parts})


def fleet_of(raw: Raw | None = None) -> Fleet:
    """The fleet, made without files."""
    return Fleet.model_validate(raw_fleet() if raw is None else raw)


def policy_of(always: Raw | None = None, **parts: Any) -> Policy:
    """The policy, made without files."""
    return Policy.model_validate(raw_policy(always, **parts))


def engine_of(always: Raw | None = None, fleet: Fleet | None = None, **parts: Any) -> Engine:
    """An engine for one tenant on the small fleet."""
    return Engine(fleet or fleet_of(), {"t": policy_of(always, **parts)})


def request_of(**parts: Any) -> Request:
    """A call from Berlin that enters there."""
    return Request(**{"id": "r1", "tenant": "t", "model": "digits", "entry": "ber", "origin": "berlin", **parts})


def decide(always: Raw | None = None, fleet: Fleet | None = None, ask: Raw | None = None, **parts: Any) -> Decision:
    """Decide one call on an idle, healthy fleet."""
    engine = engine_of(always, fleet, **parts)
    return engine.explain(request_of(**(ask or {})), Snapshot.declared(engine.fleet))


def eligible(decision: Decision) -> set[str]:
    """The candidates that no rule vetoes."""
    return {verdict.deployment for verdict in decision.verdicts if verdict.rule is Rule.NONE}


def write(path: Path, raw: Any) -> Path:
    """Write a value as YAML (JSON is YAML)."""
    path.write_text(raw if isinstance(raw, str) else json.dumps(raw, indent=1), encoding="utf-8")
    return path
