"""A small fleet for benches on the real cluster: models whose work the caller measures out, at the example's sites.

The model runs a loop as many times as its call says. So a site becomes three times as slow when its calls bring three
times the work: real work of ONNX Runtime, by real replicas, with nothing in the system that knows of a bench.
"""

import hashlib
import json
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import yaml
from onnx import TensorProto, helper, numpy_helper

Raw = dict[str, Any]
ROOT = Path(__file__).resolve().parents[1]
WIDTH = 192
MEDIAN_MS = 1.5
SIGMA = 0.3
"""Calls' work is lognormal around MEDIAN_MS, with this standard deviation of the logarithm."""
MEASURED_CALLS = 400
OWN_SITE = "dub"
"""Where the model has a replica of its own; at the other sites it runs in the worker."""
FAR_SITES = ("fra", "iad")
"""The only sites with the model `far`: calls for it that enter elsewhere travel."""
POLICY = """version: 1
tenant: bench
classes:
  load: {}
objective: {preference: fastest}
"""


@dataclass(frozen=True)
class World:
    """The written files, the sites with an ingress, and how many rounds of the loop are MEDIAN_MS of work."""

    fleet: Path
    policies: Path
    sites: tuple[str, ...]
    rounds: int


def write_world(folder: Path) -> World:
    """Write model, cards, fleet and policy into a folder, the service time measured on this machine just now."""
    folder.mkdir(parents=True, exist_ok=True)
    artefact = folder / "busy.onnx"
    artefact.write_bytes(busy_model().SerializeToString())
    rounds, p50_ms, p95_ms = measure(artefact)
    for variant in ("near-busy", "far-busy"):
        card = card_of(variant, artefact, p50_ms, p95_ms)
        (folder / f"{variant}.card.json").write_text(json.dumps(card), encoding="utf-8")
    fleet = folder / "cluster.yaml"
    raw = raw_fleet()
    fleet.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    policies = folder / "tenants"
    policies.mkdir(exist_ok=True)
    (policies / "bench.yaml").write_text(POLICY, encoding="utf-8")
    return World(fleet, policies, tuple(site["id"] for site in raw["sites"]), rounds)


def busy_model() -> onnx.ModelProto:
    """Return a graph that multiplies a row by a matrix as often as its input `rounds` says."""
    weights = (np.random.default_rng(5).standard_normal((WIDTH, WIDTH)) / WIDTH**0.5).astype(np.float32)
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["row", "weights"], ["product"]),
            helper.make_node("Tanh", ["product"], ["next"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("at", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("row", TensorProto.FLOAT, [1, WIDTH]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [1, WIDTH]),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["rounds", "yes", "ones"], ["row_out"], body=body)],
        "busy",
        [helper.make_tensor_value_info("rounds", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("row_out", TensorProto.FLOAT, [1, WIDTH])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.ones((1, WIDTH), np.float32), "ones"),
            numpy_helper.from_array(np.array(True), "yes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="infercast")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def measure(artefact: Path) -> tuple[int, float, float]:
    """Return how many rounds take MEDIAN_MS here, and p50 and p95 in ms of calls with the work that the bench sends."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(artefact), options, providers=["CPUExecutionProvider"])

    def took_ms(rounds: int) -> float:
        began = time.perf_counter()
        session.run(None, {"rounds": np.array([rounds], np.int64)})
        return (time.perf_counter() - began) * 1000

    took_ms(1000)
    each_ms = float(np.median([took_ms(1000) for _ in range(20)])) / 1000
    rounds = max(1, round(MEDIAN_MS / each_ms))
    taken_ms = [took_ms(work) for work in work_of(rounds, MEASURED_CALLS, seed=1)]
    p50_ms, p95_ms = (float(np.percentile(taken_ms, share)) for share in (50, 95))
    return rounds, p50_ms, p95_ms


def work_of(rounds: int, calls: int, seed: int) -> list[int]:
    """Return the rounds of so many calls, lognormal around `rounds`."""
    draws = np.exp(SIGMA * np.random.default_rng(seed).standard_normal(calls))
    return [max(1, int(rounds * draw)) for draw in draws.tolist()]


def card_of(variant: str, artefact: Path, p50_ms: float, p95_ms: float) -> Raw:
    """Return the card of a variant. What runs in a worker may not declare more than 5 ms: more is cut off there."""
    content = artefact.read_bytes()
    return {
        "variant": variant,
        "artefact": artefact.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "artefact_bytes": len(content),
        "inputs": [{"name": "rounds", "datatype": "INT64", "shape": [1]}],
        "outputs": [{"name": "row_out", "datatype": "FP32", "shape": [1, WIDTH]}],
        "accuracy": None,
        "service_time_ms": {
            "cpu": {
                "p50": round(min(p50_ms, 5.0), 4),
                "p95": round(min(p95_ms, 5.0), 4),
                "machine": platform.processor() or platform.machine(),
                "date": datetime.now(UTC).date().isoformat(),
            }
        },
    }


def raw_fleet() -> Raw:
    """Return the example's sites and the links between them, with the two models in place of its own."""
    raw: Raw = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    sites = [site for site in raw["sites"] if site["tier"] != "device"]
    names = {site["id"] for site in sites}
    near = [{"site": site, "variant": "near-busy", "queue_max": 64} for site in sorted(names - {OWN_SITE})]
    own = {"site": OWN_SITE, "variant": "near-busy", "hosted": "own", "replicas": 1, "queue_max": 64}
    far = [{"site": site, "variant": "far-busy", "queue_max": 64} for site in FAR_SITES]
    return {
        "version": 1,
        "name": "busy",
        "call_overhead_ms": raw["call_overhead_ms"],
        "sites": sites,
        "links": [link for link in raw["links"] if {link["from"], link["to"]} <= names],
        "models": [
            {
                "id": model,
                "response_bytes": 4 * WIDTH,
                "variants": [{"id": f"{model}-busy", "card": f"{model}-busy.card.json"}],
            }
            for model in ("near", "far")
        ],
        "deployments": [*near, own, *far],
    }
