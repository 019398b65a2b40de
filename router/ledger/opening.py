"""Opening a ledger by its URL: `sqlite:////var/lib/infercast/ledger.db`, `postgresql://user@host/infercast`.

Whatever is wrong with it is one fault, said before anything else starts, and nothing is left half made. A password is in none.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, create_engine, insert, inspect, make_url, select, update
from sqlalchemy.exc import ArgumentError, DBAPIError

from infercast.policies.faults import BadInput, Fault

from ..keys import write_private
from .dialects import BUSY_S, follow_sqlite, told
from .store import SqlStore
from .tables import METADATA, SCHEMA, SCHEMAS, UNPRUNED

FILE = "ledger.db"
"""The ledger of a state folder that was given no other."""
NOTED = "ledger.url"
"""The file in a state folder that says where its ledger is."""
OPTION = "--ledger"
ENVIRONMENT = "INFERCAST_LEDGER"
"""The environment variable that a URL with a password is given in: command lines are anybody's to read."""
CONNECT_S = 5
KEEP_ALIVE_S = 4
"""How often a server of which nothing is heard is asked whether it is there."""
POSTGRES = ("postgresql", "postgres", "postgresql+psycopg")
KINDS = "sqlite:///path/to/ledger.db or postgresql://user@host/database"
MACHINE = ("host", "hostaddr", "service")
PLACE = (*MACHINE, "port", "dbname", "options")
"""Options of a server's URL that say where tables are. The others say only how to get there."""


def ledger_url(state: Path) -> str:
    """Return the URL of a state folder's own ledger."""
    return f"sqlite:///{quote(str(state.resolve() / FILE))}"


def absolute(url: str) -> str:
    """Return a URL that means the same ledger in whichever folder a process runs. One that cannot be read stays as it is."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return url
    if parsed.drivername != "sqlite" or not parsed.database or parsed.database == ":memory:":
        return url
    return parsed.set(database=str(Path(parsed.database).resolve())).render_as_string(hide_password=False)


def note(state: Path, url: str) -> None:
    """Remember which ledger a state folder's calls are booked in, for who looks later. A password is not kept."""
    write_private(state / NOTED, _without_password(url) + "\n")


def same(one: str, other: str) -> bool:
    """Return whether two URLs mean the same ledger, whoever goes there, and however."""
    return _place(make_url(absolute(one)), PLACE) == _place(make_url(absolute(other)), PLACE)


def with_password(url: str, other: str) -> str:
    """Return a URL with the password of another, if both are of one user and one machine, which has been given it; else as it is."""
    parsed, lender = make_url(url), make_url(other)
    if parsed.username != lender.username or _place(parsed, MACHINE) != _place(lender, MACHINE):
        return url
    secrets = {name: value for name, value in lender.query.items() if "password" in name}
    return parsed.set(password=lender.password).update_query_dict(secrets).render_as_string(hide_password=False)


def _place(url: URL, names: Sequence[str]) -> dict[str, Any]:
    """Return what a URL says of these names, wherever in it, and what kind of ledger it means."""
    parts = {"host": url.host, "port": url.port and str(url.port), "dbname": url.database}
    said = dict(url.query) | {name: value for name, value in parts.items() if value}
    kind = "postgresql" if url.drivername in POSTGRES else url.drivername
    return {"kind": kind} | {name: said[name] for name in names if name in said}


def file_of(url: str) -> Path | None:
    """Return the file of a ledger that is one."""
    parsed = make_url(url)
    return Path(parsed.database) if parsed.drivername == "sqlite" and parsed.database else None


def _without_password(url: str) -> str:
    parsed = make_url(url)
    options = {name: value for name, value in parsed.query.items() if "password" not in name}
    return _open_text(parsed, options)


def noted(state: Path) -> str:
    """Return the URL of a state folder's ledger: the one that its calls were booked in last, else its own. Raises BadInput."""
    path = state / NOTED
    try:
        url = path.read_text(encoding="utf-8").strip()
        make_url(url)
    except (FileNotFoundError, NotADirectoryError):
        return ledger_url(state)
    except OSError as error:
        raise _fault(str(path), f"cannot be read: {error.strerror}", f"give the ledger: {KINDS}") from error
    except (ArgumentError, ValueError) as error:
        raise _fault(
            str(path), "holds no ledger's URL", f"give the ledger: {KINDS}; `infercast up` notes it anew"
        ) from error
    return url


