"""The blocks of a policy file: vetoes (Constraints and its parts), preferences (Objective), and how a call is carried.

Every number is bounded, every list has an end, and a value of another kind is refused rather than converted.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, SerializerFunctionWrapHandler, model_serializer
from pydantic_core import CoreSchema

from .fleet import Name, Strict
from .model import Preference, Quantile, Tier

WORDS_MAX = 512
MODELS_MAX = 1_000
USD_MAX = 1_000
BUDGETS_MAX = 64
ALERTS_MAX = 16
DESCRIPTION_MAX = 4_000

Word = Annotated[str, Field(min_length=1, max_length=200)]
Words = Annotated[tuple[Word, ...], Field(max_length=WORDS_MAX)]
Said = Annotated[str, Field(max_length=DESCRIPTION_MAX)]
Flag = Annotated[bool, Field(strict=True)]
Days = Annotated[int, Field(strict=True, ge=0, le=100_000)]
Count = Annotated[int, Field(strict=True, ge=0, le=1_000_000_000)]
Weight = Annotated[int, Field(strict=True, ge=1, le=100)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Usd = Annotated[float, Field(strict=True, ge=0, le=USD_MAX)]
BudgetUsd = Annotated[float, Field(strict=True, ge=0, le=1_000_000_000)]
AlertShare = Annotated[float, Field(strict=True, ge=0.000001, le=1)]
Completion = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


class ListForShort:
    """Beside a part that may be written as a plain list of words: it tells editors so, too."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        plain = {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 200}, "maxItems": WORDS_MAX}
        return {"anyOf": [plain, handler(core)]}


def _list_is_allow(value: Any) -> Any:
    return {"allow": value} if isinstance(value, list) else value


class Places(Strict):
    """Countries and groups. `allow` left out permits every known place, empty none; `deny` wins. A list means `allow`."""

    allow: Words | None = Field(
        default=None, description="Countries and groups that are permitted; left out: all known."
    )
    deny: Words = Field(default=(), description="Countries and groups that are not, even where `allow` has them.")


class Operators(Strict):
    """Operators by id, as in Places. An unknown operator passes no rule that asks for one."""

    allow: Words | None = Field(default=None, description="Operators that are permitted; left out: all known.")
    deny: Words = Field(default=(), description="Operators that are not.")


PlacesPart = Annotated[Places, BeforeValidator(_list_is_allow), ListForShort()]
OperatorsPart = Annotated[Operators, BeforeValidator(_list_is_allow), ListForShort()]


class Residency(Strict):
    """Where data may enter, be processed, pass through and be stored. A part left out asks for nothing."""

    entry: PlacesPart | None = Field(default=None, description="Where a call may be received.")
    processing: PlacesPart | None = Field(default=None, description="Where it may run, and be received.")
    transit: PlacesPart | None = Field(default=None, description="What its way may cross.")
    storage: PlacesPart | None = Field(default=None, description="Where inputs may be kept.")


class Privacy(Strict):
    """Which sites may see the data. A part left out asks for nothing; an unknown attribute fails every part that asks."""

    tiers: tuple[Tier, ...] | None = Field(default=None, max_length=8, description="Tiers of sites that may see it.")
    operators: OperatorsPart | None = Field(default=None, description="Who may run these sites.")
    retention_days_max: Days | None = Field(default=None, description="Most days a site may keep inputs.")
    no_training: Flag = Field(default=False, description="true: only where nobody trains on inputs.")
    attestation: tuple[Literal["tpm", "sev-snp", "tdx", "nitro"], ...] | None = Field(
        default=None, max_length=8, description="Only machines that prove their state in one of these ways."
    )
    certifications: Words = Field(default=(), description="Marks that a site must have, all of them.")


class Log(Strict):
    """How decisions of a kind may be recorded. It never vetoes a call."""

    decisions: Flag = Field(default=True, description="false: no record of these decisions is written.")
    keep_days: Days | None = Field(default=None, description="Most days that a record may be kept.")
    residency: PlacesPart | None = Field(default=None, description="Where the record itself may be kept.")


class Constraints(Strict):
    """Vetoes. None of them is ever bought off by a price, a weight or a deadline."""

    description: Said = Field(default="", description="What this is about, for people.")
    residency: Residency = Field(default=Residency(), description="Where data may be.")
    privacy: Privacy = Field(default=Privacy(), description="Which sites may see it.")
    deadline_ms: float | None = Field(
        default=None, strict=True, gt=0, le=600_000, description="Latest answer, at `deadline_quantile`."
    )
    accuracy_min: dict[Name, Share] = Field(
        default={}, max_length=MODELS_MAX, description="Least measured accuracy (0 to 1) of a variant, by model."
    )
    price_max_usd: Usd | None = Field(default=None, description="Most that one call may cost.")
    log: Log | None = Field(default=None, description="How these decisions may be recorded.")


class Waiting(Strict):
    """What a second of waiting costs the tenant, at which quantile of the estimated latency."""

    usd_per_second: float = Field(default=0.0, strict=True, ge=0, le=10, description="Worth of a second, in USD.")
    quantile: Quantile = Field(default=Quantile.P50, description="Quantile of the latency that is priced.")


