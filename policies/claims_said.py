"""Claims, and the calls that break them, in words and as command lines."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from .claims import Counterexample, Proof
from .claims_schema import Claim, Never, Only, Where
from .model import Request
from .record import summary


def claim_said(claim: Claim) -> str:
    """Return a claim as a sentence: `personal: never processed outside EEA`."""
    who = [
        ", ".join(claim.classes) if claim.classes else "every class",
        f"model {' or '.join(claim.models)}" if claim.models else "",
        f"from {' or '.join(claim.origins)}" if claim.origins else "",
        f"entering at {' or '.join(claim.entries)}" if claim.entries else "",
    ]
    return f"{', '.join(part for part in who if part)}: {_what(claim)}"


def _what(claim: Claim) -> str:
    if claim.never is not None:
        return f"never {_never(claim.never)}"
    if claim.only is not None:
        return _only(claim.only)
    if claim.refused:
        return "always refused"
    world = claim.while_.replace("_", " ")
    size = f", with up to {claim.payload_bytes:,} bytes" if claim.payload_bytes else ""
    return f"at least {claim.candidates_min} candidate{'s' if claim.candidates_min != 1 else ''} while {world}{size}"


def _never(never: Never) -> str:
    acts: dict[str, list[str]] = {}
    for act in ("processed", "transited", "stored", "logged"):
        if (where := getattr(never, act)) is not None:
            acts.setdefault(_where(where), []).append(act)
    said = [f"{' or '.join(done)} {where}" for where, done in acts.items()]
    said += [f"seen by operator {name}" for name in never.operators]
    said += [f"seen at tier {tier}" for tier in never.tiers]
    said += [f"seen at {site}" for site in never.sites]
    said += ["seen where inputs are trained on"] if never.trained_on else []
    return ", never ".join(said)


def _where(where: Where) -> str:
    parts = [f"in {', '.join(where.inside)}"] if where.inside else []
    if where.outside is not None:
        parts.append(f"outside {', '.join(where.outside)}" if where.outside else "anywhere")
    return " or ".join(parts)


def _only(only: Only) -> str:
    parts = {"tier": only.tiers, "operator": only.operators, "site": only.sites}
    said = [f"{part} {' or '.join(words) or 'none'}" for part, words in parts.items() if words is not None]
    return f"seen by {' and '.join(said)} only"


def command_of(example: Counterexample) -> str:
    """Return the command line that shows how a call is decided."""
    return " ".join(["infercast explain", *words_of(example.request, example.down)])


def words_of(request: Request, down: Iterable[str] = ()) -> list[str]:
    """Return a call as options of `infercast explain`."""
    words = ["--tenant", request.tenant, "--model", request.model, "--from", request.origin, "--entry", request.entry]
    for name in request.classes:
        words += ["--class", name]
    words += ["--bytes", str(request.payload_bytes)]
    if request.at_s:
        words += ["--at", datetime.fromtimestamp(request.at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")]
    for site in down:
        words += ["--down", site]
    return words


def proof_said(proof: Proof) -> str:
    """Return what came of a claim, in words: proved over how many kinds, or the call that breaks it."""
    if proof.counterexample is not None:
        example = proof.counterexample
        lines = [example.why, summary(example.decision), command_of(example)]
        if not example.declared:
            lines.append("(with service times better than declared: the deadline or the price is no safeguard)")
        return "\n".join(lines)
    counted = f"{proof.kinds:,} kinds of call" + (f", {proof.running:,} of which can run" if proof.kinds else "")
    if proof.holds:
        return f"proved over {counted}" + (f"; {proof.note}" if proof.note else "")
    return f"not proved ({counted}): {proof.note}"


def proof_json(proof: Proof) -> dict[str, Any]:
    """Return what came of a claim for programs."""
    example = proof.counterexample
    found: dict[str, Any] = {
        "claim": claim_said(proof.claim),
        "description": proof.claim.description,
        "answer": str(proof.answer),
        "kinds": proof.kinds,
        "running": proof.running,
        "note": proof.note,
        "counterexample": None,
    }
    if example is not None:
        request = example.request
        found["counterexample"] = {
            "model": request.model,
            "classes": list(request.classes),
            "origin": request.origin,
            "entry": request.entry,
            "payload_bytes": request.payload_bytes,
            "at_s": request.at_s,
            "down": list(example.down),
            "declared_times": example.declared,
            "why": example.why,
            "outcome": str(example.decision.outcome),
            "chosen": example.decision.chosen,
            "command": command_of(example),
        }
    return found
