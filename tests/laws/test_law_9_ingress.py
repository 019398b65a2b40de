"""Law 9, the ingress's part: what may not enter is turned away on its headers; a header only tightens; no payload to decide."""

from itertools import product
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.policies import kernel
from infercast.policies.model import Outcome, Request, Rule
from infercast.policies.snapshot import Snapshot
from tests.laws.oracle import may_enter
from tests.laws.worlds import World, worlds
from tests.router.fakes import WALL_S, Door, Exchange, ask, door, example_engine, example_fleet

ENTRIES = ["berlin-cam", "fra", "sin", "gru", "iad", "dub"]
TENANTS = ["annotator", "bank", "hospital", "studio"]
KINDS = [(tenant, name) for tenant in TENANTS for name in ("", *example_engine().policies[tenant].classes)]
INFER = "/v2/models/digits/infer"
PAYLOAD = b"the secret picture"


def infer(at: Door, key: str, **headers: Any) -> Exchange:
    """Send the picture."""
    return at.say("POST", INFER, PAYLOAD, key, content_length=str(len(PAYLOAD)), **headers)


def request_of(at: Door, tenant: str, classes: tuple[str, ...], **parts: Any) -> Request:
    """The request that the ingress must make of such a call."""
    entry = at.scene.caller.entry
    homes = {"fra": "paris", "iad": "newyork", "sin": "singapore", "gru": "saopaulo", "dub": "paris"}
    origin = homes.get(entry, entry)
    return ask(tenant=tenant, entry=entry, origin=origin, classes=classes, payload_bytes=len(PAYLOAD), **parts)


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(("tenant", "name"), KINDS)
def test_the_body_is_read_only_where_the_decision_lets_it_in(tenant: str, name: str, entry: str) -> None:
    at = door(entry=entry)
    found = infer(at, tenant, **({"infercast_class": name} if name else {}))
    decision = example_engine().explain(
        request_of(at, tenant, (name,) if name else ()), Snapshot.declared(example_fleet())
    )
    assert (found.status == 200) == (decision.outcome is Outcome.CHOSEN)
    assert (found.status == 421) == (decision.verdicts[0].rule.word.startswith("entry."))
    if found.status == 200:
        assert found.receives == 1
    else:
        assert found.status in (403, 421)
        assert (found.receives, at.scene.runner.calls) == (0, [])
        assert PAYLOAD not in found.body
    received = at.scene.journal.only("received")["payload_bytes"]
    assert received == at.scene.journal.only("call")["received_bytes"] == len(PAYLOAD) * found.receives
    assert PAYLOAD.decode() not in repr(at.scene.journal.lines)


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(("tenant", "name"), KINDS)
def test_who_may_not_enter_is_told_where_to(tenant: str, name: str, entry: str) -> None:
    at = door(entry=entry)
    found = infer(at, tenant, **({"infercast_class": name} if name else {}))
    if found.status != 421:
        assert "entries" not in found.body.decode() or found.status == 200
        return
    told = found.value["infercast"]
    assert told["rule"].startswith("entry.")
    assert f"may not enter at {entry}" in found.error
    assert entry not in told["entries"]
    for site in told["entries"]:
        here = request_of(at, tenant, (name,) if name else ())
        there = Request("", tenant, "digits", site, here.origin, here.classes)
        assert example_engine().compiled(there).gate is None
    nowhere = "no site of this fleet may receive it" if name else "no class is named, so all count"
    assert (", ".join(told["entries"]) or nowhere) in found.error


def test_some_calls_enter_and_some_do_not() -> None:
    """The two tests above see both sides."""
    found = {(tenant, name, entry): infer(door(entry=entry), tenant, infercast_class=name).status
             for (tenant, name), entry in product(KINDS, ENTRIES) if name}  # fmt: skip
    assert found["hospital", "personal", "fra"] == 200
    assert found["hospital", "personal", "iad"] == 421
    assert found["bank", "identity", "dub"] == 421
    assert {200, 421} <= set(found.values())


def world_door(world: World) -> Door:
    """An ingress of a random world, with a key for its tenant whose calls come from where the world says."""
    from infercast.router.ingress.app import Ingress
    from infercast.router.keys import Keys, issue
    from tests.router.fakes import scene

    engine = world.engine()
    at = scene(entry=world.call["entry"], engine=engine, snapshot=world.snapshot(engine.fleet))
    key, secret = issue("t", "t", world.call["origin"])
    return Door(Ingress(at.caller, Keys([key]), at.journal, list, emulated=True), at, {"t": secret})


