"""The fleet of the serving bench: the example's smallest model at two sites without distance between them.

`near` runs at the site where calls enter, `far` only at the other one: the same artefact under two names, so that a call's
model decides whether it travels. `talk` runs at an upstream, where one is named.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

Raw = dict[str, Any]
ROOT = Path(__file__).resolve().parents[1]
ARTEFACT = ROOT / "examples" / "models" / "digits-small.onnx"
ENTRY, OTHER, UPSTREAM = "here", "there", "noop"
TENANT = "bench"
TALK = {
    "variant": "talk-1",
    "artefact": "none",
    "artefact_bytes": 1,
    "inputs": [],
    "outputs": [],
    "accuracy": None,
    "usual_tokens": {"prompt": 1, "completion": 1},
    "service_time_ms": {"cpu": {"p50": 1, "p95": 5}},
}
POLICY = f"""version: 1
tenant: {TENANT}
classes:
  load: {{}}
objective: {{preference: fastest}}
"""


@dataclass(frozen=True)
class World:
    """The written files."""

    fleet: Path
    policies: Path


@dataclass(frozen=True)
class Body:
    """One infer request: its bytes, and the length of its JSON part where a binary tensor follows."""

    content: bytes
    header_bytes: int | None


def write_world(folder: Path, upstream: int | None = None) -> World:
    """Write fleet, cards and policy into a folder; `upstream` is the port of a chat upstream on this machine."""
    folder.mkdir(parents=True, exist_ok=True)
    card = json.loads(ARTEFACT.with_suffix(".card.json").read_text(encoding="utf-8"))
    (folder / card["artefact"]).write_bytes(ARTEFACT.read_bytes())
    for model in ("near", "far"):
        whole = {**card, "variant": f"{model}-small"}
        (folder / f"{model}-small.card.json").write_text(json.dumps(whole), encoding="utf-8")
    (folder / "talk.card.json").write_text(json.dumps(TALK), encoding="utf-8")
    fleet = folder / "cluster.yaml"
    raw = raw_fleet() if upstream is None else with_upstream(raw_fleet(), upstream)
    fleet.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    policies = folder / "tenants"
    policies.mkdir(exist_ok=True)
    (policies / f"{TENANT}.yaml").write_text(POLICY, encoding="utf-8")
    return World(fleet, policies)


def raw_fleet() -> Raw:
    """Return two edge sites side by side."""
    trust = {"retention_days": 0, "trains_on_inputs": False, "attestation": "tdx"}
    sites = [
        {
            "id": name,
            "tier": "edge",
            "country": "DE",
            "lat": 50.0,
            "lon": 8.5,
            "operator": "bench",
            "trust": trust,
            "accelerators": {"cpu": {"slots": 4, "usd_per_hour": 0.1}},
        }
        for name in (ENTRY, OTHER)
    ]
    return {
        "version": 1,
        "name": "serve",
        "sites": sites,
        "links": [{"from": ENTRY, "to": OTHER, "rtt_ms": 0, "bandwidth_mbps": 1_000_000, "countries": ["DE"]}],
        "models": [
            {
                "id": model,
                "response_bytes": 400,
                "variants": [{"id": f"{model}-small", "card": f"{model}-small.card.json"}],
            }
            for model in ("near", "far")
        ],
        "deployments": [
            {"site": ENTRY, "variant": "near-small", "queue_max": 256},
            {"site": OTHER, "variant": "far-small", "queue_max": 256},
        ],
    }


def with_upstream(raw: Raw, port: int) -> Raw:
    """Return a fleet with an upstream on this machine beside the entry, and a model that runs there only."""
    site = {name: raw["sites"][0][name] for name in ("tier", "country", "lat", "lon", "operator", "trust")}
    upstream = {"url": f"http://127.0.0.1:{port}/v1", "api": "openai", "private": True, "models": {"talk-1": "noop"}}
    way = {"from": ENTRY, "to": UPSTREAM, "rtt_ms": 0, "bandwidth_mbps": 1_000_000, "countries": ["DE"]}
    variants = [{"id": "talk-1", "card": "talk.card.json"}]
    where = {"site": UPSTREAM, "variant": "talk-1", "hosted": "upstream", "concurrency": 256, "queue_max": 1024}
    return {
        **raw,
        "sites": [*raw["sites"], {"id": UPSTREAM, **site, "upstream": upstream}],
        "links": [*raw["links"], way],
        "models": [*raw["models"], {"id": "talk", "task": "chat", "response_bytes": 400, "variants": variants}],
        "deployments": [*raw["deployments"], {**where, "usd_per_call": 0.000001}],
    }


def json_body() -> Body:
    """Return an infer request of one picture as JSON."""
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 64], "data": picture().ravel().tolist()}
    return Body(json.dumps({"inputs": [tensor]}).encode(), None)


def binary_body() -> Body:
    """Return an infer request of one picture as bytes, with the answer asked for as bytes."""
    blob = picture().tobytes()
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 64], "parameters": {"binary_data_size": len(blob)}}
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return Body(header + blob, len(header))


def picture() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return a seeded picture of the digits' size, its values rounded as a client's would be."""
    values = np.random.default_rng(7).integers(0, 17, (1, 64))
    return (values / 16).astype(np.float32)
