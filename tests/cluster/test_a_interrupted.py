"""A start that is interrupted leaves nothing running. First in the folder: the other tests' system is not up yet."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infercast import system
from infercast.router.processes import processes_of
from infercast.router.serving.cluster import free_ports
from tests.cluster.live import ROOT

UNDER_WAY_S, END_S, GONE_S = 60.0, 60.0, 10.0
HEEDING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
"""A suite that runs in the background has interrupts switched off, and hands that on."""
CLI = "from infercast.cli import main; main()"


def wait_for(seconds: float, state: Path, words: str) -> None:
    """Wait until the start of a system has come so far."""
    until = time.monotonic() + seconds
    progress = state / "progress.jsonl"
    while not progress.exists() or words not in progress.read_text():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.fixture(scope="module")
def interrupted(
    artefacts: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, list[psutil.Process], Path]]:
    """`up`, interrupted while the raylets start: its exit code, what it left running, and its state folder."""
    state = tmp_path_factory.mktemp("interrupted")
    words = [sys.executable, "-c", f"{HEEDING}; {CLI}", "up", "--state", str(state), "--port", str(free_ports(1)[0])]
    started = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(UNDER_WAY_S, state, "raylet")
        facts = json.loads((state / "starting.json").read_text())
        started.send_signal(signal.SIGINT)
        code = started.wait(END_S)
        yield code, processes_of(facts["run"], facts["temp"]), state
    finally:
        started.kill()
        started.wait()
        system.stop(state)
    until = time.monotonic() + GONE_S
    while left := processes_of(facts["run"], facts["temp"]):
        assert time.monotonic() < until, left
        time.sleep(0.1)
    assert not Path(facts["temp"]).exists()


def test_an_interrupted_start_says_so_by_its_exit_code(interrupted: tuple[int, list[psutil.Process], Path]) -> None:
    assert interrupted[0] == 128 + signal.SIGINT


def test_an_interrupted_start_leaves_nothing_running(interrupted: tuple[int, list[psutil.Process], Path]) -> None:
    assert interrupted[1] == []


def test_down_clears_away_what_an_interrupted_start_left(interrupted: tuple[int, list[psutil.Process], Path]) -> None:
    state = interrupted[2]
    ran = subprocess.run(
        [sys.executable, "-c", CLI, "down", "--state", str(state)],
        cwd=ROOT,
        capture_output=True,
        timeout=90,
        check=False,
    )
    assert ran.returncode == 0
    assert not (state / "starting.json").exists()
    assert not (state / "run.json").exists()
