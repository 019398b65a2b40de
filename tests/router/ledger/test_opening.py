"""Opening a ledger: what is wrong with it is said once, with no password, and nothing is left half made."""

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from infercast.policies.faults import BadInput, Fault
from infercast.router.ledger.dialects import take_turns
from infercast.router.ledger.opening import absolute, ledger_url, note, noted, open_store
from infercast.router.ledger.ports import Ask, Measure, Quota
from infercast.router.ledger.store import SqlStore
from infercast.router.ledger.tables import SCHEMA, SCHEMAS
from tests.router.ledger.postgres import PostgresServer

NOBODY = 65534


def refused(url: str, *, write: bool = True) -> Fault:
    with pytest.raises(BadInput) as met:
        open_store(url, write=write)
    (fault,) = met.value.faults
    assert fault.field == "--ledger"
    assert fault.remedy
    assert "secret" not in str(met.value)
    assert "\n" not in fault.message
    return fault


def file_url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "the ledger's URL: --ledger: cannot be read"),
        ("ledger.db", "the ledger's URL: --ledger: cannot be read"),
        ("mysql://user:secret@host/db", "no ledger is kept in 'mysql'"),
        ("postgresql+asyncpg://user:secret@host/db", "no ledger is kept in 'postgresql+asyncpg'"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:////tmp/x.db?password=secret", "names no file"),
        ("postgresql://user:secret@127.0.0.1:1/db?sslpassword=secret", "postgresql://user@127.0.0.1:1/db: --ledger: cannot be opened: connection"),
        ("postgresql://user:secret@no.such.host.invalid/db", "cannot be opened"),
    ],
)  # fmt: skip
def test_what_is_no_ledger_is_refused(url: str, said: str) -> None:
    assert said in str(refused(url))


