"""The decision log's writer: it never holds a call up, loses nothing in silence, and what it writes verifies."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from infercast.policies.faults import BadInput
from infercast.router.telemetry import log_files
from infercast.router.telemetry.checkpoints import SigningKey, load_public
from infercast.router.telemetry.decision_log import BODY_BYTES_MAX, KEEP_DEFAULT_S, DecisionLog
from infercast.router.telemetry.log_reader import find
from infercast.router.telemetry.log_verify import verify
from infercast.router.telemetry.objects import put_object
from tests.router.logs import FLEET, FLEET_DOCUMENT, NOW_S, POLICY, Clock, decision, key, lines_of, write_log

ROOT = Path(__file__).resolve().parents[2]


def kinds(path: Path) -> list[str]:
    """The kinds of a file's lines, checkpoints left out."""
    return [line["kind"] for line in lines_of(path) if line["kind"] not in ("open", "checkpoint")]


def bodies(path: Path, kind: str) -> list[dict[str, Any]]:
    """The bodies of a file's lines of a kind."""
    return [line["body"] for line in lines_of(path) if line["kind"] == kind]


def only(folder: Path) -> Path:
    """The one file of a log."""
    (path,) = folder.glob("*.jsonl")
    return path


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, "did not come to hold"
        time.sleep(0.01)


class Held:
    """A record's maker that holds the writing thread until it is let go."""

    def __init__(self) -> None:
        self.reached, self.go = threading.Event(), threading.Event()

    def __call__(self) -> dict[str, Any]:
        self.reached.set()
        assert self.go.wait(20)
        return decision("held")


def test_a_snapshot_stands_once_before_the_first_decision_that_names_it(tmp_path: Path) -> None:
    made: list[int] = []
    log = DecisionLog(tmp_path, "fra", key())
    for epoch in (1, 2, 3):

        def state_of(epoch: int = epoch) -> dict[str, int]:
            made.append(epoch)
            return {"live": epoch}

        log.snapshot(epoch, state_of)
    for epoch in (2, 2, 1, 2):
        log.decision(NOW_S, decision("d", epoch=epoch), None)
    log.close()
    path = only(tmp_path)
    assert kinds(path) == ["snapshot", "decision", "decision", "snapshot", "decision", "decision"]
    assert bodies(path, "snapshot") == [{"epoch": 2, "live": 2}, {"epoch": 1, "live": 1}]
    assert made == [2, 1]
    assert verify(tmp_path).findings == []


def test_records_stand_as_they_were_given_in_their_order(tmp_path: Path) -> None:
    given = [decision(f"d{number}", odd="ünï\n\u2028", share=0.1 + number) for number in range(700)]
    path = write_log(tmp_path, [(record, None) for record in given])
    assert bodies(path, "decision") == given
    assert verify(tmp_path).files[0].records == 701


def test_retention_is_what_the_policy_says_or_thirty_days(tmp_path: Path) -> None:
    path = write_log(tmp_path, [(decision("a"), NOW_S + 5), (decision("b"), None)])
    kept = [line["keep"] for line in lines_of(path) if line["kind"] == "decision"]
    assert kept == [NOW_S + 5, NOW_S + 30 * 86_400]
    assert KEEP_DEFAULT_S == 30 * 86_400


def test_withheld_decisions_are_counted_and_nothing_else_of_them(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path, "fra", key())
    for _ in range(3):
        log.withhold()
    log.close()
    assert kinds(only(tmp_path)) == ["withheld"]
    assert verify(tmp_path).files[0].withheld == 3


def test_a_full_queue_holds_no_call_up_and_counts_what_it_lost(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path, "fra", key(), queue_max=3)
    held = Held()
    log.decision(NOW_S, held, None)
    assert held.reached.wait(20)
    for number in range(10):
        log.decision(NOW_S, decision(f"d{number}"), None)
    held.go.set()
    log.close()
    path = only(tmp_path)
    assert [body["id"] for body in bodies(path, "decision")] == ["held", "d0", "d1", "d2"]
    report = verify(tmp_path)
    assert report.files[0].lost == 7 + 1  # the snapshot of epoch 1 was never told
    assert report.findings == []
    assert {why for body in bodies(path, "gap") for why in body["lost"]} == {"queue", "snapshot"}


