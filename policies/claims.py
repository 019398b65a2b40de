"""Proofs of a tenant's claims over every call, or a concrete call that breaks one.

`never`, `only` and `refused` are held against every way that no file forbids: each kind of call (see `kinds`), each
entry that lets it in, each candidate that no file vetoes. Payload, deadline, load, health, latency, the draw of a
spread, retries and fallbacks are an adversary's: whatever they are, a call goes to one of these candidates or nowhere.
A veto that depends on them (price, deadline) is never counted as protection. A call that every candidate is closed to
by files is refused from its headers, before its body is read: it touches nothing.

A broken claim is decided once more by the engine before it is shown. Where only a price or a deadline stands between
the data and a forbidden place, the claim is `open`: not proved, and no call breaks it on the times declared.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from .candidates import too_few
from .claims_schema import Claim, Never, Only, Where
from .constraints import outside
from .engine import Engine
from .fleet import Fleet
from .jurisdictions import UNKNOWN, country_codes
from .keeping import keeping_s
from .kinds import Instants, Kind, alike, instants, origins_named, without_windows
from .model import Decision, Outcome, Request, Tier
from .policy import Policy
from .snapshot import Report, Snapshot
from .touches import Act, Touch, touches

TRIES_MAX = 200
"""Most suspects that are decided once more before a claim is called open."""


class Answer(StrEnum):
    """What came of a claim; only `proved` holds."""

    PROVED = "proved"
    BROKEN = "broken"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Counterexample:
    """A call that breaks a claim, as the engine decides it when the sites in `down` are not healthy.

    `declared` says that all else is as the files declare it, so that `infercast explain` shows the same decision;
    otherwise the chosen site has to be faster than declared.
    """

    request: Request
    decision: Decision
    why: str
    down: tuple[str, ...] = ()
    declared: bool = True


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of one claim. `kinds` counts the kinds of call it was held against, `running` those that can run at all."""

    claim: Claim
    answer: Answer
    kinds: int
    running: int
    counterexample: Counterexample | None = None
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether the claim is proved."""
        return self.answer is Answer.PROVED


@dataclass(frozen=True, slots=True)
class Suspect:
    """A kind of call that no file keeps from breaking a claim, by running at `site`; at none for what needs no run."""

    kind: Kind
    site: str | None
    why: str


@dataclass(slots=True)
class Count:
    """How many kinds have been looked at."""

    kinds: int = 0
    running: int = 0


Question = Callable[[Kind, str], str | None]
"""Why a call of a kind that runs at a site breaks the claim; None where it does not."""


def prove(claim: Claim, tenant: str, engine: Engine) -> Proof:
    """Prove one claim of a tenant's, or find a call that breaks it. The engine decides as the router's does."""
    policy, fleet = engine.policies[tenant], engine.fleet
    when = instants(policy)
    if claim.candidates_min is not None:
        return _enough(claim, policy, engine, when)
    count = Count()
    weakest = without_windows(policy)
    most = engine if weakest is policy else Engine(fleet, {tenant: weakest})
    if next(_suspects(claim, weakest, most, 0, count), None) is None:
        return Proof(claim, Answer.PROVED, count.kinds, count.running)
    count = Count()
    found = [each for at_s in when.at_s for each in islice(_suspects(claim, policy, engine, at_s, count), TRIES_MAX)]
    if not found:
        answer = Answer.PROVED if when.whole else Answer.OPEN
        return Proof(claim, answer, count.kinds, count.running, note=walked(when))
    example = _confirmed(claim, engine, found[:TRIES_MAX])
    if example is not None:
        return Proof(claim, Answer.BROKEN, count.kinds, count.running, example)
    note = f"no file forbids it, only a price or a deadline stands between: {found[0].why}"
    return Proof(claim, Answer.OPEN, count.kinds, count.running, note=note)


def walked(when: Instants) -> str:
    """Return how far a proof reaches that needed the time windows."""
    if not when.whole:
        return "the policy has more sets of open windows than are looked at: write fewer overrides with hours and days"
    return "" if when.until_s == 0 else f"by its time windows, met in {when.days_walked}"


def _suspects(claim: Claim, policy: Policy, engine: Engine, at_s: int, count: Count) -> Iterator[Suspect]:
    ask = _question(claim, policy, engine.fleet)
    logged = claim.never.logged if claim.never is not None else None
    for kind, weight in _kinds(claim, policy, engine, at_s):
        count.kinds += weight
        if logged is not None and (why := _may_be_logged(logged, policy, engine.fleet, kind)) is not None:
            yield Suspect(kind, None, why)
        compiled = engine.compiled(kind.request())
        if compiled.gate is not None:
            continue
        rows = zip(compiled.deployments, compiled.vetoes, strict=True)
        sites = dict.fromkeys(engine.fleet.deployments[index].site for index, veto in rows if veto is None)
        count.running += weight if sites else 0
        for site in sites:
            if (why := ask(kind, site)) is not None:
                yield Suspect(kind, site, why)


def _kinds(claim: Claim, policy: Policy, engine: Engine, at_s: int) -> Iterator[tuple[Kind, int]]:
    """Return one kind for each group that no file tells apart, with the size of the group.

    Single classes stand for all sets of them; see `kinds`.
    """
    fleet = engine.fleet
    origins = origins_named(claim.origins, fleet)
    for model in models_of(claim, policy, engine):
        for entry in claim.entries or fleet.site_by_id:
            for group in alike(fleet, policy, model, entry, origins):
                for name in claim.classes or policy.classes:
                    yield Kind(policy.tenant, model, (name,), group[0], entry, at_s), len(group)


def models_of(claim: Claim, policy: Policy, engine: Engine) -> tuple[str, ...]:
    """Return the models that a claim speaks of."""
    return engine.models_of(policy.tenant) if claim.models is None else claim.models


def _question(claim: Claim, policy: Policy, fleet: Fleet) -> Question:
    if claim.refused:
        return lambda kind, site: f"it may run at {site}"
    forbidden = _never(claim.never, fleet) if claim.never is not None else _only(claim.only or Only())

    def ask(kind: Kind, site: str) -> str | None:
        touched = (*touches(fleet, kind.origin, kind.entry, site), *_kept(policy, fleet, kind))
        return next((touch.said for touch in touched if forbidden(touch)), None)

    return ask


def _kept(policy: Policy, fleet: Fleet, kind: Kind) -> tuple[Touch, ...]:
    """Return that the entry keeps answers, where the policy has it do so. A device's agent keeps none."""
    cache, entry = policy.behaviour.cache, fleet.site_by_id[kind.entry]
    if cache is None or entry.tier is Tier.DEVICE:
        return ()
    blocks = policy.terms(fleet, kind.classes, kind.model, kind.origin, kind.at_s).blocks
    kept = keeping_s(blocks, entry.country, cache.ttl_s, fleet) > 0
    return (Touch(Act.STORED, entry.country, entry, "the entry's cache of answers"),) if kept else ()


