"""What a call leaves is freed when it has ended, without Python's hunt for circles: a worker has it hunt rarely."""

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

import pytest

from infercast.router.conduct.endings import Carrying
from infercast.router.conduct.ports import Carried
from infercast.router.conduct.tries import Try
from infercast.router.errors import Kind, Trouble, let_go
from infercast.router.ingress.http import Ask
from infercast.router.ingress.presence import Presence
from tests.router.entry import entry
from tests.router.fakes import door
from tests.router.quota.support import accounts_on, engine_of, ledger, running
from tests.router.timeless import Play

OF_A_CALL = (Ask, Carried, Carrying, FrameType, Presence, TracebackType, Try)
INFER, EMBED = "/v2/models/digits/infer", "/v1/embeddings"
TEXT = b'{"model": "embedding", "input": "one"}'
Left = Counter[str]


@contextmanager
def without_hunt(left: Left) -> Iterator[None]:
    """Count what of a call only Python's hunt would have freed."""
    gc.collect()
    gc.disable()
    try:
        yield
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left.update(type(one).__name__ for one in gc.garbage if isinstance(one, OF_A_CALL))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def left_by(call: Callable[[], Any]) -> Left:
    """Return what a call leaves in circles. Made once before, for what only a first call makes."""
    left: Left = Counter()
    call()
    with without_hunt(left):
        call()
    return left


def said(*script: str, path: str = INFER, body: bytes = b"{}", status: int = 200) -> Left:
    """Return what one exchange leaves, with so much of a script for each."""
    at = door(*script, *script)

    async def exchanged() -> Left:
        left: Left = Counter()
        for number in range(2):
            with without_hunt(left if number else Counter()):
                done = await at.exchange("POST", path, body, infercast_class="gameplay")
                # What watched for the caller's leaving ends in its own time.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            assert done.status == status, done.body
        return left

    return asyncio.run(exchanged())


def test_an_answered_call_leaves_nothing() -> None:
    assert said() == {}


def test_an_answered_text_leaves_nothing_nor_does_the_watch_for_its_caller() -> None:
    assert said(path=EMBED, body=TEXT) == {}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (EMBED, b"{nonsense", 400),
        (EMBED, b'{"model": "nobody", "input": "one"}', 404),
        ("/v2/models/nobody/infer", b"{}", 404),
    ],
)
def test_a_refused_call_leaves_nothing(path: str, body: bytes, status: int) -> None:
    assert said(path=path, body=body, status=status) == {}


def test_a_call_that_its_runner_refuses_or_fails_leaves_nothing() -> None:
    assert said("trouble", status=400) == {}
    assert said("broken", status=500) == {}


def test_a_call_that_is_lost_and_answered_elsewhere_leaves_nothing() -> None:
    assert said("lost") == {}


def test_a_call_whose_tries_all_fail_leaves_nothing() -> None:
    with entry("lost", "lost", fallbacks_max=1) as at:
        assert left_by(at.carry) == {}


def test_a_hedged_call_leaves_nothing_of_either_try() -> None:
    slow = Play("ok", 140)
    with entry(slow, "ok", slow, "ok", hedge={"after_quantile": "p95", "budget_share": 1.0}) as at:
        assert left_by(at.carry) == {}
        assert at.caller.attempts.hedging.sent == 2


@pytest.mark.parametrize(("limit", "status"), [(1000, 200), (0, 429)])
def test_a_call_of_a_tenant_with_limits_leaves_nothing(limit: int, status: int) -> None:
    async def exchanged(store: Any) -> Left:
        limits, left = {"requests_per_minute": limit, "budget_usd_per_day": 1}, Counter[str]()
        accounts = accounts_on(store, limits)
        at = door(engine=engine_of(limits), accounts=accounts)
        async with running(accounts):
            for number in range(2):
                with without_hunt(left if number else Counter()):
                    assert (await at.exchange("POST", INFER, b"{}", infercast_class="gameplay")).status == status
        return left

    with ledger() as store:
        assert asyncio.run(exchanged(store)) == {}


def test_letting_go_of_an_error_reaches_those_behind_it_and_ends_where_they_go_in_a_circle() -> None:
    def failing() -> None:
        try:
            int("behind")
        except ValueError as error:
            raise Trouble(Kind.FAULT, "before") from error

    with pytest.raises(Trouble) as caught:
        failing()
    trouble = caught.value
    behind = trouble.__cause__
    assert behind is not None
    assert trouble.__traceback__ is not None
    behind.__context__ = trouble
    let_go(trouble)
    assert [one.__traceback__ for one in (trouble, behind)] == [None, None]
