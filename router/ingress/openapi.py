"""The served OpenAPI 3.1 document, made from the table of operations and the shapes of their JSON."""

from http import HTTPStatus
from typing import Any

from .. import VERSION
from ..errors import Kind
from .answers import RETRY_AFTER_S, STATUS
from .openai_schemas import OPENAI
from .operations import OPERATIONS, Operation
from .schemas import DECISIONS, OIP, Schema, ref

TEXT: Schema = {"type": "string"}
ABOVE_ZERO: Schema = {"type": "string", "pattern": r"^([1-9][0-9]{0,4}(\.[0-9]+)?|0\.[0-9]*[1-9])$"}
WHY = {
    Kind.BAD_REQUEST: "Something in the call is wrong: which field, and what to send.",
    Kind.UNAUTHENTICATED: "No key, or one that is not valid.",
    Kind.FORBIDDEN: "The key is good, and opens other things.",
    Kind.REFUSED: "The policy lets no candidate pass.",
    Kind.NOT_FOUND: "No such model for this key.",
    Kind.WRONG_METHOD: "It is asked for by another method: `Allow` names them.",
    Kind.SLOW: "The body did not come in time.",
    Kind.BAD_HOPS: "`infercast-hops` is for other clusters, which must send it.",
    Kind.LOOP: "The call has come by here before: two fleets send it to each other.",
    Kind.TOO_LARGE: "More bytes than are accepted.",
    Kind.WRONG_ENTRY: "The call may not enter at this site; its body was not read. `entries` names where it may.",
    Kind.LIMITED: "As many calls, or tokens, as the tenant's policy allows for now; `Retry-After` says when there are more.",
    Kind.OVER_BUDGET: "The money that the tenant's policy sets for this period is spent, or set aside for calls under way.",
    Kind.SATURATED: "A candidate would pass, and has no room now.",
    Kind.UNAVAILABLE: "A candidate would pass, and is not healthy.",
    Kind.DEADLINE: "It was tried, and nobody answered in time.",
    Kind.NOT_KEPT: "`cache-control: only-if-cached` was asked, and no answer is kept that this call may have.",
    Kind.FAULT: "Our fault, and logged.",
}
ASKS = {
    "infercast-class": "The data class, or several with commas between. None at all means every class at once.",
    "infercast-deadline-ms": "A deadline in milliseconds, used where it is tighter than the policy's.",
    "infercast-id": "Your own id for the call.",
    "cache-control": "What may be done with kept answers: no-store, no-cache, max-age=N, min-fresh=N, only-if-cached.",
}
TELLS = {
    "infercast-site": "Where it ran.",
    "infercast-variant": "What ran.",
    "infercast-tier": "On which tier: device, edge or cloud.",
    "infercast-decision": "The decision's id.",
    "infercast-attempts": "How many candidates it took.",
    "infercast-id": "The call's id.",
    "infercast-cost-usd": "The price of this call by the fleet file; of a kept answer, 0.",
    "infercast-cache": "Where answers are kept: `hit`, `similar` (that of a nearly equal question), or `miss`.",
    "age": "How many seconds ago a kept answer was made.",
    "cache-control": "Where an answer is kept: for whom (`private`) and for how many seconds in all (`max-age`).",
}


def document(root: str = "") -> dict[str, Any]:
    """Return the document. `root`: the path below which this site answers, such as `/fra`."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "infercast",
            "version": VERSION,
            "summary": "Inference calls, placed by policy on device, edge or cloud.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": root or "/"}],
        "paths": paths,
        "components": {
            "schemas": {**OIP, **DECISIONS, **OPENAI, "OpenAPI": {"type": "object"}},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "A tenant's key."}},
        },
    }


def described(operation: Operation) -> dict[str, Any]:
    """Return one operation as OpenAPI has it."""
    found: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.group],
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": {"200": _answer(operation), **_troubles(operation)},
        "security": [{"key": []}] if operation.keyed else [],
    }
    if operation.body is not None:
        content = {"application/json": {"schema": ref(operation.body)}}
        if operation.binary:
            content["application/octet-stream"] = {"schema": {}}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    pattern = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$"}
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": pattern}
        for name in ("model", "version")
        if f"{{{name}}}" in operation.path
    ]
    if operation.runs:
        found += [
            {"name": name, "in": "header", "description": why, "schema": _asked(name)} for name, why in ASKS.items()
        ]
    return found


def _asked(name: str) -> Schema:
    return ABOVE_ZERO if name.endswith("-ms") else TEXT


def _answer(operation: Operation) -> dict[str, Any]:
    schema = TEXT if operation.answer is None else ref(operation.answer)
    content: dict[str, Any] = {operation.media: {"schema": schema}}
    if operation.binary:
        content["application/octet-stream"] = {"schema": {}}
    if operation.streams:
        content["text/event-stream"] = {"schema": {}}
    found: dict[str, Any] = {"description": "The answer.", "content": content}
    if operation.runs:
        found["headers"] = {name: {"description": why, "schema": TEXT} for name, why in TELLS.items()}
    return found


def _troubles(operation: Operation) -> dict[str, Any]:
    """Return the answers for each status that a call may end in; several kinds may share one."""
    found: dict[str, Any] = {}
    for kind in operation.kinds:
        status = str(STATUS[kind])
        same = found.get(status, {"description": ""})["description"]
        said = f"{same} `{kind}`: {WHY[kind]}".strip()
        content = {"application/json": {"schema": ref(operation.error)}}
        found[status] = {"description": said, "content": content, "headers": _trouble_headers(kind)}
    return found


def _trouble_headers(kind: Kind) -> dict[str, Any]:
    headers: dict[str, Any] = {"infercast-outcome": {"description": "The kind of trouble.", "schema": TEXT}}
    if kind in RETRY_AFTER_S:
        headers["retry-after"] = {"description": "Seconds.", "schema": TEXT}
    if kind is Kind.UNAUTHENTICATED:
        headers["www-authenticate"] = {"description": HTTPStatus.UNAUTHORIZED.phrase, "schema": TEXT}
    return headers
