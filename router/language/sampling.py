"""How a next token is drawn from what the decoder says of each."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sampling:
    """What a caller wants of its stream.

    `max_tokens`: at most so many tokens; None: as many as the context holds. `temperature` 0 takes the likeliest token
    each time. `top_p` in (0, 1]: only the likeliest tokens that together have this share. `seed`: equal seeds draw
    alike; None draws a fresh one. `stop`: the text ends before the first of these strings, which is left out.
    """

    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
