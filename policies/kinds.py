"""All kinds of call that the files can tell apart, so that what holds of each kind holds of every call.

A call's kind is its tenant, model, data classes, entry, origin, and the time windows that are open when it comes. What
else a call or the world brings (payload, deadline, load, health, latency) is no part of the kind: files veto the same
whatever it is, so proofs take it as an adversary's choice.

A call of several classes is bound by the constraints of each of them, so it is vetoed wherever one of them alone is
vetoed; one that names none is bound by all. Whatever holds of every place that data of class X alone may go to holds
therefore for every set of classes with X in it: single classes are enough for `never`, `only` and `refused`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from .compiled import onward_veto
from .fleet import Fleet
from .jurisdictions import UNKNOWN
from .model import Request
from .network import Path
from .policy import Policy
from .windows import KNOWN_FROM_S, KNOWN_UNTIL_S, Window, common_period

DAY_S = 86_400
EPOCH = date(1970, 1, 1)
STRETCH_DAYS = 400
"""Days that are walked of each stretch between dates that windows name: a year with all its weekdays and clock changes."""
INSTANTS_MAX = 64
FIRST_DAY = date(2026, 1, 1)
"""A date that is always walked from, whatever dates the windows name: these may lie where no instant is known (before
1970, or after the year 9908), and windows without dates repeat yearly."""


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """One kind of call. `at_s` is an instant (seconds since 1970 UTC) with its time windows; 0 is a time nobody knows."""

    tenant: str
    model: str
    classes: tuple[str, ...]
    origin: str
    entry: str
    at_s: int = 0

    def request(self, name: str = "kind", payload_bytes: int = 0) -> Request:
        """Return a call of this kind."""
        asked = (self.tenant, self.model, self.entry, self.origin, self.classes)
        return Request(name, *asked, payload_bytes=payload_bytes, at_s=self.at_s)


def places_of(fleet: Fleet) -> tuple[str, ...]:
    """Return every place that calls may come from: sites, then client zones."""
    return (*fleet.site_by_id, *fleet.zone_by_id)


def origins_named(words: Iterable[str] | None, fleet: Fleet) -> tuple[str, ...]:
    """Return the places that `words` name by id, country or group; every place for None.

    A place whose country nobody knows may lie in any country that is named: it is among them.
    """
    if words is None:
        return places_of(fleet)
    named = set(words)
    countries = fleet.world.countries(named)
    meant = {*countries, UNKNOWN} if countries else set()
    return tuple(place for place in places_of(fleet) if place in named or fleet.country_of(place) in meant)


def alike(fleet: Fleet, policy: Policy, model: str, entry: str, origins: Sequence[str]) -> list[tuple[str, ...]]:
    """Return `origins` in groups that no rule can tell apart when their calls of `model` enter at `entry`.

    Rules see of an origin the countries and sites on its way in, the overrides that name it, and whether it is a peer
    whose calls are not sent on. The first of each group can stand for all.
    """
    groups: dict[object, list[str]] = {}
    for origin in origins:
        way, stays = _way(fleet.network.path(origin, entry)), onward_veto(fleet, origin) is not None
        key = (way, stays, _overrides_of(policy, fleet, model, origin))
        groups.setdefault(key, []).append(origin)
    return [tuple(group) for group in groups.values()]


def _way(path: Path | None) -> object:
    return None if path is None else (path.countries, path.via[1:-1], len(path.via) == 1)


def _overrides_of(policy: Policy, fleet: Fleet, model: str, origin: str) -> tuple[int, ...]:
    """Return which overrides a call can meet at some time: at a time nobody knows every window holds."""
    return policy.terms(fleet, (), model, origin, 0).overrides


def _windows(policy: Policy, *, vetoes_only: bool) -> list[Window]:
    """Return the windows of a policy's overrides; only of those with constraints, where nothing else can matter."""
    overrides = (each for each in policy.overrides if each.constraints is not None or not vetoes_only)
    return [each.when.window for each in overrides if each.when.window is not None]


def is_timed(policy: Policy) -> bool:
    """Return whether a policy vetoes anything at some times only."""
    return bool(_windows(policy, vetoes_only=True))


def without_windows(policy: Policy) -> Policy:
    """Return the policy without the overrides that hold at some times only.

    Overrides only tighten, so it permits at least what the policy permits at any time.
    """
    kept = tuple(override for override in policy.overrides if override.when.window is None)
    return policy.model_copy(update={"overrides": kept}) if is_timed(policy) else policy


@dataclass(frozen=True, slots=True)
class Instants:
    """Instants (seconds since 1970 UTC) that stand for all, one for each set of open windows that was met.

    `from_s` and `until_s` bound what was walked (0 and 0 where nothing depends on time); `whole` is false when there
    were more sets than INSTANTS_MAX.
    """

    at_s: tuple[int, ...] = (0,)
    from_s: int = 0
    until_s: int = 0
    whole: bool = True

    @property
    def days_walked(self) -> str:
        """The first and the last day that were walked, in words."""
        known = max(self.from_s, KNOWN_FROM_S), min(self.until_s, KNOWN_UNTIL_S - 1)
        first, last = (EPOCH + timedelta(days=at_s // DAY_S) for at_s in known)
        return f"{first} to {last}"


def instants(*policies: Policy, vetoes_only: bool = True) -> Instants:
    """Return instants for every set of windows that can be open at once, of all the policies together.

    With `vetoes_only`, windows of overrides that only state preferences are left out. Of each stretch between dates that
    windows name (and FIRST_DAY), STRETCH_DAYS days are walked from one change to the next. The time nobody knows, 0, is always among
    the instants: every window holds then.
    """
    windows = list(dict.fromkeys(each for policy in policies for each in _windows(policy, vetoes_only=vetoes_only)))
    if not windows:
        return Instants()
    named = {day for window in windows for day in (window.since, window.until) if day is not None}
    stretches = list(_stretches(sorted({FIRST_DAY, *named})))
    met: dict[tuple[bool, ...], int] = {(True,) * len(windows): 0}
    for start_s, end_s in stretches:
        at_s = start_s
        while at_s < end_s:
            met.setdefault(tuple(window.holds(at_s) for window in windows), at_s)
            if len(met) > INSTANTS_MAX:
                return Instants(tuple(met.values()), whole=False)
            at_s = common_period(windows, at_s)[1]
    return Instants(tuple(met.values()), stretches[0][0], stretches[-1][1])


def _stretches(dates: Sequence[date]) -> Iterable[tuple[int, int]]:
    """Return `[start_s, end_s)` to be walked: before the first date, between each two, after the last.

    A day is left over on both sides of a date, for clocks that are not UTC's.
    """
    days = [day.toordinal() - EPOCH.toordinal() for day in dates]
    ends = [*days[1:], days[-1] + STRETCH_DAYS]
    yield (days[0] - STRETCH_DAYS) * DAY_S, (days[0] + 2) * DAY_S
    for start, end in zip(days, ends, strict=True):
        yield (start - 2) * DAY_S, min(end + 2, start + STRETCH_DAYS) * DAY_S
        yield max(start - 2, end - 2) * DAY_S, (end + 2) * DAY_S