class Exposure(Strict):
    """What it costs the tenant, per call, that data leaves the device, the country or the operator that it comes from."""

    usd_leaving_device: Usd = Field(default=0.0, description="Worth of staying on the device, per call.")
    usd_leaving_country: Usd = Field(default=0.0, description="Worth of staying in the country, per call.")
    usd_leaving_operator: Usd = Field(default=0.0, description="Worth of staying with the operator, per call.")


class Objective(Strict):
    """Preferences among what no rule vetoes: exchange rates into USD, or one thing first."""

    preference: Preference = Field(
        default=Preference.BALANCED, description="balanced: least sum in USD; else one thing first."
    )
    waiting: Waiting = Field(default=Waiting(), description="What waiting costs.")
    usd_per_error: Usd = Field(default=0.0, description="What a wrong answer costs.")
    exposure: Exposure = Field(default=Exposure(), description="What leaving a place costs.")


class Hedge(Strict):
    """A second try beside the first, once that takes longer than it mostly does."""

    after_quantile: Quantile = Field(default=Quantile.P95, description="Wait until this quantile of the estimate.")
    budget_share: Share = Field(default=0.05, description="Most calls that may be hedged, as a share of all.")


class Similar(Strict):
    """Answers to questions that only nearly are the same. What is near is judged by an embedding model at the entry."""

    model: Name = Field(description="The embedding model that questions are compared by; it runs at the entry or not.")
    min_similarity: float = Field(
        default=0.95, strict=True, ge=0.5, le=1, description="Least cosine similarity of two questions."
    )


class Cache(Strict):
    """Answers kept for the same question. Never shared between tenants."""

    ttl_s: int = Field(strict=True, ge=1, le=30 * 86_400, description="Seconds for which an answer may be given again.")
    scope: Literal["key", "tenant"] = Field(
        default="key", description="Who may get it again: the same key, or the tenant."
    )
    similar: Similar | None = Field(
        default=None, description="Also for questions that are nearly the same; left out: for the same only."
    )


class Behaviour(Strict):
    """How a call is carried: what it may be tried on, how near-ties share the load, retries, hedge and cache."""

    fallbacks_max: int = Field(
        default=4, strict=True, ge=0, le=7, description="Further candidates a call may be tried on."
    )
    spread_margin_usd: Usd = Field(default=0.0, description="Candidates within this of the best share the calls.")
    retries_max: int = Field(default=0, strict=True, ge=0, le=7, description="Further tries on the same candidate.")
    hedge: Hedge | None = Field(default=None, description="A second try beside a slow first one.")
    cache: Cache | None = Field(default=None, description="Answers kept for the same question.")


class Budget(Strict):
    """Money for a UTC day or month, and what happens on the way to its end."""

    per: Literal["day", "month"] = Field(description="The UTC day, or the UTC month.")
    usd: BudgetUsd = Field(description="How much money it is.")
    models: tuple[Name, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=MODELS_MAX,
        description="Each of these has so much for itself; left out: all models have it together.",
    )
    when_spent: Literal["refuse", "alert"] = Field(
        default="refuse", description="refuse: calls that it leaves no money for; alert: nothing is refused."
    )
    alert_at: tuple[AlertShare, ...] = Field(
        default=(), max_length=ALERTS_MAX, description="Shares of it whose spending is told, once each in a period."
    )


class ModelLimits(Strict):
    """How much may be used of one model. A part left out sets no limit."""

    requests_per_minute: Count | None = Field(default=None, description="Most calls in a UTC minute.")
    tokens_per_minute: Count | None = Field(default=None, description="Most tokens in a UTC minute.")
    concurrent_max: Count | None = Field(default=None, description="Most calls at once.")
    completion_tokens_max: Completion | None = Field(
        default=None, description="Most tokens that one answer may have; given to a call that names none."
    )


class Limits(ModelLimits):
    """How much a tenant may use in all. A part left out sets no limit."""

    budget_usd_per_day: BudgetUsd | None = Field(default=None, description="Most money in a UTC day.")
    budget_usd_per_month: BudgetUsd | None = Field(default=None, description="Most money in a UTC month.")
    weight: Weight | None = Field(
        default=None, description="Share of a place that more calls want than it has room for; left out: 1."
    )
    budgets: tuple[Budget, ...] = Field(
        default=(), max_length=BUDGETS_MAX, description="Further budgets: by model, or such as only tell."
    )
    per_model: dict[Name, ModelLimits] = Field(
        default={}, max_length=MODELS_MAX, description="Limits of single models, beside those of all together."
    )

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what an older policy could not say: its digest, by which its decisions are filed, stays as it was."""
        said: dict[str, Any] = dump(self)
        for part in ("completion_tokens_max", "budgets", "per_model", "weight"):
            if part in said and not said[part]:
                del said[part]
        return said

    def completion_max(self, model: str) -> int | None:
        """Return the most tokens that one answer of a model may have."""
        own = self.per_model.get(model)
        caps = (self.completion_tokens_max, None if own is None else own.completion_tokens_max)
        return min((cap for cap in caps if cap is not None), default=None)
