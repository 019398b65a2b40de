"""The two kinds of language models, as the rest of the router sees them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from infercast.policies.fleet import Text

from .pieces import Piece
from .sampling import Sampling

Message = Mapping[str, Any]


class TextModel:
    """A decoder with its tokeniser: many streams at once, on a thread of its own.

    `artefact`: the ONNX file; `text`: its card's facts. At most `running_max` streams advance together; the others, up
    to `streams_max` in all, wait for a place in the order in which they came.
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

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, with what the tokeniser puts around every text (a begin mark, if any)."""
        raise NotImplementedError

    def chat_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens of a conversation, ready for the model's answer.

        `messages` as the template knows them: `{"role": …, "content": text}`. Marks of the template that stand in a
        content are taken as plain text. Raises Trouble(BAD_REQUEST) for what the template refuses.
        """
        raise NotImplementedError

    def generate(self, prompt: Sequence[int], sampling: Sampling) -> AsyncIterator[Piece]:
        """Return the stream of what follows a prompt; the last piece has a `finish`.

        Checks at once (before the first piece): raises Trouble(BAD_REQUEST) where prompt and max_tokens exceed the
        context, Trouble(SATURATED) where there is no room for another stream. Closing the iterator (`aclose`) frees
        its place at the next step.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End the thread; streams that are on fail with Trouble(UNAVAILABLE)."""


class Embedder:
    """An encoder with its tokeniser: texts in, vectors of length 1 out."""

    def __init__(self, variant: str, artefact: str, text: Text, accelerator: str = "cpu", threads: int = 1) -> None:
        self.variant = variant
        self.context_tokens = text.context_tokens
        self.dimensions = 0

    async def embed(self, inputs: Sequence[str] | Sequence[Sequence[int]]) -> tuple[npt.NDArray[np.float32], int]:
        """Return one vector per input [n, dimensions], and how many prompt tokens there were in all.

        Raises Trouble(BAD_REQUEST) for an empty input, one longer than the context, or a token that there is not.
        """
        raise NotImplementedError
