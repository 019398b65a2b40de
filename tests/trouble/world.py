"""The fleet and the tenants that trouble comes upon: two edge sites, a cloud site, and two upstream services of our own.

All money is declared so that `north` is cheaper than `south`, and a call for `talk`, `vector` or `score` goes to north first.
"""

import json
from pathlib import Path
from typing import Any

from tests.support import TRUSTED, card, link, site

Raw = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
CARDS, BUILT = ROOT / "examples" / "models", ROOT / ".infercast" / "models"
OWN = ("fra", "ams", "dub")
"""The sites with a raylet: where calls enter."""
UPSTREAMS = ("north", "south")
"""The upstream services; each is two sites, as it speaks OpenAI's API and the Open Inference Protocol."""
DEADLINE_MS = 8000
USUAL_TOKENS = {"prompt": 20, "completion": 8}


def fleet(ports: dict[str, int]) -> Raw:
    """The fleet file; `ports` are where the ways to the upstreams begin."""
    return {
        "version": 1,
        "name": "trouble",
        "jurisdictions": {"EU": ["DE", "NL", "IE", "FR"]},
        "sites": [
            _site("fra", "edge", "DE", "metro"),
            _site("ams", "edge", "NL", "metro"),
            _site("dub", "cloud", "IE", "aws"),
            *_upstream("north", "DE", ports["north"]),
            *_upstream("south", "FR", ports["south"]),
        ],
        "zones": [{"id": "home", "country": "DE", "lat": 50.1, "lon": 8.7}],
        "links": [
            *(link("home", name, 1, "DE", "NL", "IE") for name in OWN),
            link("fra", "ams", 6, "DE", "NL"),
            link("fra", "dub", 24, "DE", "NL", "IE"),
            link("ams", "dub", 18, "NL", "IE"),
            *(link(own, f"north-{kind}", 1, "DE", "NL", "IE") for own in OWN for kind in ("text", "tensors")),
            *(link(own, f"south-{kind}", 1, "DE", "NL", "IE", "FR") for own in OWN for kind in ("text", "tensors")),
        ],
        "models": [
            {"id": "digits", "variants": [_variant(f"digits-{size}") for size in ("small", "medium", "large")]},
            {"id": "vision", "variants": [_variant("squeezenet", "squeezenet.onnx")]},
            {"id": "chat", "task": "chat", "variants": [_variant("tiny-llama", "tiny-llama/onnx/model.onnx")]},
            {"id": "embedding", "task": "embedding", "variants": [_variant("tiny-embed", "tiny-embed/onnx/model.onnx")]},
            {"id": "talk", "task": "chat", "variants": [{"id": "talker", "card": "talker.card.json"}]},
            {"id": "vector", "task": "embedding", "variants": [{"id": "vectors", "card": "vectors.card.json"}]},
            {"id": "score", "variants": [{"id": "scorer", "card": "scorer.card.json"}]},
        ],
        "deployments": [
            {"site": "fra", "variant": "digits-small", "queue_max": 64},
            {"site": "fra", "variant": "digits-medium", "queue_max": 64},
            {"site": "ams", "variant": "digits-small", "queue_max": 64},
            {"site": "dub", "variant": "digits-medium", "queue_max": 64},
            {"site": "dub", "variant": "digits-large", "queue_max": 64},
            {"site": "fra", "variant": "squeezenet", "hosted": "own", "replicas": 1, "queue_max": 8},
            {"site": "dub", "variant": "squeezenet", "hosted": "own", "replicas": 1, "queue_max": 8},
            {"site": "fra", "variant": "tiny-llama", "concurrency": 64, "queue_max": 64},
            {"site": "dub", "variant": "tiny-llama", "concurrency": 64, "queue_max": 64},
            {"site": "fra", "variant": "tiny-embed", "queue_max": 64},
            {"site": "ams", "variant": "tiny-embed", "queue_max": 64},
            *_deployed("north", 1.0),
            *_deployed("south", 2.0),
        ],
    }  # fmt: skip


