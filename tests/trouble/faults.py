"""Faults drawn from a seed: what befalls the system, when, and for how long."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Self

from tests.trouble import world
from tests.trouble.callers import Crowd
from tests.trouble.rig import Rig

Fault = Callable[[], AbstractContextManager[Any]]
CONDUCTS: tuple[dict[str, Any], ...] = (
    {"does": "hang"},
    {"does": "reset"},
    {"does": "status", "status": 500},
    {"does": "status", "status": 429, "retry_after_s": 1},
    {"does": "status", "status": 503, "retry_after_s": 1},
    {"does": "half"},
    {"does": "half-stream"},
    {"after_ms": 400},
    {"every_ms": 60},
    {"healthy": False},
)
STEPS_S = (-86_400.0, -5.0, 5.0, 3600.0, 40 * 86_400.0)
"""How far the wall clock is stepped: into another second, hour, day and month."""
FLOOD_CALLERS, FLOOD_S = 12, 2.0


@dataclass(frozen=True)
class Planned:
    """One fault of a schedule."""

    name: str
    fault: Fault
    for_s: float
    then_s: float
    """How long it is quiet after it."""


def planned(rig: Rig, dice: random.Random, *, lightly: bool = False) -> Iterator[Planned]:
    """Draw faults without end. `lightly`: none that ends a process or makes one stand still."""
    while True:
        name, fault = _drawn(rig, dice, lightly=lightly)
        yield Planned(name, fault, dice.uniform(0.3, 3.0), dice.uniform(0.2, 2.0))


def _drawn(rig: Rig, dice: random.Random, *, lightly: bool) -> tuple[str, Fault]:
    service = rig.upstreams[dice.choice(world.UPSTREAMS)]
    site = dice.choice(world.OWN)
    conduct = dict(dice.choice(CONDUCTS))
    step_s, ms, seed = dice.choice(STEPS_S), dice.choice((20, 200)), dice.randrange(2**31)
    light: list[tuple[str, Fault]] = [
        (f"{service.name} {conduct}", lambda: service.told(**conduct)),
        (f"{service.name} {conduct}", lambda: service.told(**conduct)),
        (f"{service.name} is cut off", service.cut),
        (f"{service.name} is parted", service.parted),
        (f"{service.name} is slowed by {ms} ms", lambda: service.slowed(ms)),
        (f"the disk of {site} is full", lambda: rig.disk_full(site)),
        (f"the clock is stepped by {step_s} s", lambda: _stepped(rig, step_s)),
    ]
    heavy: list[tuple[str, Fault]] = [
        (f"{service.name} hangs", service.hung),
        (f"the worker of {site} is killed", lambda: _killed(rig, site, "worker")),
        (f"the replica of squeezenet at {site} is killed", lambda: _killed(rig, site, "squeezenet")),
        (f"the worker of {site} hangs", lambda: rig.hung(site)),
        (f"{site} is parted", lambda: rig.parted(site)),
        ("the board is killed", lambda: _without_board(rig)),
        ("a flood", lambda: _flood(rig, seed)),
    ]
    return dice.choice(light if lightly else [*light, *heavy])


@contextmanager
def _killed(rig: Rig, site: str, name: str) -> Iterator[None]:
    rig.kill(site, name)
    yield


@contextmanager
def _without_board(rig: Rig) -> Iterator[None]:
    rig.kill_board()
    yield


@contextmanager
def _stepped(rig: Rig, step_s: float) -> Iterator[None]:
    if rig.clock is None:
        yield
        return
    with rig.clock.stepped(step_s):
        yield


@contextmanager
def _flood(rig: Rig, seed: int) -> Iterator[None]:
    """Let one tenant call as fast as it can."""
    with Crowd(rig, seed, FLOOD_CALLERS, 0.0, "flood", {"flooder": 1}) as flood:
        yield
    rig.floods.extend(flood.ended)


class Trouble:
    """Faults one after the other, in a thread of its own, until told to stop."""

    def __init__(self, rig: Rig, dice: random.Random, *, lightly: bool = False, pause_s: float = 0.0) -> None:
        self.befell: list[str] = []
        self._plan, self._pause_s = planned(rig, dice, lightly=lightly), pause_s
        self._stop = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._failed is not None:
            raise self._failed

    def _work(self) -> None:
        try:
            for next_one in self._plan:
                if self._stop.is_set():
                    return
                self.befell.append(next_one.name)
                with next_one.fault():
                    self._stop.wait(next_one.for_s)
                self._stop.wait(next_one.then_s + self._pause_s)
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits for this one
            self._failed = error
