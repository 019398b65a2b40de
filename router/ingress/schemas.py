"""Shapes of the JSON that goes in and out, as JSON Schema 2020-12: the served OpenAPI refers to them by name.

Sources: KServe's open-inference-protocol (v2 REST), OpenAI's public API reference, docs/http.md.
"""

from typing import Any

from infercast.policies.model import PAYLOAD_BYTES_MAX, Outcome, Tier

from ..errors import Kind
from ..oip import DIMENSIONS_MAX, TENSORS_MAX
from ..runtime.session import DTYPES

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TRUTH: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number"}
ID: Schema = {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[ -~]+$"}
DEADLINE_MS: Schema = {"type": "number", "exclusiveMinimum": 0, "maximum": 600_000}


def ref(name: str) -> Schema:
    """Return a reference to a shape."""
    return {"$ref": f"#/components/schemas/{name}"}


def listed(item: Schema, **more: Any) -> Schema:
    """Return the shape of a list."""
    return {"type": "array", "items": item, **more}


def shape(needed: dict[str, Schema], optional: dict[str, Schema] | None = None, *, closed: bool = False) -> Schema:
    """Return the shape of an object; a closed one has no other fields."""
    found: Schema = {"type": "object", "properties": {**needed, **(optional or {})}, "required": list(needed)}
    return {**found, "additionalProperties": False} if closed else found


def or_null(schema: Schema) -> Schema:
    """Return a shape that may also be null."""
    return {**schema, "type": [schema["type"], "null"]} if isinstance(schema.get("type"), str) else {
        "anyOf": [schema, {"type": "null"}]
    }  # fmt: skip


FACTS = shape({"kind": {"enum": [str(kind) for kind in Kind]}}, {
    "outcome": {"enum": [str(outcome) for outcome in Outcome]},
    "decision": TEXT, "reasons": TEXT, "rule": TEXT, "entries": listed(TEXT),
})  # fmt: skip
TENSOR = shape({"name": TEXT, "datatype": {"enum": list(DTYPES)}, "shape": listed(COUNT, maxItems=DIMENSIONS_MAX)})
DECLARED = shape({"name": TEXT, "datatype": TEXT, "shape": listed({"type": "integer"})})

INPUT = {
    **TENSOR,
    "properties": {**TENSOR["properties"], "data": {"type": "array"}, "parameters": {"type": "object"}},
}
OIP: dict[str, Schema] = {
    "Error": {
        **shape({"error": TEXT, "infercast": ref("Facts")}),
        "description": "Trouble: what, and in brackets what to do about it.",
    },
    "Facts": {**FACTS, "description": "Our facts about a call that got no answer; see docs/http.md."},
    "Server": shape({"name": TEXT, "version": TEXT, "extensions": listed(TEXT)}),
    "Health": shape({"live": TRUTH, "ready": TRUTH, "site": TEXT, "emulated_distances": TRUTH}),
    "Model": shape({
        "name": TEXT, "versions": listed(TEXT), "platform": TEXT,
        "inputs": listed(DECLARED), "outputs": listed(DECLARED),
    }),
    "Ready": shape({"name": TEXT, "ready": TRUTH}),
    "InferRequest": shape(
        {"inputs": listed(INPUT, minItems=1, maxItems=TENSORS_MAX)},
        {
            "id": TEXT,
            "parameters": {"type": "object"},
            "outputs": listed(shape({"name": TEXT}, {"parameters": {"type": "object"}})),
        },
    ),
    "InferAnswer": shape({
        "model_name": TEXT, "model_version": TEXT,
        "outputs": listed({**TENSOR, "properties": {**TENSOR["properties"], "data": {"type": "array"}}}),
    }, {"id": TEXT}),
}  # fmt: skip

VERDICT = shape({
    "deployment": TEXT, "site": TEXT, "tier": {"enum": [str(tier) for tier in Tier]}, "variant": TEXT,
    "rule": TEXT, "detail": TEXT, "latency_us": COUNT, "deadline_latency_us": COUNT, "price_nusd": COUNT,
    "accuracy_ppm": or_null(COUNT), "score": {"type": "integer"}, "shares": {"type": "object"},
    "signals": {"type": "object"}, "notes": listed(TEXT),
})  # fmt: skip
DECISIONS: dict[str, Schema] = {
    "DecideRequest": shape(
        {"model": TEXT},
        {
            "class": TEXT,
            "deadline_ms": DEADLINE_MS,
            "payload_bytes": {**COUNT, "maximum": PAYLOAD_BYTES_MAX},
            "id": TEXT,
        },
        closed=True,
    ),
    "Decision": shape({
        "version": COUNT, "id": TEXT, "outcome": {"enum": [str(outcome) for outcome in Outcome]},
        "chosen": or_null(TEXT), "alternatives": listed(TEXT), "request": {"type": "object"}, "preference": TEXT,
        "score_unit": TEXT, "deadline_us": COUNT, "entries": listed(TEXT), "spread": listed(TEXT),
        "overrides": listed(TEXT), "policy_digest": TEXT, "fleet_digest": TEXT, "snapshot_epoch": COUNT,
        "verdicts": listed(VERDICT), "summary": TEXT,
    }),
    "Signals": shape({"site": TEXT, "signals": listed({"type": "object"})}),
}  # fmt: skip
