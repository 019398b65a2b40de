"""A decision as versioned JSON and as text for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from .model import Choice, Decision, Outcome, Request, Rule, Verdict
from .snapshot import Patch
from .units import PPM, ms, usd

RECORD_VERSION = 2
NEEDED = ("tenant", "model", "entry", "origin")
WORDS = ("id", *NEEDED, "variant")
NUMBERS = ("payload_bytes", "deadline_us", "at_s")


def request_as_json(request: Request) -> dict[str, Any]:
    """Return a request as plain values: times in microseconds, the instant in seconds."""
    return {
        "id": request.id,
        "tenant": request.tenant,
        "model": request.model,
        "entry": request.entry,
        "origin": request.origin,
        "classes": list(request.classes),
        "payload_bytes": request.payload_bytes,
        "deadline_us": request.deadline_us,
        "at_s": request.at_s,
        **({"variant": request.variant} if request.variant else {}),
    }


def request_from_json(values: Mapping[str, Any]) -> Request:
    """Return the request that `request_as_json` wrote."""
    return Request(**{**values, "classes": tuple(values["classes"])})


def request_as_written(value: Any, name: str) -> Request:
    """Return the request that somebody wrote, alone or in a decision's record; `name` is its id if it has none.

    Raises ValueError in words.
    """
    asked = value.get("request", value) if isinstance(value, dict) else None
    if not isinstance(asked, dict):
        raise ValueError("is no JSON object")  # noqa: TRY004 - a value of the file's, not an argument
    if missing := [word for word in NEEDED if word not in asked]:
        raise ValueError(f"lacks {', '.join(missing)}")
    if unknown := [word for word in asked if word not in (*WORDS, *NUMBERS, "classes")]:
        raise ValueError(f"has {unknown[0]!r}, which no request has")
    classes = asked.get("classes", [])
    if not all(isinstance(asked[word], str) for word in WORDS if word in asked) or not _words(classes):
        raise ValueError("has a name that is no text")
    if not all(type(asked[word]) is int for word in NUMBERS if word in asked):
        raise ValueError("has a number that is not whole")
    return request_from_json({"id": name, **asked, "classes": classes})


def _words(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def logged(
    decision_id: str,
    request: Request,
    choice: Choice,
    policy: str,
    fleet: str,
    epoch: int,
    patch: Patch,
    tried: Sequence[int],
) -> dict[str, Any]:
    """Return what the log keeps of a decision: enough, with the epoch's state and the files, to make it again.

    Verdicts and reasons are not in it: they follow from it.
    """
    return {
        "version": RECORD_VERSION,
        "id": decision_id,
        "request": request_as_json(request),
        "epoch": epoch,
        "patch": [list(pair) for pair in patch],
        "tried": list(tried),
        "outcome": str(choice.outcome),
        "chosen": list(choice.deployments),
        "rule": int(choice.rule),
        "policy": policy,
        "fleet": fleet,
    }


def as_json(decision: Decision) -> dict[str, Any]:
    """Return a decision as plain values, in a stable order; times in microseconds, money in nano-USD."""
    return {
        "version": RECORD_VERSION,
        "id": decision.id,
        "outcome": str(decision.outcome),
        "chosen": decision.chosen,
        "alternatives": list(decision.alternatives),
        "request": request_as_json(decision.request),
        "preference": str(decision.preference),
        "score_unit": decision.score_unit,
        "deadline_us": decision.deadline_us,
        "entries": list(decision.entries),
        "spread": list(decision.spread),
        "overrides": list(decision.overrides),
        "policy_digest": decision.policy_digest,
        "fleet_digest": decision.fleet_digest,
        "snapshot_epoch": decision.snapshot_epoch,
        "verdicts": [_verdict(verdict) for verdict in decision.verdicts],
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "deployment": verdict.deployment,
        "site": verdict.site,
        "tier": str(verdict.tier),
        "variant": verdict.variant,
        "rule": verdict.rule.word,
        "detail": verdict.detail,
        "latency_us": verdict.latency_us,
        "deadline_latency_us": verdict.deadline_latency_us,
        "price_nusd": verdict.price_nusd,
        "accuracy_ppm": verdict.accuracy_ppm,
        "score": verdict.score,
        "shares": dict(verdict.shares),
        "signals": dict(verdict.signals),
        "notes": list(verdict.notes),
    }


def summary(decision: Decision) -> str:
    """Return one line that says where a call goes and why, or what refused it and how often."""
    if decision.outcome is Outcome.CHOSEN and decision.chosen is not None:
        verdict = decision.verdict_of(decision.chosen)
        others = len(decision.verdicts) - 1
        return (
            f"{decision.chosen}: {decision.preference} of {1 + len(decision.alternatives)} eligible "
            f"among {others + 1} candidates; {ms(verdict.latency_us):.2f} ms, {usd(verdict.price_nusd):.9f} USD"
            + (f", accuracy {verdict.accuracy_ppm / PPM:.4f}" if verdict.accuracy_ppm is not None else "")
        )
    return f"{decision.outcome}: 0/{len(decision.verdicts)} candidates pass: {reasons(decision)}"


def reasons(decision: Decision) -> str:
    """Return how often each rule vetoed, in the order of the rules: `2 residency.transit, 1 accuracy`."""
    counts = {rule: sum(1 for verdict in decision.verdicts if verdict.rule is rule) for rule in Rule if rule}
    return ", ".join(f"{count} {rule.word}" for rule, count in counts.items() if count) or "no candidates"