def test_a_file_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        open_store(file_url(tmp_path / "ledger.db")).cursor("j")
    finally:
        os.umask(before)
    files = list(tmp_path.iterdir())
    assert {path.name for path in files} >= {"ledger.db"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_the_folder_must_be_there(tmp_path: Path) -> None:
    assert "cannot be made: No such file" in refused(file_url(tmp_path / "none" / "ledger.db")).message
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_and_no_ledger_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(
        "these are my notes, and they are longer than the head of a database, which is a hundred bytes. " * 3
    )
    before = path.read_text()
    assert "file is not a database" in refused(file_url(path)).message
    assert (path.read_text(), list(tmp_path.iterdir())) == (before, [path])
    assert refused(file_url(tmp_path)).message == "is a folder"


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Be a user who may read, and not write; root may do anything."""
    for path in (folder, *folder.parents):
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    if os.getuid() == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)


def test_a_file_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    store = open_store(file_url(path))
    store.settle("j", 0, 5, [])
    store.close()
    path.chmod(0o444)
    with as_nobody(tmp_path):
        fault = refused(file_url(path))
        assert "readonly" in fault.message
        assert "writable" in fault.remedy
        assert "cannot be made: Permission denied" in refused(file_url(tmp_path / "other.db")).message


def of_a_newer_one(store: SqlStore) -> None:
    store.write(lambda db: db.execute(SCHEMAS.update().values(version=SCHEMA + 1)))


def test_the_ledger_of_a_newer_infercast_is_left_alone(url: str) -> None:
    store = open_store(url)
    of_a_newer_one(store)
    for write in (True, False):
        assert f"newer infercast (tables of version {SCHEMA + 1}" in refused(url, write=write).message
    assert store.read(lambda db: db.execute(select(SCHEMAS.c.version)).scalar_one()) == SCHEMA + 1
    store.close()


def test_reading_makes_nothing(tmp_path: Path) -> None:
    assert "no ledger is here" in refused(file_url(tmp_path / "ledger.db"), write=False).message
    sqlite3.connect(tmp_path / "other.db").close()
    assert "is no ledger" in refused(file_url(tmp_path / "other.db"), write=False).message
    assert [path.name for path in tmp_path.iterdir()] == ["other.db"]


def test_reading_an_empty_database_of_a_server_makes_nothing(postgres: PostgresServer) -> None:
    url = postgres.fresh()
    assert "is no ledger" in refused(url, write=False).message
    assert "is no ledger" in refused(url, write=False).message


def test_a_user_without_rights_is_refused(postgres: PostgresServer) -> None:
    url = postgres.fresh()
    name = url.partition("?")[0].rpartition("/")[2]
    postgres.run("psql", "-h", str(postgres.folder), "-U", postgres.user, "-c", f"CREATE ROLE r{name} LOGIN", name)
    poor = url.replace(f"//{postgres.user}@", f"//r{name}@")
    assert "permission denied" in refused(poor).message
    open_store(url).close()
    assert "permission denied" in refused(poor).message


def test_a_ledger_that_was_kept_is_found_again(url: str) -> None:
    first = open_store(url)
    first.settle("j", 0, 50, [])
    first.close()
    again = open_store(url, write=False)
    assert again.cursor("j") == 50
    again.close()


def test_a_full_disk_leaves_no_half_of_a_ledger(tmp_path: Path, limited: Callable[[str], str]) -> None:
    told = limited(
        "from infercast.policies.faults import BadInput\n"
        "from infercast.router.ledger.opening import open_store\n"
        "limit(8192)\n"
        "try: open_store(f'sqlite:///{folder}/ledger.db')\n"
        "except BadInput as error: print(error)\n"
    )
    assert "ledger.db: --ledger: cannot be opened:" in told
    assert list(tmp_path.glob("ledger.db*")) == []


def test_the_ledger_of_a_folder_is_remembered_without_its_password(tmp_path: Path) -> None:
    assert noted(tmp_path) == ledger_url(tmp_path) == f"sqlite:///{tmp_path.resolve()}/ledger.db"
    note(tmp_path, "postgresql://user:secret@host:5/db?host=/tmp/x&sslpassword=secret")
    assert noted(tmp_path) == "postgresql://user@host:5/db?host=%2Ftmp%2Fx"
    assert [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()] == [0o600]


def test_a_relative_file_is_the_same_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("sqlite:///a b/ledger.db") == f"sqlite:///{tmp_path}/a b/ledger.db"
    for url in ("", "nonsense", "sqlite://", "sqlite:////abs.db", "postgresql://u:secret@h/d"):
        assert absolute(url) == url


def test_a_folder_with_odd_letters_in_its_name(tmp_path: Path) -> None:
    state = tmp_path / "50% of?#ä b"
    state.mkdir()
    open_store(ledger_url(state)).close()
    open_store(absolute(ledger_url(state))).close()
    assert (state / "ledger.db").is_file()
    assert len(list(tmp_path.iterdir())) == 1


def setting(store: SqlStore, name: str) -> str:
    return store.read(lambda db: str(db.exec_driver_sql(f"SHOW {name}").scalar_one()))


def test_postgres_is_waited_for_and_waits_for_so_long_unless_the_url_says_otherwise(postgres: PostgresServer) -> None:
    url = postgres.fresh()
    with closing(open_store(url)) as store:
        assert setting(store, "statement_timeout") == setting(store, "idle_in_transaction_session_timeout") == "10s"
        assert setting(store, "application_name") == "infercast"
        patient = store.read(
            lambda db: db.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar_one(), patiently=True
        )
        assert patient == "0"
    said = "&application_name=ours&options=-cstatement_timeout%3D3s%20-cwork_mem%3D5MB"
    with closing(open_store(url + said)) as store:
        assert (setting(store, "statement_timeout"), setting(store, "work_mem")) == ("3s", "5MB")
        assert setting(store, "application_name") == "ours"
        assert setting(store, "idle_in_transaction_session_timeout") == "10s"


def test_who_is_lost_in_the_middle_of_a_transaction_does_not_keep_its_turn(postgres: PostgresServer) -> None:
    url = postgres.fresh()
    impatient = f"{url}&options=-cidle_in_transaction_session_timeout%3D3s"
    with closing(open_store(impatient)) as lost, closing(open_store(url)) as other:
        with lost._engine.connect() as db:
            db.begin()
            take_turns(db, ["t"])  # and then its machine's wire is cut
            (granted,) = other.grant("fra-1-", [Ask(Quota("t", "", Measure.MONEY, "2026-11-25"), 9, 9, 2e9)], 1e9)
            db.invalidate()
        assert granted.amount == 9
