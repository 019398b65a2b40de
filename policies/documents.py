"""YAML documents with line numbers, checked by pydantic: every fault of a file at once, nothing loaded in part."""

import types
import typing
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from .faults import BadInput, Fault, did_you_mean
from .wording import in_words

Location = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)
DOCUMENT_BYTES_MAX = 16 * 1024 * 1024
DEPTH_MAX = 50
VALUES_MAX = 500_000
"""Aliases are counted each time they are used: without a bound, 10 lines of them unfold into more than memory holds."""
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
NOT_BASE_60 = "write it with a point or in quotes"


class Document:
    """A parsed YAML file: plain values, and the line on which each of them stands."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.lines: dict[Location, int] = {}
        self.faults: list[Fault] = []
        self._values = 0
        self._too_deep = False
        self.value: Any = self._parse(text)

    def _parse(self, text: str) -> Any:
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            problem = getattr(error, "problem", None) or str(error)
            self.faults.append(Fault(self.file, mark.line + 1 if mark else 0, "", f"not YAML: {problem}"))
            return None
        except RecursionError:
            self.faults.append(Fault(self.file, 0, "", "not YAML: nested too deeply"))
            return None
        return self._build(node, (), 0) if node is not None else None

    def _build(self, node: yaml.Node, at: Location, depth: int) -> Any:
        self._values += 1
        if self._values > VALUES_MAX:
            if self._values == VALUES_MAX + 1:
                self.faults.append(Fault(self.file, 0, "", f"holds more than {VALUES_MAX} values", "use fewer aliases"))
            return None
        self.lines.setdefault(at, node.start_mark.line + 1)
        if depth > DEPTH_MAX:
            if not self._too_deep:  # once: aliases can be too deep in as many places as they unfold to
                self.faults.append(self.fault(at, f"nested more than {DEPTH_MAX} deep"))
            self._too_deep = True
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, at, depth)
        if isinstance(node, yaml.SequenceNode):
            return [
                self._build(item, (*at, index), depth + 1)
                for index, item in enumerate(node.value)
                if self._values <= VALUES_MAX
            ]
        if not isinstance(node, yaml.ScalarNode):
            return None
        loader = yaml.SafeLoader("")
        try:
            # Country codes such as NO are words here, not YAML 1.1 truth values.
            if node.tag == "tag:yaml.org,2002:bool" and node.value.lower() not in ("true", "false"):
                return node.value
            value = loader.construct_object(node)
            if node.tag in NUMBERS and ":" in node.value:
                said = f"{node.value!r} would be read in base 60, as {value}"
                self.faults.append(self.fault(at, said, NOT_BASE_60))
            return value
        except (yaml.YAMLError, ValueError, KeyError, IndexError, AttributeError, TypeError, OverflowError) as error:
            self.faults.append(self.fault(at, f"{node.value!r} cannot be read: {error}"))
            return None
        finally:
            loader.dispose()

    def _mapping(self, node: yaml.MappingNode, at: Location, depth: int) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if self._values > VALUES_MAX:
                break
            key = str(key_node.value)
            here = (*at, key)
            if key in built:
                line = key_node.start_mark.line + 1
                self.faults.append(Fault(self.file, line, dotted(here), "the key stands twice", "keep one of them"))
            self.lines[here] = key_node.start_mark.line + 1
            built[key] = self._build(value_node, here, depth + 1)
        return built

    def line_of(self, at: Location) -> int:
        """Return the line of a place, or of the nearest place above it."""
        while at and at not in self.lines:
            at = at[:-1]
        return self.lines.get(at, 0)

    def fault(self, at: Location, message: str, remedy: str = "") -> Fault:
        """Return a fault at a place of this document."""
        return Fault(self.file, self.line_of(at), dotted(at), message, remedy)


def dotted(at: Location) -> str:
    """Return a place as people write it: `sites[2].country`."""
    text = ""
    for step in at:
        text += f"[{step}]" if isinstance(step, int) else (f".{step}" if text else str(step))
    return text


def read_document(path: Path) -> Document:
    """Read a YAML file. Raises BadInput when it cannot be read or is larger than 16 MiB."""
    try:
        if path.stat().st_size > DOCUMENT_BYTES_MAX:
            raise BadInput([Fault(str(path), 0, "", f"larger than {DOCUMENT_BYTES_MAX} bytes", "split the file")])
        return Document(str(path), path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput([Fault(str(path), 0, "", f"cannot be read: {error.strerror}", "check the path")]) from error
    except UnicodeDecodeError as error:
        raise BadInput([Fault(str(path), 0, "", f"is not UTF-8: {error.reason}", "save it as UTF-8")]) from error
    except ValueError as error:  # a path with a NUL in it
        raise BadInput([Fault(repr(str(path)), 0, "", "is no path", "check the path")]) from error


def validate(document: Document, model: type[Model]) -> Model:
    """Return the document as a model. Raises BadInput with all syntax and schema faults together."""
    value, faults = examine(document, model)
    if value is None or faults:
        raise BadInput(faults)
    return value


def examine(document: Document, model: type[Model]) -> tuple[Model | None, list[Fault]]:
    """Return what can be made of a document, and its faults of syntax and schema.

    Values with a fault are left out, so that the rest can still be examined for faults of meaning and an author sees
    all of them at once; where something needed is missing then, the first is None. With faults it is for examining
    only, never for use.
    """
    faults = list(document.faults)
    if not isinstance(document.value, dict):
        if not faults:
            message = "the file is empty" if document.value is None else "expected `key: value` lines at the top"
            faults.append(Fault(document.file, 0 if document.value is None else 1, "", message))
        return None, faults
    try:
        return model.model_validate(document.value), faults
    except ValidationError as error:
        entries = [dict(entry) for entry in error.errors()]
        found = [_fault_of(document, model, entry) for entry in entries if not _follows(entry, entries)]
        misread = {fault.field for fault in faults if fault.remedy == NOT_BASE_60}
        faults.extend(fault for fault in found if fault.field not in misread)
        kept = deepcopy(document.value)
        for entry in entries:
            _mend(kept, entry)
    try:
        return model.model_validate(kept), faults
    except ValidationError:
        return None, faults


def _follows(entry: dict[str, Any], entries: list[dict[str, Any]]) -> bool:
    """Return whether a list is only called too short because its items were at fault."""
    at = entry["loc"]
    return entry["type"] == "too_short" and any(other["loc"][: len(at)] == at != other["loc"] for other in entries)


def _mend(value: Any, entry: dict[str, Any]) -> None:
    """Put something possible in a faulty value's place, or take it out: only for finding the faults behind it."""
    *above, last = entry["loc"] or [None]
    for step in above:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return
    possible = _possible(entry)
    if possible is not None and isinstance(value, dict | list):
        value[last] = possible
    elif isinstance(value, dict):
        value.pop(last, None)


