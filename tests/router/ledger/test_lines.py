"""What a journal's line means to the ledger."""

import random
import string
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.router.ledger.asking import Wanted
from infercast.router.ledger.lines import WHOLE_MAX, Taken, entries_of, taken
from infercast.router.ledger.ports import Entry, Measure, Quota, Reserved
from infercast.router.ledger.reading import sums_by
from infercast.router.ledger.store import SqlStore

NOON_S = 1_795_608_000


def line(**parts: Any) -> dict[str, Any]:
    """The line of a call that was answered in Frankfurt, as `conduct.endings` writes it."""
    usual = {
        "at": NOON_S + 0.5, "kind": "call", "place": "fra", "number": "fra-7-aa-1", "hops": [], "settled": True,
        "device": False, "request": "r1", "at_s": NOON_S, "tenant": "t", "model": "m", "entry": "fra", "origin": "berlin",
        "classes": [], "outcome": "answered", "reason": "", "deployment": "large@fra", "cost_usd": 4e-9,
        "spent": [["large@fra", 4]], "tokens": None, "attempts": ["large@fra"],
    }  # fmt: skip
    return {**usual, **parts}


def told(**parts: Any) -> list[tuple[int, str, str, int]]:
    return [(entry.part, entry.deployment, entry.site, entry.cost_nusd) for entry in entries_of(line(**parts))]


def test_an_answer_is_one_entry() -> None:
    assert entries_of(line(tokens=[3, 5], cached=True)) == [
        Entry("fra-7-aa-1", 0, NOON_S, "t", "m", "fra", "fra", "large@fra", "answered", "settled", 4, 3, 5, cached=True)
    ]


def test_each_other_try_that_was_paid_for_is_a_part_at_its_own_site() -> None:
    spent = [["large@fra", 4], ["small@dub", 2], ["large@iad", 1]]
    assert told(spent=spent, tokens=[3, 5]) == [
        (0, "large@fra", "fra", 4),
        (1, "small@dub", "dub", 2),
        (2, "large@iad", "iad", 1),
    ]
    first, second, _ = entries_of(line(spent=spent, tokens=[3, 5], outcome="failed"))
    assert (first.outcome, first.prompt_tokens, first.completion_tokens) == ("failed", 3, 5)
    assert (second.outcome, second.prompt_tokens, second.completion_tokens) == ("lost", 0, 0)


def test_a_try_on_the_same_deployment_before_is_another_part() -> None:
    assert told(spent=[["large@fra", 4], ["large@fra", 3]]) == [(0, "large@fra", "fra", 4), (1, "large@fra", "fra", 3)]


def test_a_call_without_an_answer_costs_what_its_tries_cost() -> None:
    none: dict[str, Any] = {"deployment": None, "outcome": "failed", "cost_usd": 2e-9}
    assert told(**none, spent=[["small@dub", 2]]) == [(0, "", "", 0), (1, "small@dub", "dub", 2)]
    assert told(deployment=None, outcome="refused", spent=[], attempts=[]) == [(0, "", "", 0)]


def test_an_answer_that_was_kept_costs_nothing() -> None:
    assert told(spent=[], cached=True) == [(0, "large@fra", "fra", 0)]


def test_older_lines_have_one_sum() -> None:
    old = line(cost_usd=0.000001234)
    del old["spent"], old["at_s"], old["device"]
    (entry,) = entries_of(old)
    assert (entry.cost_nusd, entry.at_s) == (1234, NOON_S + 0.5)


def test_a_call_of_another_clusters_is_settled_there() -> None:
    assert told(settled=False, hops=["other/1"]) == []


def test_a_device_settles_what_ran_on_it_and_sites_what_it_sent_them() -> None:
    at = {"device": True, "entry": "phone", "place": "phone"}
    assert told(**at, deployment="small@phone", spent=[["small@phone", 4]]) == [(0, "small@phone", "phone", 4)]
    assert told(**at) == []
    lost_here = [["large@fra", 4], ["small@phone", 1]]
    assert told(**at, spent=lost_here, attempts=["small@phone", "large@fra"]) == [(1, "small@phone", "phone", 1)]
    nothing: dict[str, Any] = {**at, "deployment": None, "spent": []}
    assert told(**nothing, attempts=[]) == [(0, "", "", 0)]
    assert told(**nothing, attempts=["small@phone"]) == [(0, "", "", 0)]
    assert told(**nothing, attempts=["small@phone", "large@fra"]) == []