def headers_of(world: World) -> dict[str, str]:
    """The headers of a world's call; of several classes only one can be named. A peer's say where it has been."""
    named = {"infercast_class": world.call["classes"][0]} if world.call["classes"] else {}
    late = {"infercast_deadline_ms": str(world.call["deadline_us"] / 1000)} if world.call["deadline_us"] else {}
    size = world.call["payload_bytes"]
    peers = {zone["id"] for zone in world.fleet["zones"] if zone.get("peer")}
    hops = {"infercast_hops": "0123456789abcdef/par-1-1"} if world.call["origin"] in peers else {}
    return {**named, **late, **hops, "content_length": str(size), "infercast_id": world.call["id"]}


@given(worlds())
def test_in_any_world_no_byte_is_read_that_may_not_enter(world: World) -> None:
    world = world.asking(classes=world.call["classes"][:1], at_s=WALL_S).but(tried=())
    at = world_door(world)
    chosen = world.decide().outcome is Outcome.CHOSEN
    found = at.say("POST", f"/v2/models/{world.call['model']}/infer", b"x", "t", **headers_of(world))
    assert found.receives == int(chosen)
    fleet, entry = at.scene.caller.fleet, world.call["entry"]
    if not may_enter(world, fleet, entry):
        # Where no link leads in, or nothing runs the model at all, the refusal is one of the policy's (see test_caller).
        unlinked = fleet.network.path(world.call["origin"], entry) is None
        assert found.status in ((403, 421) if unlinked or not world.decide().verdicts else (421,))
    elif not chosen:
        assert found.status in (403, 503)


@given(worlds())
def test_in_any_world_the_question_and_the_call_agree(world: World) -> None:
    world = world.asking(classes=world.call["classes"][:1], at_s=WALL_S).but(tried=())
    asked: dict[str, Any] = {"model": world.call["model"], "id": world.call["id"]}
    asked["payload_bytes"] = world.call["payload_bytes"]
    if world.call["classes"]:
        asked["class"] = world.call["classes"][0]
    if world.call["deadline_us"]:
        asked["deadline_ms"] = world.call["deadline_us"] / 1000
    found = world_door(world).say("POST", "/v1/decide", orjson.dumps(asked), "t")
    decision = world.decide()
    assert found.status == 200
    assert (found.value["id"], found.value["chosen"]) == (decision.id, decision.chosen)
    assert [verdict["rule"] for verdict in found.value["verdicts"]] == [v.rule.word for v in decision.verdicts]


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(("tenant", "name"), KINDS)
def test_an_answer_names_no_other_tenant(tenant: str, name: str, entry: str) -> None:
    at = door(entry=entry)
    asked = {"model": "digits", "payload_bytes": 256, **({"class": name} if name else {})}
    told = [
        at.say("POST", "/v1/decide", orjson.dumps(asked), tenant),
        infer(at, tenant, **({"infercast_class": name} if name else {})),
        at.say("POST", "/v1/decide", b'{"model": "x", "class": "y"}', tenant),
        at.say("GET", "/v2/models/digits", key=tenant),
        at.say("GET", "/nowhere", key=tenant),
    ]
    assert told[0].status == 200
    assert len(told[0].value["verdicts"]) == 14
    for found in told:
        text = f"{found.body.decode()} {found.headers}"
        assert not [other for other in TENANTS if other != tenant and other in text]


def test_a_decision_takes_no_payload() -> None:
    at = door()
    for field in ("inputs", "payload", "data", "body", "parameters"):
        found = at.say("POST", "/v1/decide", orjson.dumps({"model": "digits", field: "picture"}))
        assert found.status == 400
        assert f"unknown key '{field}'" in found.error
        assert "picture" not in found.body.decode()
    assert at.scene.journal.lines == []


@pytest.mark.parametrize("named", ["personal", "biometric", "open", ""])
def test_a_class_in_a_header_adds_to_the_keys(named: str) -> None:
    """The ward's key is bound to published pictures; naming a stricter class tightens, naming none does not loosen."""
    at = door()
    found = infer(at, "ward", infercast_class=named)
    assert at.scene.journal.only("call")["classes"] == sorted({"open", named} - {""})
    assert found.status == (421 if named == "biometric" else 200)


