"""What SQLite and Postgres do differently: how a transaction that writes begins, and whom it waits for."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Table, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

BUSY_S = 10.0
"""How long a transaction waits for others before the store counts as out of reach."""
READS = "infercast_reads"
"""The execution option of a transaction that only reads."""
RETRIED = frozenset({"40001", "40P01"})
"""States of Postgres in which a transaction may be tried again as it is: serialization failure, deadlock."""


def follow_sqlite(engine: Engine, *, reads_only: bool) -> None:
    """Let an engine's connections begin transactions as a ledger needs them: a writer waits for its turn before it reads."""

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # Python's sqlite3 begins none of its own
        connection.execute(f"PRAGMA busy_timeout={int(BUSY_S * 1000)}")
        if not reads_only:
            connection.execute("PRAGMA journal_mode=WAL")
            # A kill loses nothing that was committed. A power cut may undo the last seconds, cursors and all: they are taken
            # over again from the journals, which are not deleted before `flush`.
            connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get(READS) else "BEGIN IMMEDIATE")


def take_turns(connection: Connection, tenants: Sequence[str]) -> None:
    """Wait until no other transaction grants or settles for these tenants. In SQLite there is one writer anyway.

    The order is the same for all, so that none waits for one that waits for it.
    """
    if connection.dialect.name == "postgresql":
        for tenant in sorted(set(tenants)):
            connection.execute(
                text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"infercast {tenant}"}
            )


def wait_long(connection: Connection) -> None:
    """Let the statements of this transaction, and what is done between them, take as long as they take."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


def upsert(connection: Connection, table: Table) -> Any:
    """Return an INSERT into a table with this dialect's ON CONFLICT."""
    return (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(table)


def may_be_retried(error: BaseException | None) -> bool:
    """Return whether a driver's error is one that another try of the same transaction may not meet."""
    return getattr(error, "sqlstate", None) in RETRIED


def is_full(error: BaseException | None) -> bool:
    """Return whether a driver's error says that there is no room."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return getattr(error, "sqlstate", None) == "53100"


def told(error: DBAPIError) -> str:
    """Return what a driver says, in one line."""
    return next(iter(str(error.orig).strip().splitlines()), type(error).__name__)
