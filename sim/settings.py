"""Values put into files from the command line, as a sweep does: `policies.bank.objective.waiting.usd_per_second=0.01`.

A path goes through keys and, in lists, through ids or numbers, by dots or in brackets: `fleet.deployments[resnet50@iad]`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import isfinite
from re import findall, fullmatch
from typing import Any

import yaml

from infercast.policies.faults import BadInput, Fault, did_you_mean

from .edited import Part

COMMAND_LINE = "command line"
POINTS_MAX = 10_000
_NUMBER = r"[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?"
_RANGE = "FIRST:LAST:COUNT, such as 0:0.01:5"
_STEPS = r"[^.\[\]=]+|\[[^\[\]]+\]"


@dataclass(frozen=True, slots=True)
class Setting:
    """A value for a place. `text` is the path as it was written."""

    text: str
    steps: tuple[str, ...]
    value: Any

    @property
    def root(self) -> str:
        """The first step: `fleet`, `policies`, `workload`, or a field of the scenario."""
        return self.steps[0]

    def below(self) -> "Setting":
        """Return the setting as it is inside its root."""
        return replace(self, steps=self.steps[1:])

    def __str__(self) -> str:
        """Return it as it may be written, with the one value of a sweep."""
        return f"{self.text}={self.value}"

    def fault(self, message: str, remedy: str = "") -> Fault:
        """Return what is wrong with it."""
        return Fault(COMMAND_LINE, 0, self.text, message, remedy)


@dataclass(frozen=True, slots=True)
class Axis:
    """A path and the values that a sweep puts there."""

    text: str
    steps: tuple[str, ...]
    values: tuple[Any, ...]

    def settings(self) -> tuple[Setting, ...]:
        """Return one setting per value."""
        return tuple(Setting(self.text, self.steps, value) for value in self.values)


def read_axis(text: str) -> Axis:
    """Return an axis from `PATH=VALUES`: `1,2,4`, or `0:0.01:5`, five values from 0 to 0.01. Raises BadInput."""
    path, equals, values = text.partition("=")
    if not equals or fullmatch(rf"(?:{_STEPS})(?:\.(?:{_STEPS})|(?:\[[^\[\]]+\]))*", path) is None:
        remedy = "such as policies.studio.objective.waiting.usd_per_second=0:0.01:5"
        raise BadInput([Fault(COMMAND_LINE, 0, "--over", f"{text!r} is not PATH=VALUES", remedy)])
    steps = tuple(step.strip("[]") for step in findall(_STEPS, path))
    found = _range(values) if fullmatch(r"[^:,]+:[^:,]+:[0-9]+", values) else _listed(values)
    if not 1 <= len(found) <= POINTS_MAX:
        raise BadInput([Fault(COMMAND_LINE, 0, "--over", f"{values!r} holds no values", "1,2,4 or 0:0.01:5")])
    return Axis(path, steps, found)


def _range(text: str) -> tuple[Any, ...]:
    *ends, counted = text.split(":")
    first, last = (_value(part, text) for part in ends)
    count = int(counted[:9])
    if not all(isinstance(end, int | float) and isfinite(end) for end in (first, last)) or not 2 <= count <= POINTS_MAX:
        raise BadInput([Fault(COMMAND_LINE, 0, "--over", f"{text!r} is no range", _RANGE)])
    found = [round(first + (last - first) * step / (count - 1), 12) for step in range(count)]
    whole = isinstance(first, int) and isinstance(last, int) and all(value == int(value) for value in found)
    return tuple(int(value) if whole else value for value in found)


def _listed(text: str) -> tuple[Any, ...]:
    for part in text.split(","):
        if fullmatch(rf"\s*{_NUMBER}(:{_NUMBER})+\s*", part):  # YAML would read 1:2 as 62, and 0:2 as text
            remedy = f"{_RANGE}; a time of day in quotes"
            raise BadInput([Fault(COMMAND_LINE, 0, "--over", f"{part!r} is no range", remedy)])
    return tuple(_value(part, text) for part in text.split(",") if part.strip())


def _value(part: str, text: str) -> Any:
    try:
        return yaml.safe_load(part)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadInput([Fault(COMMAND_LINE, 0, "--over", f"{text!r} cannot be read", "1,2,4 or 0:0.01:5")]) from error


def put(part: Part | None, settings: Iterable[Setting], faults: list[Fault]) -> None:
    """Put values into a document, in place. What leads nowhere becomes a fault."""
    if part is not None:
        found = (_put(part, setting) for setting in settings)
        faults += [fault for fault in found if fault is not None]


def _put(part: Part, setting: Setting) -> Fault | None:
    *above, last = setting.steps
    for step in above:
        if isinstance(part.value, dict):
            part = part.value.setdefault(step, Part({}, COMMAND_LINE, 0, str(setting)))
            continue
        inner = _item(part, step)
        if inner is None:
            return _nowhere(part, step, setting)
        part = inner
    made = Part(None, COMMAND_LINE, 0, str(setting)).made(setting.value)
    if isinstance(part.value, dict):
        part.value[last] = made
    elif isinstance(part.value, list) and (inner := _item(part, last)) is not None:
        # Not by equality: numbers in one line are alike, and the first of them is seldom the one that is meant.
        part.value[next(index for index, item in enumerate(part.value) if item is inner)] = made
    else:
        return _nowhere(part, last, setting)
    return None


def _item(part: Part, step: str) -> Part | None:
    """Return a list's item by its number or its name; None where there is none."""
    if not isinstance(part.value, list):
        return None
    if step.isdecimal() and int(step) < len(part.value):
        found: Part = part.value[int(step)]
        return found
    return next((item for item in part.value if step in names(item)), None)


def names(item: Part) -> tuple[str, ...]:
    """Return what an item of a list may be called: its id, `variant@site`, `from~to` or its name."""
    said = item.get("id") or item.get("name") or item.get("tenant")
    both = f"{item.get('variant')}@{item.get('site')}", f"{item.get('from')}~{item.get('to')}"
    back = f"{item.get('to')}~{item.get('from')}"
    return tuple(name for name in (str(said), *both, back) if "None" not in name)


def _nowhere(part: Part, step: str, setting: Setting) -> Fault:
    if isinstance(part.value, list):
        known = [names(item)[0] for item in part.value if names(item)]
        return setting.fault(f"{step!r} is none of them", did_you_mean(step, known))
    return setting.fault(f"{step!r} leads nowhere: a plain value stands there", "shorten the path")
