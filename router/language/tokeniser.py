"""A tokeniser as Hugging Face stores one: `tokenizer.json`, and beside it the chat template and the marks that end a text."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from infercast.policies.fleet import Text

from ..errors import Kind, Trouble

Message = Mapping[str, Any]
SIDE_FILES = ("tokenizer_config.json", "generation_config.json", "special_tokens_map.json")
CONTEXT_OF_PIECES = 8
"""So many tokens of a prompt are shown to the decoding of what follows it: they say whether a blank stands between."""


class Tokeniser:
    """Text to tokens and back. Safe to use from several threads."""

    def __init__(self, folder: Path, text: Text) -> None:
        path = (folder / text.tokenizer).resolve()
        if not path.is_file():
            raise FileNotFoundError(f"tokenizer {path} is not there; make the models first")
        self._tokenizer = Tokenizer.from_file(str(path))
        # Padding and truncation are the caller's choice, whatever the file was saved with.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._plain = Tokenizer.from_str(self._tokenizer.to_str())
        self._plain.encode_special_tokens = True
        self._marks = [token.content for token in self._tokenizer.get_added_tokens_decoder().values() if token.special]
        beside = {name: _read_json(path.parent / name) for name in SIDE_FILES}
        self._named = _named_marks(beside)
        self.end_tokens = frozenset(text.end_tokens) or self._end_tokens(beside)
        self._template = _template(text.chat_template or _template_beside(path.parent, beside), folder)

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, with what stands around every text."""
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens of a conversation, ready for the answer.

        A mark of the template (`<|im_end|>` and the like) in a content is text, and not a mark: else a caller's text
        could pretend to be another's turn. Raises Trouble(BAD_REQUEST) for what the template refuses.
        """
        if self._template is None:
            remedy = "use completions, or give its card a chat_template"
            raise Trouble(Kind.BAD_REQUEST, "this model has no chat template", remedy)
        quote = _Quote(self._marks, messages)
        values = {**self._named, "add_generation_prompt": True, "tools": None, "documents": None}
        try:
            rendered = self._template.render(messages=[quote.hide(message) for message in messages], **values)
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            remedy = "send messages as this model's template takes them"
            raise Trouble(Kind.BAD_REQUEST, f"the chat template refuses these messages: {error}", remedy) from error
        ids: list[int] = []
        for part, hidden in quote.parts(rendered):
            tokenizer = self._plain if hidden else self._tokenizer
            ids += tokenizer.encode(part, add_special_tokens=False).ids
        return ids

    def pieces(self, prompt: Sequence[int]) -> "Pieces":
        """Return what turns the tokens that follow a prompt into text."""
        return Pieces(self._tokenizer, prompt)

    def _end_tokens(self, beside: Mapping[str, Any]) -> frozenset[int]:
        ids = beside["generation_config.json"].get("eos_token_id")
        if ids is None and (mark := self._named.get("eos_token")):
            ids = self._tokenizer.token_to_id(mark)
        ids = ids if isinstance(ids, list) else [ids]
        return frozenset(int(one) for one in ids if one is not None)


class Pieces:
    """Tokens to text as they come: what may yet change (half of a character) is held back till it cannot."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int]) -> None:
        before = list(prompt[-CONTEXT_OF_PIECES:])
        self._tokenizer = tokenizer
        self._stream = DecodeStream(ids=before, skip_special_tokens=True)
        self._ids = before
        self._given = tokenizer.decode(before, skip_special_tokens=True)

    def add(self, token: int) -> str:
        """Return the text that is sure now; often that of this token, sometimes none."""
        self._ids.append(token)
        text = self._stream.step(self._tokenizer, token) or ""
        self._given += text
        return text

    def rest(self) -> str:
        """Return what was held back, once nothing more will come: half characters as U+FFFD."""
        whole: str = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        return whole[len(self._given) :] if whole.startswith(self._given) else ""


class _Quote:
    """Takes the marks out of messages before they are rendered, and puts them back as plain text."""

    def __init__(self, marks: Sequence[str], messages: Sequence[Message]) -> None:
        texts = "".join(_texts(messages))
        self._marks = [mark for mark in marks if mark in texts]
        # A fence that stands nowhere in the messages; letters only, since templates may trim what they print.
        fence = "qfence"
        while fence in texts:
            fence += "x"
        self._fence = fence

    def hide(self, value: Any) -> Any:
        """Return the value with every mark in its strings hidden."""
        if not self._marks:
            return value
        if isinstance(value, str):
            for index, mark in enumerate(self._marks):
                value = value.replace(mark, f"{self._fence}{index}{self._fence}")
            return value
        if isinstance(value, Mapping):
            return {key: self.hide(one) for key, one in value.items()}
        return [self.hide(one) for one in value] if isinstance(value, list | tuple) else value

    def parts(self, rendered: str) -> list[tuple[str, bool]]:
        """Return the rendered text in parts, each with whether it is a mark that was hidden."""
        if not self._marks:
            return [(rendered, False)]
        parts = rendered.split(self._fence)
        return [(self._marks[int(part)] if at % 2 else part, bool(at % 2)) for at, part in enumerate(parts)]


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [text for one in value for text in _texts(one)] if isinstance(value, list | tuple) else []


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise TypeError(f"{path}: expected a JSON object")
    return value


def _named_marks(beside: Mapping[str, Any]) -> dict[str, str]:
    """The marks that a template knows by name, such as `bos_token`."""
    named: dict[str, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        for key, value in beside[name].items():
            text = value.get("content") if isinstance(value, dict) else value
            if key.endswith("_token") and isinstance(text, str):
                named[key] = text
    return named


def _template_beside(folder: Path, beside: Mapping[str, Any]) -> str | None:
    own = folder / "chat_template.jinja"
    if own.is_file():
        return own.read_text(encoding="utf-8")
    template: Any = beside["tokenizer_config.json"].get("chat_template")
    if isinstance(template, list):  # several by name, as some repositories have them
        template = {one["name"]: one["template"] for one in template}.get("default")
    return template if isinstance(template, str) else None


def _template(template: str | None, folder: Path) -> Any:
    if template is None:
        return None
    if "{" not in template:
        template = (folder / template).read_text(encoding="utf-8")
    # A template is somebody else's program: it sees the messages, and nothing of this process.
    sandbox = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    sandbox.globals["raise_exception"] = _refuse
    sandbox.globals["strftime_now"] = _strftime_now
    sandbox.filters["tojson"] = _tojson
    return sandbox.from_string(template)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now(tz=UTC).strftime(form)


def _tojson(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
