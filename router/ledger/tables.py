"""The tables of a ledger, the same in SQLite and Postgres. Money is whole nano-USD, times are seconds since 1970 UTC."""

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, MetaData, Table, Text

SCHEMA = 2
"""The version of these tables. A store with a higher one was written by a newer infercast, and is left alone."""
UNPRUNED = 1
"""The version of a store that has never been pruned: an infercast that knows neither DAYS nor PRUNED may go on with it, as beside us."""

METADATA = MetaData()


def _text(name: str, *, key: bool = False) -> Column[str]:
    return Column(name, Text, primary_key=key, nullable=False)


def _whole(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


SCHEMAS = Table("infercast_schema", METADATA, Column("version", Integer, primary_key=True, autoincrement=False))

ENTRIES = Table(
    "infercast_entries",
    METADATA,
    _text("number", key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("at_s", Float(53), nullable=False),
    _text("day"),
    _text("tenant"),
    _text("model"),
    _text("entry"),
    _text("site"),
    _text("deployment"),
    _text("outcome"),
    _text("state"),
    _whole("cost_nusd"),
    _whole("prompt_tokens"),
    _whole("completion_tokens"),
    Column("cached", Boolean, nullable=False),
    _whole("reserved_nusd"),
    Index("infercast_entries_at", "at_s"),
    sqlite_with_rowid=False,
)
"""What each part of a call cost, once."""

SPENT = Table(
    "infercast_spent",
    METADATA,
    _text("tenant", key=True),
    _text("model", key=True),
    _text("period", key=True),
    _whole("cost_nusd"),
    sqlite_with_rowid=False,
)
"""The sums of entries that budgets are held against; `model` is empty for all of them, `period` a day or a month."""

LEASES = Table(
    "infercast_leases",
    METADATA,
    _text("tenant", key=True),
    _text("model", key=True),
    _text("measure", key=True),
    _text("period", key=True),
    _text("holder", key=True),
    _whole("amount"),
    Column("expires_s", Float(53), nullable=False),
    _whole("settled"),
    Column("keep_until_s", Float(53), nullable=False),
    Index("infercast_leases_holder", "holder"),
    sqlite_with_rowid=False,
)
"""What each holder may still use of a quota without asking, and how much of what it used has been settled.

A lease that expired has an amount of 0; its row stays until `keep_until_s` for what is settled late.
"""

ALERTS = Table(
    "infercast_alerts",
    METADATA,
    _text("tenant", key=True),
    _text("model", key=True),
    _text("measure", key=True),
    _text("period", key=True),
    Column("limit", BigInteger, primary_key=True, autoincrement=False),
    Column("share_ppm", BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)
"""Shares of budgets that somebody has been told of."""

CURSORS = Table(
    "infercast_cursors",
    METADATA,
    _text("journal", key=True),
    _whole("settled_bytes"),
    sqlite_with_rowid=False,
)
"""How far each journal has been taken over."""

RESERVED = Table(
    "infercast_reserved",
    METADATA,
    _text("number", key=True),
    _text("journal"),
    Column("at_s", Float(53), nullable=False),
    _text("tenant"),
    _text("model"),
    _text("entry"),
    _whole("reserved_nusd"),
    Index("infercast_reserved_journal", "journal"),
    sqlite_with_rowid=False,
)
"""Calls that money was set aside for and that have not ended, as far as their journal has been taken over."""

DAYS = Table(
    "infercast_days",
    METADATA,
    _text("day", key=True),
    _text("tenant", key=True),
    _text("model", key=True),
    _text("entry", key=True),
    _text("site", key=True),
    _text("deployment", key=True),
    _text("outcome", key=True),
    _whole("calls"),
    _whole("cached"),
    _whole("lost_tries"),
    _whole("prompt_tokens"),
    _whole("completion_tokens"),
    _whole("cost_nusd"),
    sqlite_with_rowid=False,
)
"""What entries come to that have been pruned, by all that sums may be by. `calls` counts those of part 0, `lost_tries` the others."""

PRUNED = Table(
    "infercast_pruned",
    METADATA,
    _text("holder", key=True),
    Column("first", BigInteger, primary_key=True, autoincrement=False),
    _whole("last"),
    sqlite_with_rowid=False,
)
"""Which calls' entries have been pruned: of a holder those numbered `first` to `last`. Their lines are never booked again."""
