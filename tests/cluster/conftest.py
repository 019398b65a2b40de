"""One running example system for the whole folder: started once, ended and looked for afterwards."""

import importlib.util
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from infercast import system
from infercast.router.processes import processes_of
from tests.cluster.live import FLEET, POLICIES, Live

HERE = Path(__file__).parent
START_TIMEOUT_S = 330
CLIENT_WAIT_S = 10.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test of a run pays for the start, the last one for the end; any file may be run by itself."""
    mine = [item for item in items if item.path.parent == HERE]
    first_of_file = {item.path: item for item in reversed(mine)}
    for item in mine:
        item.add_marker(pytest.mark.cluster)
        if item is first_of_file[item.path] or item is mine[-1]:
            item.add_marker(pytest.mark.timeout(START_TIMEOUT_S))


@pytest.fixture(scope="session")
def artefacts() -> None:
    """What a start needs; says what is missing."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed: pip install infercast[serve]")
    missing = [
        name for name in ("squeezenet", "resnet50") if not (FLEET.parent / f".infercast/models/{name}.onnx").is_file()
    ]
    if missing:
        pytest.skip(f"{', '.join(missing)} not built: `make models`")


@pytest.fixture(scope="session")
def live(artefacts: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The running example system, on free ports, in a folder of its own."""
    from infercast.router.serving.cluster import free_ports

    state, folder = tmp_path_factory.mktemp("state"), tmp_path_factory.mktemp("policies") / "tenants"
    shutil.copytree(POLICIES, folder)
    with warnings.catch_warnings():
        # The supervisor is meant to outlive the call that started it, and the object that Python keeps of it.
        warnings.simplefilter("ignore", ResourceWarning)
        running = system.start(FLEET, folder, state, free_ports(1)[0], lambda _: None)
    try:
        with httpx.Client(timeout=CLIENT_WAIT_S) as client:
            yield Live.of(running, state, client)
    finally:
        system.stop(state)
    left = processes_of(running.run, running.temp)
    assert left == [], f"left running: {[process.cmdline()[:1] for process in left]}"
    assert not Path(running.temp).exists()
