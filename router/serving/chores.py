"""What a worker does beside its calls for as long as it lives: exchange, probe, tell, lease.

None of it ever ends by itself. Where one does, by a fault that nobody foresaw, the worker would go on with what it knew
then: so it says that it is not well, and Serve puts another in its place once its calls have ended.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("infercast.site")


class Chores:
    """The chores of one worker."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[None]] = set()
        self._ended: list[str] = []

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, *chores: Coroutine[Any, Any, None]) -> None:
        """Begin some, each in a task of its own."""
        for chore in chores:
            task = asyncio.get_running_loop().create_task(chore, name=getattr(chore, "__qualname__", "a chore"))
            self._under_way.add(task)
            task.add_done_callback(self._gone)

    def _gone(self, task: "asyncio.Task[None]") -> None:
        """Note one that has ended, also one that was cancelled: nobody does that but the loop, when it ends with all of them.

        What a chore waits for may be cancelled under it, and cancels the chore with it: that is an end like any other.
        """
        self._under_way.discard(task)
        self._ended.append(task.get_name())
        if task.cancelled():
            log.warning("%s was cancelled", task.get_name())
        else:
            log.error("%s has ended: this worker is to be replaced", task.get_name(), exc_info=task.exception())

    def check(self) -> None:
        """Raise RuntimeError where one has ended."""
        if self._ended:
            raise RuntimeError(f"ended, and never should: {', '.join(self._ended)}")
