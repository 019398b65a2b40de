"""What happens next: one heap, in a total order."""

import heapq
from collections.abc import Callable
from enum import IntEnum
from itertools import count

Action = Callable[[], None]


class Rank(IntEnum):
    """What goes first among things of one instant."""

    DISTURBANCE = 0
    EXCHANGE = 1
    SCALING = 2
    SCHEDULED = 3
    PATIENCE = 4
    SENDING = 5
    ENTERING = 6


class Agenda:
    """Actions by time, then rank, then number: the order never depends on chance. It keeps the clock."""

    def __init__(self) -> None:
        self.now_us = 0
        self._heap: list[tuple[int, Rank, int, Action]] = []
        self._numbers = count()

    def put(self, at_us: int, rank: Rank, number: int, action: Action) -> None:
        """Put in an action that has a number of its own in its rank; no two of a rank share time and number."""
        assert at_us >= self.now_us, "nothing is put into the past"
        heapq.heappush(self._heap, (at_us, rank, number, action))

    def schedule(self, at_us: int, action: Action) -> None:
        """Put in what follows from something else: among things of one instant, first scheduled goes first."""
        self.put(at_us, Rank.SCHEDULED, next(self._numbers), action)

    def step(self) -> None:
        """Do what is next."""
        self.now_us, _, _, action = heapq.heappop(self._heap)
        action()
