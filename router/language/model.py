"""The two kinds of language models, as the rest of the router sees them."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from infercast.policies.fleet import Text

from ..errors import Kind, Trouble
from .decoder import Decoder
from .embedder import Encoder
from .pieces import Piece
from .sampling import Sampling
from .scheduler import Scheduler
from .stream import Making, Stream
from .tokeniser import Message, Tokeniser

__all__ = ["Embedder", "Message", "Piece", "Sampling", "Stream", "TextModel"]


class TextModel:
    """A decoder with its tokeniser: many streams at once, on a thread of its own.

    `artefact`: the ONNX file; `text`: its card's facts. At most `running_max` streams advance together; the others, up
    to `streams_max` in all, wait for a place in the order in which they came. Raises FileNotFoundError, ValueError.
    """

    def __init__(
        self,
        variant: str,
        artefact: str,
        text: Text,
        accelerator: str = "cpu",
        running_max: int = 64,
        streams_max: int = 256,
        threads: int = 1,
    ) -> None:
        self.variant = variant
        self.context_tokens = text.context_tokens
        self._tokeniser = Tokeniser(Path(artefact).parent, text)
        self._decoder = Decoder(variant, artefact, accelerator, threads)
        self.on_gpu = self._decoder.on_gpu
        self._scheduler = Scheduler(self._decoder, self._tokeniser.end_tokens, running_max, streams_max)

    @property
    def streams(self) -> int:
        """How many streams are on or wait."""
        return self._scheduler.present

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, with what the tokeniser puts around every text (a begin mark, if any)."""
        return self._tokeniser.encode(text)

    def chat_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens of a conversation, ready for the model's answer.

        `messages` as the template knows them: `{"role": …, "content": text}`. Marks of the template that stand in a
        content are taken as plain text. Raises Trouble(BAD_REQUEST) for what the template refuses.
        """
        return self._tokeniser.chat(messages)

    @property
    def lives(self) -> bool:
        """Whether calls may be sent to it."""
        return self._scheduler.lives

    def generate(self, prompt: Sequence[int], sampling: Sampling) -> Stream:
        """Return the stream of what follows a prompt, an async iterator of pieces; the last one has a `finish`.

        Checks at once: raises Trouble(BAD_REQUEST) for tokens that there are not and where prompt and max_tokens exceed
        the context, Trouble(SATURATED) where there is no room for another stream. Call it on the event loop that reads
        the stream. Closing the stream (`aclose`), or dropping it, frees its place at the next step. The same seed draws
        the same text, as far as sums over rows that run together round alike.
        """
        return self.generate_all([prompt], sampling)[0]

    def generate_all(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Stream]:
        """Return the streams of several prompts, as `generate` does of one: all are checked, and fit, before any starts."""
        return self._scheduler.start([self._making(prompt, sampling) for prompt in prompts])

    def _making(self, prompt: Sequence[int], sampling: Sampling) -> Making:
        _check_tokens(prompt, self._decoder.vocabulary, self.context_tokens - 1)
        room = self.context_tokens - len(prompt)
        limit = room if sampling.max_tokens is None else sampling.max_tokens
        if limit > room:
            said = f"prompt and max_tokens are {len(prompt)} + {limit} tokens, the context {self.context_tokens}"
            raise _too_long(said, f"ask for at most {room} tokens, or shorten the prompt")
        return Making(prompt, sampling, limit, self._tokeniser.pieces(prompt))

    def close(self) -> None:
        """End the thread; streams that are on fail with Trouble(UNAVAILABLE)."""
        self._scheduler.close()


class Embedder:
    """An encoder with its tokeniser: texts in, vectors of length 1 out. Runs on a thread of its own, in turn.

    Raises FileNotFoundError, ValueError.
    """

    def __init__(self, variant: str, artefact: str, text: Text, accelerator: str = "cpu", threads: int = 1) -> None:
        self.variant = variant
        self.context_tokens = text.context_tokens
        self._tokeniser = Tokeniser(Path(artefact).parent, text)
        self._encoder = Encoder(variant, artefact, accelerator, threads)
        self.dimensions = self._encoder.dimensions
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedder")

    async def embed(self, inputs: Sequence[str] | Sequence[Sequence[int]]) -> tuple[npt.NDArray[np.float32], int]:
        """Return one vector per input [n, dimensions], and how many prompt tokens there were in all.

        Raises Trouble(BAD_REQUEST) for no or an empty input, one longer than the context, a token that there is not.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._embed, inputs)

    def _embed(self, inputs: Sequence[str] | Sequence[Sequence[int]]) -> tuple[npt.NDArray[np.float32], int]:
        if not inputs:
            raise Trouble(Kind.BAD_REQUEST, "there is no input", "send one text at least")
        rows = [self._tokeniser.encode(one) if isinstance(one, str) else list(one) for one in inputs]
        for row in rows:
            _check_tokens(row, self._tokeniser.vocabulary, self.context_tokens)
        return self._encoder.run(rows), sum(map(len, rows))

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()


def _check_tokens(tokens: Sequence[int], vocabulary: int, most: int) -> None:
    if not tokens:
        raise Trouble(Kind.BAD_REQUEST, "the text is empty", "send one token at least")
    if len(tokens) > most:
        raise _too_long(f"the text has {len(tokens)} tokens", f"send at most {most}")
    if min(tokens) < 0 or max(tokens) >= vocabulary:
        wrong = min(tokens) if min(tokens) < 0 else max(tokens)
        raise Trouble(Kind.BAD_REQUEST, f"there is no token {wrong}", f"tokens are 0 to {vocabulary - 1}")


def _too_long(said: str, remedy: str) -> Trouble:
    """Return the trouble of a text that the context does not hold, by the code that programs know it by: OpenAI's."""
    return Trouble(Kind.BAD_REQUEST, said, remedy, {"code": "context_length_exceeded"})
