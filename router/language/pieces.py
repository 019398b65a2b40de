"""What a stream gives: text as soon as it is sure, and at the end why it ended."""

from dataclasses import dataclass
from typing import Literal

Finish = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text that is being made.

    `text` is whole characters; it is empty only in the last piece. `tokens`: how many tokens were made since the piece
    before, those of a stop string and the mark of the end too. `finish` is None but in the last piece: "stop" (the
    model ended, or a stop string came), "length" (as many tokens as were allowed).
    """

    text: str
    tokens: int
    finish: Finish | None = None
