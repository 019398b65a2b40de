"""The fleet: everything `cluster.yaml` says. Sites, links, client zones, models, prices, deployments.

Trust attributes and countries that are left out are unknown, and an unknown is vetoed by every rule that asks for it.
"""

import hashlib
import json
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .jurisdictions import UNKNOWN, Jurisdictions
from .model import Hosting, Tier
from .network import LinkFacts, Network
from .tables import Tables
from .units import nusd, us_from_ms
from .upstream import TokenPrice, Upstream

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")]
IN_WORKER_P95_MAX_MS = 5.0
"""Longest service time that may run inside a site worker: longer ones would hold up its event loop."""


class Strict(BaseModel):
    """A part of a file: unknown keys are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Trust(Strict):
    """What an operator promises about a site. None means nobody has said."""

    retention_days: int | None = Field(default=None, strict=True, ge=0)
    trains_on_inputs: bool | None = None
    attestation: Literal["none", "tpm", "sev-snp", "tdx", "nitro"] | None = None
    certifications: tuple[str, ...] = ()


class Accelerator(Strict):
    """Hardware of a site: how many replicas' worth of it there is, and what one replica of it costs while it computes."""

    slots: int = Field(default=1, ge=1, le=100_000)
    usd_per_hour: float = Field(ge=0, le=10_000)


class Site(Strict):
    """A place where replicas run. `instances` above 1 makes a device site a template of that many equal devices."""

    id: Name
    tier: Tier
    country: str = UNKNOWN
    place: str = ""
    lat: float = Field(ge=-90, le=90)
    lon: float = Field(ge=-180, le=180)
    operator: Name | None = None
    trust: Trust = Trust()
    accelerators: dict[Name, Accelerator] = Field(min_length=1)
    instances: int = Field(default=1, ge=1, le=1_000_000)
    tenant: Name | None = None
    """Whose device it is; its agent carries this tenant's policy."""
    upstream: Upstream | None = None
    """The service that stands behind the site, where it is somebody else's: nothing of ours runs there, and no call enters."""
    source: str = ""

    @model_validator(mode="before")
    @classmethod
    def _upstream_hardware(cls, value: Any) -> Any:
        """An upstream's hardware is its own affair: it is not paid by the hour unless the file says so."""
        if isinstance(value, dict) and value.get("upstream") is not None and "accelerators" not in value:
            return {**value, "accelerators": {"cpu": {"usd_per_hour": 0}}}
        return value


class Zone(Strict):
    """A place that calls come from."""

    id: Name
    country: str = UNKNOWN
    place: str = ""
    lat: float = Field(ge=-90, le=90)
    lon: float = Field(ge=-180, le=180)
    peer: bool = False
    """Another cluster of ours stands there and sends calls on, with a record of where they have been."""
    onward: bool = False
    """Whether calls of that cluster may be sent on to upstreams of this one."""


class Link(Strict):
    """Network between two places. Without `countries` nobody knows where it runs, and transit rules veto it."""

    from_: Name = Field(alias="from")
    to: Name
    rtt_ms: float = Field(ge=0, le=60_000)
    rtt_p95_ms: float | None = Field(default=None, ge=0, le=60_000)
    bandwidth_mbps: float = Field(ge=0.01, le=1_000_000)
    egress_usd_per_gb: float = Field(default=0.0, ge=0, le=100)
    egress_back_usd_per_gb: float | None = Field(default=None, ge=0, le=100)
    countries: tuple[str, ...] = (UNKNOWN,)
    source: str = ""

    def facts(self) -> LinkFacts:
        """Return the link in the engine's units."""
        rtt_us = us_from_ms(self.rtt_ms)
        p95_us = us_from_ms(self.rtt_p95_ms) if self.rtt_p95_ms is not None else rtt_us + rtt_us // 4
        back = self.egress_usd_per_gb if self.egress_back_usd_per_gb is None else self.egress_back_usd_per_gb
        return LinkFacts(
            ends=(self.from_, self.to),
            rtt_us=rtt_us,
            spread_us=p95_us - rtt_us,
            kbps=max(1, int(self.bandwidth_mbps * 1000)),
            egress_nusd_per_gb=nusd(self.egress_usd_per_gb),
            egress_back_nusd_per_gb=nusd(back),
            countries=frozenset(self.countries or (UNKNOWN,)),
        )


class Accuracy(Strict):
    """A measured accuracy: how many of n held-out inputs were right, and the 95% interval."""

    value: float = Field(ge=0, le=1)
    correct: int = Field(ge=0)
    n: int = Field(gt=0)
    low_95: float = Field(ge=0, le=1)
    high_95: float = Field(ge=0, le=1)
    method: str = ""
    data: str = ""


class ServiceTime(BaseModel):
    """Time of one inference on one accelerator, and where it was measured."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    p50: float = Field(gt=0, le=600_000)
    p95: float = Field(gt=0, le=600_000)
    machine: str = ""
    date: str = ""


class Tensor(Strict):
    """A model's input or output in the words of the Open Inference Protocol; -1 is a free dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class Tokens(Strict):
    """The usual call of a language model: its service time to the first token and its price are declared for it."""

    prompt: int = Field(gt=0, le=10_000_000)
    completion: int = Field(default=0, ge=0, le=10_000_000)


class Text(Strict):
    """What a language model needs beside its weights. Files are named relative to the artefact."""

    tokenizer: str
    context_tokens: int = Field(gt=0, le=100_000_000)
    chat_template: str | None = None
    """A Jinja template, or the name of a file that holds one."""
    end_tokens: tuple[int, ...] = ()
    """Tokens that end a text."""


