"""A tenant's own cases, beside its policy: request in, expected site, tier or refusal out, and the reason."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from . import kernel
from .documents import Document, read_document, validate
from .engine import Engine, Unknown
from .faults import BadInput, Fault, did_you_mean
from .fleet import Fleet, Name, Strict
from .model import PAYLOAD_BYTES_MAX, Decision, Outcome, Request, Rule, Tier
from .record import reasons
from .snapshot import IN_FLIGHT_MAX, Snapshot
from .units import deadline_us

RULE_WORDS = {rule.word: rule for rule in Rule if rule}


def _time_in_words(value: Any) -> Any:
    if not isinstance(value, str | date):  # a datetime is a date; pydantic would count a number's seconds since 1970
        raise ValueError("a time is written as 2026-12-31 22:00, in UTC, or as 2026-12-31T22:00:00+01:00")  # noqa: TRY004
    return value


Instant = Annotated[datetime, BeforeValidator(_time_in_words)]


class CaseRequest(Strict):
    """The call of a case. `origin` defaults to the entry; no class means every class at once.

    `at` is when it comes, in UTC where it names no offset. Left out, every time window of the policy counts as open.
    """

    model: Name
    entry: Name
    origin: Name | None = None
    data_class: Name | None = Field(default=None, alias="class")
    payload_bytes: int = Field(default=0, ge=0, le=PAYLOAD_BYTES_MAX)
    deadline_ms: float = Field(default=0, ge=0, le=600_000)
    at: Instant | None = None

    @property
    def at_s(self) -> int:
        """When the call comes, in seconds since 1970 UTC; 0 where the case does not say."""
        if self.at is None:
            return 0
        return int((self.at if self.at.tzinfo else self.at.replace(tzinfo=UTC)).timestamp())


class World(Strict):
    """How the case's world differs from a healthy, idle fleet."""

    down: tuple[Name, ...] = ()
    in_flight: dict[str, Annotated[int, Field(ge=0, le=IN_FLIGHT_MAX)]] = {}


class Expect(Strict):
    """What must come out; only what is written is checked. `vetoes` maps a site or deployment to its rule."""

    outcome: Outcome = Outcome.CHOSEN
    site: Name | None = None
    tier: Tier | None = None
    variant: Name | None = None
    rule: str | None = None
    entries: tuple[Name, ...] | None = None
    vetoes: dict[str, str] = {}
    eligible: tuple[str, ...] | None = None


class Case(Strict):
    """One line of a tenant's expectations."""

    name: str
    request: CaseRequest
    world: World = World()
    expect: Expect


class Cases(Strict):
    """A `TENANT.cases.yaml` file."""

    version: Literal[1]
    tenant: Name
    cases: tuple[Case, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Result:
    """A case and what came of it; `failures` empty when it holds."""

    case: Case
    decision: Decision
    failures: tuple[str, ...]


def load_cases(path: Path | str, fleet: Fleet) -> tuple[Document, Cases]:
    """Read a cases file. Raises BadInput with every fault: unknown keys, sites, deployments, rules."""
    document = read_document(Path(path))
    cases = validate(document, Cases)
    if faults := list(_check(document, cases, fleet)):
        raise BadInput(faults)
    return document, cases


def check_cases(path: Path | str, engine: Engine) -> list[Result]:
    """Read and run a cases file. Raises BadInput for faults in the file, unknown names included."""
    document, cases = load_cases(path, engine.fleet)
    results = []
    for index, case in enumerate(cases.cases):
        try:
            results.append(_run(cases.tenant, case, engine))
        except Unknown as error:
            raise BadInput([document.fault(("cases", index, "request"), str(error))]) from error
    return results


def snapshot_of(world: World, fleet: Fleet) -> Snapshot:
    """Return the declared snapshot with a case's sites down and deployments loaded."""
    snapshot = Snapshot.declared(fleet)
    for index, deployment in enumerate(fleet.deployments):
        if deployment.site in world.down:
            snapshot.live[index, kernel.L_HEALTHY] = 0
        for name in (deployment.site, deployment.id):
            if name in world.in_flight:
                snapshot.live[index, kernel.L_IN_FLIGHT] = world.in_flight[name]
    snapshot.refresh()
    return snapshot


def _run(tenant: str, case: Case, engine: Engine) -> Result:
    asked = case.request
    request = Request(
        id=case.name,
        tenant=tenant,
        model=asked.model,
        entry=asked.entry,
        origin=asked.origin or asked.entry,
        classes=(asked.data_class,) if asked.data_class else (),
        payload_bytes=asked.payload_bytes,
        deadline_us=deadline_us(asked.deadline_ms),
        at_s=asked.at_s,
    )
    decision = engine.explain(request, snapshot_of(case.world, engine.fleet))
    return Result(case, decision, tuple(_failures(case.expect, decision)))


def _failures(expect: Expect, decision: Decision) -> Iterable[str]:
    if decision.outcome is not expect.outcome:
        yield f"outcome is {decision.outcome}, expected {expect.outcome} ({reasons(decision)})"
    if decision.chosen is not None:
        chosen = decision.verdict_of(decision.chosen)
        for part in ("site", "tier", "variant"):
            wanted, got = getattr(expect, part), getattr(chosen, part)
            if wanted is not None and wanted != got:
                yield f"{part} is {got}, expected {wanted}"
    if expect.rule is not None and expect.rule not in {verdict.rule.word for verdict in decision.verdicts}:
        yield f"no candidate is vetoed by {expect.rule} ({reasons(decision)})"
    if expect.entries is not None and expect.entries != decision.entries:
        yield f"may enter at {', '.join(decision.entries) or 'no site'}, expected {', '.join(expect.entries) or 'no site'}"
    for name, word in expect.vetoes.items():
        named = [verdict for verdict in decision.verdicts if name in (verdict.site, verdict.deployment)]
        if not named:
            yield f"{name} is no candidate of this call, expected a verdict of {word}"
        for verdict in named:
            if verdict.rule.word != word:
                yield f"{verdict.deployment} has verdict {verdict.rule.word}, expected {word}"
    if expect.eligible is not None:
        passing = sorted(verdict.deployment for verdict in decision.verdicts if verdict.rule is Rule.NONE)
        if passing != sorted(expect.eligible):
            yield f"eligible are {', '.join(passing) or 'none'}, expected {', '.join(sorted(expect.eligible)) or 'none'}"


def _check(document: Document, cases: Cases, fleet: Fleet) -> Iterable[Fault]:
    names = [*fleet.site_by_id, *fleet.deployment_index]
    for index, case in enumerate(cases.cases):
        at = ("cases", index)
        for word in (*case.world.down, *case.world.in_flight):
            if word not in names:
                yield document.fault(
                    (*at, "world"), f"{word!r} is no site and no deployment", did_you_mean(word, names)
                )
        for name, word in case.expect.vetoes.items():
            here = (*at, "expect", "vetoes", name)
            if name not in names:
                yield document.fault(here, f"{name!r} is no site and no deployment", did_you_mean(name, names))
            if word not in RULE_WORDS:
                yield document.fault(here, f"no rule is called {word!r}", did_you_mean(word, RULE_WORDS))
        if case.expect.rule is not None and case.expect.rule not in RULE_WORDS:
            remedy = did_you_mean(case.expect.rule, RULE_WORDS)
            yield document.fault((*at, "expect", "rule"), f"no rule is called {case.expect.rule!r}", remedy)
