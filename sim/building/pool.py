"""Rows of one length, equal ones kept once; lists of lists laid flat."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(slots=True)
class Pool:
    """Rows of one length, told apart by a key of the caller's."""

    width: int
    _rows: list[Ints] = field(default_factory=list)
    _places: dict[Hashable, int] = field(default_factory=dict)

    def place(self, key: Hashable, row: Ints) -> int:
        """Return where the row of a key stands; `row` is put there on first need."""
        if key not in self._places:
            self._places[key] = len(self._rows)
            self._rows.append(row)
        return self._places[key]

    def table(self) -> Ints:
        """Return all rows, int64[rows, width]; one row of nothing where there is none."""
        return np.array(self._rows, dtype=np.int64) if self._rows else np.zeros((1, self.width), dtype=np.int64)


def flat(lists: Sequence[Sequence[int]]) -> Ints:
    """Return all numbers, one list after the other."""
    return np.array([number for one in lists for number in one], dtype=np.int64)


def offsets(lists: Sequence[Sequence[int]]) -> Ints:
    """Return where each list begins in `flat`, and where the last ends."""
    return np.cumsum([0, *map(len, lists)], dtype=np.int64)
