"""A tenant's policy: data classes with hard constraints, what the tenant values among what is left, and when that differs."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from .claims_schema import Claim
from .fleet import Fleet, Name, Strict
from .jurisdictions import UNKNOWN
from .model import Quantile
from .parts import MODELS_MAX, Behaviour, Constraints, Limits, Log, Objective, Said, Word
from .tightening import merge_logs
from .windows import DAYS, Window, common_period, known_zone, minutes_of

CLASSES_MAX = 12
OVERRIDES_MAX = 64
CLAIMS_MAX = 256
MEMORY_MAX = 65_536
"""Most answers that a policy keeps of each kind; beyond them it starts anew."""


def _date_in_words(value: Any) -> Any:
    if isinstance(value, int | float):  # pydantic would count seconds since 1970
        raise ValueError("a date is written as 2026-12-31")  # noqa: TRY004 - pydantic collects ValueErrors
    return value


Day = Annotated[date, BeforeValidator(_date_in_words)]


class When(Strict):
    """The calls and the time that an override is for. Every part that is given must hold."""

    models: tuple[Name, ...] | None = Field(default=None, max_length=MODELS_MAX, description="For these models only.")
    origins: tuple[Word, ...] | None = Field(
        default=None, max_length=512, description="Only from these places, countries or groups of countries."
    )
    hours: str | None = Field(
        default=None,
        description="HH:MM-HH:MM of the zone's clock; may go past midnight, and then belongs to the day it begins on.",
        json_schema_extra={"pattern": "^[0-9]{2}:[0-5][0-9]-[0-9]{2}:[0-5][0-9]$"},
    )
    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] | None = Field(
        default=None, min_length=1, max_length=7, description="Only on these days of the week."
    )
    zone: str = Field(default="UTC", max_length=64, description="Whose clock: an IANA name such as Europe/Berlin.")
    since: Day | None = Field(default=None, description="First day on which it holds.")
    until: Day | None = Field(default=None, description="Last day on which it holds.")

    @field_validator("hours")
    @classmethod
    def _hours(cls, value: str | None) -> str | None:
        if value is not None:
            minutes_of(value)
        return value

    @field_validator("zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        return known_zone(value)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ValueError(f"it would end on {self.until}, before it begins on {self.since}")
        return self

    @cached_property
    def window(self) -> Window | None:
        """The time it is for; None where it does not depend on time."""
        if (self.hours, self.days, self.since, self.until) == (None, None, None, None):
            return None
        return Window(
            minutes=None if self.hours is None else minutes_of(self.hours),
            days=None if self.days is None else frozenset(DAYS.index(day) for day in self.days),
            since=self.since,
            until=self.until,
            zone=self.zone,
        )

    def concerns(self, fleet: Fleet, model: str, origin: str) -> bool:
        """Return whether calls of a model from an origin are meant, whatever the time.

        Fail closed: an origin whose country is not known may be in any country that is named, and a word that nobody
        knows may mean any place.
        """
        if self.models is not None and model not in self.models:
            return False
        return self.origins is None or any(_meant(word, origin, fleet) for word in self.origins)


def _meant(word: str, origin: str, fleet: Fleet) -> bool:
    if word == origin:
        return True
    if not fleet.world.knows(word):
        return word not in fleet.site_by_id and word not in fleet.zone_by_id
    return fleet.country_of(origin) in (UNKNOWN, *fleet.world.countries([word]))


class Override(Strict):
    """What differs for some calls or at some times: constraints come on top, an objective takes the other's place."""

    description: Said = Field(default="", description="What this is about, for people.")
    when: When = Field(description="The calls and the time it is for.")
    constraints: Constraints | None = Field(default=None, description="Vetoes that come on top.")
    objective: Objective | None = Field(default=None, description="Preferences instead of the policy's; the last wins.")


@dataclass(frozen=True, slots=True)
class Terms:
    """What binds one kind of call at one time.

    `blocks` all bind at once. `overrides` are the indices of those that apply. `digest` covers everything here: equal
    terms have equal digests, and terms with equal digests are equal but for descriptions.
    """

    blocks: tuple[Constraints, ...]
    deadline_quantile: Quantile
    objective: Objective
    behaviour: Behaviour
    log: Log
    overrides: tuple[int, ...]
    digest: str


class _Memory:
    """Answers already given by one policy. It is forgotten when the policy is copied or sent elsewhere."""

    def __init__(self) -> None:
        self.concerned: dict[tuple[str, str, str], tuple[int, ...]] = {}
        self.terms: dict[tuple[tuple[str, ...], tuple[int, ...], str], Terms] = {}
        self.open: tuple[int, int, frozenset[int]] = (0, 0, frozenset())

    def __reduce__(self) -> tuple[type["_Memory"], tuple[()]]:
        return _Memory, ()


class Body(Strict):
    """What a tenant's file and a base have in common."""

    version: Literal[1] = Field(description="The version of this format.")
    description: Said = Field(default="", description="What this is about, for people.")
    extends: Word | None = Field(default=None, description="A base that this file tightens; relative to this file.")
    models: tuple[Name, ...] | None = Field(
        default=None, max_length=MODELS_MAX, description="Models that may be called; left out: all."
    )
    deadline_quantile: Quantile = Field(default=Quantile.P95, description="Quantile at which deadlines are kept.")
    always: Constraints = Field(default=Constraints(), description="Vetoes for every call.")
    classes: dict[Name, Constraints] = Field(
        default={}, max_length=CLASSES_MAX, description="Vetoes by data class; they come on top of `always`."
    )
    overrides: tuple[Override, ...] = Field(
        default=(), max_length=OVERRIDES_MAX, description="What differs for some calls or at some times."
    )
    objective: Objective = Field(default=Objective(), description="What is preferred among what no rule vetoes.")
    behaviour: Behaviour = Field(default=Behaviour(), description="How a call is carried.")
    limits: Limits = Field(default=Limits(), description="How much may be used in all.")
    claims: tuple[Claim, ...] = Field(
        default=(), max_length=CLAIMS_MAX, description="What must hold for every request; proved by `policy verify`."
    )


