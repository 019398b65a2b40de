"""The engine: estimate, veto, score, pick. One source for the ingress, the device, the simulator and `explain`.

`choose` is the fast answer and touches arrays only; `explain` runs the same kernel on the same arrays and puts every
candidate's verdict into words.
"""

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np

from . import kernel
from .compiled import Compiled, compile_policy, draw_of
from .explanation import verdict_of
from .faults import did_you_mean
from .fleet import Fleet
from .model import SATURATED_RULES, UNAVAILABLE_RULES, Choice, Decision, Outcome, Request, Rule
from .objectives import SCORE_UNIT
from .policy import Policy
from .snapshot import Snapshot

Key = tuple[str, tuple[str, ...], str, str, str]


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
        self._compiled: dict[Key, Compiled] = {}

    def models_of(self, tenant: str) -> tuple[str, ...]:
        """Return the models that a tenant may call."""
        allowed = self.policies[tenant].models
        return tuple(model.id for model in self.fleet.models if allowed is None or model.id in allowed)

    def compiled(self, request: Request) -> Compiled:
        """Return the arrays for a request's kind, made on first need. Raises Unknown for names nobody declared."""
        key = (request.tenant, request.classes, request.entry, request.origin, request.model)
        found = self._compiled.get(key)
        if found is None:
            policy = self._check(request)
            found = compile_policy(self.fleet, policy, request.classes, request.entry, request.origin, request.model)
            self._compiled[key] = found
        return found

    def _check(self, request: Request) -> Policy:
        if request.tenant not in self.policies:
            raise Unknown("tenant", request.tenant, tuple(sorted(self.policies)))
        if request.model not in self.models_of(request.tenant):
            raise Unknown("model", request.model, self.models_of(request.tenant))
        if request.entry not in self.fleet.site_by_id:
            raise Unknown("entry", request.entry, tuple(sorted(self.fleet.site_by_id)))
        places = (*self.fleet.site_by_id, *self.fleet.zone_by_id)
        if request.origin not in places:
            raise Unknown("origin", request.origin, tuple(sorted(places)))
        unknown = [name for name in request.classes if name not in self.policies[request.tenant].classes]
        if unknown:
            raise Unknown("data class", unknown[0], tuple(self.policies[request.tenant].classes))
        return self.policies[request.tenant]

    def warm(self, entry: str, origins: Iterable[str]) -> None:
        """Compile ahead what calls at an entry will need: each tenant, model and origin, each class and none named."""
        origins = list(origins)
        request = None
        for tenant, policy in self.policies.items():
            for classes in [(), *((name,) for name in policy.classes)]:
                for model in self.models_of(tenant):
                    for origin in origins:
                        request = Request("", tenant, model, entry, origin, classes)
                        self.compiled(request)
        if request is not None:
            # The kernel itself is compiled, or read from its cache, when it first runs: that is no caller's to pay.
            self.choose(request, Snapshot.declared(self.fleet))

    def choose(self, request: Request, snapshot: Snapshot) -> Choice:
        """Decide a call. Deployments already tried are those that `snapshot.live` marks in L_TRIED."""
        compiled, found = self._run(request, snapshot)
        if found == 0:
            rules = compiled.out[:, kernel.O_RULE]
            return Choice(outcome_of(rules.tolist()), rule=Rule(int(rules.max(initial=0))))
        rows = compiled.order[:found].tolist()
        return Choice(
            Outcome.CHOSEN,
            tuple([compiled.deployments[row] for row in rows]),
            tuple(compiled.out[rows, kernel.O_DEADLINE_LATENCY_US].tolist()),
            tuple(compiled.out[rows, kernel.O_PRICE].tolist()),
        )

    def _run(self, request: Request, snapshot: Snapshot) -> tuple[Compiled, int]:
        compiled = self.compiled(request)
        params = compiled.params
        params[kernel.P_PAYLOAD_BYTES] = request.payload_bytes
        params[kernel.P_DEADLINE_US] = tighter(compiled.deadline_us, request.deadline_us)
        if params[kernel.P_MARGIN]:
            params[kernel.P_DRAW] = draw_of(request.id)
        rtt = snapshot.rtt(compiled.entry)
        found = kernel.decide(compiled.static, snapshot.live, rtt, params, compiled.out, compiled.order)
        return compiled, found

    def explain(self, request: Request, snapshot: Snapshot) -> Decision:
        """Decide a call and say why: the same kernel on the same arrays, every candidate's verdict in words."""
        compiled, found = self._run(request, snapshot)
        rows = compiled.order[:found].tolist()
        everything = np.zeros(max(1, len(compiled.deployments)), dtype=np.int64)
        ranked = kernel.rank(compiled.static, compiled.params, compiled.out, everything)
        names = [self.fleet.deployments[index].id for index in compiled.deployments]
        verdicts = tuple(verdict_of(self.fleet, compiled, row, snapshot) for row in range(len(names)))
        refused = found == 0
        margin, scores = int(compiled.params[kernel.P_MARGIN]), compiled.out[:, kernel.O_PRIMARY]
        shared = everything[:ranked].tolist() if margin and compiled.policy.objective.preference == "balanced" else []
        least = min((int(scores[row]) for row in shared), default=0)
        return Decision(
            id=self.decision_id(request, snapshot),
            request=request,
            outcome=outcome_of([verdict.rule for verdict in verdicts]) if refused else Outcome.CHOSEN,
            chosen=None if refused else names[rows[0]],
            alternatives=tuple(names[row] for row in everything[1:ranked].tolist()),
            verdicts=verdicts,
            preference=compiled.policy.objective.preference,
            score_unit=SCORE_UNIT[compiled.policy.objective.preference],
            deadline_us=int(compiled.params[kernel.P_DEADLINE_US]),
            policy_digest=compiled.policy.digest,
            fleet_digest=self.fleet.digest,
            snapshot_epoch=snapshot.epoch,
            entries=self.entries(request) if compiled.gate else (),
            spread=tuple(sorted(names[row] for row in shared if int(scores[row]) - least <= margin)),
        )

    def entries(self, request: Request) -> tuple[str, ...]:
        """Return the sites where a call like this one may enter, nearest to its origin first."""
        open_to = []
        for site in self.fleet.sites:
            way_in = self.fleet.network.path(request.origin, site.id)
            here = Request("", request.tenant, request.model, site.id, request.origin, request.classes)
            if way_in is not None and self.compiled(here).gate is None:
                open_to.append((way_in.rtt_us, site.id))
        return tuple(site for _, site in sorted(open_to))

    def decision_id(self, request: Request, snapshot: Snapshot) -> str:
        """Return the decision's name: a digest of all it depends on."""
        parts = (
            request.id,
            request.tenant,
            request.model,
            request.entry,
            request.origin,
            ",".join(request.classes),
            str(request.payload_bytes),
            str(request.deadline_us),
            self.policies[request.tenant].digest,
            self.fleet.digest,
            str(snapshot.epoch),
            snapshot.digest(),
        )
        return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=12).hexdigest()


def tighter(deadline_us: int, asked_us: int) -> int:
    """Return the stricter of two deadlines, 0 meaning none."""
    return min(deadline_us, asked_us) if deadline_us and asked_us else deadline_us or asked_us


def outcome_of(rules: Iterable[int]) -> Outcome:
    """Return how a call ends that no candidate passes, by whether one would pass if it had room, or were healthy."""
    given = set(rules)
    if given & SATURATED_RULES:
        return Outcome.SATURATED
    return Outcome.UNAVAILABLE if given & UNAVAILABLE_RULES else Outcome.REFUSED
