"""Trouble in OpenAI's shape, so that its clients raise what they raise for OpenAI itself."""

from typing import Any

import orjson

from ..errors import Kind, Trouble
from ..ledger.ports import Measure
from .answers import STATUS, retry_after, usual_headers
from .http import Reply

INVALID = "invalid_request_error"
SERVER = "server_error"
TYPES = {
    Kind.BAD_REQUEST: INVALID,
    Kind.BAD_HOPS: INVALID,
    Kind.UNAUTHENTICATED: INVALID,
    Kind.NOT_FOUND: INVALID,
    Kind.WRONG_METHOD: INVALID,
    Kind.SLOW: INVALID,
    Kind.TOO_LARGE: INVALID,
    Kind.NOT_KEPT: INVALID,
    Kind.FORBIDDEN: "permission_error",
    Kind.REFUSED: "permission_error",
    Kind.WRONG_ENTRY: "permission_error",
    Kind.LIMITED: "rate_limit_error",
    Kind.OVER_BUDGET: "insufficient_quota",
}
"""OpenAI's `type` of an error; that of all others is `server_error`."""
CODES = {
    Kind.UNAUTHENTICATED: "invalid_api_key",
    Kind.LIMITED: "rate_limit_exceeded",
    Kind.OVER_BUDGET: "insufficient_quota",
}
"""OpenAI's `code`, where it has one for a whole kind; that of all others is our own word."""
RATES = {Measure.CALLS: "requests", Measure.TOKENS: "tokens"}
"""OpenAI's words for what is limited by the minute."""
REPEATABLE = frozenset({Kind.LIMITED, Kind.SATURATED, Kind.UNAVAILABLE, Kind.FAULT})
"""A client that repeats by itself does so for these. Not for a deadline: an answer after it is worth nothing, and the
call may have been paid for; not for a refusal: only a changed policy, class or entry changes that."""


def error_of(trouble: Trouble) -> dict[str, Any]:
    """Return the body of an error: OpenAI's four words, and our facts beside them."""
    facts = {name: value for name, value in trouble.extra.items() if name not in ("param", "code")}
    model = trouble.kind is Kind.NOT_FOUND and trouble.extra.get("param") == "model"
    code = "model_not_found" if model else trouble.extra.get("code") or CODES.get(trouble.kind)
    if code is None and trouble.kind is not Kind.BAD_REQUEST:
        code = str(trouble.kind)
    return {
        "error": {
            "message": str(trouble),
            "type": TYPES.get(trouble.kind, SERVER),
            "param": trouble.extra.get("param"),
            "code": code,
            "infercast": {"kind": str(trouble.kind), **facts},
        }
    }


def openai_reply_of(trouble: Trouble, call_id: str | None = None) -> Reply:
    """Return the answer for a call that got none; `call_id` is the call's, once it has one."""
    headers = {
        "infercast_outcome": str(trouble.kind),
        "x_should_retry": "true" if trouble.kind in REPEATABLE else "false",
    }
    if call_id is not None:
        headers["x_request_id"] = call_id
    return Reply.json(error_of(trouble), STATUS[trouble.kind], **headers, **usual_headers(trouble), **_rate(trouble))


def _rate(trouble: Trouble) -> dict[str, str]:
    """Return the limit that a minute's calls or tokens met, and when there are more, in the headers that OpenAI has for that.

    How much is left is said of calls alone: there are none. Of tokens, there may be fewer than this call needs.
    """
    facts = trouble.extra
    unit = RATES.get(facts.get("limit", ""))
    if unit is None or "most" not in facts:
        return {}
    headers = {f"x_ratelimit_limit_{unit}": str(facts["most"]), f"x_ratelimit_reset_{unit}": f"{retry_after(trouble)}s"}
    return {**headers, "x_ratelimit_remaining_requests": "0"} if unit == "requests" else headers


def error_event(trouble: Trouble) -> bytes:
    """Return the event that ends a stream which cannot go on."""
    return b"event: error\ndata: " + orjson.dumps(error_of(trouble)) + b"\n\n"
