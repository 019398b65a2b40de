"""What a scenario may change, one form per kind; those of the fleet stand in `fleet_forms`.

Shapes only: `fleet_changes`, `workload_changes`, `policy_changes` and `happenings` carry them out.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from infercast.policies.fleet import Deployment, Link, Name, Strict
from infercast.policies.windows import minutes_of

from .durations import Duration
from .fleet_forms import (
    AddSite,
    AddZone,
    ChangeDeployment,
    ChangeLink,
    ChangeModel,
    ChangePrice,
    DeploymentName,
    LinkName,
    MoveSite,
    RemoveDeployment,
    RemoveLink,
    RemoveSite,
    ResizeSite,
    exactly_one,
)
from .traffic import FACTOR_MAX
from .workload_file import Source
from .workload_parts import OneOf

Positive = Annotated[float, Field(gt=0, le=1_000_000)]
Names = Annotated[tuple[Name, ...], Field(min_length=1, max_length=4096)]


class AddSource(Strict):
    """More calls: one more source, as the workload writes them."""

    source: Source = Field(description="The source, as in the workload.")


class RemoveSource(Strict):
    """Takes a source of calls out."""

    source: Name = Field(description="The source's name.")


class ChangeSource(RemoveSource):
    """Another rate, day curve, payload or anything else of a source: a merge patch (RFC 7386) over the one there is."""

    patch: dict[str, Any] = Field(min_length=1, description="Keys of the source that change.")


class ChangePolicy(Strict):
    """Another policy of a tenant: a whole file, or a merge patch (RFC 7386) over the one there is.

    In a patch mappings merge, a list or a value takes the other's place, and `null` removes a key.
    """

    tenant: Name = Field(description="Whose policy.")
    file: str | None = Field(default=None, description="A policy file, relative to this one.")
    patch: dict[str, Any] | None = Field(default=None, description="Keys of the policy file that change.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        exactly_one(self, "file", "patch")
        return self


class Span(Strict):
    """From when until when, counted from the start of the scenario."""

    from_us: Duration = Field(default=0, alias="from", description="When it begins; left out, at the start.")
    until_us: Duration | None = Field(default=None, alias="until", description="When it ends; left out, never.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.until_us is not None and self.until_us <= self.from_us:
            raise ValueError("it would end before it begins")
        return self


class Traffic(Span):
    """More or fewer calls, or calls from elsewhere: those that meet every part that is said, for a time or for good.

    With `scale`, the calls that there are stay as they are: above 1 others join them, below 1 some stay away.
    """

    scale: float | None = Field(default=None, ge=0, le=FACTOR_MAX, description="So many times the calls.")
    shift_to: Name | None = Field(default=None, description="They come from this place instead.")
    share: float = Field(default=1.0, ge=0, le=1, description="The share of them that comes from there.")
    tenants: Names | None = Field(default=None, description="Calls of these tenants.")
    models: Names | None = Field(default=None, description="Calls for these models.")
    origins: Names | None = Field(default=None, description="Calls from these places.")
    sources: Names | None = Field(default=None, description="Calls of these sources of the workload.")
    hours: str | None = Field(default=None, description="HH:MM-HH:MM by the clock of each call's origin.")

    @field_validator("hours")
    @classmethod
    def _hours(cls, value: str | None) -> str | None:
        if value is not None:
            minutes_of(value)
        return value

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        exactly_one(self, "scale", "shift_to")
        return self


class Fail(Span):
    """A site, a deployment or a link that is down for a time. Calls in flight there are lost."""

    site: Name | None = Field(default=None, description="The whole site, its ingress as well.")
    deployment: DeploymentName | None = Field(default=None, description="One deployment, VARIANT@SITE.")
    link: LinkName | None = Field(default=None, description="What crosses it, both ways: fra~dub.")

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        exactly_one(self, "site", "deployment", "link")
        return self


class Slow(Span):
    """A site whose service times, or a link whose round trips, are longer for a time."""

    site: Name | None = Field(default=None, description="All that runs there.")
    link: LinkName | None = Field(default=None, description="What crosses it, both ways: fra~dub.")
    factor: Positive = Field(description="3.0: takes three times as long.")

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        exactly_one(self, "site", "link")
        return self


class Autoscale(Strict):
    """Replicas of deployments that follow their load, in the words of Ray Serve's autoscaling."""

    deployments: tuple[DeploymentName, ...] = Field(min_length=1, description="Which; each by itself.")
    replicas_min: int = Field(ge=0, le=100_000, description="Fewest.")
    replicas_max: int = Field(ge=1, le=100_000, description="Most.")
    target_ongoing: Positive = Field(default=2.0, description="Calls in flight per replica that are aimed at.")
    look_back: Duration = Field(default=30_000_000, description="The load's mean over this counts.")
    upscale_delay: Duration = Field(default=30_000_000, description="A wish for more is granted after this.")
    downscale_delay: Duration = Field(default=600_000_000, description="A wish for fewer is granted after this.")
    cold_start: Duration = Field(default=10_000_000, description="From the grant to the replica's first call.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.replicas_min > self.replicas_max:
            raise ValueError("replicas_min is above replicas_max")
        return self


class Truth(Strict):
    """What calls of some deployments really take on an idle server, where the card says otherwise."""

    deployments: tuple[DeploymentName, ...] = Field(min_length=1, description="Which.")
    p50_ms: float | None = Field(default=None, gt=0, le=600_000, description="Median; the mean of the other shapes.")
    p95_ms: float | None = Field(default=None, gt=0, le=600_000, description="95th percentile, of lognormal.")
    shape: Literal["lognormal", "exponential", "constant", "empirical"] = Field(
        default="lognormal", description="The distribution."
    )
    values_ms: tuple[Annotated[float, Field(gt=0, le=600_000)], ...] = Field(
        default=(), max_length=100_000, description="Measured times, for `empirical`."
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.shape == "empirical") is not bool(self.values_ms):
            raise ValueError("values_ms goes with shape: empirical, and only with it")
        if self.shape != "empirical" and self.p50_ms is None:
            raise ValueError("the key 'p50_ms' is missing")
        if self.shape == "lognormal" and (self.p95_ms is None or self.p95_ms < (self.p50_ms or 0)):
            raise ValueError("lognormal needs p95_ms, at least p50_ms")
        return self


class Power(Strict):
    """What a replica draws while it computes, by site."""

    watts: dict[Name, Annotated[float, Field(ge=0, le=100_000)]] = Field(min_length=1, description="Watts, by site.")


class Batching(Strict):
    """What each further call of a batch adds, as a share of one call's time, by variant. 1.0 gains nothing."""

    marginal: dict[Name, Annotated[float, Field(ge=0, le=1)]] = Field(min_length=1, description="Share, by variant.")


class Change(OneOf):
    """One change: exactly one of these keys."""

    add_site: AddSite | None = Field(default=None, description="A new site.")
    remove_site: RemoveSite | None = Field(default=None, description="A site that goes for good.")
    move_site: MoveSite | None = Field(default=None, description="A site that goes elsewhere.")
    resize_site: ResizeSite | None = Field(default=None, description="More or fewer slots.")
    add_zone: AddZone | None = Field(default=None, description="A new place that calls come from.")
    add_link: Link | None = Field(default=None, description="A new link, as in the fleet file.")
    remove_link: RemoveLink | None = Field(default=None, description="A link that goes for good.")
    change_link: ChangeLink | None = Field(default=None, description="A link with other values.")
    add_deployment: Deployment | None = Field(default=None, description="A variant at one more site.")
    remove_deployment: RemoveDeployment | None = Field(default=None, description="A variant that leaves a site.")
    change_deployment: ChangeDeployment | None = Field(default=None, description="Other replicas, queue, batch.")
    change_price: ChangePrice | None = Field(default=None, description="Another price.")
    change_model: ChangeModel | None = Field(default=None, description="Other variants of a model.")
    add_source: AddSource | None = Field(default=None, description="More calls, of a kind of their own.")
    remove_source: RemoveSource | None = Field(default=None, description="Calls that no longer come.")
    change_source: ChangeSource | None = Field(default=None, description="Another rate, day curve, payload.")
    traffic: Traffic | None = Field(default=None, description="More, fewer, or from elsewhere.")
    policy: ChangePolicy | None = Field(default=None, description="Another policy of a tenant.")
    fail: Fail | None = Field(default=None, description="Something is down for a time.")
    slow: Slow | None = Field(default=None, description="Something is slow for a time.")
    autoscale: Autoscale | None = Field(default=None, description="Replicas that follow the load.")
    truth: Truth | None = Field(default=None, description="Real service times, unlike the card's.")
    power: Power | None = Field(default=None, description="Power drawn.")
    batching: Batching | None = Field(default=None, description="What a batch gains.")
