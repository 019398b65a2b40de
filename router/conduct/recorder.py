"""What is written down of decisions: the log that can be decided again, and where a shadow policy would differ."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from infercast.policies.engine import Engine
from infercast.policies.fleet import Fleet
from infercast.policies.model import Choice, Request
from infercast.policies.parts import Log
from infercast.policies.policy import Policy
from infercast.policies.record import logged
from infercast.policies.snapshot import Snapshot

from .ports import DecisionLog, Journal

KEEP_DAYS_DEFAULT = 30
"""How long a decision is kept whose policy does not say."""
DAY_S = 86_400


class Recorder:
    """Writes down the decisions of one place."""

    def __init__(self, place: str, fleet: Fleet, snapshot: Snapshot, log: DecisionLog, journal: Journal) -> None:
        self._country = fleet.country_of(place)
        self._fleet = fleet
        self._snapshot = snapshot
        self._log = log
        self._journal = journal
        self._epoch = -1
        self._kept: dict[str, bool] = {}
        self._shadow: Engine | None = None
        self._shadowed: frozenset[str] = frozenset()
        log.put(fleet.digest, fleet.model_dump(mode="json", exclude={"artefacts", "files"}, by_alias=True))

    def install(self, engine: Engine, shadow: Engine | None) -> None:
        """Begin to record the decisions of an engine, and what a shadow beside it would do differently."""
        self._shadow = shadow
        self._shadowed = frozenset(shadow.policies) if shadow else frozenset()
        self._kept.clear()
        for policy in (*engine.policies.values(), *(shadow.policies.values() if shadow else ())):
            self._log.put(policy.digest, _meaning(policy))

    def decided(self, engine: Engine, decision_id: str, request: Request, choice: Choice, tried: Sequence[int]) -> None:
        """Record a decision, and where the shadow's differs, if its policy lets it be recorded here; else only count it."""
        terms = engine.compiled(request).terms
        kept = self._kept.get(terms.digest)
        if kept is None:
            kept = self._kept[terms.digest] = self._may_keep(terms.log)
        if kept:
            if self._snapshot.epoch != self._epoch:
                self._epoch = self._snapshot.epoch
                self._log.snapshot(self._epoch, partial(_itself, self._snapshot.state()))
            days = KEEP_DAYS_DEFAULT if terms.log.keep_days is None else terms.log.keep_days
            facts = (engine.policies[request.tenant].digest, self._fleet.digest, self._epoch, self._snapshot.patch())
            record = partial(logged, decision_id, request, choice, *facts, tuple(tried))
            self._log.decision(request.at_s, record, request.at_s + days * DAY_S)
            if request.tenant in self._shadowed:
                self._compare(request, choice, tried)
        else:
            self._log.withhold()

    def _may_keep(self, log: Log) -> bool:
        if not log.decisions:
            return False
        places = log.residency
        return places is None or self._fleet.world.permits(places.allow, places.deny)(self._country)

    def _compare(self, request: Request, choice: Choice, tried: Sequence[int]) -> None:
        """Write down what the shadow policy would do, where that is something else. Nothing follows from it."""
        shadow = self._shadow
        if shadow is None:
            return
        policy = shadow.policies[request.tenant]
        lacking = [name for name in request.classes if name not in policy.classes]
        if lacking or (policy.models is not None and request.model not in policy.models):
            said = f"no class {lacking[0]}" if lacking else "no such model"
            self._differs(request, choice, f"refused: {said}", policy.digest)
            return
        other = shadow.choose(request, self._snapshot, tried)
        if (other.outcome, other.deployments[:1]) != (choice.outcome, choice.deployments[:1]):
            self._differs(request, choice, self._said(other), policy.digest)

    def _differs(self, request: Request, choice: Choice, would: str, digest: str) -> None:
        self._journal.write(
            "shadow",
            request=request.id,
            tenant=request.tenant,
            model=request.model,
            origin=request.origin,
            classes=list(request.classes),
            does=self._said(choice),
            would=would,
            shadow_policy=digest,
        )

    def _said(self, choice: Choice) -> str:
        return self._fleet.deployments[choice.deployment].id if choice.deployments else str(choice.outcome)


def _meaning(policy: Policy) -> dict[str, Any]:
    """Return what a policy's digest covers: policies of one digest are one document, whatever their words for people."""
    said = {"description": True}
    apart: Any = {
        **dict.fromkeys(("description", "extends", "claims"), True),
        "always": said,
        "classes": dict.fromkeys(policy.classes, said),
        "overrides": {"__all__": {**said, "constraints": said}},
    }
    return policy.model_dump(mode="json", by_alias=True, exclude=apart)


def _itself(state: Mapping[str, Any]) -> dict[str, Any]:
    return dict(state)
