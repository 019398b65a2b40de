"""How many candidates a kind of call has in the world as declared: every site healthy and idle, times as on the cards.

A candidate passes a call of several classes exactly if it passes a call of each of them alone, deadline and price
included: the engine is asked about single classes only, and sets of classes are worked out from its answers.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from .claims_schema import Claim
from .engine import Engine
from .fleet import Fleet
from .kinds import Kind, origins_named
from .model import Rule
from .policy import Policy
from .snapshot import Snapshot


class Counting(Protocol):
    """Where the number of kinds is kept."""

    kinds: int
    running: int


@dataclass(frozen=True, slots=True)
class Short:
    """A kind of call with too few candidates when the sites in `down` are not healthy."""

    kind: Kind
    down: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a call may enter, and which deployments pass then, as (deployment, site)."""

    open: bool
    passing: frozenset[tuple[str, str]]

    def joined(self, other: "Standing") -> "Standing":
        """Return how a call stands that is bound by both."""
        return Standing(self.open and other.open, self.passing & other.passing)


def too_few(claim: Claim, policy: Policy, engine: Engine, at_s: int, count: Counting) -> Iterator[Short]:
    """Return each kind of call of a claim that has fewer than `candidates_min` candidates.

    Calls that may not enter somewhere are no shortage there, unless the claim names that entry, or names their origin
    and they may enter nowhere. Others' devices are no origins of this tenant's, unless the claim names them.
    """
    snapshot = Snapshot.declared(engine.fleet)
    origins = [
        each for each in origins_named(claim.origins, engine.fleet) if claim.origins or _own(each, policy, engine)
    ]
    for model in claim.models or engine.models_of(policy.tenant):
        for origin in origins:
            yield from _short_from(
                claim, policy, engine, Kind(policy.tenant, model, (), origin, "", at_s), snapshot, count
            )


def _own(place: str, policy: Policy, engine: Engine) -> bool:
    site = engine.fleet.site_by_id.get(place)
    return site is None or site.tenant in (None, policy.tenant)


def _short_from(
    claim: Claim, policy: Policy, engine: Engine, base: Kind, snapshot: Snapshot, count: Counting
) -> Iterator[Short]:
    entered: set[tuple[str, ...]] = set()
    asked: dict[tuple[str, ...], Kind] = {}
    for entry in claim.entries or engine.fleet.site_by_id:
        if engine.fleet.network.path(base.origin, entry) is None and claim.origins is None:
            continue
        single = {name: _standing(engine, _kind(base, entry, (name,)), snapshot, claim) for name in policy.classes}
        for classes, standing, sets in _sets(claim, single):
            kind = _kind(base, entry, classes)
            asked.setdefault(classes, kind)
            if standing.open or claim.entries is not None:
                entered.add(classes)
                count.kinds += sets
                count.running += sets if standing.open and standing.passing else 0
                yield from _short(claim, kind, standing, engine.fleet)
    if claim.origins is not None:
        for classes in asked.keys() - entered:
            yield Short(asked[classes], (), "it may enter nowhere")


def _kind(base: Kind, entry: str, classes: tuple[str, ...]) -> Kind:
    return Kind(base.tenant, base.model, classes, base.origin, entry, base.at_s)


def _standing(engine: Engine, kind: Kind, snapshot: Snapshot, claim: Claim) -> Standing:
    request = kind.request(payload_bytes=claim.payload_bytes)
    if engine.compiled(request).gate is not None:
        return Standing(open=False, passing=frozenset())
    verdicts = engine.explain(request, snapshot).verdicts
    return Standing(True, frozenset((each.deployment, each.site) for each in verdicts if each.rule is Rule.NONE))


def _sets(claim: Claim, single: dict[str, Standing]) -> Iterable[tuple[tuple[str, ...], Standing, int]]:
    """Return (a smallest set of classes, how its calls stand, how many sets stand so).

    Classes named by the claim stand for themselves alone. Otherwise every set is meant; the whole set is also the call
    that names none.
    """
    if claim.classes is not None:
        return [((name,), single[name], 1) for name in claim.classes]
    met: dict[Standing, tuple[tuple[str, ...], int]] = {}
    for name, standing in single.items():
        grown: list[tuple[Standing, tuple[str, ...], int]] = [(standing, (name,), 1)]
        grown += [(standing.joined(other), (*classes, name), sets) for other, (classes, sets) in met.items()]
        for now, classes, sets in grown:
            smallest, known = met.get(now, (classes, 0))
            met[now] = (min(smallest, classes, key=len), known + sets)
    return [(tuple(sorted(classes)), standing, sets) for standing, (classes, sets) in met.items()]


def _short(claim: Claim, kind: Kind, standing: Standing, fleet: Fleet) -> Iterator[Short]:
    wanted = claim.candidates_min or 0
    if claim.while_ == "all_sites_healthy":
        if len(standing.passing) < wanted:
            yield Short(kind, (), _said(len(standing.passing), wanted, ""))
        return
    sites = sorted({site for _, site in standing.passing})
    for site in sites or sorted(fleet.site_by_id)[:1]:
        left = sum(1 for _, other in standing.passing if other != site)
        if left < wanted:
            yield Short(kind, (site,), _said(left, wanted, f" while {site} is down"))


def _said(found: int, wanted: int, world: str) -> str:
    return f"{found} candidate{'' if found == 1 else 's'}{world}, {wanted} claimed"
