"""What is decided at one place, and written down of it: the engine in force, on the newest snapshot."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from infercast.policies.engine import Engine, Unknown, tighter
from infercast.policies.fleet import Fleet
from infercast.policies.model import Choice, Outcome, Request, Rule
from infercast.policies.parts import Behaviour
from infercast.policies.patience import DEADLINE_DEFAULT_US
from infercast.policies.record import reasons
from infercast.policies.snapshot import Snapshot

from ..errors import Kind, Trouble
from .recorder import Recorder
from .troubles import unknown

KIND_OF = {Outcome.REFUSED: Kind.REFUSED, Outcome.SATURATED: Kind.SATURATED, Outcome.UNAVAILABLE: Kind.UNAVAILABLE}
if TYPE_CHECKING:
    from .turns import Place
    from .waiting import Turns

REFUSED_MAX = 256
"""Refusals whose words are kept."""
Kept = tuple[str, str, str, str, tuple[str, ...], int, int, int]
NO_BEHAVIOUR = Behaviour(fallbacks_max=0)


class Deciding:
    """Decisions of one entry. Whatever carries a call asks here before each step, so that no step goes past the policy."""

    def __init__(self, entry: str, engine: Engine, snapshot: Snapshot, recorder: Recorder) -> None:
        self.entry = entry
        self.snapshot = snapshot
        self._recorder = recorder
        self._z_epoch = -1
        self._z_milli: dict[int, list[int]] = {}
        self._refused: dict[Kept, tuple[int, int, int, Choice, str, str, dict[str, Any]]] = {}
        self._counted: tuple[Choice | None, Sequence[tuple[int, int, Place]]] = (None, ())
        """The last choice that was made with calls counted that went before it, and which."""
        self.turns: Turns | None = None
        """Where calls of this entry wait for a place."""
        self.install(engine, None)

    def install(self, engine: Engine, shadow: Engine | None) -> None:
        """Decide by another engine from now on, calls on their way included: what they try next, the new one allows."""
        self.engine = engine
        self.tiers = [str(engine.fleet.site_by_id[deployment.site].tier) for deployment in engine.fleet.deployments]
        self.names = [deployment.id for deployment in engine.fleet.deployments]
        self._refused.clear()
        self._recorder.install(engine, shadow)  # last: it may raise

    @property
    def fleet(self) -> Fleet:
        """The fleet that calls are placed on."""
        return self.engine.fleet

    def admit(self, request: Request) -> Choice | None:
        """Decide from metadata alone. Raises Trouble when the call may not enter here or no candidate passes.

        Where the model is not known yet, since it stands in the body, only that the call may enter: then None.
        """
        if request.model:
            return self.choose(request, ())
        try:
            shut = self.engine.shut(request)
        except Unknown as error:
            raise unknown(error) from error
        if shut is not None:
            raise self._refusal(shut, self.engine.choose(shut, self.snapshot), ())
        return None

    def choose(self, request: Request, tried: Sequence[int]) -> Choice:
        """Decide, with `tried` shut for the length of the decision only. Raises Trouble where nothing passes."""
        turns = self.turns
        # Who waits already is not refused in the words that were found for who comes now.
        if self._refused and not tried and (turns is None or turns.asks is None):
            trouble = self._as_before(request)
            if trouble is not None:
                raise trouble
        if turns is None or not turns.counts:
            return self._choose(request, tried)
        ahead = turns.ahead(request)
        with turns.counted(ahead):
            choice = self._choose(request, tried)
        self._counted = choice, ahead
        return choice

    def _choose(self, request: Request, tried: Sequence[int]) -> Choice:
        try:
            choice = self.engine.choose(request, self.snapshot, tried)
            if choice.outcome is not Outcome.CHOSEN:
                raise self._refusal(request, choice, tried)
            return choice
        except Unknown as error:
            raise unknown(error) from error

    def again(self, request: Request, index: int) -> Choice | None:
        """Decide on giving a call an answer that a deployment made before; None where the policy would not let it.

        The call must be one that the policy in force lets run somewhere, if there is room, and files must have nothing
        against that deployment for this very call.
        """
        try:
            kind = self.engine.compiled(request)
            choice = self.engine.choose(request, self.snapshot)
        except Unknown:
            return None
        self._counted = choice, ()
        veto = kind.veto(index)
        if choice.outcome is Outcome.REFUSED or (veto is not None and veto.rule is not Rule.NONE):
            return None
        return choice

    def record(self, request: Request, choice: Choice, tried: Sequence[int]) -> str:
        """Name a decision and write it down."""
        decided, ahead = self._counted
        turns = self.turns
        if turns is not None and (turns.counts or decided is choice):
            # As it was decided, whatever the call's own turn has changed since: what is written down decides the same again.
            with turns.counted(ahead if decided is choice else turns.ahead(request)):
                return self._record(request, choice, tried)
        return self._record(request, choice, tried)

    def _record(self, request: Request, choice: Choice, tried: Sequence[int]) -> str:
        decision_id = self.engine.decision_id(request, self.snapshot, tried)
        self._recorder.decided(self.engine, decision_id, request, choice, tried)
        return decision_id

    def limit_us(self, request: Request) -> int:
        """Return how long a call may take in all."""
        try:
            limit_us = self.engine.compiled(request).deadline_us
        except Unknown:  # its tenant or class has gone while it was on its way: the next decision says so
            limit_us = 0
        return tighter(limit_us, request.deadline_us) or DEADLINE_DEFAULT_US

    def behaviour(self, request: Request) -> Behaviour:
        """Return how a call's tenant wants it to be carried, by the policy in force now."""
        policy = self.engine.policies.get(request.tenant)
        return policy.behaviour if policy is not None else NO_BEHAVIOUR

    def expected_us(self, choice: Choice) -> list[int]:
        """Return p50, p90, p95 and p99 of the time that the choice is expected to take, from here on."""
        index, median_us, spread_us = choice.deployment, choice.median_us[0], choice.spread_us[0]
        if self._z_epoch != self.snapshot.epoch:
            self._z_epoch = self.snapshot.epoch
            self._z_milli.clear()
        z_milli = self._z_milli.get(index)
        if z_milli is None:
            z_milli = self._z_milli[index] = self.snapshot.z(self.entry)[index].tolist()
        expected_us = [median_us + z * spread_us // 1000 for z in z_milli]
        return expected_us if min(expected_us) >= 0 else [max(0, us) for us in expected_us]

    def _refusal(self, request: Request, choice: Choice, tried: Sequence[int]) -> Trouble:
        self._record(request, choice, tried)
        decision = self.engine.explain(request, self.snapshot, tried)
        facts: dict[str, Any] = {"outcome": str(choice.outcome), "decision": decision.id, "reasons": reasons(decision)}
        gate = self.engine.compiled(request).gate
        if gate is not None:
            entries = list(decision.entries)
            remedy = f"enter at {', '.join(entries)}" if entries else "no site of this fleet may receive it"
            if not request.classes:  # most likely forgotten, and then a class is what it takes
                known = ", ".join(self.engine.policies[request.tenant].classes)
                elsewhere = f"; or {remedy}" if entries else ""
                remedy = f"no class is named, so all count: name one in infercast-class ({known}){elsewhere}"
            message = f"this call may not enter at {self.entry}: {gate.detail}"
            return Trouble(Kind.WRONG_ENTRY, message, remedy, {**facts, "rule": gate.rule.word, "entries": entries})
        message = f"0/{len(decision.verdicts)} candidates pass: {facts['reasons']}"
        remedy = "POST /v1/decide shows each candidate's verdict"
        facts["rule"] = choice.rule.word
        if choice.outcome is Outcome.SATURATED and self.turns is not None:
            facts["retry_after_s"] = self.turns.retry_after_s(request)
            if not tried and self.turns.asks is None:
                self._keep(request, choice, message, remedy, facts)
        return Trouble(KIND_OF[choice.outcome], message, remedy, facts)

    def _keep(self, request: Request, choice: Choice, message: str, remedy: str, facts: dict[str, Any]) -> None:
        """Keep in what words a call was refused for want of room: of a flood, many more will be, of the very same reason."""
        if len(self._refused) >= REFUSED_MAX:
            self._refused.clear()
        self._refused[_kind_of(request)] = (*self._now(), choice, message, remedy, facts)

    def _now(self) -> tuple[int, int, int]:
        """Return what stays the same for as long as nothing changes that a decision depends on."""
        return self.snapshot.epoch, self.snapshot.counted, self.turns.changes if self.turns is not None else 0

    def _as_before(self, request: Request) -> Trouble | None:
        """Return the refusal of a call that differs from one that was refused in its name only, with nothing changed since.

        It is decided, named and recorded as any other; what is spared is to find the words anew, four fifths of its cost.
        """
        kept = self._refused.get(_kind_of(request))
        if kept is None or kept[:3] != self._now():
            return None
        choice, message, remedy, facts = kept[3:]
        decision_id = self.record(request, choice, ())
        return Trouble(KIND_OF[choice.outcome], message, remedy, {**facts, "decision": decision_id})


def _kind_of(request: Request) -> Kept:
    """Return all of a call that decides whether anything passes: its draw among near-ties is of what does."""
    what = (request.tenant, request.model, request.variant, request.origin, request.classes)
    return (*what, request.payload_bytes, request.deadline_us, request.at_s)
