"""Trouble as gRPC: the one place where a kind becomes a status code."""

from dataclasses import dataclass

from grpc import StatusCode

from ..errors import Kind, Trouble
from ..upstream.told import visible
from .answers import RETRY_AFTER_S, retry_after

CODE = {
    Kind.BAD_REQUEST: StatusCode.INVALID_ARGUMENT,
    Kind.BAD_HOPS: StatusCode.INVALID_ARGUMENT,
    Kind.UNAUTHENTICATED: StatusCode.UNAUTHENTICATED,
    Kind.FORBIDDEN: StatusCode.PERMISSION_DENIED,
    Kind.REFUSED: StatusCode.PERMISSION_DENIED,
    Kind.NOT_FOUND: StatusCode.NOT_FOUND,
    Kind.WRONG_METHOD: StatusCode.UNIMPLEMENTED,
    Kind.SLOW: StatusCode.DEADLINE_EXCEEDED,
    Kind.TOO_LARGE: StatusCode.RESOURCE_EXHAUSTED,
    Kind.LIMITED: StatusCode.RESOURCE_EXHAUSTED,
    Kind.OVER_BUDGET: StatusCode.RESOURCE_EXHAUSTED,
    Kind.WRONG_ENTRY: StatusCode.FAILED_PRECONDITION,
    Kind.FAULT: StatusCode.INTERNAL,
    Kind.SATURATED: StatusCode.UNAVAILABLE,
    Kind.UNAVAILABLE: StatusCode.UNAVAILABLE,
    Kind.LOOP: StatusCode.FAILED_PRECONDITION,
    Kind.NOT_KEPT: StatusCode.FAILED_PRECONDITION,
    Kind.DEADLINE: StatusCode.DEADLINE_EXCEEDED,
}
"""What is too large is what gRPC's own limit says it is; what may simply be repeated is UNAVAILABLE, with the pause to make."""
DETAILS_MAX = 2000
"""Characters of a message: all of a call's trailing metadata must stay below the 8 KiB that clients take."""
FACT_MAX = 500
Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Said:
    """What a call is answered with: a serialised message, or a status other than OK and why."""

    message: bytes = b""
    code: StatusCode = StatusCode.OK
    details: str = ""
    trailing: Metadata = ()


def said_of(trouble: Trouble) -> Said:
    """Return the answer for a call that got none: message and remedy, and our facts in the trailing metadata."""
    facts = {
        "infercast-outcome": str(trouble.kind),
        **{f"infercast-{name}": _fact(v) for name, v in trouble.extra.items()},
    }
    facts["infercast-outcome"] = str(trouble.kind)
    if trouble.kind in RETRY_AFTER_S:
        facts["grpc-retry-pushback-ms"] = str(1000 * int(retry_after(trouble)))
    return Said(code=CODE[trouble.kind], details=str(trouble)[:DETAILS_MAX], trailing=tuple(facts.items()))


def _fact(value: object) -> str:
    """Return a fact as metadata may hold it: printable ASCII."""
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return visible(text[:FACT_MAX])
