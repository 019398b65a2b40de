"""The ports of `conduct` where nothing is behind them: no limits, nothing kept, nobody looks. Devices are carried so."""

from collections.abc import Callable, Coroutine
from typing import Any

from infercast.policies.model import Request

from .endings import Answered, Carrying
from .ports import Carried, Hold


class Unlimited:
    """Lets every call through, and is each call's hold itself."""

    def look(self, request: Request) -> None:
        """Do nothing."""

    def open(self, call: Carried, carrying: Carrying) -> Hold:
        """Return itself."""
        return self

    def reserve(self, aside_nusd: int) -> None:
        """Do nothing."""

    def lost(self, aside_nusd: int, cost_nusd: int) -> None:
        """Do nothing."""

    def end(self, cost_nusd: int, tokens: int | None) -> None:
        """Do nothing."""


class KeepsNothing:
    """A cache that has nothing."""

    def covers(self, call: Carried) -> bool:
        """Return False."""
        return False

    async def through(
        self, call: Carried, carrying: Carrying, run: Callable[[], Coroutine[Any, Any, Answered]]
    ) -> Answered:
        """Run the call."""
        return await run()


class SeesNothing:
    """Nobody looks."""

    def ended(self, carrying: Carrying, answered: Answered | None, error: BaseException | None) -> None:
        """Do nothing."""


UNLIMITED = Unlimited()
KEEPS_NOTHING = KeepsNothing()
SEES_NOTHING = SeesNothing()
