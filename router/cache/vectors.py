"""Vectors of questions, by what the questions have in common otherwise, and which of those that are kept is the nearest.

A few are compared one by one; of more, usearch (Apache-2.0) keeps a graph (HNSW, Malkov and Yashunin 2018), so that
asking takes microseconds however many there are.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .store import Kept, Key

if TYPE_CHECKING:
    from usearch.index import Index

FEW = 64
VECTOR_BYTES = 2048
"""What a vector takes beside twice its numbers: its place in a graph, and its share of the graph's own memory."""
Vector = npt.NDArray[np.float32]


class SpaceKey(NamedTuple):
    """What questions that are compared have in common: the key of their answers but for its digest, all that the question says else, and what made the vectors."""

    key: Key
    rest: bytes
    embedder: str


class _Space:
    """The vectors of questions that may be compared, each by a number. All have the length 1."""

    def __init__(self, dimensions: int) -> None:
        self.kept: dict[int, tuple[Vector, Kept]] = {}
        self._dimensions = dimensions
        self._index: Index | None = None

    def add(self, number: int, vector: Vector, kept: Kept) -> None:
        self.kept[number] = (vector, kept)
        if self._index is not None:
            self._index.add(number, vector)
        elif len(self.kept) > FEW:
            self._index = _new_index(self._dimensions)
            for each, (known, _) in self.kept.items():
                self._index.add(each, known)

    def remove(self, number: int) -> None:
        del self.kept[number]
        if self._index is not None:
            self._index.remove(number)
            if len(self.kept) <= FEW // 2:
                self._index = None

    def nearest(self, vector: Vector) -> tuple[Kept, float] | None:
        if not self.kept:
            return None
        if self._index is None:
            number = max(self.kept, key=lambda each: float(self.kept[each][0] @ vector))
        else:
            found = self._index.search(vector, 1)
            if len(found) == 0:
                return None
            number = int(found.keys[0])
        known, kept = self.kept[number]
        return kept, float(known @ vector)


def _new_index(dimensions: int) -> Any:
    from usearch.index import Index

    return Index(ndim=dimensions, metric="ip", dtype="f32")


class Vectors:
    """Vectors of all spaces. What is dropped from the store is to be forgotten here."""

    def __init__(self) -> None:
        self._spaces: dict[SpaceKey, _Space] = {}
        self._where: dict[Kept, tuple[SpaceKey, int]] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._where)

    def add(self, space: SpaceKey, vector: Vector, kept: Kept) -> None:
        """Remember the vector of a question whose answer is kept."""
        self._last += 1
        self._where[kept] = (space, self._last)
        self._spaces.setdefault(space, _Space(len(vector))).add(self._last, vector, kept)

    def nearest(self, space: SpaceKey, vector: Vector) -> tuple[Kept, float] | None:
        """Return the answer to the nearest question, and how similar that is: the cosine of their angle."""
        found = self._spaces.get(space)
        return None if found is None else found.nearest(vector)

    def forget(self, kept: Kept) -> None:
        """Forget an answer that is not kept any more, if it has a vector."""
        where = self._where.pop(kept, None)
        if where is None:
            return
        space = self._spaces[where[0]]
        space.remove(where[1])
        if not space.kept:
            del self._spaces[where[0]]


def bytes_of(vector: Vector) -> int:
    """Return what a vector takes here, about."""
    return 2 * vector.nbytes + VECTOR_BYTES
