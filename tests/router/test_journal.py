"""The journal: one line, one write; what a killed process had written is read back."""

import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from infercast.router.telemetry.journal import FileJournal, read_journal


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


def test_each_line_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = FileJournal(tmp_path, "fra")
    writes: list[bytes] = []
    write = os.write

    def noted(file: int, data: bytes) -> int:
        writes.append(data)
        return write(file, data)

    monkeypatch.setattr("infercast.router.telemetry.journal.os.write", noted)
    for number in range(3):
        journal.write("call", request=f"line\nbreak {number}")
    journal.close()
    assert len(writes) == 3
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in writes)
    assert [line["request"] for line in read_journal(tmp_path)] == [f"line\nbreak {n}" for n in range(3)]


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


def test_two_journals_on_one_file_lose_nothing(tmp_path: Path) -> None:
    one, other = FileJournal(tmp_path, "fra"), FileJournal(tmp_path, "fra")
    for number in range(50):
        (one if number % 3 else other).write("call", request=number)
    one.close()
    other.close()
    assert [line["request"] for line in read_journal(tmp_path)] == list(range(50))


def test_the_files_of_all_places_are_read(tmp_path: Path) -> None:
    for place in ("sin", "fra"):
        journal = FileJournal(tmp_path, place)
        journal.write("call")
        journal.close()
    (tmp_path / "notes.txt").write_text('{"place": "nowhere"}')
    assert [line["place"] for line in read_journal(tmp_path)] == ["fra", "sin"]


def test_a_full_disk_is_not_passed_over_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    journal = FileJournal(tmp_path, "fra")
    monkeypatch.setattr("infercast.router.telemetry.journal.os.write", full)
    with pytest.raises(OSError, match="No space"):
        journal.write("call")
    monkeypatch.undo()
    journal.close()


@pytest.mark.parametrize("facts", [{"classes": ["a", "b"]}, {"deployment": None}, {"attempts": []}, {"cost_usd": 1e-9}])
def test_facts_keep_their_values(tmp_path: Path, facts: dict[str, Any]) -> None:
    journal = FileJournal(tmp_path, "fra")
    journal.write("call", **facts)
    journal.close()
    (line,) = read_journal(tmp_path)
    assert facts.items() <= line.items()
    assert orjson.loads(orjson.dumps(line)) == line
