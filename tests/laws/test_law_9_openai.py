"""Law 9 for calls whose model stands in their body: they enter as the strictest of their models; the body only tightens."""

from functools import cache
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.policies.engine import Engine
from infercast.policies.model import Outcome, Request
from infercast.policies.policy import Policy
from infercast.policies.policy_file import load_policies
from infercast.policies.snapshot import Snapshot
from tests.laws.oracle import may_enter
from tests.laws.test_law_9_ingress import ENTRIES, KINDS, TENANTS, headers_of, world_door
from tests.laws.worlds import World, worlds
from tests.router.fakes import ROOT, WALL_S, Door, Exchange, door, example_engine, example_fleet
from tests.router.openai.tiny import fleet

PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]
SECRET = b'{"model": "digits", "messages": "the secret"}'


@cache
def engine() -> Engine:
    """The example's tenants, on the example's fleet with language models."""
    return Engine(fleet(), load_policies(ROOT / "policies" / "tenants", fleet()))


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(("tenant", "name"), KINDS)
def test_the_body_is_read_only_where_any_of_the_tenants_calls_may_enter(tenant: str, name: str, entry: str) -> None:
    at = door(entry=entry)
    named = {"infercast_class": name} if name else {}
    shut = [
        model
        for model in example_engine().models_of(tenant)
        if at.say("POST", f"/v2/models/{model}/infer", b"", tenant, **named).status == 421
    ]
    at = door(entry=entry)
    found = at.say("POST", PATHS[0], SECRET, tenant, **named)
    assert found.receives == (0 if shut else 1)
    assert (found.status == 421) == bool(shut)
    assert at.scene.journal.only("received")["payload_bytes"] == len(SECRET) * found.receives
    assert at.scene.runner.calls == []
    assert b"the secret" not in found.body
    if shut:
        error = found.value["error"]
        assert (error["code"], error["type"]) == ("wrong_entry", "permission_error")
        assert entry not in error["infercast"]["entries"]


def test_some_enter_and_some_do_not() -> None:
    """The test above sees both sides."""
    found = {
        door(entry=entry).say("POST", PATHS[0], SECRET, t, infercast_class=n).status
        for t, n in KINDS
        for entry in ENTRIES
    }
    assert {400, 421} <= found


@given(worlds(), st.sampled_from(PATHS))
def test_in_any_world_no_byte_is_read_that_may_not_enter(world: World, path: str) -> None:
    world = world.asking(classes=world.call["classes"][:1], at_s=WALL_S).but(tried=())
    at = world_door(world)
    found = at.say("POST", path, b"x", "t", **headers_of(world))
    caller, entry = at.scene.caller, world.call["entry"]
    models = caller.engine.models_of("t")
    assert found.receives == int(all(may_enter(world.asking(model=model), caller.fleet, entry) for model in models))
    assert found.status == (400 if found.receives else found.status)


@pytest.mark.parametrize("path", PATHS)
def test_of_a_tenant_that_may_call_nothing_nothing_is_read(path: str) -> None:
    policy = Policy.model_validate({"version": 1, "tenant": "studio", "models": [], "classes": {"gameplay": {}}})
    found = door(engine=Engine(example_fleet(), {"studio": policy})).say(
        "POST", path, SECRET, infercast_class="gameplay"
    )
    assert (found.status, found.receives) == (404, 0)


@pytest.mark.parametrize("path", PATHS)
def test_without_a_key_nothing_is_read(path: str) -> None:
    found = door().say("POST", path, SECRET, "nobody")
    assert (found.status, found.receives) == (401, 0)


def chat(at: Door, key: str, ours: dict[str, Any] | None, **headers: str) -> Exchange:
    body = {"model": "chat", "messages": [{"role": "user", "content": "x"}], "infercast": ours}
    return at.say("POST", PATHS[0], orjson.dumps(body), key, **headers)


CLASSES = sorted({name for tenant in TENANTS for name in example_engine().policies[tenant].classes})


@given(st.sampled_from(TENANTS), st.data())
def test_header_and_body_together_are_as_strict_as_both(tenant: str, data: st.DataObject) -> None:
    """What the body adds decides as if a header had said it; nothing that it says takes away from the headers."""
    of = st.sampled_from(sorted(example_engine().policies[tenant].classes))
    header, body = (data.draw(st.sets(of, max_size=2)) for _ in range(2))
    header_ms, body_ms = (data.draw(st.none() | st.integers(1, 100_000)) for _ in range(2))
    at = door(entry=data.draw(st.sampled_from(["fra", "dub", "iad"])), engine=engine())
    headers = {"infercast_class": ",".join(sorted(header))} if header else {}
    headers |= {"infercast_deadline_ms": str(header_ms)} if header_ms else {}
    found = chat(at, tenant, {"class": sorted(body), "deadline_ms": body_ms}, **headers)
    if found.receives == 0:
        assert found.status in (404, 421)  # by the headers alone
        return
    deadlines_us = [ms * 1000 for ms in (header_ms, body_ms) if ms]
    line = at.scene.journal.only("call")
    if found.status == 404:
        return
    assert line["classes"] == sorted(header | body)
    asked = Request(
        line["request"], tenant, "chat", line["entry"], line["origin"], tuple(sorted(header | body)),
        line["received_bytes"], min(deadlines_us, default=0), WALL_S,
    )  # fmt: skip
    choice = engine().choose(asked, Snapshot.declared(fleet()))
    assert (found.status == 200) == (choice.outcome is Outcome.CHOSEN)
    for deployment, call, wait_s in at.scene.runner.calls:
        assert deployment == choice.deployment
        assert call.request.deadline_us == asked.deadline_us
        assert wait_s <= min(deadlines_us, default=10**12) / 1_000_000


def test_a_class_that_the_body_adds_shuts_the_entry() -> None:
    at = door(engine=engine())
    assert chat(at, "hospital", None, infercast_class="personal").status == 200
    found = chat(at, "hospital", {"class": "biometric"}, infercast_class="personal")
    assert (found.status, found.receives) == (421, 1)
    assert len(at.scene.runner.calls) == 1


def test_a_keys_class_is_not_taken_off_by_the_body() -> None:
    at = door(engine=engine())
    chat(at, "camera", {"class": "open"})
    assert at.scene.journal.only("call")["classes"] == ["open", "personal"]


def test_a_body_says_nothing_of_tenant_origin_or_entry() -> None:
    for name in ("tenant", "origin", "entry", "site"):
        found = chat(door(engine=engine()), "hospital", {name: "bank"}, infercast_class="personal")
        assert found.status == 400
        assert f"infercast.{name} is not known" in found.value["error"]["message"]
