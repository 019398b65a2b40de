"""The journal: no line lets go of the interpreter, and what a killed process had written is read back."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.router.telemetry.journal import PIECE_BYTES, FileJournal, read_journal


def test_what_was_written_is_read_back_in_order(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "journal", "fra")
    journal.write("call", request="r1", outcome="answered", cost_usd=0.5)
    journal.write("received", payload_bytes=3)
    journal.close()
    first, second = read_journal(tmp_path / "journal")
    assert (first["kind"], first["place"], first["request"], first["cost_usd"]) == ("call", "fra", "r1", 0.5)
    assert (second["kind"], second["payload_bytes"]) == ("received", 3)
    assert 0 <= second["at"] - first["at"] < 60


def test_a_file_bears_the_place_and_the_process_and_is_the_owners(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        FileJournal(tmp_path, "fra").close()
    finally:
        os.umask(before)
    (path,) = tmp_path.iterdir()
    assert path.name == f"fra-{os.getpid()}.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600


def test_lines_break_nowhere(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, "fra")
    for number in range(100):
        journal.write("call", request=f"line\nbreak {number}")
    journal.close()
    assert [line["request"] for line in read_journal(tmp_path)] == [f"line\nbreak {number}" for number in range(100)]


def test_no_line_hands_the_interpreter_to_another_thread(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, "fra")
    turns, done = [0], threading.Event()

    def wait_for_turns() -> None:
        while not done.is_set():
            turns[0] += 1
            time.sleep(0)

    other = threading.Thread(target=wait_for_turns)
    interval_s = sys.getswitchinterval()
    taken: list[int] = []
    other.start()
    try:
        sys.setswitchinterval(1000)  # nobody is made to give it up: only who lets go of it loses it
        # On a busy machine somebody who began to wait within the old interval may ask for it late; then once more. A line
        # that lets go of it does so every time.
        while len(taken) < 5 and 0 not in taken:
            time.sleep(0.05)
            before = turns[0]
            for _ in range(100):  # long lines, so that another thread has the time to wake up
                journal.write("call", request="x" * 200_000)
            taken.append(turns[0] - before)
    finally:
        sys.setswitchinterval(interval_s)
        done.set()
        other.join()
    journal.close()
    assert 0 in taken


def test_what_a_killed_process_had_written_is_read_back(tmp_path: Path) -> None:
    text = (
        "import os, signal, sys; from pathlib import Path; from infercast.router.telemetry.journal import FileJournal\n"
        "journal = FileJournal(Path(sys.argv[1]), 'fra')\n"
        "for number in range(5000): journal.write('call', request=number)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", text, str(tmp_path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert [line["request"] for line in read_journal(tmp_path)] == list(range(5000))


def test_a_line_longer_than_a_piece_is_written_whole(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, "fra")
    told = ["a" * 100, "b" * (2 * PIECE_BYTES), "c" * 100, "d" * (PIECE_BYTES - 80), "e"]
    for request in told:
        journal.write("call", request=request)
    journal.close()
    assert [line["request"] for line in read_journal(tmp_path)] == told


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(0, 40))
def test_the_end_of_the_last_whole_line_is_found_wherever_it_is(lengths: list[int], rest: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("infercast.router.telemetry.journal.PIECE_BYTES", 4)
        path = Path(folder) / f"fra-{os.getpid()}.jsonl"
        lines = b"".join(b"x" * length + b"\n" for length in lengths)
        path.write_bytes(lines + b"x" * rest)
        FileJournal(Path(folder), "fra").close()
        assert path.read_bytes() == lines


def test_lines_beyond_two_gibibytes_stay(tmp_path: Path) -> None:
    path = tmp_path / f"fra-{os.getpid()}.jsonl"
    line = b'\n{"request": "paid"}\n'
    with path.open("wb") as file:  # a file with a hole takes no room
        file.seek(2**31 + 100)
        file.write(line)
    FileJournal(tmp_path, "fra").close()
    assert path.stat().st_size == 2**31 + 100 + len(line)


def test_a_file_that_is_cut_short_from_outside_goes_on(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, "fra")
    journal.write("call", request="rotated away")
    (path,) = tmp_path.iterdir()
    os.truncate(path, 0)
    journal.write("call", request="new")
    journal.close()
    assert [line["request"] for line in read_journal(tmp_path)] == ["new"]


def test_a_file_left_by_a_killed_process_of_the_same_number_goes_on(tmp_path: Path) -> None:
    (tmp_path / f"fra-{os.getpid()}.jsonl").write_bytes(b'{"request": "old"}\n{"requ' + bytes(1000))
    journal = FileJournal(tmp_path, "fra")
    journal.write("call", request="new")
    journal.close()
    assert [line["request"] for line in read_journal(tmp_path)] == ["old", "new"]


@pytest.mark.parametrize("kept", [0, 1, 20, -2])
def test_a_last_line_that_was_cut_off_is_passed_over(tmp_path: Path, kept: int) -> None:
    journal = FileJournal(tmp_path, "fra")
    journal.write("call", request="whole")
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    journal.write("call", request="cut")
    journal.close()
    line = path.read_bytes()[len(whole) :]
    path.write_bytes(whole + line[:kept])
    assert [entry["request"] for entry in read_journal(tmp_path)] == ["whole"]


def test_two_journals_of_one_place_and_process_lose_nothing(tmp_path: Path) -> None:
    one, other = FileJournal(tmp_path, "fra"), FileJournal(tmp_path, "fra")
    for number in range(50):
        (one if number % 3 else other).write("call", request=number)
    one.close()
    other.close()
    assert sorted(line["request"] for line in read_journal(tmp_path)) == list(range(50))


def test_the_files_of_all_places_are_read(tmp_path: Path) -> None:
    for place in ("sin", "fra"):
        journal = FileJournal(tmp_path, place)
        journal.write("call")
        journal.close()
    (tmp_path / "notes.txt").write_text('{"place": "nowhere"}')
    assert [line["place"] for line in read_journal(tmp_path)] == ["fra", "sin"]


FULL = """
import resource, sys
from pathlib import Path
from infercast.router.telemetry.journal import FileJournal
journal = FileJournal(Path(sys.argv[1]), "fra")
no, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))  # to a process, the same as a disk that is full
for number in range(20):
    journal.write("call", request=number)
    print(int(journal.full), end="")
