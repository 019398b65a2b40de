"""Changes of traffic on drawn calls. What stays, stays as it was: two scenarios differ only in the calls that they mean.

A call of multiple k is there where the factor at its time and place exceeds k by more than its coin, which is even between
0 and 1. So calls of a smaller factor are always among those of a larger one, and a factor of 1 changes nothing.
"""

from collections.abc import Iterable, Sequence
from math import ceil, prod

import numpy as np
import numpy.typing as npt

from infercast.policies.faults import BadInput, Fault
from infercast.policies.units import US_PER_S
from infercast.policies.windows import KNOWN_FROM_S, Window, minutes_of

from .kind_book import KindBook, Row
from .model import Ints
from .pieces import Piece
from .streams import stream
from .traffic import Scale, Shift, TrafficChange, Which

Mask = npt.NDArray[np.bool_]


class Changer:
    """Applies changes in their order. `starts_at_s` is what the clock shows at time 0."""

    def __init__(self, changes: Sequence[TrafficChange], book: KindBook, seed: int, starts_at_s: int) -> None:
        self._changes, self._book = tuple(changes), book
        self._seed, self._starts_at_s = seed, starts_at_s

    def multiples(self, rows: Iterable[int]) -> int:
        """Return how many multiples of calls of these rows may be there at all, at least 1."""
        return max((self._multiples(self._book.rows[row]) for row in rows), default=1)

    def _multiples(self, row: Row) -> int:
        """Return the greatest factor of a row's calls, rounded up; hours are taken for all day."""
        found: list[Scale] = []
        moved = False
        for change in self._changes:
            moved = moved or isinstance(change, Shift)
            if isinstance(change, Scale) and change.factor > 1 and self._meant(change.which, row, anywhere=moved):
                found.append(change)
        begins = (change.which.from_us for change in found)
        factors = (prod(change.factor for change in found if _covers(change.which, at_us)) for at_us in begins)
        return ceil(max(factors, default=1.0))

    def apply(self, piece: Piece) -> None:
        """Put a piece's calls where the changes say, and take out those that are not there."""
        factor = None
        for number, change in enumerate(self._changes):
            mask = self._mask(change.which, piece)
            if not mask.any():
                continue
            if isinstance(change, Scale):
                factor = np.ones(len(piece)) if factor is None else factor
                factor[mask] *= change.factor
            else:
                self._move(change, piece, mask, number)
        if factor is not None:
            coins = stream(self._seed, *piece.stream, "coin").random(len(piece))
            piece.take(coins < factor - piece.multiple)
        elif piece.multiple:
            piece.take(np.zeros(len(piece), dtype=np.bool_))

    def _move(self, shift: Shift, piece: Piece, mask: Mask, number: int) -> None:
        same = sum(isinstance(before, Shift) and before.to == shift.to for before in self._changes[:number])
        coins = stream(self._seed, *piece.stream, "shift", shift.to, same).random(len(piece))
        moved = mask & (coins < shift.share)
        before = np.unique(piece.row[moved])
        to = np.arange(len(self._book.rows), dtype=np.int32)
        for row in before.tolist():
            to[row] = self._book.elsewhere(row, shift.to)
        piece.row = np.where(moved, to[piece.row], piece.row)

    def _mask(self, which: Which, piece: Piece) -> Mask:
        meant = np.array([self._meant(which, row) for row in self._book.rows])
        mask: Mask = meant[piece.row]
        if which.from_us > 0:
            mask &= piece.at_us >= which.from_us
        if which.until_us is not None:
            mask &= piece.at_us < which.until_us
        if which.hours is not None and mask.any():
            mask &= self._in_hours(which.hours, piece)
        return mask

    def _meant(self, which: Which, row: Row, *, anywhere: bool = False) -> bool:
        parts = (
            (which.tenants, row.tenant),
            (which.models, row.model),
            (which.sources, self._book.source_of(row).name),
            (None if anywhere else which.origins, row.origin),
        )
        return all(words is None or word in words for words, word in parts)

    def _in_hours(self, hours: str, piece: Piece) -> Mask:
        mask = np.zeros(len(piece), dtype=np.bool_)
        clocks = {row: self._clock(self._book.rows[row]) for row in np.unique(piece.row).tolist()}
        first_us, last_us = int(piece.at_us[0]), int(piece.at_us[-1])
        for clock in sorted(set(clocks.values())):
            here = np.zeros(len(self._book.rows), dtype=np.bool_)
            here[[row for row, its in clocks.items() if its == clock]] = True
            edges, opens = self._edges(Window(minutes=minutes_of(hours), zone=clock), first_us, last_us)
            mask |= here[piece.row] & opens[np.searchsorted(edges, piece.at_us, side="right") - 1]
        return mask

    def _edges(self, window: Window, first_us: int, last_us: int) -> tuple[Ints, Mask]:
        """Return since when the window is as it is (int64, in microseconds), and whether it is open from there on."""
        at_s = max(KNOWN_FROM_S, self._starts_at_s + first_us // US_PER_S)
        last_s = self._starts_at_s + last_us // US_PER_S
        edges_us, opens = [first_us], [window.holds(at_s)]
        while (at_s := window.period(at_s)[1]) <= last_s:
            edges_us.append((at_s - self._starts_at_s) * US_PER_S)
            opens.append(window.holds(at_s))
        return np.array(edges_us, dtype=np.int64), np.array(opens)

    def _clock(self, row: Row) -> str:
        clock = self._book.clock_of(row)
        if clock is None:
            message = f"the clock of {row.origin!r} is not known, and a change of traffic is for some hours"
            source = self._book.source_of(row).name
            raise BadInput([Fault(source, 0, "time_zones", message, f"add `{row.origin}: Area/City`")])
        return clock


def _covers(which: Which, at_us: int) -> bool:
    return which.from_us <= at_us and (which.until_us is None or at_us < which.until_us)
