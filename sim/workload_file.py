"""The workload block of a scenario: sources of calls, each made up (`rate`) or recorded (`trace`).

Weights are relative; times are written `90s`, `1h30m`. `docs/workloads.md` says what each field does.
"""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from infercast.policies.fleet import Name, Strict
from infercast.policies.parts import Said
from infercast.policies.policy import CLASSES_MAX
from infercast.policies.windows import known_zone

from .durations import Duration
from .workload_parts import PayloadPart, Rate, Repeated, Trace, WorkPart

SOURCES_MAX, PLACES_MAX = 256, 4096
HOURS_OF_DAY = 24

Weight = Annotated[float, Field(strict=True, ge=0, le=1_000_000)]
Zone = Annotated[str, Field(max_length=64), AfterValidator(known_zone)]


class _ListForShort:
    """Beside weights that may be written as a plain list of places: it tells editors so, too."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "array", "items": {"type": "string"}, "uniqueItems": True}, handler(core)]}


def _list_is_equal(value: Any) -> Any:
    """Places in a list send equally much; a place named twice leaves a list, which is then refused."""
    words = isinstance(value, list) and all(isinstance(word, str) for word in value)
    return dict.fromkeys(value, 1.0) if words and len(set(value)) == len(value) else value


Origins = Annotated[dict[Name, Weight], Field(max_length=PLACES_MAX), BeforeValidator(_list_is_equal), _ListForShort()]


class Source(Strict):
    """Calls of one tenant, as they are made up or were recorded. Says exactly one of `rate` and `trace`.

    What the source says itself takes the place of what its trace says.
    """

    name: Name = Field(description="Its name; it also names the randomness, so a renamed source has other luck.")
    description: Said = Field(default="", description="What this is about, for people.")
    tenant: Name | None = Field(default=None, description="Whose calls; only a decision log brings tenants itself.")
    model: Name | None = Field(default=None, description="What they call; a trace may bring models.")
    classes: tuple[Name, ...] | None = Field(
        default=None, max_length=CLASSES_MAX, description="Data classes they name; left out: none, which binds by all."
    )
    origins: Origins = Field(default={}, description="Where calls come from, with weights; a list weighs all alike.")
    entries: tuple[Name, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description="Sites that are tried, in this order; left out: all where the call may enter, the nearest first.",
    )
    priority: int = Field(default=0, strict=True, ge=0, le=3, description="0 is served first, 3 last.")
    deadline_ms: float | None = Field(
        default=None, strict=True, gt=0, le=600_000, description="What callers ask, beside the policy's."
    )
    rate: Rate | None = Field(default=None, description="How often calls come; for sources that are made up.")
    day_curve: tuple[Weight, ...] | None = Field(
        default=None,
        min_length=HOURS_OF_DAY,
        max_length=HOURS_OF_DAY,
        description="Weights of the 24 hours by the clock of each origin; the mean of a day stays `rate`.",
    )
    time_zones: dict[Name, Zone] = Field(
        default={}, max_length=PLACES_MAX, description="Clocks by origin: IANA names. Left out: by country and place."
    )
    trace: Trace | None = Field(default=None, description="Recorded calls.")
    payload_bytes: PayloadPart | None = Field(default=None, description="How large calls are. Made up: 0 if left out.")
    work: WorkPart | None = Field(default=None, description="How much work they are. Made up: 1 if left out.")
    repeated: Repeated | None = Field(
        default=None, description="Which of them ask the same. Made up: none if left out."
    )
    from_: Duration = Field(default=0, alias="from", description="When it begins, from the scenario's start.")
    until: Duration | None = Field(default=None, description="When it ends; left out: with the workload.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.rate is None) is (self.trace is None):
            raise ValueError("say exactly one of `rate` (made up) and `trace` (recorded)")
        if self.trace is not None and self.day_curve is not None:
            raise ValueError("`day_curve` is for made-up calls; a trace brings its own times")
        if self.until is not None and self.until <= self.from_:
            raise ValueError("`until` is not after `from`, so no call would come")
        if self.day_curve is not None and not any(self.day_curve):
            raise ValueError("all weights of `day_curve` are 0, so no call would come")
        if self.origins and not any(self.origins.values()):
            raise ValueError("all weights of `origins` are 0, so no call would come")
        return self


class Workload(Strict):
    """All calls of a scenario. Each source has its own randomness: one more source changes no other's calls."""

    duration: Duration | None = Field(
        default=None, description="How long calls come; needed where a made-up source has no `until`."
    )
    sources: tuple[Source, ...] = Field(min_length=1, max_length=SOURCES_MAX, description="Where calls come from.")

    def ends_us(self, source: Source) -> int | None:
        """Return when a source ends: the sooner of its own end and the workload's; None where neither is said."""
        said = [end for end in (source.until, self.duration) if end is not None]
        return min(said) if said else None