def _never(never: Never, fleet: Fleet) -> Callable[[Touch], bool]:
    acts = {Act.PROCESSED: never.processed, Act.TRANSITED: never.transited, Act.STORED: never.stored}
    where = {act: forbidden_countries(part, fleet) for act, part in acts.items() if part is not None}

    def forbidden(touch: Touch) -> bool:
        site = touch.site
        if touch.act is not Act.SEEN or site is None:
            return touch.country in where.get(touch.act, ())
        return (
            (bool(never.operators) and (site.operator is None or site.operator in never.operators))
            or site.tier in never.tiers
            or site.id in never.sites
            or (never.trained_on and site.trust.trains_on_inputs is not False)
        )

    return forbidden


def _only(only: Only) -> Callable[[Touch], bool]:
    def forbidden(touch: Touch) -> bool:
        site = touch.site
        return (
            touch.act is Act.SEEN
            and site is not None
            and (
                (only.operators is not None and site.operator not in only.operators)
                or (only.tiers is not None and site.tier not in only.tiers)
                or (only.sites is not None and site.id not in only.sites)
            )
        )

    return forbidden


def forbidden_countries(where: Where, fleet: Fleet) -> frozenset[str]:
    """Return the countries that a part of a claim forbids. The unknown one is always among them."""
    inside = fleet.world.countries(where.inside)
    beyond = country_codes() - fleet.world.countries(where.outside) if where.outside is not None else frozenset()
    return inside | beyond | {UNKNOWN}


