"""Values that a JSON Schema allows, for the part of JSON Schema that our own shapes are written in."""

from typing import Any

from hypothesis import strategies as st

ITEMS_MAX = 3
TEXT = st.text(max_size=8)


def values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that `schema`, without references, allows; its `allOf` is not looked at."""
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of([values(one) for one in schema["anyOf"]])
    kinds = schema.get("type", ["null"])
    return st.one_of([OF_KIND[kind](schema) for kind in ([kinds] if isinstance(kinds, str) else kinds)])


def _text(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    if "pattern" in schema:
        return st.from_regex(schema["pattern"].replace("$", r"\Z"), fullmatch=True).map(lambda text: text[:128])
    return st.text(min_size=schema.get("minLength", 0), max_size=8)


def _whole(schema: dict[str, Any]) -> st.SearchStrategy[int]:
    return st.integers(schema.get("minimum", -100), schema.get("maximum", 100))


def _number(schema: dict[str, Any]) -> st.SearchStrategy[float]:
    least, most = schema.get("exclusiveMinimum", schema.get("minimum", -100)), schema.get("maximum", 100)
    return st.floats(least, most, exclude_min="exclusiveMinimum" in schema) | st.just(most)


def _list(schema: dict[str, Any]) -> st.SearchStrategy[list[Any]]:
    most = min(schema.get("maxItems", ITEMS_MAX), ITEMS_MAX)
    return st.lists(values(schema["items"]), min_size=schema.get("minItems", 0), max_size=most)


def _object(schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    fields = schema.get("properties", {})
    if not fields:
        return st.dictionaries(TEXT, TEXT, max_size=ITEMS_MAX)
    needed = schema.get("required", [])
    optional = {name: values(one) for name, one in fields.items() if name not in needed}
    return st.fixed_dictionaries({name: values(fields[name]) for name in needed}, optional=optional)


OF_KIND: dict[str, Any] = {
    "null": lambda _: st.none(),
    "boolean": lambda _: st.booleans(),
    "string": _text,
    "integer": _whole,
    "number": _number,
    "array": _list,
    "object": _object,
}
