"""A run that books in another ledger than the last: what the last has left stands in one of them, and its journals go."""

from contextlib import closing
from pathlib import Path

import pytest

from infercast.policies.faults import BadInput
from infercast.router.ledger.asking import Wanted
from infercast.router.ledger.opening import ledger_url, note, noted, open_store, same, with_password
from infercast.router.ledger.reading import sums_by
from infercast.router.ledger.retiring import move_in
from infercast.router.ledger.settler import Settler
from infercast.router.telemetry.journal import FileJournal
from tests.router.ledger.postgres import PostgresServer
from tests.router.ledger.test_settler import call


def left(state: Path, *, settled: int, waiting: int) -> None:
    """What a run that booked in the folder's own ledger has left: calls that are settled, and some that wait."""
    journal = FileJournal(state / "journal", "fra")
    for number in range(settled):
        call(journal, number)
    with closing(open_store(ledger_url(state))) as store:
        Settler(state / "journal", store).round()
    for number in range(settled, settled + waiting):
        call(journal, number)
    journal.close()
    note(state, ledger_url(state))


def calls(url: str) -> int:
    with closing(open_store(url, write=False)) as store:
        return sum(line.sums["calls"] for line in sums_by(store, (), Wanted()))


def journals(state: Path) -> int:
    return len(list((state / "journal").glob("*.jsonl")))


def test_no_call_is_booked_in_both(tmp_path: Path, url: str) -> None:
    state = tmp_path / "state"
    left(state, settled=3, waiting=2)
    other = url.replace("ledger.db", "other.db")
    move_in(state, other)
    assert (calls(ledger_url(state)), calls(other), journals(state)) == (5, 0, 0)
    assert same(noted(state), other)
    journal = FileJournal(state / "journal", "fra")
    call(journal, 9)
    journal.close()
    move_in(state, other)
    assert (calls(ledger_url(state)), calls(other), journals(state)) == (5, 1, 0)


def test_where_the_last_ledger_is_no_more_the_next_takes_it_all(tmp_path: Path) -> None:
    left(tmp_path, settled=3, waiting=2)
    for path in tmp_path.glob("ledger.db*"):
        path.unlink()
    other = f"sqlite:///{tmp_path}/other.db"
    move_in(tmp_path, other)
    assert (calls(other), journals(tmp_path)) == (5, 0)


def test_where_the_last_ledger_cannot_be_asked_nothing_begins(tmp_path: Path) -> None:
    left(tmp_path, settled=3, waiting=2)
    note(tmp_path, "postgresql://me@127.0.0.1:1/d")
    other = f"sqlite:///{tmp_path}/other.db"
    with pytest.raises(
        BadInput, match=r"calls of the last run are booked in another ledger, which cannot be asked.*PGPASSWORD"
    ):
        move_in(tmp_path, other)
    assert (calls(other), journals(tmp_path)) == (0, 1)
    assert same(noted(tmp_path), "postgresql://me:secret@127.0.0.1:1/d")
    (tmp_path / "ledger.url").unlink()
    move_in(tmp_path, other)
    assert (calls(ledger_url(tmp_path)), calls(other)) == (5, 0)


@pytest.mark.parametrize("noted_before", ["", "my notes"])
def test_a_note_that_names_none_is_written_anew(tmp_path: Path, noted_before: str) -> None:
    (tmp_path / "ledger.url").write_text(noted_before)
    move_in(tmp_path, ledger_url(tmp_path))
    assert same(noted(tmp_path), ledger_url(tmp_path))


def guard(postgres: PostgresServer, url: str) -> None:
    """Give a database to a user who needs a password there."""
    name = url.partition("?")[0].rpartition("/")[2]
    rules = postgres.folder / "data" / "pg_hba.conf"
    rules.write_text(f"local {name} asker md5\n{rules.read_text()}")
    sql(postgres, f"ALTER DATABASE {name} OWNER TO asker", "SELECT pg_reload_conf()")


def sql(postgres: PostgresServer, *statements: str) -> None:
    for said in statements:
        postgres.run("psql", "-h", str(postgres.folder), "-U", postgres.user, "-c", said)


def test_a_ledger_with_a_password_is_moved_in_again_however_one_goes_there(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    first, second = postgres.fresh(), postgres.fresh()
    sql(postgres, "CREATE ROLE asker LOGIN PASSWORD 'secret'")
    guard(postgres, first)
    guard(postgres, second)
    one, other = (url.replace(f"//{postgres.user}@", "//asker:secret@") for url in (first, second))
    left(tmp_path, settled=1, waiting=0)
    move_in(tmp_path, one)
    for number, url in enumerate((f"{one}&sslmode=prefer", other)):  # by another way; to another of the same server
        journal = FileJournal(tmp_path / "journal", "fra")
        call(journal, 5 + number)
        journal.close()
        move_in(tmp_path, url)
        assert journals(tmp_path) == 0
    assert (calls(ledger_url(tmp_path)), calls(one), calls(other)) == (1, 2, 0)
    assert "secret" not in noted(tmp_path)


def test_a_way_that_is_no_more_is_not_gone(tmp_path: Path, postgres: PostgresServer) -> None:
    url = postgres.fresh()
    left(tmp_path, settled=0, waiting=1)
    note(tmp_path, url.replace(f"//{postgres.user}@", "//left_us@") + "&sslmode=disable")
    move_in(tmp_path, url)
    assert (calls(url), journals(tmp_path)) == (1, 0)


AT = "postgresql://me:secret@h:5432/d?sslmode=require"


@pytest.mark.parametrize(
    ("url", "is_same", "lent"),
    [
        ("postgresql://me@h:5432/d", True, True),
        ("postgres://you@h:5432/d?connect_timeout=3", True, False),
        ("postgresql+psycopg://me@/d?host=h&port=5432", True, True),
        ("postgresql://me@h:5432/e", False, True),
        ("postgresql://me@h:6432/d", False, True),
        ("postgresql://me@h:5432/d?options=-csearch_path%3Dx", False, True),
        ("postgresql://me@g:5432/d", False, False),
        ("postgresql://me@/d?host=/run&port=5432", False, False),
        ("postgresql://you@h:5432/e", False, False),
        ("sqlite:///h/d", False, False),
    ],
)
def test_a_ledger_is_where_its_tables_are_and_a_password_is_for_one_user_of_one_machine(
    url: str, is_same: bool, lent: bool
) -> None:
    assert same(AT, url) is same(url, AT) is is_same
    assert ("secret" in with_password(url, AT)) is lent
    assert same(with_password(url, AT), url)


def test_a_password_among_the_options_is_lent_too() -> None:
    assert "key" in with_password("postgresql://me@h/d", "postgresql://me@h/e?sslpassword=key")
