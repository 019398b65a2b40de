"""One running system for the whole folder, small, with upstreams of our own, and whatever may befall it.

How to write a test here:

    def test_something(rig: Rig) -> None:
        with rig.north.told(does="hang"):                       # the upstream's conduct: see upstream.Conduct
            answer = rig.chat("bold", entry="ams", mark="m1", infercast_id="c1")
        assert answer.headers["infercast-site"] == "south-text"
        assert rig.north.times("m1") == 1                       # what came to it
        assert rig.ended("c1")["attempts"] == ["talker@north-text", "talker@south-text"]

- The world (fleet, tenants, prices) is in `world.py`: sites fra, ams, dub; upstreams north (cheaper) and south; models
  `digits` (in the workers), `vision` (replicas of their own), `chat`, `embedding` (tiny ones of ours), `talk`, `vector`, `score` (at the
  upstreams alone). Tenants bold (retries, hedge), poor (limits), flooder, calm, keeper (cache); classes plain, named (south forbidden),
  european, sealed (nothing may be kept).
- Another policy for a test: `with rig.policy("poor", limits={...}):` (in force at every site when it begins, put back afterwards).
- Faults: `rig.kill(site)`, `rig.kill("fra", "squeezenet")`, `rig.hung(site)`, `rig.parted(site)`, `rig.disk_full(site)`,
  `rig.clock.stepped(seconds)` (by the fixture `clock`, which skips without a C compiler), and of an upstream: `told`, `hung`, `parted`,
  `cut`, `slowed`.
- Each test begins when all is well (`rig.well()`), and whatever it leaves is ended after it. No timed assertions: wait with `until`.
- Random draws come from the fixture `seed`, which is printed; `SEED=7 make trouble` repeats it.
"""

import importlib.util
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trouble import world
from tests.trouble.clock import Clock
from tests.trouble.rig import Rig

HERE = Path(__file__).parent
START_TIMEOUT_S = 400
TEST_TIMEOUT_S = 300
FIXED_SEED = 20261125
"""What a usual test run draws from; `make trouble` draws another each time, and prints it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test of a run pays for the start, the last one for the end; each may have to wait for a worker to come back."""
    mine = [item for item in items if item.path.parent == HERE]
    for item in mine:
        item.add_marker(pytest.mark.cluster)
        if item.get_closest_marker("timeout") is None:
            ends = item in (mine[0], mine[-1])
            item.add_marker(pytest.mark.timeout(START_TIMEOUT_S if ends else TEST_TIMEOUT_S))


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The running system; tests take `rig`."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed: pip install infercast[serve]")
    if not (world.BUILT / "tiny-llama").is_dir() or not (world.BUILT / "squeezenet.onnx").is_file():
        pytest.skip("models are not built: `make models`")
    from tests.trouble.running import started

    with started(tmp_path_factory.mktemp("trouble")) as rig:
        yield rig


@pytest.fixture
def rig(running: Rig) -> Iterator[Rig]:
    """The system, well; whatever trouble the test leaves is ended."""
    running.well()
    try:
        yield running
    finally:
        running.recover()


@pytest.fixture
def clock(rig: Rig) -> Clock:
    """The wall clock of every process of the system, to be stepped."""
    if rig.clock is None:
        pytest.skip("no C compiler is here to make a clock that can be stepped")
    return rig.clock


@pytest.fixture(scope="session")
def seed() -> int:
    """What random draws begin with: SEED, or a fixed one; `make trouble` sets a new one each time."""
    return int(os.environ.get("SEED", FIXED_SEED))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was drawn from, however it ended."""
    found = os.environ.get("SEED", FIXED_SEED)
    terminalreporter.write_line(f"trouble was drawn from SEED={found} (again: make trouble SEED={found})")


@pytest.fixture
def dice(seed: int) -> random.Random:
    """Draws that the seed decides."""
    return random.Random(seed)