assert not journal.retry()
resource.setrlimit(resource.RLIMIT_FSIZE, (no, hard))
assert journal.retry() and not journal.full
journal.write("call", request=20)
"""


def test_what_a_full_disk_does_not_take_is_written_once_it_does(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], check=True, capture_output=True, text=True)
    before, after = ended.stdout.count("0"), ended.stdout.count("1")
    assert (before > 0, after > 0, ended.stdout) == (True, True, "0" * before + "1" * after)
    assert "no new calls" in ended.stderr
    assert [line["request"] for line in read_journal(tmp_path)] == list(range(21))


def test_no_more_is_kept_than_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = FileJournal(tmp_path, "fra")
    monkeypatch.setattr("infercast.router.telemetry.journal.KEPT_LINES_MAX", 2)
    monkeypatch.setattr("infercast.router.telemetry.journal._append", lambda file, line, length: -1)
    journal.write("call", request=0)
    journal.write("call", request=1)
    with pytest.raises(OSError, match="no more"):
        journal.write("call", request=2)
    monkeypatch.undo()
    journal.close()
    assert [line["request"] for line in read_journal(tmp_path)] == [0, 1]


@pytest.mark.parametrize("facts", [{"classes": ["a", "b"]}, {"deployment": None}, {"attempts": []}, {"cost_usd": 1e-9}])
def test_facts_keep_their_values(tmp_path: Path, facts: dict[str, Any]) -> None:
    journal = FileJournal(tmp_path, "fra")
    journal.write("call", **facts)
    journal.close()
    (line,) = read_journal(tmp_path)
    assert facts.items() <= line.items()
    assert orjson.loads(orjson.dumps(line)) == line
