"""How a tenant's claims stand in its policy file: what must hold for every call, to be proved by `claims.prove`.

A claim names the calls that it speaks of (`classes`, `models`, `origins`, `entries`; a part left out means all) and
says exactly one thing of them: `never`, `only`, `refused` or `candidates_min`.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from .documents import Document, Location
from .faults import Fault, did_you_mean
from .fleet import Fleet, Name, Strict
from .model import PAYLOAD_BYTES_MAX, Tier
from .parts import WORDS_MAX, Flag, Said, Word

KINDS_OF_CLAIM = ("never", "only", "refused", "candidates_min")


Words = Annotated[tuple[Word, ...], Field(max_length=WORDS_MAX)]
Names = Annotated[tuple[Name, ...], Field(max_length=WORDS_MAX)]
Tiers = Annotated[tuple[Tier, ...], Field(max_length=8)]
SomeWords = Annotated[Words, Field(min_length=1)]
SomeNames = Annotated[Names, Field(min_length=1)]


class Where(Strict):
    """Forbidden countries and groups: those named, and with `outside` all but those named. A list means `inside`.

    An unknown country counts as forbidden by both: nobody knows that it is not.
    """

    inside: Words = Field(default=(), description="In none of these countries and groups.")
    outside: Words | None = Field(default=None, description="Nowhere but in these countries and groups.")

    @model_validator(mode="after")
    def _says_something(self) -> "Where":
        if not self.inside and self.outside is None:
            raise ValueError("name the forbidden places: `outside: [EEA]`, or a list of them")
        return self


class _ListMeansInside:
    """Tells editors, too, that a plain list stands for `{inside: [...]}`."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        plain = {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 200}, "maxItems": WORDS_MAX}
        return {"anyOf": [plain, handler(core)]}


def _list_is_inside(value: Any) -> Any:
    return {"inside": value} if isinstance(value, list) else value


WherePart = Annotated[Where, BeforeValidator(_list_is_inside), _ListMeansInside()]


class Never(Strict):
    """What never happens to the data. Each part that is given must hold.

    `processed`: received or computed on there; `transited`: on its way there; `stored`: where a site that sees the
    data keeps inputs, or does not say that it keeps none; `logged`: where the record of the decision may be kept.
    `operators`, `tiers`, `sites`: none of these receives, passes on or computes on the data. `trained_on`: nobody who
    sees the data learns from it.
    """

    processed: WherePart | None = Field(default=None, description="Never received or computed on there.")
    transited: WherePart | None = Field(default=None, description="Never on its way there.")
    stored: WherePart | None = Field(default=None, description="Never seen there by a site that keeps inputs.")
    logged: WherePart | None = Field(default=None, description="No record of the decision is kept there.")
    operators: Names = Field(default=(), description="Never seen by these operators.")
    tiers: Tiers = Field(default=(), description="Never seen at sites of these tiers.")
    sites: Names = Field(default=(), description="Never seen at these sites.")
    trained_on: Flag = Field(default=False, description="true: nobody who sees the data learns from it.")

    @model_validator(mode="after")
    def _says_something(self) -> "Never":
        if self == Never.model_construct():
            raise ValueError("name what must never happen: processed, transited, stored, logged, operators, tiers, ...")
        return self


class Only(Strict):
    """Who may see the data at all: every site that receives, passes on or computes on it is one of these."""

    operators: Names | None = Field(default=None, description="Seen by these operators only.")
    tiers: Tiers | None = Field(default=None, description="Seen at sites of these tiers only.")
    sites: Names | None = Field(default=None, description="Seen at these sites only.")

    @model_validator(mode="after")
    def _says_something(self) -> "Only":
        if self.operators is None and self.tiers is None and self.sites is None:
            raise ValueError("name who may see the data: operators, tiers or sites")
        return self


