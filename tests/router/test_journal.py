"""The journal: no line costs a system call, and what a killed process had written is read back."""

import os
import signal
import subprocess
import sys
import tempfile
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


def test_lines_break_nowhere_and_no_line_costs_a_system_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = FileJournal(tmp_path, "fra")
    journal.write("call", request="first")
    called: list[str] = []
    for name in ("write", "pwrite", "fstat", "ftruncate"):
        monkeypatch.setattr(f"infercast.router.telemetry.journal.os.{name}", lambda *_, name=name: called.append(name))
    for number in range(100):
        journal.write("call", request=f"line\nbreak {number}")
    monkeypatch.undo()
    journal.close()
    assert not called
    lines = [line["request"] for line in read_journal(tmp_path)]
    assert lines == ["first", *(f"line\nbreak {number}" for number in range(100))]


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


@given(st.lists(st.integers(0, 900), max_size=40))
def test_pieces_join_without_a_seam(lengths: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("infercast.router.telemetry.journal.PIECE_BYTES", 4096)
        journal = FileJournal(Path(folder), "fra")
        for length in lengths:
            journal.write("call", request="x" * length)
        journal.close()
        assert [len(line["request"]) for line in read_journal(Path(folder))] == lengths
        assert b"\0" not in next(Path(folder).iterdir()).read_bytes()


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
    whole = path.read_bytes().rstrip(b"\0")
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


def test_a_full_disk_is_not_passed_over_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, data: bytes, at: int) -> int:
        raise OSError(28, "No space left on device")

    journal = FileJournal(tmp_path, "fra")
    monkeypatch.setattr("infercast.router.telemetry.journal.os.pwrite", full)
    with pytest.raises(OSError, match="No space"):
        journal.write("call")
    monkeypatch.setattr("infercast.router.telemetry.journal.os.pwrite", lambda file, data, at: len(data) - 1)
    with pytest.raises(OSError, match="only a part"):
        journal.write("call")
    monkeypatch.undo()
    journal.write("call", request="later")
    journal.close()
    assert [line["request"] for line in read_journal(tmp_path)] == ["later"]


@pytest.mark.parametrize("facts", [{"classes": ["a", "b"]}, {"deployment": None}, {"attempts": []}, {"cost_usd": 1e-9}])
def test_facts_keep_their_values(tmp_path: Path, facts: dict[str, Any]) -> None:
    journal = FileJournal(tmp_path, "fra")
    journal.write("call", **facts)
    journal.close()
    (line,) = read_journal(tmp_path)
    assert facts.items() <= line.items()
    assert orjson.loads(orjson.dumps(line)) == line
