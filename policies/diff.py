"""What changes between two sets of policies: candidates newly allowed and newly vetoed, choices that move, and how often.

Every kind of call is decided by both, on the world as the files declare it: healthy, idle, service times as on the
cards. Or the calls of a log are. Words that change without changing a decision are told apart (see `changed_words`).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from .engine import Engine, Unknown
from .fleet import Fleet
from .kinds import Kind, instants, places_of
from .model import Outcome, Request, Rule
from .policy import Policy
from .snapshot import Snapshot

PAYLOAD_BYTES = 256
Policies = Mapping[str, Policy]


class What(StrEnum):
    """How a call is decided differently."""

    ANSWERED = "newly answered"
    REFUSED = "newly refused"
    MOVED = "moved"
    SHARED = "shared otherwise"
    ALLOWED = "newly allowed"
    VETOED = "newly vetoed"
    FALLBACKS = "other fallbacks"


@dataclass(frozen=True, slots=True)
class Side:
    """How one set of policies decides a call. `rules` maps each candidate to the rule that vetoes it; NONE passes.

    `shared` are the candidates that share such calls, where a spread has several do so: each call's own digest draws one.
    `unknown` says why the call is none that these policies know; it has no candidates then.
    """

    outcome: Outcome = Outcome.REFUSED
    chosen: str | None = None
    fallbacks: tuple[str, ...] = ()
    rules: Mapping[str, Rule] = field(default_factory=dict)
    shared: tuple[str, ...] = ()
    unknown: str = ""

    @property
    def taken(self) -> tuple[Outcome, str | None, tuple[str, ...], frozenset[str], tuple[str, ...]]:
        """All that makes a difference to a caller, and which candidates pass."""
        passing = frozenset(name for name, rule in self.rules.items() if rule is Rule.NONE)
        return self.outcome, self.chosen, self.fallbacks, passing, self.shared

    def veto_of(self, deployment: str) -> str:
        """Return the word of the rule that vetoes a candidate, or why there is none."""
        return self.unknown or self.rules[deployment].word


@dataclass(frozen=True, slots=True)
class Change:
    """One difference, over all the calls that have it. `why` is the rule that vetoes now, or no longer does."""

    tenant: str
    what: What
    subject: str
    why: str
    calls: int
    classes: tuple[str, ...]
    models: tuple[str, ...]
    example: Request


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs. `calls` were decided by both (all kinds, or a log's), `differing` of them differently.

    `added` and `removed` are tenants of one side only; their calls are not counted. `note` owns up to what was left out.
    """

    calls: int
    differing: int
    changes: tuple[Change, ...]
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    note: str = ""


class Decider:
    """Decides calls by one set of policies in the declared world."""

    def __init__(self, fleet: Fleet, policies: Policies) -> None:
        self.engine = Engine(fleet, policies)
        self._snapshot = Snapshot.declared(fleet)

    def side(self, request: Request) -> Side:
        """Return how a call is decided."""
        try:
            kind = self.engine.compiled(request)
        except Unknown as error:
            return Side(unknown=f"unknown {error.field}")
        if kind.gate is not None:
            names = (self.engine.fleet.deployments[index].id for index in kind.deployments)
            return Side(rules=dict.fromkeys(names, kind.gate.rule))
        decision = self.engine.explain(request, self._snapshot)
        fallbacks = decision.alternatives[: kind.terms.behaviour.fallbacks_max]
        rules = {verdict.deployment: verdict.rule for verdict in decision.verdicts}
        shared = decision.spread if len(decision.spread) > 1 else ()
        return Side(decision.outcome, decision.chosen, fallbacks, rules, shared)


def compare(fleet: Fleet, old: Policies, new: Policies, payload_bytes: int = PAYLOAD_BYTES) -> Difference:
    """Return what differs over all classes (each alone, and none named), models, origins, entries and open windows."""
    both = sorted(old.keys() & new.keys())
    whole = True
    requests: list[Iterator[Request]] = []
    calls = 0
    for tenant in both:
        if old[tenant].digest == new[tenant].digest:
            calls += sum(1 for _ in kinds_of(fleet, old[tenant], new[tenant]))
            continue
        whole &= instants(old[tenant], new[tenant], vetoes_only=False).whole
        kinds = kinds_of(fleet, old[tenant], new[tenant])
        requests.append(kind.request("diff", payload_bytes) for kind in kinds)
    found = _gathered(Decider(fleet, old), Decider(fleet, new), (each for some in requests for each in some))
    added, removed = tuple(sorted(new.keys() - old.keys())), tuple(sorted(old.keys() - new.keys()))
    note = "" if whole else "not every set of open time windows was looked at: there are too many"
    return Difference(calls + found.calls, found.differing, found.changes, added, removed, note)