@pytest.mark.parametrize(
    "bad",
    [
        lambda: 1 // 0, lambda: {"a": object()}, lambda: {"a": 2**70}, lambda: {"a": "\ud800"}, lambda: dict[str, int]()["x"],
        lambda: ["no", "object"], lambda: {1: 2}, lambda: {"a": "x" * BODY_BYTES_MAX},
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_made_is_counted_and_the_log_goes_on(tmp_path: Path, bad: Callable[[], Any]) -> None:
    log = DecisionLog(tmp_path, "fra", key())
    log.snapshot(1, dict)
    log.decision(NOW_S, bad, None)
    log.decision(NOW_S, decision("good"), None)
    log.close()
    assert [body["id"] for body in bodies(only(tmp_path), "decision")] == ["good"]
    assert verify(tmp_path).files[0].lost == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_log_whose_thread_has_ended_is_not_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = DecisionLog(tmp_path, "fra", key())
    log.check()

    def broken() -> None:
        raise KeyError("what nobody foresaw")

    monkeypatch.setattr(log, "_beat", broken)
    until(lambda: not log._thread.is_alive())
    with pytest.raises(RuntimeError, match="written no longer"):
        log.check()
    log._end(log._file)
    other = DecisionLog(tmp_path, "sin", key())
    other.close()
    other.check()  # it was ended


def test_a_snapshot_that_cannot_be_made_or_was_never_told_is_counted(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path, "fra", key())
    log.snapshot(1, lambda: {"a": object()})
    for epoch in (1, 1, 2, 2):
        log.decision(NOW_S, decision("d", epoch=epoch), None)
    log.close()
    assert bodies(only(tmp_path), "gap") == [{"lost": {"TypeError": 1, "snapshot": 1}}]
    assert len(bodies(only(tmp_path), "decision")) == 4


def test_a_full_disk_leaves_no_torn_line_and_loses_nothing_that_fits_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = DecisionLog(tmp_path, "fra", key())
    log.snapshot(1, dict)
    write, tried = os.write, threading.Event()

    def half(file: int, content: bytes) -> int:
        tried.set()
        return write(file, content[: len(content) // 2])

    monkeypatch.setattr("infercast.router.telemetry.log_files.os.write", half)
    log.decision(NOW_S, decision("one"), None)
    assert tried.wait(20)

    def none(file: int, content: bytes) -> int:
        tried.set()
        raise OSError(errno.ENOSPC, "No space left on device")

    tried.clear()
    monkeypatch.setattr("infercast.router.telemetry.log_files.os.write", none)
    log.decision(NOW_S, decision("two"), None)
    assert tried.wait(20)
    monkeypatch.undo()
    log.close()
    assert [body["id"] for body in bodies(only(tmp_path), "decision")] == ["one", "two"]
    assert verify(tmp_path).findings == []


def test_a_disk_that_stays_full_is_told_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = DecisionLog(tmp_path, "fra", key())
    log.decision(NOW_S, decision("one"), None)
    monkeypatch.setattr("infercast.router.telemetry.log_files.os.write", lambda file, content: 0)
    with pytest.raises(OSError, match="only a part"):
        log.close()
    monkeypatch.undo()
    log.close()
    report = verify(tmp_path)
    assert not report.tampered
    assert report.files[0].end == "open"


def test_a_long_batch_has_a_checkpoint_after_every_256_lines(tmp_path: Path) -> None:
    path = write_log(tmp_path, [(decision("d"), None)] * 1000)
    at = [number for number, line in enumerate(lines_of(path)) if line["kind"] == "checkpoint"]
    assert max(later - one for one, later in pairwise(at)) <= 257
    assert len(at) >= 5


def test_lines_are_signed_and_told_after_ten_seconds(tmp_path: Path) -> None:
    clock = Clock()
    log = DecisionLog(tmp_path, "fra", key(), clock=clock)
    log.snapshot(1, dict)
    log.decision(NOW_S, decision("one"), None)
    until(lambda: "decision" in kinds(only(tmp_path)))
    before = verify(tmp_path)
    assert (before.tampered, before.files[0].unsigned, before.files[0].end) == (False, 2, "being written")
    clock.now_s += 11
    until(lambda: verify(tmp_path).files[0].unsigned == 0)
    assert verify(tmp_path).findings == []
    log.close()


def test_a_file_ends_after_a_day_or_at_its_size_and_the_next_stands_alone(tmp_path: Path) -> None:
    clock = Clock()
    log = DecisionLog(tmp_path, "fra", key(), clock=clock)
    log.put(FLEET, FLEET_DOCUMENT)
    log.put(POLICY, {})
    log.snapshot(1, lambda: {"live": 1})
    log.decision(NOW_S, decision("one"), None)
    until(lambda: "decision" in kinds(only(tmp_path)))
    clock.now_s += 86_401
    until(lambda: len(list(tmp_path.glob("*.jsonl"))) == 2)
    log.decision(NOW_S, decision("two"), None)
    log.close()
    assert sorted(report.end for report in verify(tmp_path).files) == ["ended", "ended"]
    assert verify(tmp_path).findings == []
    for name in ("one", "two"):
        assert find(tmp_path, name).snapshot == {"epoch": 1, "live": 1}
    small = tmp_path / "small"
    log = DecisionLog(small, "fra", key(), file_bytes_max=2000)
    for _ in range(3):
        log.decision(NOW_S, decision("one"), None)
    until(lambda: len(list(small.glob("*.jsonl"))) >= 2)
    log.close()
    assert verify(small).findings == []


def test_places_and_processes_share_a_folder(tmp_path: Path) -> None:
    logs = [DecisionLog(tmp_path, place, key()) for place in ("fra", "fra", "berlin-cam", "dub")]
    for log in logs:
        log.snapshot(1, dict)
        log.decision(NOW_S, decision("d"), None)
    for log in logs:
        log.close()
    report = verify(tmp_path)
    assert report.findings == []
    assert len(report.files) == 4
    assert {one.records for one in report.files} == {2}


def test_a_document_is_written_once_and_never_another_under_its_digest(tmp_path: Path) -> None:
    for _ in range(2):
        log = DecisionLog(tmp_path, "fra", key())
        log.put(FLEET, FLEET_DOCUMENT)
        log.put(FLEET, dict(FLEET_DOCUMENT))
        with pytest.raises(BadInput, match="delete the log's folder or use another"):
            log.put(FLEET, {"deployments": []})
        log.close()
    assert bodies(min(tmp_path.glob("*.jsonl")), "object") == [
        {"digest": FLEET, "sha256": put_object(tmp_path, FLEET, FLEET_DOCUMENT)}
    ]
    assert [path.name for path in (tmp_path / "objects").iterdir()] == [f"{FLEET}.json"]
    with pytest.raises(BadInput, match="is no digest"):
        log.put("../../escape", {})


def test_a_log_of_another_key_is_not_written_to(tmp_path: Path) -> None:
    write_log(tmp_path, [(decision("d"), None)])
    with pytest.raises(BadInput, match="signed with another key"):
        DecisionLog(tmp_path, "fra", SigningKey.new())
    assert len(list(tmp_path.glob("*.jsonl"))) == 1


def test_a_place_that_cannot_name_a_file_is_refused(tmp_path: Path) -> None:
    for place in ("../fra", "", "a/b", "a\n"):
        with pytest.raises(BadInput, match="cannot name a file"):
            DecisionLog(tmp_path, place, key())


def test_a_private_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "state" / "log-key.pem"
    one = SigningKey.of(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert SigningKey.of(path).public == one.public
    path.chmod(0o644)
    with pytest.raises(BadInput, match="chmod 600"):
        SigningKey.of(path)
    path.chmod(0o600)
    path.write_text("no key")
    with pytest.raises(BadInput, match="is no private key"):
        SigningKey.of(path)
    assert [name.name for name in path.parent.iterdir()] == ["log-key.pem"]


def test_many_that_make_the_key_at_once_get_the_same_one(tmp_path: Path) -> None:
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda: made.append(SigningKey.of(tmp_path / "key.pem").public.pem)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len(set(made)) == 1


def test_the_folder_holds_the_public_key_and_not_the_private_one(tmp_path: Path) -> None:
    write_log(tmp_path, [(decision("d"), None)])
    assert load_public(tmp_path / "public.pem") == key().public
    secret = key().pem().splitlines()[1]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and secret in path.read_bytes()]


KILLED = """
    import os, signal, sys, threading, time
    from pathlib import Path
    from infercast.router.telemetry import log_files
    from infercast.router.telemetry.checkpoints import SigningKey
    from infercast.router.telemetry.decision_log import DecisionLog
    log_files.CHECKPOINT_EVERY = 4
    folder, how = Path(sys.argv[1]), sys.argv[2]
    write, go = os.write, threading.Event()
    def torn(file, content):
        if b'"id":"d5"' in content and how != "between":
            write(file, content[:-40])
            os.kill(os.getpid(), signal.SIGKILL)
        return write(file, content)
    def held():
        go.wait()
        return {"id": "d0", "epoch": 1}
    def until_written(number):
        while f'"id":"d{number}"' not in next(folder.glob("*.jsonl")).read_text():
            time.sleep(0.01)
    log_files.os.write = torn
    key = SigningKey.of(folder.parent / "log-key.pem")
    log = DecisionLog(folder, "fra", key, clock=lambda: 1_790_000_000.0)
    log.snapshot(1, dict)
    log.decision(1_790_000_000, held, None)
    for number in range(1, 6):
        if how != "torn batch":
            go.set()
            until_written(number - 1)
        log.decision(1_790_000_000, {"id": f"d{number}", "epoch": 1}, None)
    go.set()
    until_written(5)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("how", ["torn", "torn batch", "between"])
def test_a_process_that_was_killed_leaves_at_most_a_torn_line_and_that_is_no_tampering(
    tmp_path: Path, how: str
) -> None:
    """Lines are written one by one, or those after the first in one write; the clock stands still."""
    folder = tmp_path / "log"
    program = [sys.executable, "-c", textwrap.dedent(KILLED), str(folder), how]
    killed = subprocess.run(program, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False, timeout=200)
    assert killed.returncode == -signal.SIGKILL
    report = verify(folder)
    assert not report.tampered
    said = " ".join(finding.what for finding in report.findings)
    assert "open or cut off after seq" in said
    assert ("torn last line" in said) == (how != "between")
    assert (report.files[0].end, report.files[0].unsigned) == ("open", 3 if how == "between" else 2)
    log = DecisionLog(folder, "fra", SigningKey.of(tmp_path / "log-key.pem"))
    log.close()
    assert not verify(folder).tampered


def test_a_writer_killed_before_it_was_on_the_list_is_no_tampering(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(log_files, "update_heads", killed)
    with pytest.raises(KeyboardInterrupt):
        DecisionLog(tmp_path, "fra", key())
    monkeypatch.undo()
    assert not verify(tmp_path).tampered
    write_log(tmp_path, [(decision("d"), None)])
    assert not verify(tmp_path).tampered
