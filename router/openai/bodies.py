"""OpenAI's calls, parsed: chat completions, completions, embeddings. No I/O; whatever is wrong names its field."""

from dataclasses import dataclass
from typing import Any, Literal

from .fields import Fields, bad, read_object
from .parameters import CHAT, COMPLETION, EMBEDDING, OF_OTHER_TURNS, OF_STREAMS, check_rest

MESSAGES_MAX = 2048
PARTS_MAX = 256
PROMPTS_MAX = 16
INPUTS_MAX = 2048
STOPS_MAX = 4
STOP_CHARS_MAX = 256
TOKENS_MAX = 1_000_000
TOKEN_MAX = 2**31 - 1
SEED_MAX = 2**63 - 1
COMPLETION_TOKENS_DEFAULT = 16
"""OpenAI's own default for completions; a chat runs to its end or to the end of the context."""

Prompts = tuple[str, ...] | tuple[tuple[int, ...], ...]
"""Texts, or the tokens of texts."""
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
"""Who may speak, and as whom: OpenAI renamed `system` to `developer`, and models know the old word."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a text is to be made and sent. None means the model's own default."""

    tokens_max: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    stream: bool = False
    include_usage: bool = False


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A call to /v1/chat/completions."""

    model: str
    messages: tuple[Message, ...]
    wishes: Wishes


@dataclass(frozen=True, slots=True)
class CompletionCall:
    """A call to /v1/completions."""

    model: str
    prompts: Prompts
    wishes: Wishes


@dataclass(frozen=True, slots=True)
class EmbeddingCall:
    """A call to /v1/embeddings. `dimensions` is None where the caller leaves the length to the model."""

    model: str
    inputs: Prompts
    encoding: Literal["float", "base64"] = "float"
    dimensions: int | None = None


WISHES_READ = ("model", "max_tokens", "temperature", "top_p", "stop", "seed", "stream", "stream_options")
CHAT_READ = ("messages", "max_completion_tokens", *WISHES_READ)
COMPLETION_READ = ("prompt", *WISHES_READ)
EMBEDDING_READ = ("model", "input", "encoding_format", "dimensions")


def parse_chat(body: bytes) -> ChatCall:
    """Parse a chat completion's call. Raises Trouble(BAD_REQUEST)."""
    fields = Fields(read_object(body))
    check_rest(fields, CHAT_READ, CHAT)
    found = fields.items("messages", MESSAGES_MAX)
    if found is None:
        raise fields.missing("messages", 'send [{"role": "user", "content": "…"}]')
    messages = tuple(_message(one, f"messages[{index}]") for index, one in enumerate(found))
    older, newer = (fields.whole(name, 1, TOKENS_MAX) for name in ("max_tokens", "max_completion_tokens"))
    if older and newer:
        raise bad("max_tokens", "max_tokens and max_completion_tokens say the same thing", "send one of them")
    return ChatCall(_model(fields), messages, _wishes(fields, newer or older))


def parse_completion(body: bytes) -> CompletionCall:
    """Parse a completion's call. Raises Trouble(BAD_REQUEST)."""
    fields = Fields(read_object(body))
    check_rest(fields, COMPLETION_READ, COMPLETION)
    prompts = _prompts(fields, "prompt", PROMPTS_MAX)
    most = fields.whole("max_tokens", 1, TOKENS_MAX)
    return CompletionCall(_model(fields), prompts, _wishes(fields, most or COMPLETION_TOKENS_DEFAULT))


