"""What a worker asks the board for the platform team, and what it says where the board has no answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from infercast.policies.faults import Fault
from infercast.router.errors import Kind, Trouble
from infercast.router.ledger.asking import Wanted
from infercast.router.serving import office
from infercast.router.serving.office import BoardOffice, Done


class Board:
    """A board whose methods answer as they are told to, as Ray's actors do: through `remote`."""

    def __init__(self, answer: Callable[[], Awaitable[Any]]) -> None:
        self._answer = answer

    def __getattr__(self, name: str) -> Any:
        class Method:
            remote = staticmethod(lambda *_, **__: self._answer())

        return Method


async def never() -> None:
    await asyncio.Event().wait()


def answering(value: Any) -> Callable[[], Awaitable[Any]]:
    async def answer() -> Any:
        return value

    return answer


def usage(answer: Callable[[], Awaitable[Any]]) -> list[dict[str, Any]]:
    board: Any = Board(answer)
    return asyncio.run(BoardOffice(board, dict).usage(["tenant"], Wanted()))


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (answering(None), Kind.UNAVAILABLE, "the ledger is out of reach (calls wait in the journals; try again later)"),
        (never, Kind.UNAVAILABLE, "has not added up the ledger within 30 s (ask for fewer days (since_s, until_s), or prune it)"),
        (answering(Done(faults=(Fault("the ledger", 0, "--since", "2026-11-25 has been pruned", "give whole days"),))), Kind.BAD_REQUEST, "2026-11-25 has been pruned (give whole days)"),
    ],
)  # fmt: skip
def test_usage_that_cannot_be_told_says_why(
    answer: Callable[[], Awaitable[Any]], kind: Kind, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(office, "USAGE_S", 0.01)
    with pytest.raises(Trouble) as caught:
        usage(answer)
    assert caught.value.kind is kind
    assert said in str(caught.value)


def test_usage_is_what_the_board_says() -> None:
    assert usage(answering([{"tenant": "t"}])) == [{"tenant": "t"}]
