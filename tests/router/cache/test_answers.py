"""Answers that are kept and given again: only to whom, where and for as long as the policy in force lets them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import orjson
import pytest

from infercast.policies import kernel
from infercast.policies.model import Request
from infercast.policies.policy import Policy
from infercast.router.cache.answers import AnswerCache
from infercast.router.cache.questions import question_of
from infercast.router.cache.store import Key
from infercast.router.conduct.endings import Carrying
from infercast.router.conduct.open import Unlimited
from infercast.router.conduct.ports import Carried, Hold
from infercast.router.conduct.recorder import DAY_S
from infercast.router.errors import Kind, Trouble
from infercast.router.keys import Keys, issue
from infercast.router.runtime.host import Answer
from tests.router.cache.scenes import CLASSES, TTL_S, At, Numbering, at_entry, engine_with, policy_of, question
from tests.router.fakes import WALL_S, Clock, scene
from tests.router.upstreams import upstream_fleet


def how(exchange: Any) -> str:
    """What an answer says of the cache."""
    assert exchange.status == 200, exchange.body
    return str(exchange.headers.get("infercast-cache"))


def test_the_same_question_is_answered_once() -> None:
    at = at_entry()
    first = at.infer()
    at.pass_s(7)
    again = at.infer()
    assert (how(first), how(again)) == ("miss", "hit")
    assert again.value == first.value == {"n": 1}
    assert len(at.runner.ran) == 1
    assert again.headers["age"] == "7"
    assert "age" not in first.headers
    assert first.headers["cache-control"] == again.headers["cache-control"] == f"private, max-age={TTL_S}"
    for name in ("infercast-site", "infercast-variant", "infercast-tier"):
        assert again.headers[name] == first.headers[name]
    assert float(again.headers["infercast-cost-usd"]) == 0.0 < float(first.headers["infercast-cost-usd"])
    assert again.headers["infercast-attempts"] == "0"


def test_a_hit_is_a_decision_and_a_line_of_its_own_at_no_cost() -> None:
    at = at_entry()
    at.infer(infercast_id="one")
    again = at.infer(infercast_id="two")
    first, second = at.scene.journal.of("call")
    assert (first["cached"], second["cached"]) == (None, "exact")
    assert first["number"] != second["number"]
    assert (second["cost_usd"], second["spent"], second["tokens"], second["attempts"]) == (0.0, [], None, [])
    assert second["deployment"] == first["deployment"]
    assert (second["ran_us"], second["expected_us"]) == (None, None)
    assert again.headers["infercast-decision"] == second["decision"]
    assert [record["id"] for record in at.scene.log.records] == [first["decision"], second["decision"]]
    assert first["decision"] != second["decision"]


@pytest.mark.parametrize("named", ["sealed", "brief", "swiss", "plain,sealed", ""])
def test_a_class_that_forbids_storage_here_never_touches_the_cache(named: str) -> None:
    """Nothing is kept, nothing is looked for, and not even a digest is made."""
    at = at_entry()
    named = named or ","  # no class at all, which is every class at once
    with patch("infercast.router.cache.answers.question_of", side_effect=AssertionError("touched")):
        answers = [at.infer(infercast_class=named) for _ in range(2)]
    assert [answer.value["n"] for answer in answers] == [1, 2]
    assert all("infercast-cache" not in answer.headers for answer in answers)
    assert (len(at.cache.store), len(at.cache.flights)) == (0, 0)


def test_where_a_class_lets_it_be_stored_it_is() -> None:
    at = at_entry(engine_with(policy_of(classes={**CLASSES, "swiss": {"residency": {"storage": ["CH", "DE"]}}})))
    assert [how(at.infer(infercast_class="swiss")) for _ in range(2)] == ["miss", "hit"]


def test_classes_tenants_models_and_versions_do_not_share() -> None:
    at = at_entry(engine_with(policy_of(), policy_of("u")))
    at.infer()
    assert how(at.infer(infercast_class="german")) == "miss"
    assert how(at.infer(key="u")) == "miss"
    path = "/v2/models/digits/versions/digits-small/infer"
    assert how(at.door.say("POST", path, question(), "t", infercast_class="plain")) == "miss"
    assert how(at.door.say("POST", path, question(), "t", infercast_class="plain")) == "hit"
    assert how(at.infer(question(1.0))) == "miss"
    assert how(at.infer()) == "hit"


@pytest.mark.parametrize(("scope", "other"), [("key", "miss"), ("tenant", "hit")])
def test_the_scope_says_who_may_get_an_answer_again(scope: str, other: str) -> None:
    at = at_entry(engine_with(policy_of(cache={"scope": scope})))
    at.infer()
    assert how(at.infer(key="t.other")) == other
    assert how(at.infer()) == "hit"


def test_a_key_that_is_issued_anew_under_an_old_id_finds_nothing_of_the_old_ones() -> None:
    at = at_entry(engine_with(policy_of(cache={"scope": "key"})))
    at.infer()
    key, secret = issue("t", "t", "paris")
    at.door.ingress.take_keys(Keys([key]))
    assert at.infer().status == 401
    at.door.secrets["t"] = secret
    assert how(at.infer()) == "miss"


def test_an_answer_is_gone_after_its_time_also_when_nobody_asks() -> None:
    at = at_entry()
    at.infer()
    at.pass_s(TTL_S - 0.001)
    assert how(at.infer()) == "hit"
    at.pass_s(0.001)
    assert how(at.infer()) == "miss"
    at.pass_s(TTL_S + 1)
    assert len(at.cache.store) == 1
    with at.clock.rules():
        at.cache.sweep()
    assert (len(at.cache.store), at.cache.store.size_bytes) == (0, 0)


def test_nothing_is_kept_for_longer_than_the_class_has_inputs_kept() -> None:
    at = at_entry(
        engine_with(policy_of(cache={"ttl_s": 7 * DAY_S}, classes={"plain": {"privacy": {"retention_days_max": 1}}}))
    )
    assert at.infer().headers["cache-control"] == f"private, max-age={DAY_S}"
    at.pass_s(DAY_S - 1)
    assert how(at.infer()) == "hit"
    at.pass_s(1)
    assert how(at.infer()) == "miss"


def test_nothing_is_kept_into_an_hour_for_which_other_rules_may_hold() -> None:
    """From six in the evening nothing may be stored: an answer of half past five has half an hour."""
    evening = {"when": {"hours": "18:00-23:00"}, "constraints": {"residency": {"storage": []}}}
    at = at_entry(engine_with(policy_of(cache={"ttl_s": DAY_S}, overrides=[evening])))
    midnight_s = WALL_S - WALL_S % DAY_S
    with patch("tests.router.fakes.WALL_S", midnight_s + 17 * 3600 + 1800):
        assert at.infer().headers["cache-control"] == "private, max-age=1800"
    with patch("tests.router.fakes.WALL_S", midnight_s + 18 * 3600):
        assert "infercast-cache" not in at.infer().headers


@pytest.mark.parametrize(("before_s", "said"), [(5, "no-cache"), (50, "private, max-age=20")])
def test_what_a_call_takes_is_off_the_time_that_its_answer_has(before_s: int, said: str) -> None:
    """It ran for 30 s: begun 5 s before nothing may be stored, nothing is; begun 50 s before, for 20 s."""
    evening = {"when": {"hours": "18:00-23:00"}, "constraints": {"residency": {"storage": []}}}
    engine = engine_with(policy_of(cache={"ttl_s": DAY_S}, overrides=[evening]))
    at = at_entry(engine)

    class Long(Numbering):
        async def run(self, deployment: int, call: Carried, timeout_s: float) -> Answer:
            at.pass_s(30)
            return await super().run(deployment, call, timeout_s)

    at.scene.caller.attempts.runner = Long(engine.fleet)
    six_s = WALL_S - WALL_S % DAY_S + 18 * 3600
    with patch("tests.router.fakes.WALL_S", six_s - before_s):
        found = at.infer(infercast_deadline_ms="60000")
    assert (found.headers.get("cache-control", "no-cache"), len(at.cache.store)) == (said, before_s // 50)
    at.pass_s(20)
    at.cache.sweep()
    assert len(at.cache.store) == 0


def test_what_a_policy_forbids_goes_also_where_its_text_cannot_be_written_beside_the_log() -> None:
    at = at_entry()
    at.infer()
    full = patch.object(at.scene.log, "put", side_effect=OSError(28, "no room"))
    with full, pytest.raises(OSError, match="no room"):
        installed(at, policy_of(classes={"plain": {"residency": {"storage": []}}}))
    assert len(at.cache.store) == 0


def installed(at: At, policy: Policy) -> None:
    with at.clock.rules():
        at.scene.caller.install(engine_with(policy), None)


@pytest.mark.parametrize(
    "policy",
    [
        policy_of(cache=None),
        policy_of(classes={"plain": {"residency": {"storage": []}}}),
        policy_of(classes={"plain": {"privacy": {"retention_days_max": 0}}}),
        policy_of(classes={"other": {}}),
        policy_of(cache={"scope": "key"}),
        policy_of(cache={"ttl_s": 5}),
        policy_of("somebody-else"),
    ],
)
def test_what_a_new_policy_does_not_let_be_kept_is_gone_at_once(policy: Policy) -> None:
    at = at_entry()
    at.infer()
    at.pass_s(5)
    assert len(at.cache.store) == 1
    installed(at, policy)
    assert len(at.cache.store) == 0


def test_a_new_policy_that_lets_it_be_kept_leaves_it_for_its_own_time() -> None:
    at = at_entry()
    at.infer()
    at.pass_s(5)
    installed(at, policy_of(cache={"ttl_s": 20}))
    assert how(at.infer()) == "hit"
    at.pass_s(15)
    assert how(at.infer()) == "miss"


STRICTER = {"accuracy_min": {"digits": 0.97}}
"""The variant that is cheapest lies below it."""


def test_an_answer_of_a_variant_that_the_policy_has_come_to_forbid_is_not_given() -> None:
    at = at_entry()
    first = at.infer()
    installed(at, policy_of(always=STRICTER))
    again = at.infer()
    assert how(again) == "miss"
    assert again.headers["infercast-variant"] != first.headers["infercast-variant"]
    assert how(at.infer()) == "hit"


def test_an_override_for_the_callers_place_counts_at_the_hit() -> None:
    swiss = {"when": {"origins": ["zurich"]}, "constraints": STRICTER}
    at = at_entry(engine_with(policy_of(overrides=[swiss])))
    assert how(at.infer()) == "miss"
    assert how(at.infer()) == "hit"
    assert how(at.infer(key="t.swiss")) == "miss"
    assert len(at.runner.ran) == 2


def test_a_call_that_may_not_enter_finds_nothing() -> None:
    at = at_entry(engine_with(policy_of(classes={"plain": {}, "here": {"residency": {"entry": ["CH"]}}})))
    at.infer()
    assert at.infer(infercast_class="plain,here").status == 421


def test_a_fleet_without_room_still_gives_what_is_kept_once_the_model_stands_in_the_body() -> None:
    at = at_entry()
    body = orjson.dumps({"model": "chat", "messages": [{"role": "user", "content": "x"}]})
    at.chat(body)
    at.scene.snapshot.live[:, kernel.L_HEALTHY] = 0
    at.scene.snapshot.refresh()
    assert how(at.chat(body)) == "hit"
    assert at.chat(body, cache_control="no-cache").status == 503


def test_an_error_is_not_kept() -> None:
    at = at_entry()
    at.scene.runner.script = ["trouble"]
    at.scene.caller.attempts.runner = at.scene.runner
    assert at.infer().status == 400
    assert (len(at.cache.store), len(at.cache.flights)) == (0, 0)
    at.scene.caller.attempts.runner = at.runner
    assert how(at.infer()) == "miss"


def test_an_answer_names_the_request_that_it_answers() -> None:
    at = at_entry()
    first = at.infer(question(id="x"))
    assert first.value == {"n": 1, "id": "x"}
    assert at.infer(question(id='y"')).value == {"n": 1, "id": 'y"'}
    assert at.infer(question()).value == {"n": 1}
    assert len(at.runner.ran) == 1


def test_a_body_that_is_not_understood_goes_to_whoever_runs_it() -> None:
    at = at_entry()
    assert [at.infer(b"no json").value["n"] for _ in range(2)] == [1, 2]
    assert len(at.cache.store) == 0


CONTROLS: list[tuple[str, str, int]] = [
    ("no-store", "None", 2),
    ("no-cache", "miss", 2),
    ("max-age=3", "miss", 2),
    ("max-age=10", "hit", 1),
    ("min-fresh=59", "miss", 2),
    ("min-fresh=5", "hit", 1),
    ("max-age=none", "miss", 2),
    ("only-if-cached", "hit", 1),
    ("somebodys-own, max-stale=5", "hit", 1),
]


@pytest.mark.parametrize(("control", "said", "ran"), CONTROLS)
def test_the_caller_says_what_may_be_done_with_kept_answers(control: str, said: str, ran: int) -> None:
    at = at_entry()
    at.infer()
    at.pass_s(5)
    assert how(at.infer(cache_control=control)) == said
    assert len(at.runner.ran) == ran


def test_what_was_asked_anew_is_kept_in_place_of_the_older() -> None:
    at = at_entry()
    at.infer()
    at.pass_s(5)
    at.infer(cache_control="no-cache")
    assert at.infer().value == {"n": 2}
    assert len(at.cache.store) == 1


def test_a_call_that_says_no_store_leaves_nothing() -> None:
    at = at_entry()
    at.infer(cache_control="No-Store")
    assert len(at.cache.store) == 0


@pytest.mark.parametrize("named", ["plain", "sealed"])
def test_a_call_that_wants_a_kept_answer_or_none_gets_none(named: str) -> None:
    at = at_entry()
    found = at.infer(infercast_class=named, cache_control="only-if-cached")
    assert (found.status, found.headers["infercast-outcome"]) == (504, "not_kept")
    assert at.runner.ran == []
    line = at.scene.journal.only("call")
    assert (line["outcome"], line["reason"], line["cost_usd"]) == ("refused", "not_kept", 0.0)


def test_the_same_is_said_where_nothing_is_ever_kept() -> None:
    at = at_entry(engine_with(policy_of(cache=None)))
    assert at.infer(cache_control="only-if-cached").status == 504
    assert "infercast-cache" not in at.infer().headers


def test_of_two_headers_both_count() -> None:
    at = at_entry()
    at.infer()
    raw = [(b"cache-control", b"max-age=10"), (b"cache-control", b"no-cache")]
    found = at.door.say("POST", "/v2/models/digits/infer", question(), "t", infercast_class="plain", raw=raw)
    assert how(found) == "miss"


def test_an_answer_that_is_too_large_is_not_kept() -> None:
    at = at_entry(size_bytes=1000)
    assert "cache-control" not in at.infer().headers
    assert how(at.infer()) == "miss"
    assert len(at.cache.flights) == 0


def chat(*, stream: bool) -> bytes:
    return orjson.dumps({"model": "chat", "messages": [{"role": "user", "content": "x"}], "stream": stream})


def test_a_stream_is_played_again_as_a_stream() -> None:
    at = at_entry()
    first = at.chat(chat(stream=True))
    again = at.chat(chat(stream=True))
    assert (how(first), how(again)) == ("miss", "hit")
    assert first.body == again.body == b'data: {"n":1}\n\ndata: {"n":1}\n\ndata: [DONE]\n\n'
    assert again.headers["content-type"].startswith("text/event-stream")
    assert again.headers["cache-control"] == "no-cache"
    lines = at.scene.journal.of("call")
    assert [line["cached"] for line in lines] == [None, "exact"]
    assert lines[1]["tokens"] is None
    assert how(at.chat(chat(stream=False))) == "miss"
    assert at.chat(chat(stream=False)).value == {"n": 2}


def test_a_stream_that_breaks_off_is_not_kept() -> None:
    at = at_entry()
    at.runner.breaks = True
    assert b"error" in at.chat(chat(stream=True)).body
    at.runner.breaks = False
    assert how(at.chat(chat(stream=True))) == "miss"
    assert len(at.runner.ran) == 2


def test_a_stream_of_too_many_bytes_passes_and_is_not_kept() -> None:
    at = at_entry(size_bytes=4096)
    at.runner.event = b'{"n":%d,"text":"' + b"x" * 3000 + b'"}'
    first = at.chat(chat(stream=True))
    assert len(first.body) > 6000
    assert first.body.endswith(b"data: [DONE]\n\n")
    assert how(at.chat(chat(stream=True))) == "miss"
    assert (len(at.cache.store), len(at.cache.flights)) == (0, 0)


def test_nothing_of_a_question_is_kept_but_a_digest() -> None:
    at = at_entry()
    at.chat(orjson.dumps({"model": "chat", "messages": [{"role": "user", "content": "a secret"}]}))
    assert "secret" not in repr([(kept, kept.key) for kept in at.cache.store])


LEAVE_OUT: list[Callable[[Key], Key]] = [
    lambda key: key._replace(tenant=""),
    lambda key: key._replace(classes=()),
]


@pytest.mark.parametrize("fault", LEAVE_OUT)
def test_a_key_that_leaves_something_out_would_be_seen(fault: Callable[[Key], Key]) -> None:
    """The test of what is not shared sees both sides."""
    from infercast.router.cache import answers

    plain = answers._key
    with patch.object(answers, "_key", lambda *facts: fault(plain(*facts))):
        at = at_entry(engine_with(policy_of(), policy_of("u")))
        at.infer()
        assert "hit" in (how(at.infer(key="u")), how(at.infer(infercast_class="german")))


def test_covers_says_no_at_once() -> None:
    at = at_entry(engine_with(policy_of(cache=None)))
    assert isinstance(at.scene.caller.cache, AnswerCache)
    at.infer()
    assert not at.cache.covers(at.runner.ran[0])


def test_a_large_body_is_read_beside_the_others_and_judged_after_that() -> None:
    at = at_entry()
    long = orjson.dumps({"model": "chat", "messages": [{"role": "user", "content": "x" * 20_000}]})
    assert [how(at.chat(long)) for _ in range(2)] == ["miss", "hit"]

    def meanwhile(call: Any, **more: Any) -> Any:
        installed(at, policy_of(classes={"plain": {"residency": {"storage": []}}}))
        return question_of(call, **more)

    with patch("infercast.router.cache.answers.question_of", meanwhile):
        assert "infercast-cache" not in at.chat(long).headers
    assert len(at.cache.store) == 0


def test_what_an_upstream_may_read_otherwise_is_not_kept() -> None:
    at = at_entry()
    twins = question()[:-1] + b',"inputs":' + orjson.dumps(orjson.loads(question(1))["inputs"]) + b"}"
    assert how(at.infer(twins)) == "miss"
    assert how(at.infer(question(1))) == "hit"  # nobody but this place reads it
    far = scene(entry="ber", engine=engine_with(fleet=upstream_fleet("http://far", "oip")), clock=Clock(0))
    at.cache._elsewhere = AnswerCache(far.caller.deciding)._elsewhere
    assert "infercast-cache" not in at.infer(twins).headers
    assert how(at.infer(question(2))) == "miss"


@dataclass
class UsedUp(Unlimited):
    """Limits that leave no room."""

    looked: int = 0

    def look(self, request: Request) -> None:
        self.looked += 1
        raise Trouble(Kind.LIMITED, "as told")

    def open(self, call: Carried, carrying: Carrying) -> Hold:
        raise Trouble(Kind.LIMITED, "as told")


def test_a_kept_answer_is_given_when_limits_are_used_up_and_nothing_else_is() -> None:
    at = at_entry(engine_with(policy_of(), policy_of("u", cache=None)))
    at.infer()
    at.scene.caller._accounts = accounts = UsedUp()
    assert how(at.infer()) == "hit"
    assert at.infer(question(1.0)).status == 429
    assert accounts.looked == 0
    assert at.infer(key="u").status == 429
    assert (accounts.looked, len(at.runner.ran)) == (1, 1)
