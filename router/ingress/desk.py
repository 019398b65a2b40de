"""What all APIs of an ingress share: whose call it is, its metadata from headers, and the facts of an answer."""

import itertools
import secrets
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from infercast.policies.model import Request
from infercast.policies.units import us_from_ms

from ..authentication import authenticate
from ..conduct.caller import Caller
from ..conduct.endings import Answered, Freshness
from ..conduct.ports import Journal, Receive
from ..errors import Kind, Trouble
from ..keys import Holder, Key, Keys, Standing
from ..upstream import hops
from .http import BODY_BYTES_MAX, Ask, Headers

DEADLINE_MS_MAX = 600_000
SHOWN_MAX = 4096
"""Good keys that are known again as they were shown, without a hash. Whether one has ended is asked on every call."""


class Desk:
    """One entry's caller, keys and journal."""

    def __init__(self, caller: Caller, keys: Keys, journal: Journal, emulated: bool, cluster: str = "") -> None:
        self.caller = caller
        self.emulated = emulated
        self._cluster = cluster
        self._keys = keys
        self._shown: dict[bytes, Key] = {}
        self.journal = journal
        # Ids of calls that bring none: nobody's secret, so drawn once, then counted (each draw is a system call).
        self._series = secrets.token_hex(8)
        self._numbers = itertools.count(1)

    @property
    def keys(self) -> Keys:
        """Those in force; others are put in their place while calls go on."""
        return self._keys

    @keys.setter
    def keys(self, keys: Keys) -> None:
        self._keys = keys
        self._shown.clear()

    def key(self, ask: Ask) -> Key:
        """Return whose call it is. Raises Trouble(UNAUTHENTICATED or FORBIDDEN)."""
        shown, now_s = ask.headers.get(b"authorization", b""), _now_s()
        key = self._shown.get(shown)
        if key is None or key.standing(now_s) is not Standing.VALID:
            key = authenticate(self._keys, ask.header("authorization"), Holder.TENANT, now_s)
            if len(self._shown) >= SHOWN_MAX:
                self._shown.clear()
            self._shown[shown] = key
        if key.tenant not in self.caller.engine.policies:
            raise Trouble(Kind.UNAUTHENTICATED, f"the tenant of the key {key.id!r} has no policy here")
        ask.holder = key.sha256
        return key

    def admin(self, ask: Ask) -> Key:
        """Return which of the platform team's keys it is. Raises Trouble(UNAUTHENTICATED or FORBIDDEN)."""
        return authenticate(self.keys, ask.header("authorization"), Holder.ADMIN, _now_s())

    def request_of(self, ask: Ask, key: Key, model: str, variant: str = "") -> Request:
        """Return a call's metadata, all of it from its headers. Raises Trouble for what is wrong or too much."""
        zone = self.caller.fleet.zone_by_id.get(key.origin or "")
        ask.hops = hops.received(ask.header(hops.HEADER), peer=zone is not None and zone.peer, here=self._cluster)
        declared = ask.length() or 0
        if declared > BODY_BYTES_MAX:
            raise Trouble(Kind.TOO_LARGE, f"the body has {declared} bytes", f"at most {BODY_BYTES_MAX}")
        call_id = ask.header("infercast-id") or f"{self._series}{next(self._numbers):08x}"
        named, deadline_ms = ask.header("infercast-class"), ask.header("infercast-deadline-ms")
        ask.call_id = call_id[:128]
        return self.request(key, model, classes_in(named), deadline_ms, declared, ask.call_id, variant)

    def request(
        self,
        key: Key,
        model: str,
        classes: Iterable[str],
        deadline_ms: Any,
        payload_bytes: int,
        call_id: str,
        variant: str = "",
    ) -> Request:
        """Return a call's metadata; the key's classes are always among its own."""
        return Request(
            id=call_id,
            tenant=key.tenant,
            model=model,
            entry=self.caller.entry,
            origin=key.origin or self.caller.entry,
            classes=tuple(sorted({*key.classes, *classes})) if key.classes or classes else (),
            payload_bytes=payload_bytes,
            deadline_us=deadline_us(deadline_ms),
            at_s=_now_s(),
            variant=variant,
        )

    async def carry(self, ask: Ask, request: Request, receive: Receive) -> Answered:
        """Carry a call, and write down what this ingress took in of its payload, also of one that it refused.

        That is law 9's record, so it has what was known before a byte was read; only the id may come from the body.
        """
        self.caller.ready()
        try:
            return await self.caller.call(
                request,
                receive,
                ask.hops,
                ask.holder,
                ask.header("cache-control"),
                arrived_us=ask.arrived_us,
                traceparent=ask.headers.get(b"traceparent"),
            )
        finally:
            self.journal.write(
                "received",
                role="ingress",
                request=ask.call_id or request.id,
                tenant=request.tenant,
                model=request.model,
                origin=request.origin,
                classes=list(request.classes),
                payload_bytes=ask.read_bytes,
            )

    def facts(self, answered: Answered, call_id: str) -> Headers:
        """Return the headers that say where a call ran, and why."""
        answer = answered.answer
        facts = (
            *_where(answer.site, answer.variant, answered.tier),
            (b"infercast-at-site-ms", b"%.3f" % (answer.at_site_us / 1000)),
            (b"infercast-decision", answered.decision_id.encode()),
            (b"infercast-id", call_id.encode("latin-1", "replace")),
            (b"infercast-attempts", b"%d" % answered.attempts),
            (b"infercast-cost-usd", b"%.9f" % answered.cost_usd),
        )
        if answered.freshness is not None:
            facts = (*facts, *_kept(answered.freshness, streams=answer.stream is not None))
        if not self.emulated:
            return facts
        return (*facts, (b"infercast-emulated-ms", b"%.3f" % (answer.emulated_us / 1000)))


@lru_cache(maxsize=4096)
def _where(site: str, variant: str, tier: str) -> Headers:
    """Return what the answers of one deployment have in common."""
    return (
        (b"infercast-site", site.encode()),
        (b"infercast-variant", variant.encode()),
        (b"infercast-tier", tier.encode()),
    )


def _kept(freshness: Freshness, *, streams: bool) -> Headers:
    """Return the headers that say whether an answer was kept, since when, and for how long."""
    facts: Headers = ((b"infercast-cache", freshness.how.encode()),)
    if freshness.how != "miss":
        facts = (*facts, (b"age", b"%d" % freshness.age_s))
    if freshness.lifetime_s and not streams:  # a stream is told not to be kept on its way, by anybody
        facts = (*facts, (b"cache-control", b"private, max-age=%d" % freshness.lifetime_s))
    return facts


def classes_in(named: str | None) -> list[str]:
    """Return the data classes that a header names, with commas between."""
    return [word.strip() for word in named.split(",") if word.strip()] if named else []


def deadline_us(deadline_ms: Any) -> int:
    """Return a deadline in microseconds, 0 where none is given. Raises Trouble for what is no time."""
    if deadline_ms is None:
        return 0
    try:
        value = float(deadline_ms)
    except ValueError:
        value = -1
    if not 0 < value <= DEADLINE_MS_MAX:
        raise Trouble(Kind.BAD_REQUEST, f"the deadline is {deadline_ms!r} ms", f"send a number up to {DEADLINE_MS_MAX}")
    return max(1, us_from_ms(value))


def _now_s() -> int:
    return int(time.time())
