"""What an upstream's status means: an answer, the caller's fault, our configuration's, no room, or a lost call."""

from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from infercast.policies.model import Rule

from ..conduct.ports import Lost
from ..errors import Kind, Trouble

MISSET = frozenset({401, 402, 403, 404, 405, 407, 410, 421, 426, 451, 508})
"""What only a wrong address, key or name can bring: nothing that a caller could mend, nor another try."""
CALLERS = {400: Kind.BAD_REQUEST, 413: Kind.TOO_LARGE, 415: Kind.BAD_REQUEST, 422: Kind.BAD_REQUEST}
MAY_HAVE_RUN = frozenset({408, 502, 504, 520, 522, 524})
"""Said by whoever stands in front of an upstream, or when its time was up: what stands behind may have run the call, and bills it.

Azure bills a 408 (learn.microsoft.com, "Plan to manage costs for Azure OpenAI", 2024-01); 520, 522 and 524 are Cloudflare's words for an
origin that broke off or was too slow. Whoever answers with any other error bills nothing for it.
"""
RETRY_AFTER_S_MAX = 600
MESSAGE_CHARS_MAX = 500


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
    if outcome == "saturated" and _rule(body) == Rule.DEADLINE_LOAD.word:
        # There is room, for calls that have more time left than this one.
        raise Declined(f"{site}: saturated for this call's deadline")
    if status == 429 or outcome == "saturated" or (status == 503 and "retry-after" in headers):
        raise Full(f"{site}: status {status}", _retry_after_s(headers))
    if status in MISSET or 300 <= status < 400:
        raise Misset(f"{site}: status {status}")
    if outcome == "bad_hops":  # a peer's own word, in a header: its message may repeat what the caller sent
        raise Misset(f"{site}: it does not take our record of hops: is our key there one of a zone with `peer: true`?")
    if status in CALLERS:
        raise Trouble(CALLERS[status], said(body) or f"{site} does not take this body")
    # A peer says in its own words that it has no answer, and is paid for answers only.
    billed = status < 400 or (outcome is None and status in MAY_HAVE_RUN)
    raise (Lost if billed else Erred)(f"{site}: status {status}")


def _retry_after_s(headers: Any) -> int:
    """Return a Retry-After in seconds; one where it says nothing that can be read.

    A date counts from the answer's own, so that it does not matter whose clock is right.
    """
    value = headers.get("retry-after", "")
    if value.isascii() and value.isdigit():
        seconds = int(value[:6])
    else:
        until_s, said_s = _date_s(value), _date_s(headers.get("date", ""))
        seconds = 1 if until_s is None or said_s is None else until_s - said_s
    return min(max(1, seconds), RETRY_AFTER_S_MAX)


def _date_s(value: str) -> int | None:
    """Return the second that a date of HTTP names; None for what is none."""
    try:
        return int(parsedate_to_datetime(value).timestamp())
    except (ValueError, TypeError, OverflowError):
        return None


def _rule(body: bytes) -> Any:
    """Return the rule by which a peer had nothing for a call, in the shape of either API; None where it names none."""
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    for name in ("error", "infercast"):
        inner = value.get(name) if isinstance(value, dict) else None
        value = inner if isinstance(inner, dict) else value
    return value.get("rule") if isinstance(value, dict) else None


def said(body: bytes) -> str:
    """Return the message of an error's body, in the shape of OpenAI or of the Open Inference Protocol; empty where there is none."""
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    error = value.get("error", value.get("detail")) if isinstance(value, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    if not isinstance(message, str):
        return ""
    return "".join(letter if letter.isprintable() else " " for letter in message[:MESSAGE_CHARS_MAX])
