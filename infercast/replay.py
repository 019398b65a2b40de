"""Deciding again what was decided: from the log's record, the signals of its epoch, and the files that were in force."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from infercast.policies.engine import Engine, Unknown
from infercast.policies.faults import BadInput, Fault
from infercast.policies.fleet import Fleet
from infercast.policies.model import Decision
from infercast.policies.policy import Policy, Terms
from infercast.policies.record import RECORD_VERSION, request_from_json
from infercast.policies.snapshot import Snapshot
from infercast.router.telemetry.log_reader import Found, Listing, every, find


@dataclass(frozen=True, slots=True)
class Redecided:
    """A decision made again, the terms that bound it, and what differs from the record; nothing may."""

    decision: Decision
    terms: Terms
    differs: tuple[str, ...]


@dataclass(slots=True)
class Replayed:
    """A whole log decided again: how many decisions, which of them differ in what, and how many have been pruned.

    `unreadable` lines may have been decisions, too.
    """

    decisions: int = 0
    differing: dict[str, tuple[str, ...]] = field(default_factory=dict)
    pruned: int = 0
    unreadable: int = 0


def redecide(folder: Path, decision_id: str) -> Redecided:
    """Decide anew by the log of a state folder. Raises BadInput where the log does not hold what is needed."""
    return _Again(folder).decide(find(folder / "decisions", decision_id))


def redecide_all(folder: Path) -> Replayed:
    """Decide every decision of a log anew. Raises BadInput where the log cannot be read, or documents are missing."""
    done, again, listing = Replayed(), _Again(folder), Listing()
    for found in every(folder, listing):
        if found is None:
            done.pruned += 1
            continue
        done.decisions += 1
        differs = again.decide(found).differs
        if differs:
            done.differing[str(found.decision.get("id"))] = differs
    done.unreadable = listing.unreadable
    return done


class _Again:
    """Decides by records; keeps the engines for the next one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._engines: dict[tuple[object, object], Engine] = {}

    def decide(self, found: Found) -> Redecided:
        """Make one decision again. Raises BadInput for a record that this version cannot read."""
        record = found.decision
        if record.get("version") != RECORD_VERSION:
            message = f"the record has version {record.get('version')!r}, this is version {RECORD_VERSION}"
            raise _unusable(self._folder, message)
        try:
            key = (record["fleet"], record["policy"])
            if key not in self._engines:
                policy = Policy.model_validate(found.policy)
                self._engines[key] = Engine(Fleet.model_validate(found.fleet), {policy.tenant: policy})
            engine = self._engines[key]
            request = request_from_json(record["request"])
            snapshot = Snapshot.restored(engine.fleet, found.snapshot)
            snapshot.apply(record["patch"])
        except (ValidationError, KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise _unusable(self._folder, f"the record of {record.get('id')} cannot be read: {error}") from error
        (policy,) = engine.policies.values()
        try:
            decision = engine.explain(request, snapshot, record["tried"])
            terms = engine.compiled(request).terms
        except Unknown as error:
            message = f"the record of {record.get('id')} names what its own fleet and policy do not: {error}"
            raise _unusable(self._folder, message) from error
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise _unusable(self._folder, f"the record of {record.get('id')} cannot be read: {error}") from error
        differs = _differences(record, decision, terms, policy, engine.fleet)
        return Redecided(decision, terms, tuple(differs))


def _differences(record: dict[str, Any], decision: Decision, terms: Terms, policy: Policy, fleet: Fleet) -> list[str]:
    order = [name for name in (decision.chosen, *decision.alternatives) if name is not None]
    found = {
        "id": decision.id,
        "outcome": str(decision.outcome),
        "chosen": [fleet.deployment_index[name] for name in order][: 1 + terms.behaviour.fallbacks_max],
        "rule": 0 if order else max((int(verdict.rule) for verdict in decision.verdicts), default=0),
        "policy": policy.digest,
        "fleet": fleet.digest,
    }
    return [
        f"{name} is {value!r}, the record says {record.get(name)!r}"
        for name, value in found.items()
        if value != record.get(name)
    ]


def _unusable(folder: Path, message: str) -> BadInput:
    return BadInput(
        [
            Fault(
                str(folder),
                0,
                "",
                message,
                "decide it with the version of infercast that wrote it; `infercast log verify` says whether it was altered",
            )
        ]
    )
