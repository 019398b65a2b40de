"""Answers to similar questions: compared by the fleet's own embedder at the entry, inside the policy, and paid for."""

import base64
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pytest

from infercast.policies import kernel
from infercast.policies.policy import Policy
from infercast.router.api import Api
from infercast.router.cache.embedding import CHARS_MAX, TIMEOUT_S, Embedding
from infercast.router.conduct.ports import Carried, Lost
from infercast.router.conduct.recorder import DAY_S
from infercast.router.runtime.host import Answer
from tests.router.cache.scenes import At, Numbering, at_entry, engine_with, policy_of
from tests.router.cache.test_answers import how, installed

SIMILAR = {"similar": {"model": "embedding", "min_similarity": 0.9}}
ANGLES = {"hello": 0.0, "hello there": 0.3, "good bye": 1.5, "far": 3.0}
"""What the embedder here makes of a text: a direction in a plane."""


@dataclass
class Embeds(Numbering):
    """Makes a vector of what it knows; all else is answered with a number."""

    embedded: list[Carried] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    breaks_embedding: bool = False

    async def run(self, deployment: int, call: Carried, timeout_s: float) -> Answer:
        if call.request.model != "embedding" or call.api is not Api.EMBEDDING:
            return await super().run(deployment, call, timeout_s)
        self.embedded.append(call)
        self.waits_s.append(timeout_s)
        if self.breaks_embedding:
            raise Lost("gone")
        place = self.fleet.deployments[deployment]
        angle = ANGLES.get(orjson.loads(call.body)["input"], 2.0)
        vector = np.array([np.cos(angle), np.sin(angle)], "<f4").tobytes()
        body = orjson.dumps({"data": [{"embedding": base64.b64encode(vector).decode()}]})
        return Answer(body, None, place.variant, place.site, 100)


def similar(policy: Policy | None = None, entry: str = "fra") -> tuple[At, Embeds]:
    at = at_entry(engine_with(policy or policy_of(cache=SIMILAR)), entry)
    caller = at.scene.caller
    caller.attempts.runner = runner = Embeds(caller.fleet)
    at.cache._embedding = Embedding(entry, caller.fleet, caller.beside)
    return at, runner


def chat(text: str, **more: Any) -> bytes:
    return orjson.dumps({"model": "chat", "messages": [{"role": "user", "content": text}], **more})


def test_a_similar_question_gets_the_answer_and_is_told_so() -> None:
    at, runner = similar()
    first = at.chat(chat("hello"))
    at.pass_s(4)
    again = at.chat(chat("hello there"), infercast_id="near")
    assert (how(first), how(again), how(at.chat(chat("good bye")))) == ("miss", "similar", "miss")
    assert again.value == first.value
    assert again.headers["age"] == "4"
    assert len(runner.ran) == 2
    line = next(line for line in at.scene.journal.of("call") if line["request"] == "near")
    assert (line["cached"], line["cost_usd"]) == ("similar", 0.0)


def test_it_stays_what_it_is_when_it_is_asked_again() -> None:
    """The second time the question itself is known: no vector is needed, and the answer is still that of another."""
    at, runner = similar()
    at.chat(chat("hello"))
    at.chat(chat("hello there"))
    embedded = len(runner.embedded)
    assert how(at.chat(chat("hello there"))) == "similar"
    assert len(runner.embedded) == embedded
    assert how(at.chat(chat("hello"))) == "hit"


def test_each_vector_is_a_call_of_the_tenants_at_this_place_decided_and_paid() -> None:
    at, runner = similar()
    at.chat(chat("hello"), infercast_id="a", infercast_class="german,plain")
    embedded, asked = at.scene.journal.of("call")
    assert (embedded["request"], embedded["tenant"], embedded["model"]) == ("a~similar", "t", "embedding")
    assert embedded["classes"] == asked["classes"] == ["german", "plain"]
    assert embedded["deployment"] == "tiny-embed@fra"
    assert embedded["cost_usd"] > 0
    assert embedded["number"] != asked["number"]
    assert embedded["decision"] in {record["id"] for record in at.scene.log.records}
    assert len(runner.embedded) == 1


def test_nothing_leaves_the_entry_to_be_compared() -> None:
    """Singapore has no embedder; those in Frankfurt and Virginia are not asked."""
    at, runner = similar(entry="sin")
    assert how(at.chat(chat("hello"))) == "miss"
    assert how(at.chat(chat("hello there"))) == "miss"
    assert how(at.chat(chat("hello"))) == "hit"
    assert runner.embedded == []


def test_when_the_one_at_the_entry_is_not_healthy_no_other_is_asked() -> None:
    at, runner = similar()
    at.scene.snapshot.live[at.scene.caller.fleet.deployment_index["tiny-embed@fra"], kernel.L_HEALTHY] = 0
    at.scene.snapshot.refresh()
    assert [how(at.chat(chat(text))) for text in ("hello", "hello there", "hello")] == ["miss", "miss", "hit"]
    assert runner.embedded == []


def test_what_is_kept_for_a_similar_question_goes_when_its_own_caller_says() -> None:
    """What comes from Zürich may be kept for a day; the answer was made for Paris, and stays for that."""
    brief = {"when": {"origins": ["zurich"]}, "constraints": {"privacy": {"retention_days_max": 1}}}
    at, _ = similar(policy_of(cache={**SIMILAR, "ttl_s": 7 * DAY_S}, overrides=[brief]))
    at.chat(chat("hello"))
    assert how(at.chat(chat("hello there"), key="t.swiss")) == "similar"
    assert len(at.cache.store) == 2
    at.pass_s(DAY_S)
    with at.clock.rules():
        at.cache.sweep()
    assert [kept.request.origin for kept in at.cache.store] == ["paris"]


