"""`infercast up --ledger`: a ledger that cannot be used is refused before anything has started or been made."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from infercast.cli import app

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for name in ("INFERCAST_FLEET", "INFERCAST_POLICIES", "INFERCAST_STATE", "INFERCAST_LEDGER"):
        monkeypatch.delenv(name, raising=False)


def up(state: Path, *words: str, **env: str) -> Result:
    return CliRunner().invoke(app, ["up", "--state", str(state), *words], env={"COLUMNS": "250", **env})


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://me:secret@h/d", "no ledger is kept in 'mysql'"),
        ("sqlite:////no/such/folder/ledger.db", "/no/such/folder/ledger.db: --ledger: cannot be made"),
        ("postgresql://me:secret@127.0.0.1:1/d", "postgresql://me@127.0.0.1:1/d: --ledger: cannot be opened"),
        ("just words", "cannot be read (sqlite:///path/to/ledger.db or postgresql://user@host/database)"),
    ],
)
def test_it_is_one_message_and_nothing_is_made(tmp_path: Path, url: str, said: str) -> None:
    state = tmp_path / "state"
    for done in (up(state, "--ledger", url), up(state, INFERCAST_LEDGER=url)):
        assert done.exit_code == 2
        assert said in done.stderr
        assert done.stderr.count("✗") == 1
        assert "secret" not in done.output
        assert not state.exists()


def test_the_help_says_where_a_password_belongs() -> None:
    told = CliRunner().invoke(app, ["up", "--help"], env={"COLUMNS": "200"}).stdout
    assert "INFERCAST_LEDGER" in told
    assert "a command line is anybody's to read" in " ".join(told.replace("│", " ").split())


@pytest.mark.parametrize("module", ["infercast.cli", "infercast.router.device.agent"])
def test_who_asks_no_ledger_needs_no_database(module: str) -> None:
    program = f"import sys; sys.modules['sqlalchemy'] = None; import {module}"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
