"""Calls that ask the same at the same time: one runs, the others wait for what comes of it."""

import asyncio

from .store import Key


class Flight:
    """One call that runs, and what others may know of it."""

    def __init__(self) -> None:
        self._landed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.unkept = False
        """Whether it was answered, and its answer is not kept: nobody needs to wait for the next one."""

    async def landed(self, within_s: float) -> bool:
        """Wait until it has ended, for so long at most; whoever stops waiting takes nothing from the others."""
        done, _ = await asyncio.wait({self._landed}, timeout=within_s)
        return bool(done)

    def land(self) -> None:
        """Let those who wait go on."""
        if not self._landed.done():
            self._landed.set_result(None)


class Flights:
    """The calls that run, by what they ask."""

    def __init__(self) -> None:
        self._flights: dict[Key, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def get(self, key: Key) -> Flight | None:
        """Return the call that runs for a key; of several, the last that began."""
        return self._flights.get(key)

    def begin(self, key: Key) -> Flight:
        """Begin one, which those who come from now on wait for."""
        flight = self._flights[key] = Flight()
        return flight

    def end(self, key: Key, flight: Flight, *, unkept: bool = False) -> None:
        """End one. Where it has failed, the first of those who wait runs next, and the others wait for that."""
        if self._flights.get(key) is flight:
            del self._flights[key]
        flight.unkept = unkept
        flight.land()
