"""The engine: estimate, veto, score, pick. One source for the ingress, the device, the simulator and `explain`.

`choose` is the fast answer and touches arrays only; `explain` runs the same arithmetic over the same arrays for every
candidate, and puts each verdict into words.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from . import kernel
from .compiled import NO_PLAN, Compiled, Shop, new_plan
from .explanation import verdicts_of
from .faults import did_you_mean
from .fleet import Fleet
from .model import SATURATED_RULES, UNAVAILABLE_RULES, Choice, Decision, Outcome, Request, Rule
from .objectives import SCORE_UNIT
from .policy import Policy
from .snapshot import Snapshot
from .tables import Table, draw_of

Key = tuple[str, tuple[str, ...], str, str, str]
KINDS_MAX = 50_000
"""Kinds of call kept ready (about 1 KB each). A kind that is not is made ready from what is shared, in some 20 us."""

PLAN_AFTER_CALLS = 8
PLAN_CANDIDATES_MIN = 16
"""Kinds of call that come often, with so many candidates or more, keep them in order of the least that they can cost."""
PLAN_BYTES_MAX = 32_000_000


class Unknown(Exception):  # noqa: N818 - the caller named something that is not there; not an error of ours
    """A request names a tenant, model, entry, origin or data class that the fleet or the tenant's policy does not have."""

    def __init__(self, field: str, value: str, known: tuple[str, ...]) -> None:
        super().__init__(f"no {field} is called {value!r} ({did_you_mean(value, known)})")
        self.field = field
        self.value = value
        self.known = known