@pytest.mark.parametrize(
    "parts",
    [
        {"models": ["chat", "digits"]},
        {"always": {"accuracy_min": {"embedding": 0.9}}},
        {"overrides": [{"when": {"models": ["embedding"]}, "constraints": {"deadline_ms": 0.001}}]},
    ],
)  # fmt: skip
def test_where_the_policy_does_not_let_it_be_embedded_only_the_same_is_the_same(parts: dict[str, Any]) -> None:
    at, runner = similar(policy_of(cache=SIMILAR, **parts))
    assert how(at.chat(chat("hello"))) == "miss"
    assert how(at.chat(chat("hello there"))) == "miss"
    assert how(at.chat(chat("hello"))) == "hit"
    assert runner.embedded == []


def test_an_embedder_that_is_lost_is_done_without() -> None:
    at, runner = similar()
    runner.breaks_embedding = True
    assert [how(at.chat(chat("hello"))) for _ in range(2)] == ["miss", "hit"]
    assert at.scene.journal.of("call")[0]["outcome"] == "failed"


@pytest.mark.parametrize(
    "other",
    [
        chat("hello there", temperature=0),
        chat("hello there", max_tokens=3),
        orjson.dumps({"model": "chat", "messages": [
            {"role": "system", "content": "be brief"}, {"role": "user", "content": "hello there"}]}),
        chat("hello there", stream=True),
    ],
)  # fmt: skip
def test_all_else_that_a_question_says_must_be_equal(other: bytes) -> None:
    at, _ = similar()
    at.chat(chat("hello"))
    assert how(at.chat(other)) == "miss"


def test_classes_and_keys_and_tenants_are_not_compared() -> None:
    at, _ = similar(policy_of(cache={**SIMILAR, "scope": "key"}))
    at.chat(chat("hello"))
    assert how(at.chat(chat("hello there"), key="t.other")) == "miss"
    assert how(at.chat(chat("hello there"), infercast_class="german")) == "miss"
    assert how(at.chat(chat("hello there"))) == "similar"


@pytest.mark.parametrize("named", ["sealed", "brief"])
def test_what_may_not_be_stored_is_not_embedded_either(named: str) -> None:
    at, runner = similar()
    for text in ("hello", "hello there"):
        assert "infercast-cache" not in at.chat(chat(text), infercast_class=named).headers
    assert (runner.embedded, len(at.cache.vectors)) == ([], 0)


def test_a_vector_goes_with_its_answer() -> None:
    at, _ = similar()
    at.chat(chat("hello"))
    assert len(at.cache.vectors) == 1
    at.pass_s(60)
    with at.clock.rules():
        at.cache.sweep()
    assert (len(at.cache.vectors), len(at.cache.store)) == (0, 0)


def test_a_policy_that_wants_nothing_similar_any_more_gets_nothing_similar_any_more() -> None:
    at, _ = similar()
    at.chat(chat("hello"))
    at.chat(chat("hello there"))
    installed(at, policy_of())
    assert len(at.cache.vectors) == 0
    assert how(at.chat(chat("hello there"))) == "miss"
    assert how(at.chat(chat("hello"))) == "hit"


def test_a_policy_that_wants_them_nearer_counts_at_once() -> None:
    at, _ = similar()
    at.chat(chat("hello"))
    at.chat(chat("hello there"))
    installed(at, policy_of(cache={"similar": {"model": "embedding", "min_similarity": 0.99}}))
    assert how(at.chat(chat("hello there"))) == "miss"


def test_an_answer_that_the_policy_would_not_let_be_made_for_this_call_is_not_given() -> None:
    """It was made outside Germany for somebody in Paris; for calls from Zürich nothing may be computed there."""
    swiss = {"when": {"origins": ["zurich"], "models": ["chat"]}, "constraints": {"residency": {"processing": ["DE"]}}}
    at, runner = similar(policy_of(cache=SIMILAR, overrides=[swiss]))
    fleet, live = at.scene.caller.fleet, at.scene.snapshot.live
    at_home = fleet.deployment_index["tiny-llama@fra"]
    live[at_home, kernel.L_HEALTHY] = 0
    at.scene.snapshot.refresh()
    assert fleet.country_of(at.chat(chat("hello")).headers["infercast-site"]) != "DE"
    live[at_home, kernel.L_HEALTHY] = 1
    at.scene.snapshot.refresh()
    there = at.chat(chat("hello there"), key="t.swiss")
    assert (how(there), there.headers["infercast-site"]) == ("miss", "fra")
    assert len(runner.ran) == 2


@pytest.mark.parametrize(("deadline_ms", "wait_s"), [("400", 0.1), ("60000", TIMEOUT_S)])
def test_a_vector_is_waited_for_a_part_of_the_calls_own_time(deadline_ms: str, wait_s: float) -> None:
    at, runner = similar()
    at.chat(chat("hello"), infercast_deadline_ms=deadline_ms)
    assert runner.waits_s == [wait_s]


def test_a_long_text_is_not_compared() -> None:
    at, runner = similar()
    assert how(at.chat(chat("x" * (CHARS_MAX + 1)))) == "miss"
    assert runner.embedded == []


def test_an_embedding_is_not_compared_by_the_model_that_makes_it() -> None:
    at, runner = similar()
    body = orjson.dumps({"model": "embedding", "input": "hello"})
    found = at.door.say("POST", "/v1/embeddings", body, "t", infercast_class="plain")
    again = at.door.say("POST", "/v1/embeddings", body, "t", infercast_class="plain")
    assert (how(found), how(again)) == ("miss", "hit")
    assert len(runner.embedded) == 1
