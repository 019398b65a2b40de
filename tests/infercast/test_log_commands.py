"""`log prune` and `log list`: on a state folder as the site workers leave it, and with words that nobody knows."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from infercast.cli import app
from infercast.router.telemetry.log_files import KEY
from tests.router.logs import NOW_S, decision, key, write_log

ROOT = Path(__file__).resolve().parents[2]
ERASED = {"expired": 1, "asked": 1}


def log(state: Path, *words: str) -> Result:
    """Run a command on the log of a state folder."""
    return CliRunner().invoke(app, ["log", *words, "--state", str(state)], env={"COLUMNS": "250"})


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder after a run: one decision that has expired long ago, one of another tenant, one to be kept."""
    later_s = NOW_S + 10**9
    records = [(decision("d0"), 1), (decision("d1", tenant="studio"), later_s), (decision("d2"), later_s)]
    write_log(tmp_path / "decisions", records)
    path = tmp_path / "signing.key"
    path.touch(0o600)
    path.write_bytes(key().pem())
    return tmp_path


def test_prune_signs_with_the_key_that_writers_sign_with(state: Path) -> None:
    assert KEY == "signing.key"
    for writer in ("serving/worker.py", "device/agent.py"):
        assert "/ KEY)" in (ROOT / "router" / writer).read_text()
    told = log(state, "prune", "--tenant", "studio", "--json")
    assert told.exit_code == 0, told.output
    (file,) = json.loads(told.stdout)["files"]
    assert {word: file[word] for word in ERASED} == ERASED
    assert log(state, "verify").exit_code == 0
    listed = json.loads(log(state, "list", "--json").stdout)
    assert ([row["id"] for row in listed["decisions"]], listed["erased"]) == (["d2"], 2)


def test_prune_without_the_key_says_which_file_is_missing(state: Path) -> None:
    (state / "signing.key").unlink()
    told = log(state, "prune")
    assert told.exit_code == 2
    assert f"{state / 'signing.key'}: the private key cannot be read" in told.output


def test_an_outcome_that_there_is_not_is_refused_rather_than_never_found(state: Path) -> None:
    told = log(state, "list", "--outcome", "chosn")
    assert told.exit_code == 2
    assert "did you mean 'chosen'?" in told.output
    assert len(json.loads(log(state, "list", "--outcome", "chosen", "--json").stdout)["decisions"]) == 3
