"""The parts of a source of calls: how often, how large, how much work, which are the same question, and recorded traces."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from infercast.policies.fleet import Name, Strict
from infercast.policies.model import PAYLOAD_BYTES_MAX
from infercast.policies.parts import Share

from .durations import Duration
from .model import WORK_MAX_PPM, WORK_USUAL_PPM

PER_S_MAX = 1_000_000
VALUES_MAX = 10_000
QUESTIONS_MAX = 10_000_000
WORK_MAX = WORK_MAX_PPM // WORK_USUAL_PPM
"""Most work that a call may have, in the work of a usual one."""
WORK_MIN = 0.001

PerS = Annotated[float, Field(strict=True, ge=0, le=PER_S_MAX)]
Bytes = Annotated[int, Field(strict=True, ge=0, le=PAYLOAD_BYTES_MAX)]
Effort = Annotated[float, Field(strict=True, ge=WORK_MIN, le=WORK_MAX)]


class NumberForShort:
    """Beside a distribution that may be written as one number: it tells editors so, too."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "number"}, handler(core)]}


def _number_is_constant(value: Any) -> Any:
    return {"constant": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


class OneOf(Strict):
    """A part that says exactly one of its fields."""

    @model_validator(mode="after")
    def _says_one(self) -> Self:
        names = list(type(self).model_fields)
        said = [name for name in names if getattr(self, name) is not None]
        if len(said) != 1:
            raise ValueError(f"say exactly one of {', '.join(names)}; this says {len(said)}")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        found = handler.resolve_ref_schema(handler(core))
        found |= {"minProperties": 1, "maxProperties": 1}
        return found


class BytesSpread(Strict):
    """A lognormal distribution of bytes through two quantiles."""

    p50: int = Field(strict=True, ge=1, le=PAYLOAD_BYTES_MAX, description="Half of the calls are smaller.")
    p95: int = Field(strict=True, ge=1, le=PAYLOAD_BYTES_MAX, description="19 of 20 are smaller.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _check_order(self.p50, self.p95)
        return self


class WorkSpread(Strict):
    """A lognormal distribution of work through two quantiles; 1 takes as long as the card says."""

    p50: Effort = Field(default=1.0, description="Half of the calls are less work.")
    p95: Effort = Field(description="19 of 20 are less work.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _check_order(self.p50, self.p95)
        return self


def _check_order(p50: float, p95: float) -> None:
    if p95 < p50:
        raise ValueError(f"p95 {p95} is below p50 {p50}")


class Payload(OneOf):
    """How large calls are, in bytes. A plain number is a constant."""

    constant: Bytes | None = Field(default=None, description="All calls are this large.")
    lognormal: BytesSpread | None = Field(default=None, description="Spread through two quantiles.")
    empirical: tuple[Bytes, ...] | None = Field(
        default=None, min_length=1, max_length=VALUES_MAX, description="Equally likely sizes."
    )


class Work(OneOf):
    """How much work calls are, as a share of what the card's times are for. A plain number is a constant."""

    constant: Effort | None = Field(default=None, description="All calls are this much work.")
    lognormal: WorkSpread | None = Field(default=None, description="Spread through two quantiles.")
    empirical: tuple[Effort, ...] | None = Field(
        default=None, min_length=1, max_length=VALUES_MAX, description="Equally likely shares."
    )


PayloadPart = Annotated[Payload, BeforeValidator(_number_is_constant), NumberForShort()]
WorkPart = Annotated[Work, BeforeValidator(_number_is_constant), NumberForShort()]


class Repeated(Strict):
    """Calls that ask what others asked, so that a cache may answer: a share of them asks one of so many questions."""

    share: Share = Field(
        description="Share of the calls that ask a known question; the others ask what nobody else does."
    )
    questions: int = Field(strict=True, ge=1, le=QUESTIONS_MAX, description="How many known questions there are.")
    zipf: float = Field(
        default=1.0, strict=True, ge=0, le=5, description="Question k is asked in proportion to k to the minus this."
    )


class Bursty(Strict):
    """Calm and burst in turn, each for exponentially distributed times; Poisson calls at the rate of either."""

    calm_per_s: PerS = Field(description="Calls a second while it is calm.")
    burst_per_s: PerS = Field(description="Calls a second in a burst.")
    calm_mean: Duration = Field(description="How long it stays calm, on average.")
    burst_mean: Duration = Field(description="How long a burst lasts, on average.")

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if min(self.calm_mean, self.burst_mean) < 1000:
            raise ValueError("calm_mean and burst_mean are at least 1ms")
        return self

    @property
    def mean_per_s(self) -> float:
        """Calls a second in the long run."""
        calm_us, burst_us = self.calm_mean, self.burst_mean
        return (self.calm_per_s * calm_us + self.burst_per_s * burst_us) / (calm_us + burst_us)


class Rate(OneOf):
    """How often calls come, from all origins together."""

    poisson_per_s: PerS | None = Field(default=None, description="Independent calls, so many a second.")
    even_per_s: PerS | None = Field(default=None, description="Each origin's calls at equal distances.")
    bursty: Bursty | None = Field(default=None, description="Calm and bursts in turn (two-state MMPP).")

    @property
    def mean_per_s(self) -> float:
        """Calls a second in the long run."""
        if self.bursty is not None:
            return self.bursty.mean_per_s
        return (self.poisson_per_s or 0.0) + (self.even_per_s or 0.0)


class Trace(Strict):
    """Recorded calls: the file, its format, and how its rows become calls."""

    file: str = Field(min_length=1, max_length=1000, description="Path, from the folder of the scenario.")
    format: Literal["azure_llm", "mooncake", "burstgpt", "decision_log"] = Field(description="How the file is written.")
    models: dict[Annotated[str, Field(max_length=200)], Name] = Field(
        default={}, max_length=1000, description="The fleet's model for each of the trace's; others are left out."
    )
    speed: float = Field(default=1.0, strict=True, ge=0.001, le=1000, description="2 plays it in half the time.")
    every: int = Field(default=1, strict=True, ge=1, le=1_000_000, description="Takes each so-many-th row only.")
    first: int = Field(default=0, strict=True, ge=0, le=1_000_000_000, description="The first row taken, from 0.")
    bytes_per_token: float = Field(default=4.0, strict=True, ge=0, le=100_000, description="Payload of a prompt token.")
    generated_weight: float = Field(
        default=1.0, strict=True, ge=0, le=10_000, description="Work of a generated token, in prompt tokens."
    )
    gaps: Literal["refuse", "keep"] = Field(default="refuse", description="keep: gaps longer than `gap_max` are meant.")
    gap_max: Duration = Field(default=3_600_000_000, description="Longest time without a call.")
    backwards_max: Duration = Field(default=1_000_000, description="Most that a row may be older than one above it.")
