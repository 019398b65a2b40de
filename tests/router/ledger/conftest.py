"""Ledgers to test with: SQLite in a fresh folder, and a private Postgres where one is installed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infercast.router.ledger.opening import open_store
from infercast.router.ledger.store import SqlStore
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