class Claim(Strict):
    """One thing that holds for every call of the named classes, models, origins and entries; a part left out means all.

    `origins` are sites and client zones, or countries and groups with all that lies in them. For `never`, `only` and
    `refused` a class stands for every call that names it, alone or with others, and for those that name none. For
    `candidates_min` it stands for the call that names it alone; classes left out mean every set of them.
    `while` and `payload_bytes` belong to `candidates_min`: the world that it speaks of, and the largest payload.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    description: Said = Field(default="", description="What this is about, for people.")
    classes: SomeNames | None = Field(default=None, description="Data classes; left out: every class.")
    models: SomeNames | None = Field(default=None, description="Models; left out: all that may be called.")
    origins: SomeWords | None = Field(default=None, description="Places, countries or groups; left out: everywhere.")
    entries: SomeNames | None = Field(default=None, description="Sites that receive the call; left out: all.")
    never: Never | None = Field(default=None, description="What never happens to the data.")
    only: Only | None = Field(default=None, description="Who may see the data at all.")
    refused: Literal[True] | None = Field(default=None, description="true: these calls are always refused.")
    candidates_min: int | None = Field(
        default=None, strict=True, ge=1, le=1000, description="Least candidates of each call that may enter."
    )
    while_: Literal["all_sites_healthy", "any_one_site_down"] = Field(
        default="all_sites_healthy", alias="while", description="The world that `candidates_min` speaks of."
    )
    payload_bytes: int = Field(
        default=0, strict=True, ge=0, le=PAYLOAD_BYTES_MAX, description="Largest payload that `candidates_min` is for."
    )

    @model_validator(mode="after")
    def _one_thing(self) -> "Claim":
        said = [name for name in KINDS_OF_CLAIM if getattr(self, name) is not None]
        if len(said) != 1:
            raise ValueError(f"a claim says exactly one of {', '.join(KINDS_OF_CLAIM)}; this says {len(said)}")
        if self.candidates_min is None and (self.while_ != "all_sites_healthy" or self.payload_bytes):
            raise ValueError("`while` and `payload_bytes` belong to `candidates_min`; the others hold in every world")
        return self


def claim_faults(
    document: Document, claims: Iterable[Claim], classes: Iterable[str], models: Iterable[str], fleet: Fleet
) -> Iterable[Fault]:
    """Return a fault for each word of the claims that the tenant's policy or the fleet does not know.

    `classes` are the policy's, `models` those that the tenant may call. The claims stand under `claims` in `document`.
    """
    operators = {site.operator for site in fleet.sites if site.operator}
    places = {*fleet.site_by_id, *fleet.zone_by_id}
    words = fleet.world.words()
    known: Mapping[str, tuple[str, Iterable[str]]] = {
        "classes": ("no data class of this policy is called {!r}", set(classes)),
        "models": ("this tenant may call no model {!r}", set(models)),
        "origins": ("{!r} is no site, client zone, country or jurisdiction", {*places, *words}),
        "entries": ("no site is called {!r}", set(fleet.site_by_id)),
        "operators": ("no site's operator is {!r}", operators),
        "sites": ("no site is called {!r}", set(fleet.site_by_id)),
        "inside": ("{!r} is no country and no jurisdiction", set(words)),
        "outside": ("{!r} is no country and no jurisdiction", set(words)),
    }
    for index, claim in enumerate(claims):
        for at, words_said in _said(claim, ("claims", index)):
            message, allowed = known[str(at[-1])]
            for word in words_said:
                if word not in allowed:
                    yield document.fault(at, message.format(word), did_you_mean(word, allowed))


def _said(part: Strict, at: Location) -> Iterable[tuple[Location, tuple[str, ...]]]:
    """Return every list of words in a claim that names things of the policy or the fleet, with its place in the file."""
    for name in type(part).model_fields:
        value = getattr(part, name)
        if isinstance(value, Strict):
            yield from _said(value, (*at, name))
        elif isinstance(value, tuple) and name != "tiers":
            yield (*at, name), value
