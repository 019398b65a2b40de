"""Reading scenario files: each with the file that it builds on, checked for form. Every fault at once."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from re import fullmatch
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema

from infercast.policies.documents import Document, examine, read_document
from infercast.policies.faults import BadInput, Fault
from infercast.policies.fleet import Strict
from infercast.policies.parts import Flag, Said, Word
from infercast.policies.windows import KNOWN_FROM_S, KNOWN_UNTIL_S, known_zone, knows

from .changes import Change
from .durations import Duration
from .edited import Edited, Part, part_of
from .settings import Setting, put
from .workload_file import Workload

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BASES_MAX = 8
"""Most scenario files that may build on each other."""
CHANGES_MAX = 256
REPLICATIONS_MAX = 10_000
EXCHANGE_MIN_US = 1_000
STARTS_AT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?( ?(Z|[+-][0-9]{2}:[0-9]{2}| UTC| [A-Za-z_]+/[A-Za-z_/+-]+))$"


def _instant(value: Any) -> int:
    """Return seconds since 1970 UTC. Raises ValueError in words for what names no zone."""
    said = "a start is written with its zone: 2026-12-01 08:00 Europe/Berlin, or 2026-12-01T08:00:00+01:00"
    if isinstance(value, str):
        words = value.rsplit(" ", 1)
        named = len(words) == 2 and fullmatch(r"UTC|[A-Za-z_]+/.*", words[1])
        zone = ZoneInfo(known_zone(words[1])) if named else None
        try:
            value = datetime.fromisoformat(words[0] if named else value)
        except ValueError:
            raise ValueError(said) from None
        if zone is not None and value.tzinfo is None:
            value = _on_the_clock(value.replace(tzinfo=zone))
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError(said)
    at_s = (value - EPOCH) // timedelta(seconds=1)
    if not knows(at_s):
        first, last = (datetime.fromtimestamp(end_s, UTC) for end_s in (KNOWN_FROM_S, KNOWN_UNTIL_S))
        raise ValueError(f"a start is after {first:%Y-%m-%d} and before {last:%Y-%m-%d}")
    return at_s


def _on_the_clock(value: datetime) -> datetime:
    """Return a time that its clock shows once. Raises ValueError for one that it leaves out, or shows twice."""
    offsets = {value.replace(fold=fold).utcoffset() for fold in (0, 1)}
    if len(offsets) == 1:
        return value
    back = value.astimezone(UTC).astimezone(value.tzinfo)
    what = "comes twice" if back.replace(tzinfo=None) == value.replace(tzinfo=None) else "never comes"
    raise ValueError(f"this hour {what}, since clocks are set: write it with its offset, such as {value.isoformat()}")


Instant = Annotated[int, BeforeValidator(_instant), WithJsonSchema({"type": "string", "pattern": STARTS_AT})]


def _exchanged(value: int) -> int:
    """Return how often sites tell each other. Raises ValueError for so often that simulated time would hardly go on."""
    if value < EXCHANGE_MIN_US:
        raise ValueError("sites tell each other every 1ms at most")
    return value


class _PathForShort:
    """Beside a part that may stand in a file of its own: it tells editors so, too."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 200}, handler(core)]}


class ScenarioFile(Strict):
    """A scenario: a fleet, policies and traffic, or another scenario; and what is different. Paths are relative to the file.

    What is stated takes the place of the base's; changes come after the base's changes.
    """

    version: Literal[1] = Field(description="The version of this format.")
    description: Said = Field(default="", description="The question that this scenario asks, for people.")
    base: Word | None = Field(default=None, description="A scenario file that this one builds on.")
    fleet: Word | None = Field(default=None, description="The fleet file.")
    policies: Word | None = Field(default=None, description="The folder of tenants' policies.")
    workload: Annotated[Workload | None, _PathForShort()] = Field(
        default=None, description="The traffic: a block, or a file that holds one."
    )
    seed: int | None = Field(
        default=None, strict=True, ge=0, le=2**62, description="Of all that is drawn. 1 if not said."
    )
    starts_at: Instant | None = Field(default=None, description="What the clock shows at the start, with a zone.")
    duration: Duration | None = Field(default=None, description="For how long calls come.")
    replications: int | None = Field(
        default=None,
        strict=True,
        ge=1,
        le=REPLICATIONS_MAX,
        description="Runs with seeds seed, seed + 1, … 1 if not said.",
    )
    estimates: Literal["learned", "declared"] | None = Field(
        default=None, description="Whether sites learn times from calls, as the live router does. learned if not said."
    )
    jitter: Flag | None = Field(default=None, description="Whether round trips vary. true if not said.")
    exchange: Annotated[Duration, AfterValidator(_exchanged)] | None = Field(
        default=None, description="How often sites tell each other, 1ms or more. 250ms if not said."
    )
    bins: int | None = Field(default=None, strict=True, ge=1, le=10_000, description="Points of the time series. 240.")
    changes: tuple[Change, ...] = Field(
        default=(), max_length=CHANGES_MAX, description="What is different, one kind each, in this order."
    )


