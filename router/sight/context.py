"""The trace that a call is part of: W3C Trace Context's `traceparent`, and which calls are traced.

    traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01

A caller's word decides two things at most: the trace's id, and whether the call is traced. The second is bounded: so many
calls a second at an entry are traced because their callers say so; past that it is drawn, as for calls without a word. The
draw is ours, not the trace id's: who chooses an id chooses nothing by it.
"""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

WISHES_PER_S = 10
"""Calls a second, at one entry, that are traced because their callers say so."""
TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
SAMPLED = 0x01
_random = Random(secrets.randbits(64))  # noqa: S311
"""Ids need not be secret, but never repeat: seeded once, each draw is no system call."""


@dataclass(slots=True)
class Traced:
    """A call that is traced: its trace, the span that stands for it here, and the one above it (0: none)."""

    trace_id: int
    span_id: int
    parent_id: int = 0

    def sent_on(self) -> bytes:
        """Return the `traceparent` of what follows."""
        return b"00-%032x-%016x-01" % (self.trace_id, self.span_id)


def new_id(bits: int) -> int:
    """Return an id that is not 0."""
    return _random.getrandbits(bits) or 1


def parsed(traceparent: bytes | None) -> tuple[int, int, bool] | None:
    """Return trace, parent and whether it is to be traced; None for none, or one that is malformed (W3C: it is left out)."""
    found = TRACEPARENT.fullmatch(traceparent.strip()) if traceparent else None
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    trace, parent = int(trace_id, 16), int(parent_id, 16)
    if version == b"ff" or not trace or not parent or (more and version == b"00"):
        return None
    return trace, parent, bool(int(flags, 16) & SAMPLED)


@dataclass(slots=True)
class Sampler:
    """Says which calls are traced. `share` is drawn of those that nobody says anything of; `heeds` callers, or does not."""

    share: float
    heeds: bool
    clock_us: Callable[[], int]
    _wishes: float = WISHES_PER_S
    _at_us: int = 0

    def take(self, traceparent: bytes | None, *, peer: bool = False) -> Traced | None:
        """Return the trace of a call that is to be traced, None for others. A `peer`, which a key proves, is heeded always."""
        told = parsed(traceparent)
        if told is None:
            return Traced(new_id(128), new_id(64)) if self._drawn() else None
        trace_id, parent_id, wished = told
        heard = wished and (peer or self._granted()) if self.heeds else False
        taken = heard or ((wished or not self.heeds) and self._drawn())
        return Traced(trace_id, new_id(64), parent_id) if taken else None

    def _drawn(self) -> bool:
        return self.share > 0 and _random.random() < self.share

    def _granted(self) -> bool:
        now_us = self.clock_us()
        self._wishes = min(WISHES_PER_S, self._wishes + (now_us - self._at_us) * WISHES_PER_S / 1_000_000)
        self._at_us = now_us
        if self._wishes < 1:
            return False
        self._wishes -= 1
        return True