def _may_be_logged(where: Where, policy: Policy, fleet: Fleet, kind: Kind) -> str | None:
    """Return where the record of a call may be kept though it should not. Calls that are refused are recorded too."""
    log = policy.terms(fleet, kind.classes, kind.model, kind.origin, kind.at_s).log
    if not log.decisions:
        return None
    allowed = (c for c in sorted(forbidden_countries(where, fleet)) if not outside(log.residency, [c], fleet))
    country = next(allowed, None) if log.residency is not None else "any country"
    return None if country is None else f"its record may be kept in {country}"


def _confirmed(claim: Claim, engine: Engine, suspects: Iterable[Suspect]) -> Counterexample | None:
    """Return the first suspect that the engine does decide so; rather one that needs no more than the declared times."""
    second = None
    for suspect in suspects:
        request = suspect.kind.request("counterexample")
        if suspect.site is None:
            decision = engine.explain(request, Snapshot.declared(engine.fleet))
            return Counterexample(request, decision, suspect.why)
        down = _all_but(suspect.site, suspect.kind.model, engine.fleet)
        decision = engine.explain(request, with_down(engine.fleet, down))
        if _ran_at(decision) == suspect.site:
            return Counterexample(request, decision, suspect.why, down)
        if second is None:
            decision = engine.explain(request, favouring(engine.fleet, suspect.kind.entry, suspect.site))
            if _ran_at(decision) == suspect.site:
                second = Counterexample(request, decision, suspect.why, down, declared=False)
    return second


def _ran_at(decision: Decision) -> str | None:
    if decision.outcome is not Outcome.CHOSEN or decision.chosen is None:
        return None
    return decision.verdict_of(decision.chosen).site


def _all_but(site: str, model: str, fleet: Fleet) -> tuple[str, ...]:
    named = (each.site for each in fleet.deployments if fleet.model_of[each.variant] == model and each.site != site)
    return tuple(dict.fromkeys(named))


def with_down(fleet: Fleet, down: Iterable[str]) -> Snapshot:
    """Return the declared, idle world in which nothing at these sites is healthy."""
    snapshot, sick = Snapshot.declared(fleet), set(down)
    for index, deployment in enumerate(fleet.deployments):
        if deployment.site in sick:
            snapshot.distrust(index, 0)
    return snapshot


def favouring(fleet: Fleet, entry: str, site: str) -> Snapshot:
    """Return the world that does most for a site: it alone is healthy, idle, near, and answers at once."""
    snapshot = Snapshot(fleet)
    for index, deployment in enumerate(fleet.deployments):
        if deployment.site == site:
            snapshot.hear(index, Report(0, 1, 1), 0)
    snapshot.hear_rtt(entry, fleet.sites.index(fleet.site_by_id[site]), 0, 0, 0)
    snapshot.believe(0)
    return snapshot


def _enough(claim: Claim, policy: Policy, engine: Engine, when: Instants) -> Proof:
    count = Count()
    for at_s in when.at_s:
        for short in too_few(claim, policy, engine, at_s, count):
            request = short.kind.request("counterexample", claim.payload_bytes)
            decision = engine.explain(request, with_down(engine.fleet, short.down))
            example = Counterexample(request, decision, short.why, short.down)
            return Proof(claim, Answer.BROKEN, count.kinds, count.running, example)
    if count.kinds == 0:
        note = "no such call may enter anywhere, so nothing has candidates"
        return Proof(claim, Answer.OPEN, 0, 0, note=note)
    return Proof(claim, Answer.PROVED if when.whole else Answer.OPEN, count.kinds, count.running, note=walked(when))
