"""Where a call stands to the cache of its entry, by the policy in force: whether its answer may be kept, and for how long."""

from dataclasses import dataclass, replace

from infercast.policies.engine import Unknown
from infercast.policies.keeping import keeping_s
from infercast.policies.model import Request
from infercast.policies.parts import Cache
from infercast.policies.units import US_PER_S

from ..conduct.deciding import Deciding


@dataclass(frozen=True, slots=True)
class Standing:
    """An answer may be kept for `lifetime_us`, and not beyond `until_us` from when this was asked: then other rules may hold."""

    cache: Cache
    lifetime_us: int
    until_us: int


class Keeping:
    """Judges calls of one entry."""

    def __init__(self, deciding: Deciding) -> None:
        self._deciding = deciding
        self._country = deciding.fleet.country_of(deciding.entry)
        self._lifetimes_s: dict[str, int] = {}

    def forget(self) -> None:
        """Forget what was worked out for policies that are not in force any more."""
        self._lifetimes_s.clear()

    def standing(self, request: Request, passed_us: int = 0) -> Standing | None:
        """Return where a call stands that came so long ago; None where nothing of it may be kept here, and nothing kept be given to it.

        What was stored goes by the rules of now: an override may have begun while the call was on its way.
        """
        if passed_us >= US_PER_S:
            request = replace(request, at_s=request.at_s + passed_us // US_PER_S)
        try:
            kind = self._deciding.engine.compiled(request)
        except Unknown:
            return None
        terms = kind.terms
        cache = terms.behaviour.cache
        if cache is None or kind.gate is not None:
            return None
        lifetime_s = self._lifetimes_s.get(terms.digest)
        if lifetime_s is None:
            lifetime_s = keeping_s(terms.blocks, self._country, cache.ttl_s, self._deciding.fleet)
            self._lifetimes_s[terms.digest] = lifetime_s
        if lifetime_s == 0:
            return None
        until_us = (kind.until_s - request.at_s) * US_PER_S - passed_us % US_PER_S
        return Standing(cache, lifetime_s * US_PER_S, until_us)
