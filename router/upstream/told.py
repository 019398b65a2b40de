"""What the body of an error says, in the shape of OpenAI's API or of the Open Inference Protocol: a message, and facts beside it."""

from typing import Any

import orjson

MESSAGE_CHARS_MAX = 500
WORD_CHARS_MAX = 100
OURS = "infercast"


def visible(text: str) -> str:
    """Return a word as a header may hold it: nothing in it can end the line."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)


def said(body: bytes) -> str:
    """Return the message; empty where there is none."""
    message = _error(body).get("message")
    if not isinstance(message, str):
        return ""
    return "".join(letter if letter.isprintable() else " " for letter in message[:MESSAGE_CHARS_MAX])


def blamed(body: bytes) -> dict[str, Any]:
    """Return the `param` and the `code` that OpenAI's errors name: programs go by them, as by `context_length_exceeded`."""
    error = _error(body)
    words = {name: error.get(name) for name in ("param", "code")}
    return {
        name: word
        for name, word in words.items()
        if isinstance(word, str) and len(word) <= WORD_CHARS_MAX and word.isprintable()
    }


def facts(body: bytes) -> dict[str, Any]:
    """Return what one of our own ingresses says beside the message, whichever API was asked."""
    found = _error(body).get(OURS)
    return found if isinstance(found, dict) else {}


def _error(body: bytes) -> dict[str, Any]:
    """Return the error as OpenAI has it: an object with a message; empty for what is no error of either API."""
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(value, dict):
        return {}
    error = value.get("error", value.get("detail"))
    return error if isinstance(error, dict) else {"message": error, OURS: value.get(OURS)}
