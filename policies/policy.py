"""A tenant's policy file: data classes with hard constraints, and what the tenant values among what is left."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from .documents import Document, examine, read_document
from .faults import BadInput, Fault, did_you_mean
from .fleet import Fleet, Name, Strict
from .model import Preference, Quantile, Tier

CLASSES_MAX = 12


class Places(Strict):
    """Countries and groups. `allow` left out permits every known place, empty none; `deny` wins. A list means `allow`."""

    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()


class Operators(Strict):
    """Operators by id, as in Places. An unknown operator passes no rule that asks for one."""

    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()


class Residency(Strict):
    """Where data may enter, be processed, pass through and be stored. A part left out asks for nothing."""

    entry: Places | None = None
    processing: Places | None = None
    transit: Places | None = None
    storage: Places | None = None

    @field_validator("entry", "processing", "transit", "storage", mode="before")
    @classmethod
    def _list_is_allow(cls, value: Any) -> Any:
        return {"allow": value} if isinstance(value, list) else value


class Privacy(Strict):
    """Which sites may see the data. A part left out asks for nothing; an unknown attribute fails every part that asks."""

    tiers: tuple[Tier, ...] | None = None
    operators: Operators | None = None
    retention_days_max: int | None = Field(default=None, ge=0)
    no_training: bool = False
    attestation: tuple[Literal["tpm", "sev-snp", "tdx", "nitro"], ...] | None = None
    certifications: tuple[str, ...] = ()

    @field_validator("operators", mode="before")
    @classmethod
    def _list_is_allow(cls, value: Any) -> Any:
        return {"allow": value} if isinstance(value, list) else value


class Constraints(Strict):
    """Vetoes. None of them is ever bought off by a price, a weight or a deadline."""

    description: str = ""
    residency: Residency = Residency()
    privacy: Privacy = Privacy()
    deadline_ms: float | None = Field(default=None, gt=0, le=600_000)
    accuracy_min: dict[Name, float] = {}
    price_max_usd: float | None = Field(default=None, ge=0, le=1000)

    @field_validator("accuracy_min")
    @classmethod
    def _shares(cls, value: dict[str, float]) -> dict[str, float]:
        for model, floor in value.items():
            if not 0 <= floor <= 1:
                raise ValueError(f"accuracy of {model} is a share from 0 to 1")
        return value


class Waiting(Strict):
    """What a second of waiting costs the tenant, at which quantile of the estimated latency."""

    usd_per_second: float = Field(default=0.0, ge=0, le=10)
    quantile: Quantile = Quantile.P50


class Exposure(Strict):
    """What it costs the tenant, per call, that data leaves the device, the country or the operator that it comes from."""

    usd_leaving_device: float = Field(default=0.0, ge=0, le=1000)
    usd_leaving_country: float = Field(default=0.0, ge=0, le=1000)
    usd_leaving_operator: float = Field(default=0.0, ge=0, le=1000)


class Objective(Strict):
    """Preferences among what no rule vetoes: exchange rates into USD, or one thing first."""

    preference: Preference = Preference.BALANCED
    waiting: Waiting = Waiting()
    usd_per_error: float = Field(default=0.0, ge=0, le=1000)
    exposure: Exposure = Exposure()


class Behaviour(Strict):
    """How a call is carried: how many further candidates it may be tried on, and how near-ties share the load."""

    fallbacks_max: int = Field(default=4, ge=0, le=7)
    spread_margin_usd: float = Field(default=0.0, ge=0, le=1000)


@dataclass(frozen=True, slots=True)
class Terms:
    """What binds a call of one kind."""

    blocks: tuple[Constraints, ...]
    deadline_quantile: Quantile
    objective: Objective
    behaviour: Behaviour
    overrides: tuple[int, ...]


class Policy(Strict):
    """One tenant's file. Every class's constraints come on top of `always`."""

    version: Literal[1]
    tenant: Name
    description: str = ""
    models: tuple[Name, ...] | None = None
    deadline_quantile: Quantile = Quantile.P95
    always: Constraints = Constraints()
    classes: dict[Name, Constraints] = Field(min_length=1, max_length=CLASSES_MAX)
    objective: Objective = Objective()
    behaviour: Behaviour = Behaviour()

    @cached_property
    def digest(self) -> str:
        """A digest of the policy's meaning: comments and order of keys do not change it."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    overrides: tuple[int, ...] = ()

    @cached_property
    def core_digest(self) -> str:
        return hashlib.blake2b(
            json.dumps(self.model_dump(mode="json", exclude={"tenant"}), sort_keys=True).encode()
        ).hexdigest()

    def terms(self, fleet: Fleet, classes: tuple[str, ...], model: str, origin: str, at_s: int) -> Terms:
        return Terms(self.blocks(classes), self.deadline_quantile, self.objective, self.behaviour, ())

    def period(self, at_s: int) -> tuple[int, int]:
        return (-(2**62), 2**62)

    def blocks(self, classes: Iterable[str]) -> tuple[Constraints, ...]:
        """Return the constraint blocks that bind a call of these data classes; all of them when none is named.

        A class that the policy does not know binds like none named: every class at once.
        """
        named = sorted(set(classes))
        if not named or any(name not in self.classes for name in named):
            named = sorted(self.classes)
        return (self.always, *(self.classes[name] for name in named))


