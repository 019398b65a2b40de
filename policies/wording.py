"""What pydantic found wrong, in our words: what the value must be and what it is, with no word of the library's own."""

from collections.abc import Mapping
from typing import Any

from .faults import did_you_mean

NAME_PATTERN_START = "^[a-z0-9]"
NUMBERS = {"int": "a whole number", "float": "a number", "decimal": "a number"}
KINDS = {
    **{f"{kind}_{how}": said for kind, said in NUMBERS.items() for how in ("type", "parsing")},
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(
        ("string_type", "string_sub_type", "string_unicode"), "text (in quotes, where it looks like another kind)"
    ),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "mapping_type"), "`key: value` lines"),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type", "iterable_type"), "a list"),
    **dict.fromkeys(
        ("date_type", "date_parsing", "date_from_datetime_parsing", "date_from_datetime_inexact"),
        "a date such as 2026-12-31",
    ),
    **dict.fromkeys(
        ("datetime_type", "datetime_parsing", "datetime_from_date_parsing", "datetime_object_invalid"),
        "a time such as 2026-12-31 22:00",
    ),
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of a size that anybody needs",
    "finite_number": "a number that is not infinite",
    "none_required": "left out",
}
BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
    "multiple_of": ("multiple_of", "a multiple of"),
}


def in_words(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Return one of pydantic's errors (an entry of `ValidationError.errors()`) as a message and a remedy."""
    kind, context = entry["type"], entry.get("ctx", {})
    given = _shown(entry.get("input"))
    if kind == "missing":
        return f"the key {entry['loc'][-1]!r} is missing", "add it"
    if kind in ("enum", "literal_error"):
        known = [word.strip(" '") for word in str(context["expected"]).replace(" or ", ",").split(",")]
        return f"{entry['input']!r} is not known here", did_you_mean(entry["input"], known)
    if kind in BOUNDS:
        key, said = BOUNDS[kind]
        bound = context[key]
        if given == "nan":
            return "must be a number, is nan", ""
        return f"must be {said} {int(bound) if bound == int(bound) else bound}, is {given}", ""
    if kind in KINDS:
        return f"must be {KINDS[kind]}, is {given}", ""
    if kind in ("too_long", "too_short"):
        least = context.get("min_length")
        said = f"at least {least}" if kind == "too_short" else f"at most {context['max_length']}"
        held = context["actual_length"]
        if held is None:  # of what is counted while it is read, only that there is too much is known
            held = len(entry["input"]) if isinstance(entry.get("input"), dict | list) else "more"
        return f"holds {held} entries, {said} may stand here", ""
    if kind in ("string_too_long", "string_too_short"):
        said = f"at least {context['min_length']}" if "min_length" in context else f"at most {context['max_length']}"
        return f"must have {said} characters, is {given}", ""
    if kind == "string_pattern_mismatch":
        return _pattern(str(context["pattern"]), given)
    if kind in ("value_error", "assertion_error"):
        said = str(context.get("error")) or "cannot stand here"
        return f"{said}, got {given}" if _plain(entry) and given not in said else said, ""
    return f"{given} cannot stand here", ""


def _pattern(pattern: str, given: str) -> tuple[str, str]:
    if pattern.startswith(NAME_PATTERN_START):
        return f"{given} is no name", "lower-case letters, digits, `-` and `.`, at most 63 of them"
    return f"{given} is not written as it must be", f"the pattern is {pattern}"


def _plain(entry: Mapping[str, Any]) -> bool:
    return isinstance(entry.get("input"), str | int | float | bool | None)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "`key: value` lines"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "empty"
    text = repr(value) if isinstance(value, str) else str(value)
    if isinstance(value, bool):
        text = text.lower()
    return text if len(text) <= 80 else text[:77] + "..."
