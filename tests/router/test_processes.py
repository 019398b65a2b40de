"""A run's processes are found by their mark, or by a file of the run's that they hold, and ended; no others are."""

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from infercast.router import processes
from infercast.router.processes import MARK, alive, end_run, processes_of, wait_gone

Children = list[subprocess.Popen[bytes]]
WAITS = "import time; print('up', flush=True); time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAITS}"


@pytest.fixture
def children() -> Iterator[Children]:
    """The children that a test starts; each is ended by its own id."""
    started: Children = []
    yield started
    for child in started:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        child.wait()
        if child.stdout:
            child.stdout.close()


def child_of(children: Children, run_id: str | None, code: str = WAITS) -> subprocess.Popen[bytes]:
    """Start a child with a run's mark, and wait until it is up."""
    env = {name: value for name, value in os.environ.items() if name != MARK}
    marked = env if run_id is None else {**env, MARK: run_id}
    child = subprocess.Popen([sys.executable, "-c", code], env=marked, stdout=subprocess.PIPE)
    children.append(child)
    assert child.stdout is not None
    assert child.stdout.readline() == b"up\n"
    return child


@pytest.fixture
def run_id() -> str:
    return f"test-{uuid.uuid4()}"


def test_a_marked_child_is_found_and_ended_and_an_unmarked_is_not(children: Children, run_id: str) -> None:
    mine = child_of(children, run_id)
    unmarked, others = child_of(children, None), child_of(children, f"{run_id}-2")
    assert [process.pid for process in processes_of(run_id)] == [mine.pid]
    assert end_run(run_id) == 1
    assert not alive(mine.pid)
    assert alive(unmarked.pid)
    assert alive(others.pid)
    assert end_run(run_id) == 0


def test_a_childs_children_are_found_too(children: Children, run_id: str) -> None:
    grandchild = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {WAITS!r}]); time.sleep(60)"
    child_of(children, run_id, grandchild)
    assert len(processes_of(run_id)) == 2
    assert end_run(run_id) == 2
    assert processes_of(run_id) == []


def test_the_one_to_keep_is_kept(children: Children, run_id: str) -> None:
    kept, ended = child_of(children, run_id), child_of(children, run_id)
    assert end_run(run_id, keep=kept.pid) == 1
    assert alive(kept.pid)
    assert not alive(ended.pid)


def test_one_that_does_not_listen_is_killed(children: Children, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PATIENCE_S", 0.2)
    deaf = child_of(children, run_id, DEAF)
    assert end_run(run_id) == 1
    assert not alive(deaf.pid)


def test_an_empty_folder_name_finds_nobody(children: Children, run_id: str) -> None:
    child_of(children, None)
    assert processes_of(run_id, "") == []


def writes_to(path: Path) -> str:
    return f"log = open({str(path)!r}, 'w'); {WAITS}"


def test_a_child_that_renamed_itself_is_found_by_its_log(children: Children, run_id: str, tmp_path: Path) -> None:
    child = child_of(children, None, writes_to(tmp_path / "worker.log"))
    beside = tmp_path.with_name(f"{tmp_path.name}-2")
    beside.mkdir()
    other = child_of(children, None, writes_to(beside / "worker.log"))
    assert [process.pid for process in processes_of(run_id, str(tmp_path))] == [child.pid]
    assert end_run(run_id, str(tmp_path)) == 1
    assert not alive(child.pid)
    assert alive(other.pid)


def test_someone_who_only_reads_a_log_is_left_alone(children: Children, run_id: str, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text("started\n")
    reader = child_of(children, None, f"log = open({str(log)!r}); {WAITS}")
    assert end_run(run_id, str(tmp_path)) == 0
    assert alive(reader.pid)


def test_this_process_never_ends_itself(run_id: str, tmp_path: Path) -> None:
    with (tmp_path / "mine.log").open("w"):
        assert [process.pid for process in processes_of(run_id, str(tmp_path))] == [os.getpid()]
        assert end_run(run_id, str(tmp_path)) == 0


def test_waiting_for_the_end(children: Children, run_id: str) -> None:
    child = child_of(children, run_id)
    began = time.monotonic()
    assert not wait_gone(child.pid, 0.1)
    assert time.monotonic() - began >= 0.1
    assert alive(child.pid), "it was not waited for to the end"
    child.kill()
    assert wait_gone(child.pid, 5), "a zombie is gone"
    child.wait()
    assert not alive(child.pid)
    assert wait_gone(child.pid, 0)
