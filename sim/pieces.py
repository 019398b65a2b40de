"""Pieces of a workload: calls of one source and origin, drawn apart, and put together in order of time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .model import Ints


@dataclass(slots=True)
class Piece:
    """Calls in order of time, one place per call in every array: int64, `row` (of the KindBook) int32.

    `stream` names the randomness that they were drawn from. `multiple` is 0 for the calls of the source as it stands,
    k for those that scaling beyond k times adds.
    """

    stream: tuple[str | int, ...]
    multiple: int
    at_us: Ints
    row: npt.NDArray[np.int32]
    payload_bytes: Ints
    work_ppm: Ints
    content: Ints
    luck: Ints

    def __len__(self) -> int:
        return len(self.at_us)

    def take(self, which: npt.NDArray[np.bool_] | Ints) -> None:
        """Keep only some of the calls, or all in another order."""
        for name in ARRAYS:
            setattr(self, name, getattr(self, name)[which])


ARRAYS = ("at_us", "row", "payload_bytes", "work_ppm", "content", "luck")


def joined(pieces: Sequence[Piece]) -> Piece:
    """Return all calls as one piece, in order of time; of two at the same time the one of the earlier piece comes first.

    The pieces are emptied on the way, array by array, so that the calls are not held twice.
    """
    filled = [piece for piece in pieces if len(piece)]
    if len(filled) == 1:
        return filled[0]
    if not filled:
        none = np.zeros(0, dtype=np.int64)
        return Piece((), 0, none, none.astype(np.int32), none, none, none, none)
    order = _order([piece.at_us for piece in filled])
    rows = _one(filled, "row", order).astype(np.int32, copy=False)
    at_us, *others = (_one(filled, name, order) for name in ARRAYS if name != "row")
    return Piece((), 0, at_us, rows, *others)


def _order(runs: Sequence[Ints]) -> Ints:
    return np.argsort(np.concatenate(runs), kind="stable")


def _one(pieces: Sequence[Piece], name: str, order: Ints) -> Ints:
    whole: Ints = np.concatenate([getattr(piece, name) for piece in pieces])
    for piece in pieces:
        setattr(piece, name, whole[:0])
    if (whole == whole[0]).all():  # looking is far quicker than gathering from all over, and such arrays are frequent
        return whole
    return whole[order]
