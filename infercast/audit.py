"""Reading the journals of a run for what may never have happened: the proof behind the demo's last lines."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infercast.policies.engine import Engine, Unknown
from infercast.policies.model import Request
from infercast.router.telemetry.journal import read_journal


@dataclass(frozen=True, slots=True)
class Audit:
    """What the journals of all places say. Each list names the calls at fault; empty is good."""

    calls: int
    received: int
    payload_bytes: int
    off_policy: tuple[str, ...]
    misplaced: tuple[str, ...]
    ended_twice: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing is at fault."""
        return not (self.off_policy or self.misplaced or self.ended_twice)


def audit(journal: Path, engine: Engine) -> Audit:
    """Hold every line against the policies: calls tried only where allowed, payloads received only where allowed.

    A payload may be received at an entry only where the call may enter, and by a replica only at a site that passes
    the rules of residency and privacy for that entry.
    """
    off_policy, misplaced, endings = [], [], dict[tuple[str, str], int]()
    calls = received = payload_bytes = 0
    for line in read_journal(journal):
        if line["kind"] == "call":
            calls += 1
            ending = (line["request"], line.get("number", line["place"]))
            endings[ending] = endings.get(ending, 0) + 1
            # A kept answer was made by somebody, for whom the policy must have been open to this call, too.
            made_by = [*line["attempts"], *([line["deployment"]] if line.get("cached") else [])]
            allowed = _allowed(engine, line) if made_by else set()
            off_policy += [f"{line['request']} on {name}" for name in made_by if name not in allowed]
        elif line["kind"] == "received" and line["payload_bytes"]:
            received += 1
            payload_bytes += line["payload_bytes"]
            if not _may_hold(engine, line):
                misplaced.append(f"{line['request']} ({line['tenant']}) at {line['place']}")
    twice = [f"{request} at {number}" for (request, number), count in endings.items() if count > 1]
    return Audit(calls, received, payload_bytes, tuple(off_policy), tuple(misplaced), tuple(twice))


def _allowed(engine: Engine, line: dict[str, Any]) -> set[str]:
    """Return the deployments that files permit for a call: none for one that names what nobody declared."""
    try:
        compiled = engine.compiled(_request(line, line["entry"]))
    except Unknown:
        return set()
    names = [engine.fleet.deployments[index].id for index in compiled.deployments]
    return {name for name, veto in zip(names, compiled.vetoes, strict=True) if veto is None}


def _may_hold(engine: Engine, line: dict[str, Any]) -> bool:
    """Return whether a place may have received a payload, on the way that it came."""
    if line["role"] == "ingress":
        request = _request(line, line["place"])
        try:
            if not request.model:  # it stood in the payload: then the call may enter whichever it names
                return engine.shut(request) is None
            return engine.compiled(request).gate is None
        except Unknown:
            return False
    return any(name.endswith(f"@{line['place']}") for name in _allowed(engine, line))


def _request(line: dict[str, Any], entry: str) -> Request:
    return Request("", line["tenant"], line["model"], entry, line["origin"], tuple(line["classes"]))
