"""Logs: a JSON line each, that says when, what and where, and nothing that a caller sent."""

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from infercast.router.sight.log_lines import LOGGER, log_to
from tests.router.fakes import door

SECRET = "7e-the-patients-name-7e"


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Path]:
    """A log file, and infercast's loggers as they were afterwards."""
    logger = logging.getLogger(LOGGER)
    before = (list(logger.handlers), logger.level, logger.propagate)
    log_to("fra", tmp_path / "logs" / "fra.jsonl")
    yield tmp_path / "logs" / "fra.jsonl"
    for handler in logger.handlers:
        handler.close()
    logger.handlers[:], logger.level, logger.propagate = before


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_record_is_one_line_of_json(lines: Path) -> None:
    logging.getLogger("infercast.upstream").warning("%s: it does not\nanswer", "far", extra={"call": "fra-1-2"})
    (line,) = read(lines)
    assert str(line.pop("time")).endswith("Z")
    assert isinstance(line.pop("process"), int)
    assert line == {
        "level": "warning",
        "logger": "infercast.upstream",
        "site": "fra",
        "message": "far: it does not\nanswer",
        "call": "fra-1-2",
    }


def test_an_exception_says_what_and_where_and_not_what_it_choked_on(lines: Path) -> None:
    try:
        float(SECRET)
    except ValueError:
        logging.getLogger("infercast.ingress").exception("fault")
    (line,) = read(lines)
    assert line["exception"] == "ValueError"
    assert "test_log_lines.py" in str(line["stack"])
    assert SECRET not in lines.read_text(encoding="utf-8")


def test_a_fault_in_mid_call_logs_nothing_of_the_call(lines: Path) -> None:
    at = door("broken")
    body = json.dumps({"inputs": SECRET}).encode()
    found = at.say(
        "POST", "/v2/models/digits/infer", body, infercast_class="gameplay", cookie=SECRET, infercast_note=SECRET
    )
    assert found.status == 500
    (line,) = read(lines)
    assert (line["level"], line["exception"]) == ("error", "RuntimeError")
    assert SECRET not in lines.read_text(encoding="utf-8")


def test_a_log_that_is_moved_away_goes_on_in_a_new_file(lines: Path) -> None:
    log = logging.getLogger("infercast.site")
    log.warning("one")
    lines.rename(lines.with_suffix(".1"))
    log.warning("two")
    assert [line["message"] for line in read(lines)] == ["two"]


def test_other_loggers_are_left_alone(lines: Path) -> None:
    logging.getLogger("ray.serve").warning("not ours")
    logging.getLogger("infercast.site").debug("too much")
    assert not lines.exists()


def test_a_file_that_cannot_be_opened_raises_at_nobody_who_logs(
    lines: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = logging.getLogger("infercast.quota")
    lines.parent.mkdir(exist_ok=True)
    shutil.rmtree(lines.parent)  # as on a full disk, where it was not opened before
    log.error("the ledger is out of reach")
    assert json.loads(capsys.readouterr().err)["message"] == "the ledger is out of reach"
    lines.parent.mkdir()
    log.error("said")
    shutil.rmtree(lines.parent)  # open already, and now to be opened anew
    log.error("and said again")
    lines.parent.mkdir()
    log.error("and written")
    assert [line["message"] for line in read(lines)] == ["and written"]


def test_a_file_that_takes_nothing_raises_at_nobody_who_logs(lines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines.parent.mkdir(exist_ok=True)
    lines.symlink_to("/dev/full")
    log = logging.getLogger("infercast.quota")
    for said in ("the journal is not written", "the ledger is out of reach", "and still is"):
        log.error(said)  # from the second on, Python's own handler raises: it flushes what the first has left
    told = [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()]
    assert told == ["the journal is not written", "the ledger is out of reach", "and still is"]
