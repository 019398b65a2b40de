"""Deciding again what was decided: from the log's record, the signals of its epoch, and the files that were in force."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from infercast.policies.engine import Engine
from infercast.policies.faults import BadInput, Fault
from infercast.policies.fleet import Fleet
from infercast.policies.model import Decision
from infercast.policies.policy import Policy, Terms
from infercast.policies.record import RECORD_VERSION, request_from_json
from infercast.policies.snapshot import Snapshot
from infercast.router.telemetry.log_reader import find


@dataclass(frozen=True, slots=True)
class Redecided:
    """A decision made again, the terms that bound it, and what differs from the record; nothing may."""

    decision: Decision
    terms: Terms
    differs: tuple[str, ...]


def redecide(folder: Path, decision_id: str) -> Redecided:
    """Decide anew by the log of a state folder. Raises BadInput where the log does not hold what is needed."""
    record, state, fleet_document, policy_document = find(folder / "decisions", decision_id)
    if record.get("version") != RECORD_VERSION:
        raise _unusable(folder, f"the record has version {record.get('version')!r}, this is version {RECORD_VERSION}")
    try:
        fleet = Fleet.model_validate(fleet_document)
        policy = Policy.model_validate(policy_document)
        request = request_from_json(record["request"])
        snapshot = Snapshot.restored(fleet, state)
        snapshot.apply(record["patch"])
    except (ValidationError, KeyError, TypeError, ValueError, IndexError) as error:
        raise _unusable(folder, f"the record of {decision_id} cannot be read: {error}") from error
    engine = Engine(fleet, {policy.tenant: policy})
    decision = engine.explain(request, snapshot, record["tried"])
    return Redecided(decision, engine.compiled(request).terms, tuple(_differences(record, decision, policy, fleet)))


def _differences(record: dict[str, Any], decision: Decision, policy: Policy, fleet: Fleet) -> list[str]:
    order = [name for name in (decision.chosen, *decision.alternatives) if name is not None]
    found = {
        "id": decision.id,
        "outcome": str(decision.outcome),
        "chosen": [fleet.deployment_index[name] for name in order][: len(record["chosen"])],
        "policy": policy.digest,
        "fleet": fleet.digest,
    }
    return [
        f"{name} is {value!r}, the record says {record[name]!r}"
        for name, value in found.items()
        if value != record[name]
    ]


def _unusable(folder: Path, message: str) -> BadInput:
    return BadInput([Fault(str(folder), 0, "", message, "decide it with the version of infercast that wrote it")])
