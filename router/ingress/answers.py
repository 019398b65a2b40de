"""Trouble as HTTP: the one place where a kind becomes a status."""

from ..errors import Kind, Trouble
from .http import Reply

STATUS = {
    Kind.BAD_REQUEST: 400,
    Kind.BAD_HOPS: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.OVER_BUDGET: 402,
    Kind.REFUSED: 403,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.WRONG_METHOD: 405,
    Kind.SLOW: 408,
    Kind.TOO_LARGE: 413,
    Kind.WRONG_ENTRY: 421,
    Kind.LIMITED: 429,
    Kind.FAULT: 500,
    Kind.SATURATED: 503,
    Kind.UNAVAILABLE: 503,
    Kind.DEADLINE: 504,
    Kind.NOT_KEPT: 504,  # RFC 9111, 5.2.1.7
    Kind.LOOP: 508,
}
RETRY_AFTER_S = {Kind.LIMITED: 1, Kind.SATURATED: 1, Kind.UNAVAILABLE: 5}


def retry_after(trouble: Trouble) -> str:
    """Return when a call may be repeated, in seconds: as an upstream said, or as is usual for its kind."""
    return str(trouble.extra.get("retry_after_s", RETRY_AFTER_S[trouble.kind]))


def usual_headers(trouble: Trouble) -> dict[str, str]:
    """Return the headers that HTTP itself has for a status; names are written with `_` for `-`."""
    headers = {}
    if trouble.kind in RETRY_AFTER_S:
        headers["retry_after"] = retry_after(trouble)
    if trouble.kind is Kind.UNAUTHENTICATED:
        headers["www_authenticate"] = "Bearer"
    if "allow" in trouble.extra:
        headers["allow"] = ", ".join(trouble.extra["allow"])
    return headers


def reply_of(trouble: Trouble) -> Reply:
    """Return the answer for a call that got none, in the Open Inference Protocol's shape and with our facts beside it."""
    body = {"error": str(trouble), "infercast": {"kind": str(trouble.kind), **trouble.extra}}
    headers = {"infercast_outcome": str(trouble.kind)}
    return Reply.json(body, STATUS[trouble.kind], **headers, **usual_headers(trouble))