def load_policy(path: Path | str, fleet: Fleet) -> Policy:
    """Read one policy and check it against the fleet. Raises BadInput with every fault at once."""
    document = read_document(Path(path))
    policy, faults = examine(document, Policy)
    if policy is not None:
        faults += list(_check(document, policy, fleet))
    if policy is None or faults:
        raise BadInput(faults)
    return policy


def load_policies(folder: Path | str, fleet: Fleet) -> dict[str, Policy]:
    """Read every `*.yaml` of a folder that is no `*.cases.yaml`. Raises BadInput with the faults of all files."""
    policies: dict[str, Policy] = {}
    faults: list[Fault] = []
    paths = sorted(path for path in Path(folder).glob("*.yaml") if not path.name.endswith(".cases.yaml"))
    faults += _unread(Path(folder), {path.stem for path in paths})
    if not paths:
        raise BadInput([Fault(str(folder), 0, "", "holds no policy files", "add TENANT.yaml")])
    for path in paths:
        try:
            policy = load_policy(path, fleet)
        except BadInput as error:
            faults.extend(error.faults)
            continue
        if policy.tenant != path.stem:
            message = f"{policy.tenant!r} is not the file's name {path.stem!r}"
            faults.append(Fault(str(path), 1, "tenant", message, "rename one: a tenant has one file, called after it"))
        policies[policy.tenant] = policy
    if faults:
        raise BadInput(faults)
    return policies


def _unread(folder: Path, tenants: set[str]) -> list[Fault]:
    """Return a fault for each file that looks as if it were read, and is not."""
    faults = [Fault(str(path), 0, "", "is not read", f"call it {path.stem}.yaml") for path in folder.glob("*.yml")]
    for path in sorted(folder.glob("*.cases.yaml")):
        tenant = path.name.removesuffix(".cases.yaml")
        if tenant not in tenants:
            faults.append(Fault(str(path), 0, "", f"no tenant is called {tenant!r}", did_you_mean(tenant, tenants)))
    return faults


def _check(document: Document, policy: Policy, fleet: Fleet) -> Iterable[Fault]:
    for index, model in enumerate(policy.models or ()):
        if model not in fleet.model_by_id:
            remedy = did_you_mean(model, fleet.model_by_id)
            yield document.fault(("models", index), f"no model is called {model!r}", remedy)
    blocks: Mapping[tuple[str, ...], Constraints] = {
        ("always",): policy.always,
        **{("classes", name): block for name, block in policy.classes.items()},
    }
    for at, block in blocks.items():
        yield from _check_block(document, at, block, fleet)


def _check_block(document: Document, at: tuple[str, ...], block: Constraints, fleet: Fleet) -> Iterable[Fault]:
    for part in ("entry", "processing", "transit", "storage"):
        places = getattr(block.residency, part)
        for word in (*(places.allow or ()), *places.deny) if places else ():
            if not fleet.world.knows(word):
                remedy = did_you_mean(word, fleet.world.words())
                yield document.fault((*at, "residency", part), f"{word!r} is no country and no jurisdiction", remedy)
    known_operators = {site.operator for site in fleet.sites if site.operator}
    operators = block.privacy.operators
    for word in (*(operators.allow or ()), *operators.deny) if operators else ():
        if word not in known_operators:
            remedy = did_you_mean(word, known_operators)
            yield document.fault((*at, "privacy", "operators"), f"no site's operator is {word!r}", remedy)
    known_marks = {mark for site in fleet.sites for mark in site.trust.certifications}
    for word in block.privacy.certifications:
        if word not in known_marks:
            remedy = did_you_mean(word, known_marks)
            yield document.fault((*at, "privacy", "certifications"), f"no site is certified {word!r}", remedy)
    for model in block.accuracy_min:
        if model not in fleet.model_by_id:
            remedy = did_you_mean(model, fleet.model_by_id)
            yield document.fault((*at, "accuracy_min", model), f"no model is called {model!r}", remedy)
