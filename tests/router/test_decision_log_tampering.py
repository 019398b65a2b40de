"""The law of the decision log: what nobody touched always verifies; whatever anybody changed is always found."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infercast.router.telemetry.checkpoints import SigningKey
from infercast.router.telemetry.decision_log import DecisionLog
from infercast.router.telemetry.heads import HEADS
from infercast.router.telemetry.log_verify import verify
from infercast.router.telemetry.retention import prune
from tests.router.logs import NOW_S, TAMPERINGS, decision, key, write_log

RECORDS = st.lists(
    st.tuples(
        st.sampled_from(["bank", "hospital"]),
        st.integers(1, 3),
        st.text(max_size=8),
        st.sampled_from([None, NOW_S - 1, NOW_S + 100]),
    ),
    min_size=1,
    max_size=12,
)
Drawn = list[tuple[str, int, str, int | None]]


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infercast.router.telemetry.log_files.CHECKPOINT_EVERY", 4)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A new folder for each of hypothesis' examples is made inside."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def records(drawn: Drawn) -> list[tuple[dict[str, Any], int | None]]:
    """Records, and the first of them one that no pruning erases."""
    rest = [
        (decision(f"d{at}", tenant, epoch, word=word), keep) for at, (tenant, epoch, word, keep) in enumerate(drawn)
    ]
    return [(decision("first"), None), *rest]


def made(folder: Path, one: Drawn, other: Drawn) -> Path:
    """A log of two files."""
    log = Path(tempfile.mkdtemp(dir=folder)) / "log"
    write_log(log, records(one), "fra")
    write_log(log, records(other), "dub")
    return log


def contents(folder: Path) -> dict[str, bytes]:
    """All that stands in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@settings(max_examples=12)
@given(RECORDS, RECORDS, st.booleans(), st.integers(0, 2**32))
def test_every_tampering_is_found_and_only_tampering(one: Drawn, other: Drawn, pruned: bool, seed: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        log = made(Path(name), one, other)
        if pruned:
            prune(log, key(), NOW_S)
        untouched = verify(log, key().public)
        assert untouched.findings == []
        assert [report.end for report in untouched.files] == ["ended", "ended"]
        assert verify(log).findings == []
        for number, tamper in enumerate(TAMPERINGS):
            copy = log.parent / "copy"
            shutil.copytree(log, copy)
            tamper(copy, Random(seed + number))
            assert contents(copy) != contents(log), tamper.__name__
            assert verify(copy, key().public).tampered, tamper.__name__
            shutil.rmtree(copy)


def test_a_log_signed_anew_with_another_key_is_found_by_the_key_that_was_kept(folder: Path) -> None:
    writer = DecisionLog(folder, "fra", SigningKey.new())
    writer.decision(NOW_S, decision("lie"), None)
    writer.close()
    assert verify(folder).findings == []
    found = verify(folder, key().public)
    assert found.tampered
    assert "another key" in str(found.findings[0])


def test_an_older_state_of_everything_is_found_by_a_checkpoint_kept_elsewhere(folder: Path) -> None:
    log = folder / "log"
    write_log(log, [(decision("one"), None)])
    older = folder / "older"
    shutil.copytree(log, older)
    write_log(log, [(decision("two"), None)])
    kept = folder / "kept.json"
    shutil.copy(log / HEADS, kept)
    assert verify(log, stored=[kept]).findings == []
    assert verify(older).findings == []
    found = verify(older, stored=[kept])
    assert found.tampered
    assert "an older state was put back" in " ".join(map(str, found.findings))
    assert "was removed" in " ".join(map(str, found.findings))


def test_a_checkpoint_holds_for_a_log_that_went_on_and_was_pruned(folder: Path) -> None:
    log = folder / "log"
    write_log(log, [(decision("one"), NOW_S - 1), (decision("two"), None)])
    kept = folder / "kept.json"
    shutil.copy(log / HEADS, kept)
    write_log(log, [(decision("three"), None)])
    assert sum(one.expired for one in prune(log, key(), NOW_S)) == 1
    assert verify(log, stored=[kept]).findings == []


def test_a_checkpoint_that_was_altered_or_signed_by_another_proves_nothing(folder: Path) -> None:
    log = folder / "log"
    write_log(log, [(decision("one"), None)])
    kept = folder / "kept.json"
    kept.write_bytes((log / HEADS).read_bytes().replace(b'"number":2', b'"number":3'))
    assert "is not signed with this key" in str(verify(log, stored=[kept]).findings[0])


def test_a_list_begun_anew_never_becomes_clean_again(folder: Path) -> None:
    log = folder / "log"
    gone = write_log(log, [(decision("one"), None)])
    write_log(log, [(decision("two"), None)])
    gone.unlink()
    (log / HEADS).unlink()
    write_log(log, [(decision("three"), None)])
    write_log(log, [(decision("four"), None)])
    found = verify(log)
    assert found.tampered
    assert any("was begun anew while files were there" in finding.what for finding in found.findings)


def test_findings_name_the_file_the_line_and_what_was_done(folder: Path) -> None:
    log = folder / "log"
    path = write_log(log, [(decision(f"d{number}"), None) for number in range(6)])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:7] + lines[9:]))
    (finding, *_) = verify(log).findings
    assert (finding.file, finding.line) == (path.name, 8)
    assert finding.what == "removed: lines 7 to 8 stood before this one"
    path.write_bytes(b"".join(lines).replace(b'"id":"d3"', b'"id":"d4"'))
    (finding,) = verify(log).findings
    at = next(number for number, line in enumerate(lines, 1) if b'"id":"d3"' in line)
    assert (finding.line, finding.what) == (
        at,
        f"altered: the body of record {at - 1} is not the one that was written",
    )
