"""What a scenario may change of the fleet, one form per kind: parts of the fleet are written as in the fleet file.

Shapes only: `fleet_changes` carries them out, and the fleet's loader checks what comes out.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from infercast.policies.fleet import Deployment, Link, Name, Site, Strict, Trust, Variant, Zone
from infercast.policies.model import Tier

LinkName = Annotated[str, Field(pattern=r"^[a-z0-9.-]+~[a-z0-9.-]+$", description="Two places, as fra~dub.")]
DeploymentName = Annotated[str, Field(min_length=3, max_length=127, description="VARIANT@SITE.")]
Links = Annotated[tuple[Link, ...], Field(description="Its links, as in the fleet file.")]


def exactly_one(form: Strict, *keys: str) -> None:
    """Raise ValueError, in words, unless a form says one of these keys and no other."""
    said = [key for key in keys if getattr(form, key) is not None]
    if len(said) != 1:
        raise ValueError(f"say one of {', '.join(keys)}" + (f", not {' and '.join(said)}" if said else ""))


class AddSite(Strict):
    """A site that the fleet does not have, with its links and deployments, as the fleet file writes them."""

    site: Site = Field(description="The site, as in the fleet file.")
    links: Links = ()
    deployments: tuple[Deployment, ...] = Field(default=(), description="What runs there, as in the fleet file.")


class OfSite(Strict):
    """Names a site."""

    site: Name = Field(description="The site's id.")


class RemoveSite(OfSite):
    """Takes a site out for good, with its links and deployments. To lose it for a time, `fail` it."""


class Elsewhere(Strict):
    """Where a site goes. What is not said stays as it is."""

    country: str | None = Field(default=None, description="ISO 3166 country.")
    place: str | None = Field(default=None, description="The place's name, for people.")
    lat: float = Field(description="Degrees north.")
    lon: float = Field(description="Degrees east.")
    operator: Name | None = Field(default=None, description="Who runs it there.")
    trust: Trust | None = Field(default=None, description="What is promised there; replaces all that was.")


class MoveSite(OfSite):
    """Puts a site elsewhere. Distances change with the place, so its links are given anew; the old ones go."""

    to: Elsewhere = Field(description="Where it stands from now on.")
    links: Links = Field(min_length=1)


class ResizeSite(OfSite):
    """Gives a site more or fewer slots, another price for them, or a device more instances."""

    accelerators: dict[Name, "Slots"] = Field(default={}, description="Slots and price, by accelerator.")
    instances: int | None = Field(default=None, ge=1, description="How many devices a template stands for.")


class Slots(Strict):
    """An accelerator's slots and price. What is not said stays; a new accelerator needs its price."""

    slots: int | None = Field(default=None, ge=1, description="Replicas' worth of it.")
    usd_per_hour: float | None = Field(default=None, ge=0, description="Price of a replica's hour.")


class AddZone(Strict):
    """A place that calls come from, and its links."""

    zone: Zone = Field(description="The zone, as in the fleet file.")
    links: Links = ()


class OfLink(Strict):
    """Names a link."""

    link: LinkName


class RemoveLink(OfLink):
    """Takes a link out for good. To lose it for a time, `fail` it."""


class ChangeLink(OfLink):
    """Gives a link other values. What is not said stays."""

    rtt_ms: float | None = Field(default=None, description="Round trip, median. Its p95 is scaled alike if not said.")
    rtt_p95_ms: float | None = Field(default=None, description="Round trip, p95.")
    bandwidth_mbps: float | None = Field(default=None, description="For one call.")
    countries: tuple[str, ...] | None = Field(default=None, description="Countries that it crosses.")


class RemoveDeployment(Strict):
    """Takes a variant off a site."""

    deployment: DeploymentName


class ChangeDeployment(RemoveDeployment):
    """Gives a deployment other replicas or another way of running. What is not said stays."""

    replicas: int | None = Field(default=None, description="How many stand there.")
    hosted: str | None = Field(default=None, description="in_worker or own.")
    accelerator: Name | None = Field(default=None, description="What they run on.")
    concurrency: int | None = Field(default=None, description="Calls that a replica runs at once.")
    queue_max: int | None = Field(default=None, description="Calls in flight at which there is no more room.")
    batch_max: int | None = Field(default=None, description="Calls that a replica joins into one.")


class ChangePrice(Strict):
    """Another price: of computing at a site, at all sites of an operator or a tier, or of a link's traffic."""

    site: Name | None = Field(default=None, description="Of this site's accelerators.")
    operator: Name | None = Field(default=None, description="Of all sites of this operator.")
    tier: Tier | None = Field(default=None, description="Of all sites of this tier.")
    link: LinkName | None = Field(default=None, description="Of what crosses this link.")
    accelerator: Name | None = Field(default=None, description="Of this accelerator only.")
    scale: float | None = Field(default=None, ge=0, le=1000, description="Times the price there is.")
    usd_per_hour: float | None = Field(default=None, ge=0, description="The price of a replica's hour.")
    egress_usd_per_gb: float | None = Field(default=None, ge=0, description="For what leaves the link's first end.")
    egress_back_usd_per_gb: float | None = Field(default=None, ge=0, description="For what leaves the second.")

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        exactly_one(self, "site", "operator", "tier", "link")
        of_link = self.egress_usd_per_gb is not None or self.egress_back_usd_per_gb is not None
        if (self.link is None and of_link) or (self.link is not None and (self.usd_per_hour is not None)):
            raise ValueError("a site has usd_per_hour, a link egress_usd_per_gb and egress_back_usd_per_gb")
        if sum((self.scale is not None, self.usd_per_hour is not None, of_link)) != 1:
            raise ValueError("say the new price or scale, one of them")
        if self.link is not None and self.accelerator is not None:
            raise ValueError("a link has no accelerator")
        return self


class ChangeModel(Strict):
    """Adds variants to a model or takes some away, with their deployments. A card's path is relative to this file."""

    model: Name = Field(description="The model's id.")
    add: tuple[Variant, ...] = Field(default=(), description="Variants, as in the fleet file; deploy them as well.")
    remove: tuple[Name, ...] = Field(default=(), description="Variants that go.")
    response_bytes: int | None = Field(default=None, description="Size of an answer.")
