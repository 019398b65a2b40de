"""One taxonomy of how a call can go wrong, and whose fault it is. The HTTP side of it stands in `ingress/answers.py`."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Kinds of trouble, each with one owner."""

    BAD_REQUEST = "bad_request"
    """The caller's: something in the request is wrong."""
    UNAUTHENTICATED = "unauthenticated"
    """The caller's: no key, one that nobody issued, or one that has ended."""
    FORBIDDEN = "forbidden"
    """The caller's: a good key, which does not open this."""
    NOT_FOUND = "not_found"
    """The caller's: a path or model that is not there for this tenant."""
    WRONG_METHOD = "wrong_method"
    """The caller's: what is there is asked for by another method."""
    TOO_LARGE = "too_large"
    """The caller's: more bytes than are accepted."""
    SLOW = "slow"
    """The caller's: its body did not come in time."""
    WRONG_ENTRY = "wrong_entry"
    """The policy's: the call may not enter at this site."""
    REFUSED = "refused"
    """The policy's: no candidate passes."""
    LIMITED = "limited"
    """The tenant's: it has made as many calls, or used as many tokens, as its policy lets it for now."""
    OVER_BUDGET = "over_budget"
    """The tenant's: the money that its policy sets for this is spent, or set aside for calls under way."""
    SATURATED = "saturated"
    """The fleet's: a candidate would pass, and has no room now."""
    UNAVAILABLE = "unavailable"
    """The fleet's: a candidate would pass, and is not healthy."""
    BAD_HOPS = "bad_hops"
    """The calling cluster's: its record of the call's way is missing or malformed, or its key is none of a peer's."""
    LOOP = "loop"
    """The fleets': the call has been in this cluster before, or in too many."""
    NOT_KEPT = "not_kept"
    """The caller's: it asks for a kept answer or none (`only-if-cached`), and none is kept that it may have."""
    DEADLINE = "deadline"
    """The fleet's: it was tried, and the deadline passed."""
    FAULT = "fault"
    """Ours."""


class Gone(Exception):  # noqa: N818 - the caller's doing, not an error
    """The caller hung up."""


def let_go(error: BaseException) -> None:
    """Forget where an exception that has been answered came from, and those behind it.

    The frames that it passed often hold it, or the call that does: a circle, which would keep the call's body until
    Python hunts for such. A worker has it hunt rarely (see `serving/settings.py`).
    """
    behind, seen = [error], set[int]()
    while behind:
        one = behind.pop()
        if id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            behind += [other for other in (one.__cause__, one.__context__) if other is not None]


@dataclass(slots=True)
class Trouble(Exception):  # noqa: N818 - covers refusals, which are no errors
    """A call that ends without an answer: what kind, which field, what to do about it.

    `extra` goes into the answer's body as it is, so it holds nothing of other tenants.
    """

    kind: Kind
    message: str
    remedy: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message
