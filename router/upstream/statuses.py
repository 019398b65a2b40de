"""What an upstream's status means: an answer, the caller's fault, our configuration's, no room, or a lost call."""

import time
from email.utils import parsedate_to_datetime
from math import ceil
from typing import Any

from infercast.policies.model import Rule

from ..conduct.ports import Lost
from ..errors import Kind, Trouble
from .told import blamed, facts, said

MISSET = frozenset({401, 402, 403, 404, 405, 407, 410, 421, 426, 451, 508})
"""What only a wrong address, key or name can bring: nothing that a caller could mend, nor another try."""
CALLERS = {400: Kind.BAD_REQUEST, 413: Kind.TOO_LARGE, 415: Kind.BAD_REQUEST, 422: Kind.BAD_REQUEST}
MAY_HAVE_RUN = frozenset({408, 502, 504, 520, 522, 524})
"""Said by whoever stands in front of an upstream, or when its time was up: what stands behind may have run the call, and bills it.

Azure bills a 408 (learn.microsoft.com, "Plan to manage costs for Azure OpenAI", 2024-01); 520, 522 and 524 are Cloudflare's words for an
origin that broke off or was too slow. Whoever answers with any other error bills nothing for it.
"""
RETRY_AFTER_S_MAX = 600


class Full(Lost):
    """The upstream has no room; it says when to come back, or nothing of it."""

    alive = True
    ran = blames = False
    again = True

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unreached(Lost):
    """No connection to the upstream was to be had: nothing of the call is there."""

    ran = False


class Misset(Lost):
    """The upstream cannot be called as the fleet file says."""

    alive = True
    ran = blames = False


class Declined(Lost):
    """A peer's own policy says no, or all that it has is busy elsewhere: it is well, and not for this call."""

    alive = True
    ran = blames = False


class Erred(Lost):
    """The upstream answered with an error of its own: the call came to nothing, and is not billed."""

    ran = False


class Broken(Lost):
    """A call came to nothing at an upstream that is there: that may be the call's own doing, and is no reason to spare it others."""

    alive = True
    again = True


def judge(site: str, status: int, headers: Any, body: bytes) -> None:
    """Return for a 200; raise what any other status means: Trouble for the caller's faults, else a kind of Lost."""
    if status == 200:
        return
    outcome = headers.get("infercast-outcome")
    if outcome in ("refused", "wrong_entry"):
        raise Declined(f"{site}: {outcome}")
    if outcome == "saturated" and facts(body).get("rule") == Rule.DEADLINE_LOAD.word:
        # There is room, for calls that have more time left than this one.
        raise Declined(f"{site}: saturated for this call's deadline")
    if status == 429 or outcome == "saturated" or (status == 503 and "retry-after" in headers):
        raise Full(f"{site}: status {status}", _retry_after_s(headers.get("retry-after")))
    if status in MISSET or 300 <= status < 400:
        raise Misset(f"{site}: status {status}")
    if outcome == "bad_hops":  # a peer's own word, in a header: its message may repeat what the caller sent
        raise Misset(f"{site}: it does not take our record of hops: is our key there one of a zone with `peer: true`?")
    if status in CALLERS:
        raise Trouble(CALLERS[status], said(body) or f"{site} does not take this body", extra=blamed(body))
    # A peer says in its own words that it has no answer, and is paid for answers only.
    billed = status < 400 or (outcome is None and status in MAY_HAVE_RUN)
    raise (Lost if billed else Erred)(f"{site}: status {status}")


def _retry_after_s(value: str | None) -> int:
    """Return a Retry-After in seconds (RFC 9110, 10.2.3: a count of them, or a date); what is neither counts as one second."""
    if value is None:
        return 1
    if value.isascii() and value.isdigit():
        return min(max(1, int(value[:6])), RETRY_AFTER_S_MAX)
    try:
        until_s = parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return 1
    return min(max(1, ceil(until_s - time.time())), RETRY_AFTER_S_MAX)