@dataclass(frozen=True, slots=True)
class Layer:
    """One file of a scenario: as a document to find lines in, as parts to take from, and as what it says."""

    path: Path
    document: Document
    part: Part
    says: ScenarioFile

    @property
    def folder(self) -> Path:
        """What its paths are relative to."""
        return self.path.parent


def read_layers(path: Path, settings: tuple[Setting, ...] = ()) -> list[Layer]:
    """Return a scenario's files, the lowest base first. Raises BadInput with the faults of form of all of them.

    `settings` of the scenario's own fields are put into the file at `path`.
    """
    faults: list[Fault] = []
    parts = _parts(path, faults)
    own = tuple(each for each in settings if each.root not in ("fleet", "policies", "workload"))
    put(parts[-1][1] if parts else None, own, faults)
    found = [_layer(file, part, syntax, faults) for file, part, syntax in parts]
    layers = [layer for layer in found if layer is not None]
    if not faults:
        faults += _missing(path, layers)
    if faults:
        raise BadInput(faults)
    return layers


def _parts(path: Path, faults: list[Fault]) -> list[tuple[Path, Part, list[Fault]]]:
    """Return the files, lowest base first, as parts with their faults of syntax."""
    found: list[tuple[Path, Part, list[Fault]]] = []
    seen: list[str] = []
    while True:
        try:
            document = read_document(path)
        except BadInput as error:
            faults += error.faults
            return found
        seen.append(os.path.realpath(path))
        if not isinstance(document.value, dict):
            faults += examine(document, ScenarioFile)[1]
            return found
        found.insert(0, (path, part_of(document), document.faults))
        base = document.value.get("base")
        if not isinstance(base, str):
            return found
        path = Path(os.path.normpath(path.parent / base))
        problem = ""
        if not path.is_file():
            problem, remedy = f"no file is at {path}", "name a scenario file relative to this one"
        elif os.path.realpath(path) in seen:
            problem, remedy = f"{base!r} leads back to this file: a circle", "remove one step"
        elif len(seen) >= BASES_MAX:
            problem, remedy = f"more than {BASES_MAX} scenarios stand above each other", "remove a step"
        if problem:
            faults.append(document.fault(("base",), problem, remedy))
            return found


def _layer(path: Path, part: Part, syntax: list[Fault], faults: list[Fault]) -> Layer | None:
    """Check one file's form. None where it has no usable one."""
    document = Edited(part, syntax)
    if isinstance(part.get("workload"), str):
        del document.value["workload"]  # a file of its own, checked when it is read
    says, own = examine(document, ScenarioFile)
    faults += own
    return None if says is None or own else Layer(path, document, part, says)


def _missing(path: Path, layers: list[Layer]) -> list[Fault]:
    """Return a fault for each thing that no file of a scenario says."""
    remedies = {
        "fleet": "add fleet: cluster.yaml, or a base that has one",
        "policies": "add policies: policies/tenants, or a base that has them",
        "workload": "add the traffic, or a base that has it",
        "starts_at": "add starts_at: 2026-12-01 08:00 Europe/Berlin: policies may depend on the time",
    }
    return [
        Fault(str(path), 1, key, f"the key {key!r} is missing", remedy)
        for key, remedy in remedies.items()
        if stated(layers, key) is None
    ]


def stated(layers: list[Layer], key: str) -> Layer | None:
    """Return the file whose word on a key counts: the topmost that says anything; None where none does."""
    return next((layer for layer in reversed(layers) if layer.part.get(key) is not None), None)


def path_of(layers: list[Layer], key: str) -> Path:
    """Return a file or folder that a scenario names; some file of it does."""
    layer = stated(layers, key)
    if layer is None:
        raise LookupError(f"{key} was found missing before")
    return Path(os.path.normpath(layer.folder / layer.part.get(key)))


def changes_said(layers: list[Layer]) -> Iterator[str]:
    """Yield each change as a line: `fail: {site: dub, from: 20m}`."""
    for layer in layers:
        for part in layer.part.get("changes") or ():
            for kind, said in part.items():
                flow = yaml.safe_dump(said, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
                yield f"{kind}: {flow.strip()}"
