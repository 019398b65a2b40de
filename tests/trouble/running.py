"""Starting the system that trouble comes upon, with its upstreams and its clock, and ending all of it."""

import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import httpx

from infercast import system
from infercast.router.processes import processes_of
from infercast.router.serving.cluster import free_ports
from tests.trouble import world
from tests.trouble.clock import Clock
from tests.trouble.rig import CLIENT_S, Rig
from tests.trouble.service import Service


@contextmanager
def started(folder: Path, environment: dict[str, str] | None = None) -> Iterator[Rig]:
    """Start it in a folder; whatever happens, nothing of it is left afterwards. `environment` is added to every process's."""
    state, clock = folder / "state", Clock.made(folder)
    added = {**(clock.environment() if clock else {}), **(environment or {})}
    with ExitStack() as stack:
        upstreams = {name: stack.enter_context(Service.started(name)) for name in world.UPSTREAMS}
        fleet, policies = world.write(folder, {name: service.port for name, service in upstreams.items()})
        stack.callback(system.stop, state)
        with warnings.catch_warnings(), mock.patch.dict(os.environ, added):
            # The supervisor outlives the call that started it, and the object that Python keeps of it.
            warnings.simplefilter("ignore", ResourceWarning)
            running = system.start(fleet, policies, state, free_ports(1)[0], lambda _: None)
        client = stack.enter_context(httpx.Client(timeout=CLIENT_S))
        rig = Rig.of(running, state, upstreams, clock, client)
        stack.callback(rig.recover)
        yield rig
    left = processes_of(running.run, running.temp)
    assert left == [], f"left running: {[process.cmdline()[:1] for process in left]}"
    assert not Path(running.temp).exists()