def open_store(url: str, *, write: bool = True, make: bool = True) -> SqlStore:
    """Open a ledger, and make its tables where there are none. Without `make` it must be there, and without `write` it is only read.

    Raises BadInput for a URL that means no ledger, one that cannot be reached or written, or one of a newer infercast.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise _fault("the ledger's URL", "cannot be read", KINDS) from error
    if parsed.drivername not in ("sqlite", *POSTGRES):
        raise _fault("the ledger's URL", f"no ledger is kept in {parsed.drivername!r}", KINDS)
    opened = _open_sqlite if parsed.drivername == "sqlite" else _open_postgres
    if write and not make:
        opened(parsed, False).close()
    return opened(parsed, write)


def shown(url: URL) -> str:
    """Return a URL as people and logs may see it: its password left out, and its options, which may hold one."""
    return _open_text(url, {})


def _open_text(url: URL, options: Mapping[str, Any]) -> str:
    """Return a URL with these options and no password."""
    return URL.create(url.drivername, url.username, None, url.host, url.port, url.database, options).render_as_string()


def _open_sqlite(url: URL, write: bool) -> SqlStore:
    if not url.database or url.database == ":memory:" or url.query:
        raise _fault(shown(url), "names no file", KINDS)
    path = Path(url.database)
    if path.is_dir():
        raise _fault(str(path), "is a folder", "name a file in it")
    if not write and not path.is_file():
        raise _fault(str(path), "no ledger is here", "`infercast up` makes one")
    made = write and _make_private(path)
    engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_S})
    follow_sqlite(engine, reads_only=not write)
    store = SqlStore(engine, str(path))
    try:
        _look(store, write, "make it writable for the user that infercast runs as, or give another --ledger")
    except BaseException:
        store.close()
        if made:
            for name in ("", "-wal", "-shm"):
                path.with_name(path.name + name).unlink(missing_ok=True)
        raise
    return store


def _make_private(path: Path) -> bool:
    """Make an empty file that only its owner can read, unless there is one. Raises BadInput."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        return True
    except FileExistsError:
        return False
    except OSError as error:
        raise _fault(str(path), f"cannot be made: {error.strerror}", "give a file in a folder that is there") from error


def _open_postgres(url: URL, write: bool) -> SqlStore:
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        said = "no driver for Postgres is installed"
        raise _fault(shown(url), said, "pip install 'infercast[postgres]'") from error
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,  # a server that was started anew is one failed look, not a failed transaction
        connect_args=_patience(url),
    )
    store = SqlStore(engine, shown(url))
    try:
        _look(store, write, "check that the server runs, and the user, the database and their rights")
    except BaseException:
        store.close()
        raise
    return store


def _patience(url: URL) -> dict[str, Any]:
    """Return how long a connection waits for the server, and the server for it, where the URL does not say otherwise.

    A wire that is cut says nothing. Without these, a thread would wait for it for a quarter of an hour, long after the wire is
    whole again; and a machine that is lost in the middle of a transaction would keep its tenants' turn from all others for two hours.
    """
    busy_ms = int(BUSY_S * 1000)
    ours: dict[str, Any] = {
        "connect_timeout": CONNECT_S, "application_name": "infercast", "tcp_user_timeout": busy_ms,
        "keepalives_idle": KEEP_ALIVE_S, "keepalives_interval": KEEP_ALIVE_S, "keepalives_count": 2,
    }  # fmt: skip
    theirs = url.query.get("options", "")
    options = f"-c statement_timeout={busy_ms} -c idle_in_transaction_session_timeout={busy_ms}"
    said = theirs if isinstance(theirs, str) else " ".join(theirs)
    return {name: of for name, of in ours.items() if name not in url.query} | {"options": f"{options} {said}".strip()}


def _look(store: SqlStore, write: bool, remedy: str) -> None:
    """See that a store can be used, and make its tables in one transaction, if it may. Raises BadInput."""
    try:
        version = store.write(_version_made) if write else store.read(_version)
    except OSError as error:
        said = told(error.__cause__) if isinstance(error.__cause__, DBAPIError) else str(error)
        raise _fault(store.name, f"cannot be opened: {said}", remedy) from error
    if version == 0:
        raise _fault(store.name, "is no ledger", "`infercast up --ledger` makes one of an empty database")
    if version > SCHEMA:
        said = f"was written by a newer infercast (tables of version {version}; this one knows {SCHEMA})"
        raise _fault(store.name, said, "use that one")


def _version(db: Connection) -> int:
    if not inspect(db).has_table(SCHEMAS.name):
        return 0
    return db.execute(select(SCHEMAS.c.version)).scalar_one_or_none() or 0


def _version_made(db: Connection) -> int:
    """Return the version of the tables, which are made where they are missing. Two who open at once make them once."""
    if db.dialect.name == "postgresql":
        db.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtextextended('infercast schema', 0))")
    version = _version(db)
    if version < SCHEMA:
        METADATA.create_all(db)
    if not version:
        db.execute(insert(SCHEMAS).values(version=UNPRUNED))
    else:  # says whether it may be written at all
        db.execute(update(SCHEMAS).values(version=SCHEMAS.c.version))
    return version or UNPRUNED


def _fault(what: str, message: str, remedy: str) -> BadInput:
    return BadInput([Fault(what, 0, OPTION, message, remedy)])
