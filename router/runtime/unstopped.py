"""Work that nothing stops once it has begun: a run on a thread, or in a replica of its own.

Who waits for it may be gone before it ends: out of time, or hung up. That one is let go at once, and what it is let go by says
what goes on, so that the place that is taken is counted as taken until the work has ended.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")
GOES_ON = "goes_on"
"""What an exception keeps such work under."""


async def to_its_end(
    work: Awaitable[Result], timeout_s: float | None, stop: Callable[[], bool] = lambda: False
) -> Result:
    """Wait for work that goes on though nobody waits for it any more, unless `stop` says that it had not begun.

    Raises TimeoutError, CancelledError: at once, see `when_over`.
    """
    going = asyncio.ensure_future(work)
    try:
        return await asyncio.wait_for(asyncio.shield(going), timeout_s)
    except BaseException as error:
        if not going.done() and not stop():
            going.add_done_callback(_seen)
            vars(error)[GOES_ON] = going
        raise


async def on_thread(
    threads: ThreadPoolExecutor,
    timeout_s: float | None,
    run: Callable[Given, Result],
    *given: Given.args,
    **named: Given.kwargs,
) -> Result:
    """Run something on a thread, and wait for it as `to_its_end` does."""
    running = threads.submit(run, *given, **named)
    return await to_its_end(asyncio.wrap_future(running), timeout_s, running.cancel)


def when_over(error: BaseException, end: Callable[[], None]) -> None:
    """Call `end`, once, when nothing of a call goes on that ended in `error`: now, or when the work that was left alone has ended."""
    for one in (error, error.__cause__):  # a time-out is raised from the cancellation that it is made of
        going: asyncio.Future[Any] | None = vars(one).get(GOES_ON) if one is not None else None
        if going is not None and not going.done():
            going.add_done_callback(lambda _: end())
            return
    end()


def _seen(going: "asyncio.Future[Any]") -> None:
    """Take note of how it ended; else Python would complain that nobody has."""
    if not going.cancelled():
        going.exception()
