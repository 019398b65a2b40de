"""Calls of another cluster at the ingress: only a peer's key may say where a call has been, in every API, before its body is read."""

from typing import Any

import pytest

from infercast.policies.engine import Engine
from infercast.policies.fleet import Fleet
from infercast.policies.snapshot import Snapshot
from infercast.router.ingress.app import Ingress
from infercast.router.keys import Keys, issue
from infercast.router.upstream.hops import HEADER
from tests.router.fakes import Door, Scene, scene
from tests.router.upstreams import upstream_fleet
from tests.support import link, policy_of

HERE, THERE = "a" * 16, "b" * 16
PATHS = ["/v2/models/digits/infer", "/v1/chat/completions", "/v1/completions", "/v1/embeddings"]


def door() -> Door:
    """Berlin's ingress with an upstream behind it, and a peer in Paris."""
    fleet = upstream_fleet("http://127.0.0.1:1", "infercast")
    peer = {"id": "paris", "country": "FR", "lat": 0, "lon": 0, "peer": True}
    whole = fleet.model_dump(mode="json", by_alias=True)
    fleet = Fleet.model_validate(
        {**whole, "zones": [*whole["zones"], peer], "links": [*whole["links"], link("paris", "ber", 1, "DE", "FR")]}
    )
    engine = Engine(fleet, {"t": policy_of()})
    at: Scene = scene(entry="ber", engine=engine, snapshot=Snapshot.declared(fleet))
    issued = [issue("own", "t", "berlin"), issue("peer", "t", "paris")]
    ingress = Ingress(at.caller, Keys(key for key, _ in issued), at.journal, list, emulated=True, cluster=HERE)
    return Door(ingress, at, {key.id: secret for key, secret in issued})


def said(to: Door, path: str, key: str, hops: str | None) -> Any:
    named = {} if hops is None else {HEADER: hops}
    return to.say("POST", path, b'{"model": "digits"}', key, **named)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("key", "hops", "status"),
    [
        ("own", f"{THERE}/par-1-1", 400),
        ("peer", None, 400),
        ("peer", "nonsense", 400),
        ("peer", f"{HERE}/ber-1-1", 508),
        ("peer", f"{THERE}/par-1-1, {HERE}/ber-1-1", 508),
        ("peer", ", ".join(f"{number:016x}/x-1-1" for number in range(5)), 508),
    ],
)
def test_a_record_that_may_not_be_is_refused_with_the_body_unread(
    path: str, key: str, hops: str | None, status: int
) -> None:
    to = door()
    answer = said(to, path, key, hops)
    assert answer.status == status
    assert answer.headers["infercast-outcome"] == ("loop" if status == 508 else "bad_hops")
    assert answer.receives == 0
    assert to.scene.runner.calls == []
    assert to.scene.journal.of("call") == []


def test_a_peers_call_is_carried_at_a_site_of_our_own_and_no_further() -> None:
    to = door()
    assert said(to, PATHS[0], "peer", f"{THERE}/par-1-1").status == 200
    assert to.scene.runner.tried == ["small@ber"]
    assert to.scene.journal.only()["hops"] == [f"{THERE}/par-1-1"]
    talk = b'{"model": "talk", "messages": []}'
    assert to.say("POST", "/v1/chat/completions", talk, "peer", **{HEADER: f"{THERE}/par-1-2"}).status == 403
    assert to.say("POST", "/v1/chat/completions", talk, "own").status == 200
    assert to.scene.runner.tried[1:] == ["llama@far"]


def test_two_records_are_read_as_one() -> None:
    to = door()
    raw = [(HEADER.encode(), f"{THERE}/par-1-1".encode()), (HEADER.encode(), f"{HERE}/ber-1-1".encode())]
    assert to.say("POST", PATHS[0], b"{}", "peer", raw=raw).status == 508