def parse_embedding(body: bytes) -> EmbeddingCall:
    """Parse an embedding's call. Raises Trouble(BAD_REQUEST)."""
    fields = Fields(read_object(body))
    check_rest(fields, EMBEDDING_READ, EMBEDDING)
    inputs = _prompts(fields, "input", INPUTS_MAX)
    encoding = fields.text("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise fields.beyond("encoding_format", "float or base64")
    dimensions = fields.whole("dimensions", 1, TOKENS_MAX)
    return EmbeddingCall(_model(fields), inputs, "base64" if encoding == "base64" else "float", dimensions)


def _model(fields: Fields) -> str:
    model = fields.text("model")
    if not model:
        raise fields.missing("model", "name one of GET /v1/models")
    return model


def _wishes(fields: Fields, tokens_max: int | None) -> Wishes:
    stream = fields.truth("stream")
    options = fields.part("stream_options")
    if options is not None:
        if not stream:
            raise bad("stream_options", "stream_options goes with stream alone", "leave it out, or set stream")
        check_rest(options, ("include_usage",), OF_STREAMS)
    return Wishes(
        tokens_max=tokens_max,
        temperature=fields.number("temperature", 0, 2),
        top_p=fields.number("top_p", 0, 1),
        stop=_stop(fields),
        seed=fields.whole("seed", -SEED_MAX, SEED_MAX),
        stream=stream,
        include_usage=options is not None and options.truth("include_usage"),
    )


def _stop(fields: Fields) -> tuple[str, ...]:
    found = fields.value.get("stop")
    if found is None or found == []:
        return ()
    if not isinstance(found, str | list):
        raise fields.wrong("stop", f"a string, or a list of at most {STOPS_MAX}")
    stops = [found] if isinstance(found, str) else fields.items("stop", STOPS_MAX) or []
    for stop in stops:
        if not isinstance(stop, str):
            raise fields.wrong("stop", f"a string, or a list of at most {STOPS_MAX}")
        if not 0 < len(stop) <= STOP_CHARS_MAX:
            raise bad("stop", f"a stop has {len(stop)} characters", f"send 1 to {STOP_CHARS_MAX}", "invalid_value")
    return tuple(stops)


def _message(value: Any, where: str) -> Message:
    if not isinstance(value, dict):
        raise bad(where, f"{where} is not an object", "send role and content", "invalid_type")
    fields = Fields(value, where)
    role = fields.text("role")
    if role is None:
        raise fields.missing("role", f"send one of {', '.join(ROLES)}")
    if role not in ROLES:
        raise fields.beyond("role", f"one of {', '.join(ROLES)}; tools are not supported here")
    check_rest(fields, ("role", "content", "name"), OF_OTHER_TURNS)
    fields.text("name")
    return Message(ROLES[role], _content(fields))


def _content(fields: Fields) -> str:
    """Return a message's text; parts are set apart by a line's end."""
    content = fields.value.get("content")
    if content is None:
        raise fields.missing("content", "send a string, or a list of text parts")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise fields.wrong("content", "a string, or a list of text parts")
    texts = []
    for index, part in enumerate(fields.items("content", PARTS_MAX) or []):
        path = fields.path(f"content[{index}]")
        if not isinstance(part, dict):
            raise bad(path, f"{path} is not an object", 'send {"type": "text", "text": "…"}', "invalid_type")
        texts.append(_part(Fields(part, path)))
    return "\n".join(texts)


def _part(fields: Fields) -> str:
    kind = fields.text("type")
    if kind is None:
        raise fields.missing("type", "send text")
    if kind != "text":
        raise fields.beyond("type", "text: this model reads nothing else")
    check_rest(fields, ("type", "text"), ())
    text = fields.text("text")
    if text is None:
        raise fields.missing("text", "send a string")
    return text


def _prompts(fields: Fields, name: str, most: int) -> Prompts:
    """Return texts or tokens: one text, a list of them, one text's tokens, or a list of such lists."""
    value = fields.value.get(name)
    if value is None:
        raise fields.missing(name, "send a string, or a list of them")
    if isinstance(value, str):
        return (_said(name, value),)
    if not isinstance(value, list):
        raise fields.wrong(name, "a string, or a list of them")
    found = fields.items(name, TOKENS_MAX) or []
    if type(found[0]) is int:
        return (_tokens(name, found),)
    fields.items(name, most)
    if all(isinstance(one, str) for one in found):
        return tuple(_said(name, one) for one in found)
    if all(isinstance(one, list) for one in found):
        return tuple(_tokens(name, one) for one in found)
    raise fields.wrong(name, "a string, a list of strings, tokens, or a list of lists of tokens")


def _said(name: str, text: str) -> str:
    if not text:
        raise bad(name, f"{name} holds an empty text", "send at least one character", "invalid_value")
    return text


def _tokens(name: str, value: list[Any]) -> tuple[int, ...]:
    if not 0 < len(value) <= TOKENS_MAX or not all(type(token) is int and 0 <= token <= TOKEN_MAX for token in value):
        raise bad(name, f"{name} holds what are no tokens", f"send 1 to {TOKENS_MAX} whole numbers", "invalid_value")
    return tuple(value)
