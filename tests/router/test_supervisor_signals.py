"""The supervisor asked to end: once, whatever it is asked after that; and by nobody who only hangs up. What it cannot do, it says."""

import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infercast.router.serving import supervisor
from infercast.router.serving.supervisor import Run, Stop, _stop

DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """A run that has started nothing, with its control socket."""
    run = Run(tmp_path, tmp_path, tmp_path, (0, 0), secrets.token_hex(6), tmp_path, None, "")
    run._control.bind(str(tmp_path / "control"))
    run._control.listen(4)
    yield run
    run._control.close()


def test_who_is_asked_to_end_twice_ends_once() -> None:
    names = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(name) for name in names]
    try:
        with pytest.raises(Stop):
            _stop(signal.SIGINT, None)
        assert [signal.getsignal(name) for name in names] == [signal.SIG_IGN] * 2
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)


def test_who_hangs_up_or_says_what_is_no_text_ends_nothing(run: Run, tmp_path: Path) -> None:
    for said in (b"", b"\xff", b"stop"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "control"))
            client.sendall(said)
    with pytest.raises(Stop):  # by the last one; the others are not there any more to be answered
        run.obey()
    run._control.settimeout(0)
    with pytest.raises(BlockingIOError):
        run._control.accept()


class Nodes:
    """Sites' nodes; `fault` is what ending one meets."""

    def __init__(self, fault: OSError | None = None) -> None:
        self.fault = fault

    def kill_site(self, site: str) -> None:
        if self.fault is not None:
            raise self.fault

    def metrics(self) -> dict[str, int]:
        return {"head": 1}


@pytest.mark.parametrize(
    ("fault", "writable", "begins"),
    [
        (None, True, "killed\n"),
        (None, False, "killed, yet prometheus.json still names it: "),
        (OSError(13, "not permitted"), True, "the raylet of dub may still run: [Errno 13] not permitted"),
    ],
)
def test_who_asks_for_a_kill_hears_what_went_wrong(
    run: Run, tmp_path: Path, fault: OSError | None, writable: bool, begins: str, caplog: pytest.LogCaptureFixture
) -> None:
    run._cluster = Nodes(fault)  # type: ignore[assignment]
    if not writable:
        (tmp_path / "prometheus.json").mkdir()
    with socket.socket(socket.AF_UNIX) as client, socket.socket(socket.AF_UNIX) as last:
        for one, said in ((client, b"kill-site dub"), (last, b"stop")):
            one.connect(str(tmp_path / "control"))
            one.sendall(said)
        with pytest.raises(Stop):
            run.obey()
        answer = client.makefile().read()
    assert answer.startswith(begins)
    assert (caplog.text != "") == (begins != "killed\n")


def test_a_state_folder_that_takes_no_more_keeps_nobody_from_ending(tmp_path: Path) -> None:
    (temp := tmp_path / "temp").mkdir()
    run = Run(tmp_path, tmp_path, tmp_path / "gone", (0, 0), secrets.token_hex(6), temp, None, "")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as agent:
        run._agents["camera"] = agent
        run.stop()
        assert agent.returncode == -signal.SIGTERM
    assert not temp.exists()


def test_an_agent_that_does_not_end_is_killed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "AGENT_END_S", 0.2)
    with subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        assert agent.stdout.readline() == b"up\n"
        run._agents["camera"] = agent
        run._end_agents()
        assert agent.returncode == -signal.SIGKILL
