"""Ledgers to test with: SQLite in a fresh folder, and a private Postgres where one is installed."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infercast.router.ledger.opening import open_store
from infercast.router.ledger.store import SqlStore
from tests.router.fakes import ROOT
from tests.router.ledger.postgres import PostgresServer, serving


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server of our own, on a Unix socket; skips where Postgres is not installed."""
    with serving(tmp_path_factory) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty ledger of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.fresh()


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    """An open one."""
    opened = open_store(url)
    yield opened
    opened.close()


LIMIT = """
import resource, signal, sys
from pathlib import Path
folder = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
no, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
def limit(size): resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))  # to a process, the same as a disk that is full
"""


@pytest.fixture
def limited(tmp_path: Path) -> Callable[[str], str]:
    """Run a program that can limit how long its files may become (`limit(bytes)`; `no` is no limit); return what it prints."""

    def run(program: str) -> str:
        words = [sys.executable, "-c", LIMIT + program, str(tmp_path)]
        return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout

    return run