def test_the_batch_has_the_entries_the_reservations_and_the_last_writer() -> None:
    began = {"at": NOON_S, "kind": "reserved", "place": "fra", "number": "fra-8-bb-2", "tenant": "t", "model": "m"}
    lines = [line(), {"at": 1, "kind": "received", "place": "fra"}, {**began, "reserved_nusd": 9}, {"kind": "policies"}]
    found = taken(orjson.dumps(one) for one in lines)
    assert found == Taken(
        entries_of(line()), [Reserved("fra-8-bb-2", NOON_S, "t", "m", "fra", 9)], writer="fra-8-bb-", unreadable=0
    )


@pytest.mark.parametrize(
    "bad",
    [
        {"number": 7}, {"number": None}, {"tenant": None}, {"spent": [["large@fra"]]}, {"spent": [["large@fra", 0.5]]},
        {"spent": 3}, {"at_s": 1e300}, {"at_s": "noon"}, {"tokens": ["a", 1]}, {"deployment": 7}, {"tokens": [1]},
        {"tokens": [True, 1]}, {"spent": [["large@fra", True]]}, {"number": "n" * 999}, {"tenant": "t" * 999},
    ],
)  # fmt: skip
def test_a_line_that_means_nothing_holds_up_no_other(bad: dict[str, Any]) -> None:
    found = taken([orjson.dumps(line(**bad)), b"{", b"", b"7", b"null", orjson.dumps(line())])
    assert found.entries == entries_of(line())
    assert found.unreadable == 5


def test_what_callers_and_upstreams_say_is_taken_as_any_database_takes_it() -> None:
    (entry,) = entries_of(line(model="a\x00b", tokens=[2**63, -1]))
    assert (entry.model, entry.prompt_tokens, entry.completion_tokens) == ("a\ufffdb", WHOLE_MAX, 0)


def test_no_line_is_too_much_for_a_database(store: SqlStore) -> None:
    """One that it refused would be tried again for ever, and hold up all behind it."""
    long = "".join(random.Random(1).choices(string.printable, k=99_999))
    parts: list[dict[str, Any]] = [
        {"number": long}, {"tenant": long}, {"model": long}, {"entry": long}, {"outcome": long}, {"at_s": -6e10},
        {"spent": [[long, 4]]}, {"deployment": long, "spent": [[long, 4]]}, {"tokens": [True, False]}, {"cached": "x"},
    ]  # fmt: skip
    lines = [orjson.dumps(line(**{"number": f"fra-7-aa-{at}", **one})) for at, one in enumerate(parts)]
    began = {"at": NOON_S, "kind": "reserved", "place": "fra", "number": "fra-8-bb-2", "tenant": "t", "model": "m"}
    more: list[dict[str, Any]] = [{}, {"number": long}, {"tenant": long}, {"model": long}, {"place": long}]
    lines += [
        orjson.dumps({**began, "number": f"fra-8-bb-{at}", "reserved_nusd": 9, **one}) for at, one in enumerate(more)
    ]
    found = taken(lines)
    assert (len(found.entries), len(found.reserved), found.unreadable) == (3, 1, 11)
    assert store.settle("j", 0, 1, found.entries, found.reserved) == 3


def test_lines_of_absurd_sums_do_not_break_those_of_others(store: SqlStore) -> None:
    """They are more than a database's whole numbers hold together; what is booked after them is still told."""
    absurd = [
        {"number": f"fra-7-aa-{at}", "tokens": [2**63, 2**63], "spent": [["large@fra", 2**62]]} for at in range(3)
    ]
    entries = taken(orjson.dumps(line(**one)) for one in absurd).entries
    assert store.settle("j", 0, 1, entries) == 3
    assert store.settle("j", 1, 2, entries_of(line(number="fra-7-aa-9", tenant="other"))) == 1
    sums = {each.by: each.sums["calls"] for each in sums_by(store, ["tenant"], Wanted())}
    assert sums == {("other",): 1, ("t",): 3}
    assert [type(sum_) for sum_ in store.used([Quota("t", "", Measure.MONEY, "2026-11-25")])] == [int]


@given(
    st.lists(st.tuples(st.sampled_from(["small@dub", "large@fra", "x@iad"]), st.integers(0, 10**12)), max_size=5),
    st.sampled_from([None, "large@fra", "x@iad"]),
)
def test_all_that_was_spent_is_in_the_entries(spent: list[tuple[str, int]], deployment: str | None) -> None:
    entries = entries_of(line(spent=spent, deployment=deployment))
    assert sum(entry.cost_nusd for entry in entries) == sum(cost for _, cost in spent)
    assert [entry.part for entry in entries] == list(range(len(entries)))
    for site in ("dub", "fra", "iad"):
        told = sum(cost for name, cost in spent if name.endswith(site))
        assert sum(entry.cost_nusd for entry in entries if entry.site == site) == told
