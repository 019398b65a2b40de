"""The ports of `conduct` where nothing is behind them: no limits, nothing kept, nobody looks. Devices are carried so."""

from infercast.policies.model import Choice, Request

from .endings import Answered, Carrying
from .ports import Carried, Hold, Run
from .troubles import not_kept


def wants_kept(call: Carried) -> bool:
    """Return whether a call may be answered from what is kept alone."""
    return call.control is not None and "only-if-cached" in call.control.lower().replace(" ", "").split(",")


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

    def serves(self, tenant: str) -> bool:
        """Return False."""
        return False

    def covers(self, call: Carried) -> bool:
        """Return whether a call asks for a kept answer or none."""
        return wants_kept(call)

    async def through(self, call: Carried, carrying: Carrying, still: Choice | None, run: Run) -> Answered:
        """Raise Trouble(NOT_KEPT)."""
        raise not_kept()

    def judge(self) -> None:
        """Do nothing."""


class SeesNothing:
    """Nobody looks."""

    traces = False

    def began(self, carrying: Carrying, traceparent: bytes | None) -> None:
        """Do nothing."""

    def sent_on(self, carrying: Carrying) -> bytes:
        """Return nothing."""
        return b""

    def ended(self, carrying: Carrying, answered: Answered | None, error: BaseException | None) -> None:
        """Do nothing."""


UNLIMITED = Unlimited()
KEEPS_NOTHING = KeepsNothing()
SEES_NOTHING = SeesNothing()