def compare_requests(fleet: Fleet, old: Policies, new: Policies, requests: Iterable[Request]) -> Difference:
    """Return what differs over given calls, such as those of a decision log. Calls of other tenants are left out."""
    both = old.keys() & new.keys()
    found = _gathered(Decider(fleet, old), Decider(fleet, new), (each for each in requests if each.tenant in both))
    added, removed = tuple(sorted(new.keys() - old.keys())), tuple(sorted(old.keys() - new.keys()))
    return Difference(found.calls, found.differing, found.changes, added, removed)


def kinds_of(fleet: Fleet, old: Policy, new: Policy) -> Iterator[Kind]:
    """Return every kind of call of a tenant that either of its policies knows."""
    classes = [(name,) for name in dict.fromkeys((*old.classes, *new.classes))]
    known = [None if policy.models is None else set(policy.models) for policy in (old, new)]
    models = [model.id for model in fleet.models if any(some is None or model.id in some for some in known)]
    for at_s in instants(old, new, vetoes_only=False).at_s:
        for named in (*classes, ()):
            for model in models:
                for origin in places_of(fleet):
                    for entry in fleet.site_by_id:
                        yield Kind(old.tenant, model, named, origin, entry, at_s)


@dataclass(slots=True)
class _Gathered:
    calls: int
    example: Request
    classes: dict[str, None] = field(default_factory=dict)
    models: dict[str, None] = field(default_factory=dict)


def _gathered(old: Decider, new: Decider, requests: Iterable[Request]) -> Difference:
    calls = differing = 0
    found: dict[tuple[str, What, str, str], _Gathered] = {}
    for request in requests:
        calls += 1
        before, after = old.side(request), new.side(request)
        if before.taken == after.taken:
            continue
        differing += 1
        for what, subject, why in _changes(before, after):
            each = found.setdefault((request.tenant, what, subject, why), _Gathered(0, request))
            each.calls += 1
            each.classes[" + ".join(request.classes) or "none named"] = None
            each.models[request.model] = None
    order = list(What)
    changes = [
        Change(*key, calls=each.calls, classes=tuple(each.classes), models=tuple(each.models), example=each.example)
        for key, each in sorted(
            found.items(), key=lambda item: (item[0][0], order.index(item[0][1]), -item[1].calls, item[0])
        )
    ]
    return Difference(calls, differing, tuple(changes))


def _changes(before: Side, after: Side) -> Iterator[tuple[What, str, str]]:
    """Return each difference between two sides as (what, whom it concerns, why)."""
    if before.chosen is None and after.chosen is not None:
        yield What.ANSWERED, after.chosen, before.unknown or f"was {before.outcome}"
    elif before.chosen is not None and after.chosen is None:
        yield What.REFUSED, before.chosen, after.unknown or f"now {after.outcome}"
    elif before.chosen != after.chosen:
        yield What.MOVED, f"{before.chosen} → {after.chosen}", _why_moved(before, after)
    elif before.fallbacks != after.fallbacks:
        yield What.FALLBACKS, f"behind {after.chosen}", ""
    if before.shared != after.shared and before.chosen is not None and after.chosen is not None:
        was = " + ".join(before.shared) or before.chosen
        yield What.SHARED, " + ".join(after.shared) or after.chosen, f"was {was}"
    for name in sorted(before.rules.keys() | after.rules.keys()):
        passed, passes = before.rules.get(name) is Rule.NONE, after.rules.get(name) is Rule.NONE
        if passes and not passed:
            yield What.ALLOWED, name, before.veto_of(name)
        elif passed and not passes:
            yield What.VETOED, name, after.veto_of(name)


def _why_moved(before: Side, after: Side) -> str:
    """Return why a choice moved: the rule that vetoes the old one, or that vetoed the new one; else it is preferred."""
    old, new = str(before.chosen), str(after.chosen)
    if after.rules[old] is not Rule.NONE:
        return f"{after.rules[old].word} vetoes {old}"
    if before.rules[new] is not Rule.NONE:
        return f"{before.rules[new].word} vetoed {new}"
    return "preferred now"
