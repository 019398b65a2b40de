"""The ledger's store on SQL: SQLite or Postgres, the same statements in both."""

import errno
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from . import leasing, settling
from .dialects import READS, is_full, may_be_retried, take_turns, told, wait_long
from .ports import Ask, Entry, Granted, Lease, Quota, Reserved
from .tables import CURSORS, RESERVED

TRIES_MAX = 4
T = TypeVar("T")


class SqlStore:
    """A ledger's store (`ports.Store`) behind an engine that `opening.open_store` has made; `name` is how people are told of it."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.name = name
        self._engine = engine

    def grant(self, holder: str, asks: Sequence[Ask], now_s: float) -> list[Granted]:
        """See `ports.Store`."""
        tenants = [ask.quota.tenant for ask in asks]
        return self.write(lambda db: leasing.grant(db, holder, asks, now_s), tenants)

    def give_back(self, holder: str, back: Sequence[tuple[Quota, int]]) -> None:
        """See `ports.Store`."""
        sums = Counter[Quota]()
        for quota, amount in back:
            sums[quota] += amount
        self.write(lambda db: leasing.shrink(db, holder, sums, settled=False), [quota.tenant for quota in sums])

    def renew(self, holder: str, expires_s: float, now_s: float) -> dict[Quota, Lease]:
        """See `ports.Store`."""
        return self.write(lambda db: leasing.renew(db, holder, expires_s, now_s))

    def used(self, quotas: Sequence[Quota]) -> list[int]:
        """See `ports.Store`."""
        found = self.read(lambda db: leasing.used(db, set(quotas)))
        return [found[quota] for quota in quotas]

    def alert(self, quota: Quota, limit: int, share_ppm: int) -> bool:
        """See `ports.Store`."""
        return self.write(lambda db: leasing.alert(db, quota, limit, share_ppm))

    def cursor(self, journal: str) -> int:
        """See `ports.Store`."""
        asked = select(CURSORS.c.settled_bytes).where(CURSORS.c.journal == journal)
        return self.read(lambda db: db.execute(asked).scalar_one_or_none() or 0)

    def settle(
        self, journal: str, begin: int, end: int, entries: Sequence[Entry], reserved: Sequence[Reserved] = ()
    ) -> int:
        """See `ports.Store`."""

        def work(db: Connection) -> int:
            settling.move(db, journal, begin, end)
            take_turns(db, [entry.tenant for entry in entries if entry.cost_nusd])
            return settling.book(db, journal, entries, reserved)

        return self.write(work)

    def reservations(self, journal: str) -> list[Reserved]:
        """See `ports.Store`."""
        columns = [RESERVED.c[name] for name in Reserved._fields]
        asked = select(*columns).where(RESERVED.c.journal == journal).order_by(RESERVED.c.at_s, RESERVED.c.number)
        return self.read(lambda db: [Reserved(*row) for row in db.execute(asked)])

    def flush(self) -> None:
        """Bring all that was committed to the disk, so that a power cut cannot undo it. Raises OSError."""
        if self._engine.dialect.name == "sqlite":
            connection = self._engine.raw_connection()  # in no transaction
            try:
                ((busy, *_),) = connection.cursor().execute("PRAGMA wal_checkpoint(FULL)").fetchall()
            except sqlite3.Error as error:
                raise OSError(errno.EIO, f"the ledger {self.name} cannot be written: {error}") from error
            finally:
                connection.close()
            if busy:
                raise OSError(errno.EBUSY, f"the ledger {self.name} is in use all the time")

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def write(self, work: Callable[[Connection], T], tenants: Sequence[str] = ()) -> T:
        """Do something in one transaction, alone among those of the tenants. Raises OSError where the store is out of reach."""

        def once() -> T:
            with self._engine.begin() as db:
                take_turns(db, tenants)
                return work(db)

        return _reaching(self.name, once)

    def read(self, work: Callable[[Connection], T], *, patiently: bool = False) -> T:
        """Read in one transaction, which sees one state of the store. Raises OSError where it is out of reach.

        `patiently` is for people, who wait for sums of millions of entries: a statement may take as long as it takes.
        """
        options: dict[str, Any] = {READS: True}
        if self._engine.dialect.name == "postgresql":
            options |= {"isolation_level": "REPEATABLE READ"}

        def once() -> T:
            with self._engine.connect().execution_options(**options) as db, db.begin():
                if patiently:
                    wait_long(db)
                return work(db)

        return _reaching(self.name, once)


def _reaching(name: str, work: Callable[[], T]) -> T:
    """Do something with a store, again where transactions met. Raises OSError where it cannot be done now."""
    for tries in range(1, TRIES_MAX + 1):
        try:
            return work()
        except DBAPIError as error:
            if may_be_retried(error.orig) and tries < TRIES_MAX:
                continue
            code = errno.ENOSPC if is_full(error.orig) else errno.EIO
            raise OSError(code, f"the ledger {name} does not take it: {told(error)}") from error
        except SQLAlchemyError as error:  # no connection, or one that its own failure left in disorder
            raise OSError(errno.EIO, f"the ledger {name} is out of reach: {error}") from error
    raise AssertionError