def _site(name: str, tier: str, country: str, operator: str) -> Raw:
    whole = site(name, tier, country, operator=operator, trust=TRUSTED)
    whole["accelerators"]["cpu"]["slots"] = 2
    return whole


def _upstream(name: str, country: str, port: int) -> list[Raw]:
    sites = []
    for kind, api, path in (("text", "openai", "/v1"), ("tensors", "oip", "")):
        whole = site(f"{name}-{kind}", "cloud", country, operator=f"{name}co", trust=TRUSTED)
        del whole["accelerators"]
        sites.append({**whole, "upstream": {"url": f"http://127.0.0.1:{port}{path}", "api": api, "private": True}})
    return sites


def _variant(name: str, artefact: str | None = None) -> Raw:
    built = {"artefact": str(BUILT / artefact)} if artefact else {}
    return {"id": name, "card": str(CARDS / f"{name}.card.json"), **built}


def _deployed(name: str, times: float) -> list[Raw]:
    common = {"hosted": "upstream", "concurrency": 16, "queue_max": 32}
    per_token = {"prompt": 10.0 * times, "completion": 30.0 * times}
    return [
        {"site": f"{name}-text", "variant": "talker", "usd_per_million_tokens": per_token, **common},
        {"site": f"{name}-text", "variant": "vectors", "usd_per_call": 0.0001 * times, **common},
        {"site": f"{name}-tensors", "variant": "scorer", "usd_per_call": 0.0002 * times, **common},
    ]


def cards() -> dict[str, Raw]:
    """What is declared of the variants that run at the upstreams only, by file name."""
    scorer = card("scorer", None, 5.0, 20.0)
    scorer["inputs"] = [{"name": "image", "datatype": "FP32", "shape": [-1, 64]}]
    texts = {name: {**card(name, None, 5.0, 20.0), "usual_tokens": USUAL_TOKENS} for name in ("talker", "vectors")}
    return {f"{name}.card.json": value for name, value in {"scorer": scorer, **texts}.items()}


def policy(tenant: str, **parts: Any) -> Raw:
    """A policy whose class `plain` asks for nothing but an answer in 8 s; any part can be overwritten.

    Class `named` forbids the operator of south, `european` any place but DE, NL and IE, `sealed` that anything is kept.
    """
    return {
        "version": 1,
        "tenant": tenant,
        "always": {"deadline_ms": DEADLINE_MS},
        "classes": {
            "plain": {},
            "named": {"privacy": {"operators": {"deny": ["southco"]}}},
            "european": {"residency": {"processing": ["DE", "NL", "IE"], "transit": ["DE", "NL", "IE"]}},
            "sealed": {"residency": {"storage": []}, "privacy": {"retention_days_max": 0}},
        },
        "objective": {"preference": "cheapest"},
        **parts,
    }


def tenants() -> dict[str, Raw]:
    """The tenants: one that retries and hedges, one with little to spend, one that floods, a calm one, one with a cache."""
    bold = {"fallbacks_max": 4, "retries_max": 2, "hedge": {"after_quantile": "p95", "budget_share": 1.0}}
    return {
        "bold": policy("bold", behaviour=bold),
        "poor": policy("poor", limits={"budget_usd_per_day": 0.01, "requests_per_minute": 600}),
        "flooder": policy("flooder"),
        "calm": policy("calm"),
        "keeper": policy("keeper", behaviour={"cache": {"ttl_s": 600, "scope": "tenant"}}),
    }


def write(folder: Path, ports: dict[str, int]) -> tuple[Path, Path]:
    """Write fleet, cards and policies; returns where the fleet file and the folder of policies are."""
    policies = folder / "tenants"
    policies.mkdir(parents=True)
    for name, value in cards().items():
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
    for tenant, value in tenants().items():
        (policies / f"{tenant}.yaml").write_text(json.dumps(value), encoding="utf-8")
    path = folder / "cluster.yaml"
    path.write_text(json.dumps(fleet(ports)), encoding="utf-8")
    return path, policies
