"""The hop record: who may send one, where a loop is seen, and that it is the same for every cluster that reads it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.router.errors import Kind, Trouble
from infercast.router.upstream import hops

HERE, THERE, ELSEWHERE = "0" * 16, "1" * 16, "2" * 16


def refused(value: str | None, *, peer: bool = True) -> Trouble:
    with pytest.raises(Trouble) as caught:
        hops.received(value, peer=peer, here=HERE)
    return caught.value


def test_a_call_without_a_record_is_anybodys_but_a_peers() -> None:
    assert hops.received(None, peer=False, here=HERE) == ()
    assert refused(None).kind is Kind.BAD_HOPS


def test_only_peers_send_records() -> None:
    trouble = refused(f"{THERE}/a-1-1", peer=False)
    assert trouble.kind is Kind.BAD_HOPS


def test_what_is_sent_on_is_what_is_received() -> None:
    once = hops.sent_on((), THERE, "fra-8-1")
    twice = hops.sent_on(hops.received(once, peer=True, here=HERE), HERE, "par-9-2")
    assert hops.received(twice, peer=True, here=ELSEWHERE) == (f"{THERE}/fra-8-1", f"{HERE}/par-9-2")


def test_a_call_that_was_here_before_is_a_loop() -> None:
    for value in (f"{HERE}/a-1-1", f"{THERE}/b-1-1, {HERE}/a-1-1", f"{HERE}/a-1-1,{THERE}/b-1-1"):
        assert refused(value).kind is Kind.LOOP


def test_a_call_goes_through_so_many_clusters_and_no_more() -> None:
    many = [f"{number:016x}/x-1-1" for number in range(1, 10)]
    assert len(hops.received(", ".join(many[: hops.HOPS_MAX]), peer=True, here=HERE)) == hops.HOPS_MAX
    assert refused(", ".join(many[: hops.HOPS_MAX + 1])).kind is Kind.LOOP


@given(st.text(max_size=80))
def test_any_other_text_is_refused(value: str) -> None:
    if not all(hops.HOP.fullmatch(hop.strip()) for hop in value.split(",")):
        assert refused(value).kind is Kind.BAD_HOPS


@pytest.mark.parametrize("value", ["", ",", f"{THERE}", f"{THERE}/", f"{THERE}/a b", f"{THERE}/a\r\nx: y", "x" * 9999])
def test_malformed_records_are_refused(value: str) -> None:
    assert refused(value).kind is Kind.BAD_HOPS


def test_a_cluster_keeps_its_id(tmp_path: Path) -> None:
    made = hops.cluster_id(tmp_path)
    assert hops.cluster_id(tmp_path) == made
    assert hops.CLUSTER.fullmatch(made)
    (tmp_path / "cluster-id").write_text("nonsense")
    with pytest.raises(ValueError, match="holds no cluster id"):
        hops.cluster_id(tmp_path)