class Engine:
    """Decides calls for one fleet and one set of policies. Not for several threads at once: it reuses its scratch."""

    def __init__(self, fleet: Fleet, policies: Mapping[str, Policy]) -> None:
        self.fleet = fleet
        self.policies = dict(policies)
        self._shop = Shop(fleet)
        self._kinds: dict[Key, Compiled] = {}
        self._planned: list[Compiled] = []
        self._models: dict[str, tuple[str, ...]] = {}
        self._scratch: dict[int, tuple[Table, Table]] = {}
        # One call asks for its kind several times in a row: by identity, its request never changes.
        self._last: Request | None = None
        self._last_kind: Compiled

    def models_of(self, tenant: str) -> tuple[str, ...]:
        """Return the models that a tenant may call. Raises Unknown for one that has no policy."""
        found = self._models.get(tenant)
        if found is None:
            policy = self.policies.get(tenant)
            if policy is None:
                raise Unknown("tenant", tenant, tuple(sorted(self.policies)))
            found = tuple(model.id for model in self.fleet.models if _may_call(policy, model.id))
            self._models[tenant] = found
        return found

    def compiled(self, request: Request) -> Compiled:
        """Return the arrays for a request's kind, made on first need. Raises Unknown for names nobody declared."""
        if request is self._last:
            return self._last_kind
        key = (request.tenant, request.classes, request.entry, request.origin, request.model)
        found = self._kinds.get(key)
        if found is None or not found.from_s <= request.at_s < found.until_s:
            policy = self._check(request)
            if len(self._kinds) >= KINDS_MAX:
                self._kinds.clear()
                self._planned.clear()
            found = self._kinds[key] = self._shop.make(policy, *key[1:], request.at_s)
        self._last, self._last_kind = request, found
        return found

    def shut(self, request: Request) -> Request | None:
        """Return the call with a model that it may not enter here for, None where it may for each that its tenant may call.

        For calls whose model stands in their body: whether that may be read is judged by the strictest. Raises Unknown
        where there is none to call, and so nothing to read.
        """
        models = self.models_of(request.tenant)
        if not models:
            raise Unknown("model", request.model, ())
        of = (request.tenant, request.classes, request.entry, request.origin)
        for model in models:
            kind = self._kinds.get((*of, model))
            if kind is None or not kind.from_s <= request.at_s < kind.until_s:
                kind = self.compiled(replace(request, model=model))
            if kind.gate is not None:
                return replace(request, model=model)
        return None

    def _check(self, request: Request) -> Policy:
        policy = self.policies.get(request.tenant)
        if policy is None:
            raise Unknown("tenant", request.tenant, tuple(sorted(self.policies)))
        if request.model not in self.fleet.model_by_id or not _may_call(policy, request.model):
            raise Unknown("model", request.model, self.models_of(request.tenant))
        if request.entry not in self.fleet.site_by_id:
            raise Unknown("entry", request.entry, tuple(sorted(self.fleet.site_by_id)))
        if request.origin not in self.fleet.site_by_id and request.origin not in self.fleet.zone_by_id:
            places = (*self.fleet.site_by_id, *self.fleet.zone_by_id)
            raise Unknown("origin", request.origin, tuple(sorted(places)))
        unknown = [name for name in request.classes if name not in policy.classes]
        if unknown:
            raise Unknown("data class", unknown[0], tuple(policy.classes))
        return policy

    def warm(self, entry: str, origins: Iterable[str], at_s: int = 0) -> None:
        """Compile ahead what calls at an entry will need: each policy, each class and none named, model and origin."""
        origins = list(origins)
        distinct = {policy.core_digest: policy for policy in self.policies.values()}
        for policy in distinct.values():
            for classes in [(), *((name,) for name in policy.classes)]:
                self._warm_classes(policy, classes, entry, origins, at_s)
        for tenant, policy in self.policies.items():
            models = self.models_of(tenant)
            if models and origins:
                # The kernel itself is compiled, or read from its cache, when it first runs: that is no caller's to pay.
                request = Request("", tenant, models[0], entry, origins[0], (next(iter(policy.classes)),), at_s=at_s)
                self._warm_kernel(request)
                break

    def _warm_classes(
        self, policy: Policy, classes: tuple[str, ...], entry: str, origins: list[str], at_s: int
    ) -> None:
        models = self.models_of(policy.tenant)
        # Without overrides, neither model nor origin changes the terms.
        told_apart = policy.overrides or len(origins) == 0
        for origin in origins:
            for model in models if told_apart else models[:1]:
                terms = policy.terms(self.fleet, classes, model, origin, at_s)
                ground = self._shop.ground(policy, terms, classes, entry)
                ground.gate(origin)
                ground.rules(model)
                self._shop.exposure(terms.objective, origin)
        if origins and not told_apart:
            terms = policy.terms(self.fleet, classes, "", origins[0], at_s)
            for model in models:
                self._shop.ground(policy, terms, classes, entry).rules(model)

    def _warm_kernel(self, request: Request) -> None:
        snapshot = Snapshot.declared(self.fleet)
        self.choose(request, snapshot)
        self.explain(request, snapshot)

    def choose(self, request: Request, snapshot: Snapshot, tried: Sequence[int] = ()) -> Choice:
        """Decide a call. `tried` are deployments that it was tried on already: none of them is chosen again."""
        if tried or request.variant:
            with self._narrowed(request, snapshot, tried):
                return self.choose(replace(request, variant=""), snapshot)
        kind = self.compiled(request)
        view = snapshot.view(*kind.view_key)
        deadline_us = tighter(kind.deadline_us, request.deadline_us)
        kind.calls += 1
        if kind.calls == PLAN_AFTER_CALLS:
            self._plan(kind)
        found = kernel.decide(
            view,
            kind.codes,
            kind.exposure,
            kind.params,
            kind.plan,
            kind.answer,
            request.payload_bytes,
            deadline_us,
            draw_of(request.id) if kind.margin else 0,
        )
        if found == 0:
            return self._refused(kind, view, request.payload_bytes, deadline_us)
        rows = kind.answer[:5, :found].tolist()
        return Choice(Outcome.CHOSEN, tuple(rows[0]), tuple(rows[1]), tuple(rows[2]), tuple(rows[3]), tuple(rows[4]))

    @contextmanager
    def _narrowed(self, request: Request, snapshot: Snapshot, tried: Sequence[int]) -> Iterator[None]:
        """Shut what a call was tried on, and all but the variant that it names. Raises Unknown for names nobody declared."""
        self.compiled(request)
        known = tuple(variant.id for variant in self.fleet.model_by_id[request.model].variants)
        if request.variant and request.variant not in known:
            raise Unknown("version", request.variant, known)
        place = (request.entry, request.model)
        with snapshot.tried(*place, tried), snapshot.only(*place, request.variant):
            yield

    def _plan(self, kind: Compiled) -> None:
        """Give a kind of call that comes often a plan of its own: places for its candidates in order of least score."""
        candidates = len(kind.codes)
        if candidates < PLAN_CANDIDATES_MIN:
            return
        room = PLAN_BYTES_MAX // (kernel.SIZES * kernel.PLAN_EACH * 8 * candidates)
        while len(self._planned) >= room:
            dropped = self._planned.pop(0)
            dropped.plan, dropped.calls = NO_PLAN, 0
        kind.plan = new_plan(candidates)
        self._planned.append(kind)

    def _refused(self, kind: Compiled, view: Table, payload_bytes: int, deadline_us: int) -> Choice:
        out, _ = self._scratch_of(view)
        kernel.evaluate(view, kind.codes, kind.exposure, kind.params, payload_bytes, deadline_us, out)
        rules = out[:, kernel.O_RULE]
        return Choice(outcome_of(rules.tolist()), rule=Rule(int(rules.max(initial=0))))

    def _scratch_of(self, view: Table) -> tuple[Table, Table]:
        count = view.shape[1]
        found = self._scratch.get(count)
        if found is None:
            out = np.zeros((count, kernel.O_COLS), dtype=np.int64)
            found = self._scratch[count] = (out, np.zeros(max(8, count), dtype=np.int64))
        return found

    def explain(self, request: Request, snapshot: Snapshot, tried: Sequence[int] = ()) -> Decision:
        """Decide a call and say why: the same arithmetic on the same arrays, every candidate's verdict in words."""
        kind = self.compiled(request)
        if tried or request.variant:
            with self._narrowed(request, snapshot, tried):
                decision = self.explain(replace(request, variant=""), snapshot)
            return replace(decision, request=request, id=self.decision_id(request, snapshot, tried))
        view = snapshot.view(*kind.view_key)
        out, order = self._scratch_of(view)
        deadline_us = tighter(kind.deadline_us, request.deadline_us)
        kernel.evaluate(view, kind.codes, kind.exposure, kind.params, request.payload_bytes, deadline_us, out)
        ranked = kernel.rank(view, out, kind.margin, draw_of(request.id) if kind.margin else 0, order)
        best = order[:ranked].tolist()
        names = self.fleet.tables.standing(request.model)[0]
        verdicts = verdicts_of(self.fleet, kind, out, snapshot, request.payload_bytes, deadline_us)
        scores = out[:, kernel.O_PRIMARY].tolist()
        least = min((scores[row] for row in best), default=0)
        return Decision(
            id=self.decision_id(request, snapshot),
            request=request,
            outcome=Outcome.CHOSEN if best else outcome_of([verdict.rule for verdict in verdicts]),
            chosen=names[best[0]] if best else None,
            alternatives=tuple(names[row] for row in best[1:]),
            verdicts=verdicts,
            preference=kind.terms.objective.preference,
            score_unit=SCORE_UNIT[kind.terms.objective.preference],
            deadline_us=deadline_us,
            policy_digest=kind.policy.digest,
            fleet_digest=self.fleet.digest,
            snapshot_epoch=snapshot.epoch,
            entries=self.entries(request) if kind.gate else (),
            spread=tuple(sorted(names[row] for row in best if kind.margin and scores[row] - least <= kind.margin)),
            overrides=kind.terms.overrides,
        )

    def entries(self, request: Request) -> tuple[str, ...]:
        """Return the sites where a call like this one may enter, nearest to its origin first."""
        open_to = []
        for site in self.fleet.sites:
            way_in = self.fleet.network.path(request.origin, site.id)
            here = Request(
                "", request.tenant, request.model, site.id, request.origin, request.classes, at_s=request.at_s
            )
            if way_in is not None and self.compiled(here).gate is None:
                open_to.append((way_in.rtt_us, site.id))
        return tuple(site for _, site in sorted(open_to))

    def decision_id(self, request: Request, snapshot: Snapshot, tried: Sequence[int] = ()) -> str:
        """Return the decision's name: a digest of all it depends on."""
        # One string, not parts that are joined: it is made on every call.
        call = f"{request.id}\x1f{request.tenant}\x1f{request.model}\x1f{request.entry}\x1f{request.origin}"
        kind = f"{','.join(request.classes)}\x1f{request.payload_bytes}\x1f{request.deadline_us}\x1f{request.at_s}"
        files = f"{self.policies[request.tenant].digest}\x1f{self.fleet.digest}"
        signals = f"{snapshot.epoch}\x1f{snapshot.digest()}\x1f{sorted(snapshot.patch())}"
        text = f"{call}\x1f{kind}\x1f{files}\x1f{signals}"
        if tried or request.variant:
            more = (*(str(index) for index in sorted(set(tried))), *((request.variant,) if request.variant else ()))
            text = "\x1f".join((text, *more))
        return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _may_call(policy: Policy, model: str) -> bool:
    return policy.models is None or model in policy.models


def tighter(deadline_us: int, asked_us: int) -> int:
    """Return the stricter of two deadlines, 0 meaning none."""
    return min(deadline_us, asked_us) if deadline_us and asked_us else deadline_us or asked_us


def outcome_of(rules: Iterable[int]) -> Outcome:
    """Return how a call ends that no candidate passes, by whether one would pass if it had room, or were healthy."""
    given = set(rules)
    if given & SATURATED_RULES:
        return Outcome.SATURATED
    return Outcome.UNAVAILABLE if given & UNAVAILABLE_RULES else Outcome.REFUSED
