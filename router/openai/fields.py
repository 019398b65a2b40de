"""Fields of a JSON object, read by name and kind. What is wrong is said once: where, what it is, what to send.

`null` means the same as leaving a field out, as it does for OpenAI. Values that may be a person's words are never
repeated in a message: it names their kind.
"""

from typing import Any

import orjson

from ..errors import Kind, Trouble

SHOWN_CHARS_MAX = 40
KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def bad(param: str | None, message: str, remedy: str = "", code: str | None = None) -> Trouble:
    """Return the trouble of a body that is not as the API says; `param` and `code` are what OpenAI's errors carry."""
    return Trouble(Kind.BAD_REQUEST, message, remedy, {"param": param, "code": code})


def written(value: Any) -> bytes:
    """Return a value that was read as JSON again. Raises Trouble for one that is nested deeper than can be written."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:  # it reads 1,024 levels, and writes 254
        raise bad(None, "the body is nested too deeply", "send at most 250 levels of lists and objects") from error


def shown(value: Any) -> str:
    """Return a short value as a message shows it."""
    text = written(value).decode()
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}…"


def read_object(body: bytes) -> dict[str, Any]:
    """Return a body that is one JSON object."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad(None, f"the body is not JSON: {error}", "send one JSON object in UTF-8") from error
    if not isinstance(value, dict):
        raise bad(None, f"the body is {KINDS[type(value)]}", "send one JSON object")
    return value


class Fields:
    """One object's fields. `where` is the object's own path, empty for the whole body."""

    def __init__(self, value: dict[str, Any], where: str = "") -> None:
        self.value = value
        self._where = where

    def path(self, name: str) -> str:
        """Return a field's path, such as `messages[0].role`."""
        return f"{self._where}.{name}" if self._where else name

    def missing(self, name: str, remedy: str) -> Trouble:
        """Return the trouble of a field that must be there."""
        return bad(self.path(name), f"{self.path(name)} is missing", remedy, "missing_required_parameter")

    def wrong(self, name: str, wanted: str) -> Trouble:
        """Return the trouble of a field of the wrong kind."""
        found = KINDS[type(self.value[name])]
        return bad(self.path(name), f"{self.path(name)} is {found}", f"send {wanted}", "invalid_type")

    def beyond(self, name: str, wanted: str) -> Trouble:
        """Return the trouble of a field whose value is none of those allowed."""
        found = shown(self.value[name])
        return bad(self.path(name), f"{self.path(name)} is {found}", f"send {wanted}", "invalid_value")

    def text(self, name: str) -> str | None:
        """Return a string."""
        value = self.value.get(name)
        if value is not None and not isinstance(value, str):
            raise self.wrong(name, "a string")
        return value

    def truth(self, name: str) -> bool:
        """Return true or false, which is what a missing one is."""
        value = self.value.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return bool(value)

    def whole(self, name: str, least: int, most: int) -> int | None:
        """Return a whole number in a range."""
        value = self.value.get(name)
        if value is None:
            return None
        if type(value) is not int:
            # JSON has one kind of number, and JSON Schema calls 1.0 whole.
            if type(value) is not float or not value.is_integer():
                raise self.wrong(name, "a whole number")
            value = int(value)
        if not least <= value <= most:
            raise self.beyond(name, f"a whole number from {least} to {most}")
        return value

    def number(self, name: str, least: float, most: float) -> float | None:
        """Return a number in a range."""
        value = self.value.get(name)
        if value is None:
            return None
        if type(value) not in (int, float):
            raise self.wrong(name, "a number")
        if not least <= value <= most:
            raise self.beyond(name, f"a number from {least:g} to {most:g}")
        return float(value)

    def part(self, name: str) -> "Fields | None":
        """Return an object's own fields."""
        value = self.value.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return Fields(value, self.path(name))

    def items(self, name: str, most: int) -> list[Any] | None:
        """Return a list that is not empty."""
        value = self.value.get(name)
        if value is None:
            return None
        if not isinstance(value, list):
            raise self.wrong(name, "a list")
        if not 0 < len(value) <= most:
            path = self.path(name)
            raise bad(path, f"{path} holds {len(value)} items", f"send 1 to {most}", "invalid_value")
        return value