def _possible(entry: dict[str, Any]) -> Any:
    context = entry.get("ctx", {})
    if entry["type"] in ("enum", "literal_error"):
        return str(context["expected"]).split(",")[0].split(" or ")[0].strip(" '")
    for bound, step in (("ge", 0), ("le", 0), ("gt", 1), ("lt", -1)):
        if bound in context:
            return context[bound] + step
    return 1 if entry["type"] in ("float_parsing", "int_parsing", "float_type", "int_type") else None


def _fault_of(document: Document, model: type[BaseModel], entry: dict[str, Any]) -> Fault:
    at: Location = tuple(entry["loc"])
    if entry["type"] == "extra_forbidden":
        return document.fault(at, f"unknown key {at[-1]!r}", did_you_mean(at[-1], fields_at(model, at[:-1])))
    return document.fault(at, *in_words(entry))


def fields_at(model: Any, at: Location) -> list[str]:
    """Return the field names that a schema knows at a place, for "did you mean"."""
    if at and (inner := _step(model, at[0])) is not None:
        return fields_at(inner, at[1:])
    if at:
        return fields_at(model, at[1:])
    if isinstance(model, type) and issubclass(model, BaseModel):
        return [field.alias or name for name, field in model.model_fields.items()]
    return []


def _step(model: Any, step: str | int) -> Any:
    if isinstance(model, type) and issubclass(model, BaseModel):
        field = model.model_fields.get(str(step))
        return _peel(field.annotation) if field else None
    arguments = typing.get_args(model)
    return _peel(arguments[-1] if arguments and arguments[-1] is not Ellipsis else arguments[0]) if arguments else None


def _peel(annotation: Any) -> Any:
    """Take Optional and Annotated off a type."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _peel(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        inner = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
        return _peel(inner[0]) if len(inner) == 1 else annotation
    return annotation