def test_a_keys_class_is_not_taken_off_by_a_header() -> None:
    """The camera's key is bound to patients; naming published pictures does not let them out of the EEA."""
    at = door(entry="fra")
    found = infer(at, "camera", infercast_class="open")
    assert at.scene.journal.only("call")["classes"] == ["open", "personal"]
    assert found.status == 200
    for _ in range(3):
        away = at.say("POST", "/v1/decide", b'{"model": "digits", "class": "open"}', "camera")
        verdicts = {verdict["site"]: verdict["rule"] for verdict in away.value["verdicts"]}
        assert verdicts["iad"] == "residency.processing"


def test_a_call_without_any_class_is_as_strict_as_all() -> None:
    assert infer(door(), "hospital").status == 421
    assert infer(door(), "hospital", infercast_class="personal").status == 200


@pytest.mark.parametrize("deadline_ms", ["1000", "600000", "300.001", "1e5"])
def test_a_deadline_in_a_header_does_not_loosen(deadline_ms: str) -> None:
    """The studio's deadline is 300 ms."""
    at = door()
    asked = {"model": "digits", "class": "gameplay", "deadline_ms": float(deadline_ms)}
    assert at.say("POST", "/v1/decide", orjson.dumps(asked)).value["deadline_us"] == 300_000
    others = [i for i, d in enumerate(example_fleet().deployments) if d.id != "digits-small@fra"]
    at.scene.snapshot.live[others, kernel.L_HEALTHY] = 0
    at.scene.snapshot.refresh()
    infer(at, "studio", infercast_class="gameplay", infercast_deadline_ms=deadline_ms)
    assert at.scene.runner.calls[0][2] <= 0.3


@given(st.floats(0.001, 600_000), st.sampled_from(KINDS))
def test_no_deadline_lets_anything_in_that_was_not(deadline_ms: float, kind: tuple[str, str]) -> None:
    tenant, name = kind
    at = door()
    asked: dict[str, Any] = {"model": "digits", **({"class": name} if name else {})}
    own = at.say("POST", "/v1/decide", orjson.dumps(asked), tenant).value
    tight = at.say("POST", "/v1/decide", orjson.dumps({**asked, "deadline_ms": deadline_ms}), tenant).value
    assert tight["deadline_us"] <= (own["deadline_us"] or 600_000_000)
    for before, after in zip(own["verdicts"], tight["verdicts"], strict=True):
        assert before["rule"] == Rule.NONE.word or after["rule"] != Rule.NONE.word


@given(st.sampled_from(TENANTS), st.lists(st.sampled_from(["x-origin", "origin", "infercast-origin", "infercast-tenant",
       "infercast-entry", "x-forwarded-for", "forwarded", "host"]), unique=True))  # fmt: skip
def test_origin_tenant_and_entry_are_not_taken_from_headers(tenant: str, names: list[str]) -> None:
    at = door()
    raw = [(name.encode(), b"hospital") for name in names]
    infer(at, tenant, infercast_class=next(iter(example_engine().policies[tenant].classes)), raw=raw)
    line = at.scene.journal.only("call")
    assert (line["tenant"], line["entry"], line["origin"]) == (tenant, "fra", "paris")


STRICT_FIRST = {
    "class": [(b"infercast-class", b"biometric"), (b"infercast-class", b"open")],
    "deadline": [(b"infercast-class", b"open"), (b"infercast-deadline-ms", b"1"), (b"infercast-deadline-ms", b"900")],
}


@pytest.mark.parametrize("raw", STRICT_FIRST.values(), ids=STRICT_FIRST)
def test_a_header_that_stands_twice_does_not_loosen(raw: list[tuple[bytes, bytes]]) -> None:
    """A gateway in front may have added one, the caller the other: neither takes the other away."""
    at = door()
    found = at.say("POST", INFER, PAYLOAD, "ward", raw=raw)
    assert found.status in (400, 403, 421)
    assert found.receives == 0


@pytest.mark.parametrize("raw", STRICT_FIRST.values(), ids=STRICT_FIRST)
def test_the_stricter_header_binds_where_it_stands_last(raw: list[tuple[bytes, bytes]]) -> None:
    found = door().say("POST", INFER, PAYLOAD, "ward", raw=raw[::-1])
    assert found.status in (400, 403, 421)
    assert found.receives == 0
