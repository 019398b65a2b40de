"""How a next token is drawn from what the decoder says of each, and where a text is cut off."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
FEW = 512
"""Only so many of the likeliest tokens are sorted at first: with a usual `top_p` no more are needed."""


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

    def __post_init__(self) -> None:
        """Refuse what has no meaning. Raises ValueError."""
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}: at least 1")
        if not (0.0 <= self.temperature < float("inf")):
            raise ValueError(f"temperature is {self.temperature}: at least 0")
        if not (0.0 < self.top_p <= 1.0):
            raise ValueError(f"top_p is {self.top_p}: above 0 and at most 1")

    def draws(self) -> np.random.Generator:
        """Return the stream's own source of chance: one number per token, whoever else is served beside it."""
        seed = secrets.randbits(64) if self.seed is None else self.seed % 2**64
        return np.random.Generator(np.random.PCG64(seed))


def choose(logits: Floats, samplings: Sequence[Sampling], draws: Sequence[np.random.Generator]) -> list[int]:
    """Return the next token of each row of `logits` [rows, vocabulary]."""
    chosen = logits.argmax(axis=1)
    warm = [row for row, sampling in enumerate(samplings) if sampling.temperature > 0]
    if warm:
        heat = np.array([samplings[row].temperature for row in warm], np.float64)
        scaled = logits[warm].astype(np.float64)
        scaled -= scaled.max(axis=1, keepdims=True)
        scaled /= heat[:, None]
        shares = np.exp(scaled)
        shares /= shares.sum(axis=1, keepdims=True)
        chance = np.array([draws[row].random() for row in warm])
        top = np.array([samplings[row].top_p for row in warm])
        chosen[warm] = np.where(top < 1.0, _likeliest(shares, top, chance), _any(shares, chance))
    return [int(token) for token in chosen]


def _any(shares: Doubles, chance: Doubles) -> npt.NDArray[np.int64]:
    """The token in whose interval the chance falls, intervals as long as shares, in the order of the vocabulary."""
    reached = shares.cumsum(axis=1)
    return np.asarray((reached > (chance * reached[:, -1])[:, None]).argmax(axis=1), np.int64)


def _likeliest(shares: Doubles, top: Doubles, chance: Doubles) -> npt.NDArray[np.int64]:
    """The same among the fewest tokens whose shares reach `top`, likeliest first; equal shares in order of vocabulary."""
    if not np.any(top < 1.0):
        return np.zeros(len(shares), np.int64)
    order = _sorted_head(shares, top)
    ranked = np.take_along_axis(shares, order, axis=1)
    before = ranked.cumsum(axis=1) - ranked
    ranked = np.where(before < top[:, None], ranked, 0.0)
    return np.take_along_axis(order, _any(ranked, chance)[:, None], axis=1)[:, 0]


def _sorted_head(shares: Doubles, top: Doubles) -> npt.NDArray[np.int64]:
    """The likeliest tokens of each row in order: a few of them, or all where a few do not reach what is asked."""
    if shares.shape[1] > FEW:
        few = np.argpartition(-shares, FEW, axis=1)[:, :FEW]
        if np.all(np.take_along_axis(shares, few, axis=1).sum(axis=1) >= top):
            few.sort(axis=1)
            ranks = np.argsort(-np.take_along_axis(shares, few, axis=1), axis=1, kind="stable")
            return np.take_along_axis(few, ranks, axis=1)
    return np.argsort(-shares, axis=1, kind="stable")


class StopStrings:
    """Watches a text that comes in pieces for the first stop string in it."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.stopped = False

    def add(self, text: str) -> str:
        """Return the text that is surely before any stop string; what may be the beginning of one is held back."""
        if not self._stops:
            return text
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            sure, self._held = self._held[: min(found)], ""
            return sure
        keep = max(self._overlap(stop) for stop in self._stops)
        cut = len(self._held) - keep
        sure, self._held = self._held[:cut], self._held[cut:]
        return sure

    def rest(self) -> str:
        """Return what was held back, once nothing more will come."""
        held, self._held = self._held, ""
        return held

    def _overlap(self, stop: str) -> int:
        """How many letters at the end of what is held could begin the stop string."""
        longest = min(len(stop) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)
