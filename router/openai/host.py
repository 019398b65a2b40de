"""A language model behind OpenAI's JSON: one variant at one site, bytes in, bytes or a stream of events out."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import TypeVar

from ..api import Api, Event, Usage
from ..language.model import Embedder, Stream, TextModel
from ..language.sampling import Sampling
from ..runtime.host import Answer
from ..streams import begun
from .bodies import Wishes, parse_chat, parse_completion, parse_embedding
from .fields import bad
from .render import Text, Writer, render_embeddings

INLINE_BYTES_MAX = 16 * 1024
"""Bodies up to this size are read and tokenised on the event loop; larger ones would hold up others, and go to a thread."""
TEMPERATURE_DEFAULT = 1.0
"""OpenAI's own."""
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class TextCall:
    """A call for text, ready to be made: the tokens of each prompt, and the wishes that they share."""

    api: Api
    prompts: tuple[list[int], ...]
    wishes: Wishes

    @property
    def sampling(self) -> Sampling:
        """How tokens are drawn. Of a share of nothing, the likeliest token is left."""
        wishes = self.wishes
        greedy = wishes.top_p == 0
        return Sampling(
            max_tokens=wishes.tokens_max,
            temperature=0.0 if greedy else TEMPERATURE_DEFAULT if wishes.temperature is None else wishes.temperature,
            top_p=1.0 if greedy or wishes.top_p is None else wishes.top_p,
            seed=wishes.seed,
            stop=wishes.stop,
        )

    @property
    def prompt_tokens(self) -> int:
        """How many tokens the prompts have in all."""
        return sum(map(len, self.prompts))


class LanguageHost:
    """Answers the calls of one variant. `model` makes text, or embeddings."""

    def __init__(self, variant: str, site: str, model: TextModel | Embedder) -> None:
        self._variant = variant
        self._site = site
        self._model = model

    @property
    def lives(self) -> bool:
        """Whether calls may be sent to it."""
        return not isinstance(self._model, TextModel) or self._model.lives

    async def run(self, api: Api, body: bytes, stream: bool) -> Answer:
        """Answer one call; a streamed answer is returned once its first text is there.

        `service_us` of a text is the time until its first part, of a whole answer too: it is what was declared and what
        others will wait for, however long a text its caller wants.
        Raises Trouble: BAD_REQUEST with the field that is wrong, SATURATED where the model has no room.
        """
        began_ns = time.perf_counter_ns()
        model = self._model
        if isinstance(model, TextModel) and api in (Api.CHAT, Api.COMPLETION):
            call = await _off_loop(body, lambda: _read(model, api, body))
            writer = Writer(api, self._variant, call.wishes.include_usage)
            if stream:
                events = await begun(_events(model, call, writer))
                return Answer(b"", None, self._variant, self._site, _since_us(began_ns), stream=events)
            rendered, usage, first_ns = await _whole(model, call, writer)
            service_us = (first_ns - began_ns) // 1000
            return Answer(rendered, None, self._variant, self._site, service_us, usage=usage)
        if isinstance(model, Embedder) and api is Api.EMBEDDING:
            rendered, usage = await _embedded(model, body, self._variant)
            return Answer(rendered, None, self._variant, self._site, _since_us(began_ns), usage=usage)
        makes = "text: POST /v1/chat/completions" if isinstance(model, TextModel) else "embeddings: POST /v1/embeddings"
        raise bad("model", f"{self._variant} makes {makes}", "name another of GET /v1/models", "invalid_value")


def _read(model: TextModel, api: Api, body: bytes) -> TextCall:
    """Read a call for text, and tokenise it."""
    if api is Api.CHAT:
        chat = parse_chat(body)
        turns = [{"role": message.role, "content": message.content} for message in chat.messages]
        return TextCall(api, (model.chat_prompt(turns),), chat.wishes)
    call = parse_completion(body)
    prompts = (model.encode(prompt) if isinstance(prompt, str) else list(prompt) for prompt in call.prompts)
    return TextCall(api, tuple(prompts), call.wishes)


async def _off_loop(body: bytes, make: Callable[[], Result]) -> Result:
    return make() if len(body) <= INLINE_BYTES_MAX else await asyncio.to_thread(make)


async def _whole(model: TextModel, call: TextCall, writer: Writer) -> tuple[bytes, Usage, int]:
    """Make every prompt's text side by side; one that fails ends them all.

    Returns the answer, what was used, and the instant of the first part of any text in nanoseconds.
    """
    streams = model.generate_all(call.prompts, call.sampling)
    making = [asyncio.create_task(_text(stream)) for stream in streams]
    try:
        made = await asyncio.gather(*making)
    finally:
        for task in making:
            task.cancel()
        await asyncio.gather(*making, return_exceptions=True)
    usage = Usage(call.prompt_tokens, sum(one.tokens for one in made))
    body = writer.whole([Text(one.text, one.finish) for one in made], usage)
    return body, usage, min(one.first_ns for one in made)


@dataclass(slots=True)
class Made:
    """One text as far as it is made, and when its first part came."""

    text: str = ""
    tokens: int = 0
    finish: str = "stop"
    first_ns: int = 0


async def _text(stream: Stream) -> Made:
    made = Made()
    async with aclosing(stream) as pieces:
        async for piece in pieces:
            made.first_ns = made.first_ns or time.perf_counter_ns()
            made.text += piece.text
            made.tokens += piece.tokens
            made.finish = piece.finish or made.finish
    return made


async def _events(model: TextModel, call: TextCall, writer: Writer) -> AsyncGenerator[Event, None]:
    """Write a stream's events, one prompt after the other; nothing is written before the first text is there.

    All texts are made side by side: that one of them cannot be is known before anything is written.
    """
    made = 0
    opened = call.api is not Api.CHAT
    async with AsyncExitStack() as held:
        streams = model.generate_all(call.prompts, call.sampling)
        for stream in streams:
            held.push_async_callback(stream.aclose)
        for index, stream in enumerate(streams):
            async for piece in stream:
                made += piece.tokens
                if not opened:
                    opened = True
                    yield writer.opening()
                if piece.text:
                    yield writer.piece(piece.text, index)
                if piece.finish is not None:
                    yield writer.end(piece.finish, index)
    usage = Usage(call.prompt_tokens, made)
    if writer.include_usage:
        yield writer.used(usage)
    yield usage


async def _embedded(model: Embedder, body: bytes, variant: str) -> tuple[bytes, Usage]:
    call = await _off_loop(body, lambda: parse_embedding(body))
    if call.dimensions not in (None, model.dimensions):
        remedy = f"leave it out, or send {model.dimensions}"
        raise bad("dimensions", f"dimensions is {call.dimensions}", remedy, "invalid_value")
    vectors, prompt_tokens = await model.embed(call.inputs)
    usage = Usage(prompt_tokens)
    return render_embeddings(variant, vectors, call.encoding, usage), usage


def _since_us(began_ns: int) -> int:
    return (time.perf_counter_ns() - began_ns) // 1000