class Base(Body):
    """A file that others extend. It is no tenant, and may leave everything out."""


class Draft(Body):
    """A tenant's file that extends a base, before the two are one: what is not stated is inherited."""

    tenant: Name = Field(description="The tenant's name, which is the file's.")
    extends: Word = Field(description="A base that this file tightens; relative to this file.")


class Policy(Body):
    """One tenant's policy, whole: what its base says is already in it. Every class comes on top of `always`."""

    tenant: Name = Field(description="The tenant's name, which is the file's.")
    classes: dict[Name, Constraints] = Field(
        min_length=1, max_length=CLASSES_MAX, description="Vetoes by data class; they come on top of `always`."
    )

    @cached_property
    def core_digest(self) -> str:
        """A digest of all that the policy means, but not whose it is: equal policies of many tenants share it."""
        said = {"description": True}
        return _digest(
            self.model_dump(
                mode="json",
                exclude={
                    **dict.fromkeys(("tenant", "description", "extends", "claims"), True),
                    "always": said,
                    "classes": dict.fromkeys(self.classes, said),
                    "overrides": {"__all__": {**said, "constraints": said}},
                },
            )
        )

    @cached_property
    def digest(self) -> str:
        """A digest of the policy's meaning: descriptions, claims, comments and order of keys do not change it."""
        return _digest([self.tenant, self.core_digest])

    def blocks(self, classes: Iterable[str]) -> tuple[Constraints, ...]:
        """Return the constraint blocks that bind a call of these data classes; all of them when none is named.

        A class that the policy does not know binds like none named: every class at once. Overrides are not in it.
        """
        return (self.always, *(self.classes[name] for name in self._binding(classes)))

    def terms(self, fleet: Fleet, classes: Iterable[str], model: str, origin: str, at_s: int) -> Terms:
        """Return what binds a call of these classes, for a model, from an origin, at an instant.

        `at_s` is seconds since 1970 UTC. 0 says that nobody knows the time: every window then counts as open.
        """
        known, found = self._memory, self._applying(fleet, model, origin, at_s)
        key = (
            self._binding(classes),
            found,
            fleet.digest if self._logs else "",
        )  # places of logs are merged by the fleet
        terms = known.terms.get(key)
        if terms is None:
            if len(known.terms) >= MEMORY_MAX:
                known.terms.clear()
            terms = known.terms[key] = self._terms(fleet, key[0], found)
        return terms

    def period(self, at_s: int) -> tuple[int, int]:
        """Return `[from_s, until_s)` around an instant in which no override starts or ends by the time.

        All of time for a policy without time windows; else at most one UTC day. The unknown time has a period of its own.
        """
        return common_period((window for _, window in self._windows), at_s)

    @cached_property
    def _windows(self) -> tuple[tuple[int, Window], ...]:
        windows = ((index, override.when.window) for index, override in enumerate(self.overrides))
        return tuple((index, window) for index, window in windows if window is not None)

    @cached_property
    def _logs(self) -> bool:
        blocks = (self.always, *self.classes.values(), *(override.constraints for override in self.overrides))
        return any(block is not None and block.log is not None for block in blocks)

    @cached_property
    def _memory(self) -> _Memory:
        return _Memory()

    def _binding(self, classes: Iterable[str]) -> tuple[str, ...]:
        named = sorted(set(classes))
        if not named or any(name not in self.classes for name in named):
            named = sorted(self.classes)
        return tuple(named)

    def _applying(self, fleet: Fleet, model: str, origin: str, at_s: int) -> tuple[int, ...]:
        """Return the overrides that apply: those that concern the call, without those whose time it is not."""
        if not self.overrides:
            return ()
        known = self._memory
        kind = (fleet.digest, model, origin)
        concerned = known.concerned.get(kind)
        if concerned is None:
            if len(known.concerned) >= MEMORY_MAX:
                known.concerned.clear()
            overrides = enumerate(self.overrides)
            concerned = tuple(index for index, each in overrides if each.when.concerns(fleet, model, origin))
            known.concerned[kind] = concerned
        if not self._windows:
            return concerned
        from_s, until_s, closed = known.open
        if not from_s <= at_s < until_s:
            closed = frozenset(index for index, window in self._windows if not window.holds(at_s))
            known.open = (*self.period(at_s), closed)
        return tuple(index for index in concerned if index not in closed)

    def _terms(self, fleet: Fleet, named: tuple[str, ...], found: tuple[int, ...]) -> Terms:
        applying = [self.overrides[index] for index in found]
        extra = [override.constraints for override in applying if override.constraints is not None]
        blocks = (*self.blocks(named), *extra)
        objectives = [override.objective for override in applying if override.objective is not None]
        objective = objectives[-1] if objectives else self.objective
        log = merge_logs((block.log for block in blocks), fleet)
        meaning = (*(block.model_dump(mode="json", exclude={"description"}) for block in blocks),)
        preferences = [part.model_dump(mode="json") for part in (objective, self.behaviour, log)]
        digest = _digest([meaning, self.deadline_quantile, preferences, found])
        return Terms(blocks, self.deadline_quantile, objective, self.behaviour, log, found, digest)

    def __copy__(self) -> Self:
        """Copy without what was worked out from the original's values, which the copy may be given anew."""
        copied = super().__copy__()
        for name in ("core_digest", "digest", "_windows", "_logs", "_memory"):
            copied.__dict__.pop(name, None)
        return copied


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