class Card(BaseModel):
    """What the script that made an artefact measured of it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    variant: Name
    artefact: str
    sha256: str | None = None
    artefact_bytes: int = Field(gt=0)
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    accuracy: Accuracy | None = None
    service_time_ms: dict[str, ServiceTime] = Field(min_length=1)
    """Of one inference; of a chat model, until the first token of the usual call."""
    text: Text | None = None
    usual_tokens: Tokens | None = None


class Variant(Strict):
    """One concrete artefact of a model: the file, and the card that says what was measured of it."""

    id: Name
    card: str
    artefact: str | None = None


class ModelEntry(Strict):
    """A task that callers name, and its variants."""

    id: Name
    task: Literal["tensors", "chat", "embedding"] = "tensors"
    """In which words it is called: tensors by the Open Inference Protocol, the others by OpenAI's API."""
    response_bytes: int = Field(default=1024, ge=0, le=1_000_000_000)
    variants: tuple[Variant, ...] = Field(min_length=1)


class Deployment(Strict):
    """A variant at a site. `concurrency` calls run at once in a replica; at `queue_max` in flight there is no more room."""

    variant: Name
    site: Name
    replicas: int = Field(default=1, ge=1, le=100_000)
    hosted: Hosting = Hosting.IN_WORKER
    accelerator: Name = "cpu"
    concurrency: int = Field(default=1, ge=1, le=10_000)
    queue_max: int = Field(default=64, ge=1, le=1_000_000)
    batch_max: int = Field(default=1, ge=1, le=4096)
    usd_per_call: float = Field(default=0.0, ge=0, le=1000)
    """What an upstream takes for a call."""
    usd_per_million_tokens: TokenPrice | None = None
    """What an upstream takes for tokens; a call is priced as the card's usual one."""

    @property
    def id(self) -> str:
        """The deployment's name: `variant@site`."""
        return f"{self.variant}@{self.site}"


class Fleet(Strict):
    """The whole file, checked; and what follows from it (network paths, cards, digests)."""

    version: Literal[1]
    name: Name
    call_overhead_ms: float = Field(default=0.3, ge=0, le=1000)
    """Time that a call takes around the inference itself: parsing, deciding, answering."""
    jurisdictions: dict[str, tuple[str, ...]] = {}
    sites: tuple[Site, ...] = Field(min_length=1)
    zones: tuple[Zone, ...] = ()
    links: tuple[Link, ...] = ()
    models: tuple[ModelEntry, ...] = Field(min_length=1)
    deployments: tuple[Deployment, ...] = Field(min_length=1)
    cards: dict[str, Card] = Field(default={}, exclude=False)
    """Filled by the loader from the variants' card files."""
    artefacts: dict[str, str] = {}
    """Filled by the loader: where each variant's file lies."""
    files: dict[str, str] = {}
    """Filled by the loader: where the files that upstreams name lie, by `SITE.FIELD`."""

    @cached_property
    def site_by_id(self) -> dict[str, Site]:
        """Sites by their id."""
        return {site.id: site for site in self.sites}

    @cached_property
    def served(self) -> tuple[Site, ...]:
        """Edge and cloud sites of our own: each has an ingress, and passes traffic on."""
        return tuple(site for site in self.sites if site.tier is not Tier.DEVICE and site.upstream is None)

    @cached_property
    def upstream_deployments(self) -> tuple[int, ...]:
        """The deployments that stand at upstreams."""
        return tuple(i for i, d in enumerate(self.deployments) if self.site_by_id[d.site].upstream is not None)

    @cached_property
    def zone_by_id(self) -> dict[str, Zone]:
        """Client zones by their id."""
        return {zone.id: zone for zone in self.zones}

    @cached_property
    def model_of(self) -> dict[str, str]:
        """The model that each variant belongs to."""
        return {variant.id: model.id for model in self.models for variant in model.variants}

    @cached_property
    def model_by_id(self) -> dict[str, ModelEntry]:
        """Models by their id."""
        return {model.id: model for model in self.models}

    @cached_property
    def deployment_index(self) -> dict[str, int]:
        """Where each deployment stands in `deployments`, by id."""
        return {deployment.id: index for index, deployment in enumerate(self.deployments)}

    @cached_property
    def world(self) -> Jurisdictions:
        """The declared jurisdictions, flattened."""
        return Jurisdictions(self.jurisdictions)

    @cached_property
    def network(self) -> Network:
        """Paths between places."""
        through = {site.id: site.country for site in self.served}
        ends = [*(site.id for site in self.sites), *(zone.id for zone in self.zones)]
        upstreams = [site.id for site in self.sites if site.upstream is not None]
        return Network(through, ends, [link.facts() for link in self.links], upstreams)

    @cached_property
    def tables(self) -> Tables:
        """What never changes of this fleet, as arrays."""
        return Tables(self)

    @cached_property
    def digest(self) -> str:
        """A digest of all that a decision can depend on; equal files have equal digests on every machine."""
        text = json.dumps(
            self.model_dump(mode="json", exclude={"artefacts", "files"}), sort_keys=True, separators=(",", ":")
        )
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def country_of(self, place: str) -> str:
        """Return the country of a site or zone; the unknown country for a place nobody declared."""
        if place in self.site_by_id:
            return self.site_by_id[place].country
        return self.zone_by_id[place].country if place in self.zone_by_id else UNKNOWN

    def service_ms(self, deployment: Deployment) -> ServiceTime:
        """Return the declared service time of a deployment, the prior of what is measured live."""
        return self.cards[deployment.variant].service_time_ms[deployment.accelerator]
