"""The HTTP side of an entry, driven as an ASGI server drives it."""

import asyncio
from itertools import pairwise
from typing import Any

import orjson
import pytest

from infercast.policies import kernel
from infercast.router import VERSION
from infercast.router.errors import Kind
from infercast.router.ingress.http import BODY_BYTES_MAX, Ask
from tests.router.fakes import Exchange, door, example_fleet, without_deadline

INFER = "/v2/models/digits/infer"
DECIDE = "/v1/decide"


def infer(**headers: str) -> Exchange:
    """One infer call of the studio's at Frankfurt."""
    return door().say("POST", INFER, b"{}", **{"infercast_class": "gameplay", **headers})


def decide(asked: Any, key: str = "studio", entry: str = "fra") -> Exchange:
    """Ask for a decision."""
    body = asked if isinstance(asked, bytes) else orjson.dumps(asked)
    return door(entry=entry).say("POST", DECIDE, body, key)


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/v2/health/live/"])
def test_health_needs_no_key_and_says_what_is_emulated(path: str) -> None:
    found = door().say("GET", path, key=None)
    assert found.status == 200
    assert found.value == {"live": True, "ready": True, "site": "fra", "emulated_distances": True}
    assert found.headers["content-length"] == str(len(found.body))


def test_the_server_says_what_it_is() -> None:
    found = door().say("GET", "/v2", key=None)
    assert (found.status, found.headers["content-type"]) == (200, "application/json")
    assert found.value == {"name": "infercast", "version": VERSION, "extensions": ["binary_tensor_data"]}


def test_a_site_that_shares_its_address_is_found_below_its_name() -> None:
    assert door().say("GET", "/v2/health/live", key=None, root="/fra").value["site"] == "fra"
    assert door().say("POST", INFER, b"{}", infercast_class="gameplay", root="/fra").status == 200


def test_a_model_says_what_it_takes() -> None:
    found = door().say("GET", "/v2/models/digits")
    assert found.status == 200
    assert found.value["versions"] == ["digits-small", "digits-medium", "digits-large"]
    assert found.value["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 64]}]
    assert [output["name"] for output in found.value["outputs"]] == ["probabilities", "label"]
    assert door().say("GET", "/v2/models/digits/ready").value == {"name": "digits", "ready": True}


def test_a_model_of_other_tenants_is_not_there() -> None:
    """The bank may call digits only."""
    for method, path in [("GET", "/v2/models/vision"), ("GET", "/v2/models/vision/ready")]:
        found = door().say(method, path, key="bank")
        assert found.status == 404
        assert found.error == "no model is called 'vision' (known: digits)"
    assert door().say("POST", "/v2/models/vision/infer", key="bank", infercast_class="ledger").status == 404
    assert decide({"model": "vision", "class": "ledger"}, "bank").status == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", INFER),
        ("POST", DECIDE),
        ("GET", "/v1/signals"),
        ("GET", "/v2/models/digits"),
        ("GET", "/v2/models/x/ready"),
    ],
)
@pytest.mark.parametrize("key", [None, "ic-nobody-issued-this", ""])
def test_without_a_valid_key_nothing_is_said(method: str, path: str, key: str | None) -> None:
    found = door().say(method, path, b"{}", key)
    assert (found.status, found.headers["www-authenticate"]) == (401, "Bearer")
    assert found.error == "no valid key (send `Authorization: Bearer KEY`)"
    assert found.receives == 0
    assert "digits" not in found.body.decode()


@pytest.mark.parametrize("scheme", ["Basic {}", "{}", "Bearer", "Bearer  ", "Bearer x{}"])
def test_a_key_comes_as_a_bearer(scheme: str) -> None:
    at = door()
    found = at.say("POST", INFER, b"{}", None, authorization=scheme.format(at.secrets["studio"]))
    assert found.status == 401
    assert at.say("GET", "/v2/models/digits", key=None, authorization=f"bearer  {at.secrets['studio']} ").status == 200


def test_the_key_of_a_tenant_without_a_policy_opens_nothing() -> None:
    at = door(engine=without_deadline())
    assert at.say("POST", INFER, b"{}", infercast_class="gameplay").status == 200
    assert at.say("POST", INFER, b"{}", "camera", infercast_class="personal").status == 401


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("POST", "/v1/decid", "POST /v1/decid is not served here (did you mean '/v1/decide'?)"),
        ("GET", "/", "GET / is not served here (known: /docs, /openapi.json, "),
        ("POST", "/v2/models/digits/infer/more", "is not served here"),
        ("POST", "/v2/models/digts/infer", "no model is called 'digts' (did you mean 'digits'?)"),
        ("GET", "/v2/models/digts", "no model is called 'digts' (did you mean 'digits'?)"),
        ("GET", "/v2/models/../keys", "is not served here"),
        (
            "GET",
            "/v2/repository/index",
            "GET /v2/repository/index is not served here (known: /docs, /openapi.json, /v1/chat/completions, /v1/completions, /v1/decide, /v1/embeddings, /v1/models, /v1/signals, /v2, /v2/health/live, /v2/health/ready)",
        ),
    ],
)
def test_what_is_not_there_is_told_the_nearest(method: str, path: str, said: str) -> None:
    found = door().say(method, path, b"{}", infercast_class="gameplay")
    assert (found.status, found.headers["infercast-outcome"]) == (404, "not_found")
    assert said in found.error
    assert found.receives == 0


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", DECIDE, "POST"),
        ("GET", INFER, "POST"),
        ("HEAD", INFER, "POST"),
        ("PUT", "/v1/chat/completions", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/v2/models/digits", "GET, HEAD"),
        ("OPTIONS", "/v2/health/live", "GET, HEAD"),
    ],
)
def test_another_method_is_told_those_that_there_are(method: str, path: str, allow: str) -> None:
    found = door().say(method, path, b"{}", infercast_class="gameplay")
    assert (found.status, found.headers["infercast-outcome"]) == (405, "wrong_method")
    assert found.headers["allow"] == allow
    assert found.receives == 0


@pytest.mark.parametrize("path", ["/v2/health/live", "/v1/models", "/v2/models/digits/ready"])
def test_the_head_of_what_can_be_got_can_be_asked_for(path: str) -> None:
    whole, head = door().say("GET", path), door().say("HEAD", path)
    assert (head.status, head.headers) == (whole.status, whole.headers)


def test_an_answer_says_where_it_ran_and_why() -> None:
    found = infer(infercast_id="call-7")
    assert (found.status, found.body, found.receives) == (200, b"answer", 1)
    assert found.headers["infercast-site"] == "fra"
    assert found.headers["infercast-tier"] == "edge"
    assert found.headers["infercast-variant"].startswith("digits-")
    assert len(found.headers["infercast-decision"]) == 24
    assert (found.headers["infercast-id"], found.headers["infercast-attempts"]) == ("call-7", "1")
    assert float(found.headers["infercast-cost-usd"]) > 0
    assert found.headers["infercast-emulated-ms"] == "0.000"
    assert found.headers["content-type"] == "application/json"
    assert found.headers["content-length"] == "6"


def test_a_fallback_is_told() -> None:
    at = door("lost")
    found = at.say("POST", INFER, b"{}", infercast_class="gameplay")
    assert found.headers["infercast-attempts"] == "2"
    assert f"{found.headers['infercast-variant']}@{found.headers['infercast-site']}" == at.scene.runner.tried[1]


def test_a_call_without_an_id_is_given_one() -> None:
    ids = {infer().headers["infercast-id"] for _ in range(3)}
    assert len(ids) == 3
    assert len(infer(infercast_id="x" * 1000).headers["infercast-id"]) == 128


def test_the_length_of_the_json_part_goes_along() -> None:
    at = door()
    at.say("POST", INFER, b"{}1234", infercast_class="gameplay", inference_header_content_length="2")
    (_, carried, _) = at.scene.runner.calls[0]
    assert (carried.body, carried.header_bytes) == (b"{}1234", 2)


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"infercast_deadline_ms": "soon"}, "the deadline is 'soon' ms (send a number up to 600000)"),
        ({"infercast_deadline_ms": "0"}, "the deadline is '0' ms"),
        ({"infercast_deadline_ms": "-5"}, "the deadline is '-5' ms"),
        ({"infercast_deadline_ms": "nan"}, "the deadline is 'nan' ms"),
        ({"infercast_deadline_ms": "inf"}, "the deadline is 'inf' ms"),
        ({"infercast_deadline_ms": "600001"}, "the deadline is '600001' ms"),
        ({"infercast_deadline_ms": ""}, "the deadline is '' ms"),
        ({"infercast_class": "gamepley"}, "no data class is called 'gamepley' (did you mean 'gameplay'?)"),
        ({"content_length": "-1"}, "content-length is '-1'"),
        ({"content_length": "1e3"}, "content-length is '1e3'"),
        ({"content_length": "\xb2"}, "content-length is"),
        ({"content_length": "1" * 16}, "content-length is"),
        ({"inference_header_content_length": "two"}, "inference-header-content-length is 'two'"),
    ],
)
def test_a_bad_header_is_named_before_the_body_is_read(headers: dict[str, str], said: str) -> None:
    found = infer(**headers)
    assert (found.status, found.headers["infercast-outcome"]) == (400, "bad_request")
    assert said in found.error
    assert found.receives == 0


def test_a_body_that_is_declared_too_large_is_not_read() -> None:
    at = door(engine=without_deadline())
    found = at.say("POST", INFER, b"{}", infercast_class="gameplay", content_length=str(BODY_BYTES_MAX + 1))
    assert (found.status, found.receives) == (413, 0)
    assert found.error == f"the body has {BODY_BYTES_MAX + 1} bytes (at most {BODY_BYTES_MAX})"


def test_a_body_larger_than_accepted_is_cut_off() -> None:
    part = {"type": "http.request", "body": bytes(BODY_BYTES_MAX // 4 + 1), "more_body": True}
    at = door()
    found = at.say("POST", INFER, infercast_class="gameplay", parts=[part] * 9)
    assert (found.status, found.receives) == (413, 4)
    assert f"at most {BODY_BYTES_MAX}" in found.error
    assert at.scene.runner.calls == []
    assert (at.scene.journal.only()["outcome"], at.scene.journal.only()["reason"]) == ("refused", "too_large")


def test_a_body_in_parts_is_whole() -> None:
    parts = [{"type": "http.request", "body": bytes([n]), "more_body": n < 3} for n in range(4)]
    parts.insert(2, {"type": "http.request", "more_body": True})
    at = door()
    assert at.say("POST", INFER, infercast_class="gameplay", parts=parts).status == 200
    assert at.scene.runner.calls[0][1].body == b"\x00\x01\x02\x03"
    assert at.scene.journal.only("received")["payload_bytes"] == 4


HUNG_UP = [{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}]


def test_a_caller_that_hangs_up_gets_no_reply_and_leaves_a_line() -> None:
    at = door()
    found = at.say("POST", INFER, infercast_class="gameplay", parts=HUNG_UP)
    assert (found.sent, found.receives) == (0, 2)
    assert at.scene.runner.calls == []
    assert at.scene.journal.only()["outcome"] == "failed"
    assert at.scene.journal.only("received")["payload_bytes"] == 4


def test_a_caller_that_hangs_up_is_not_our_fault() -> None:
    at = door()
    at.say("POST", INFER, infercast_class="gameplay", parts=HUNG_UP)
    assert at.scene.journal.only()["reason"] != str(Kind.FAULT)


@pytest.mark.parametrize(("column", "value", "kind", "after_s"), [
    (kernel.L_HEALTHY, 0, "unavailable", "5"),
    (kernel.L_IN_FLIGHT, 10_000, "saturated", "1"),
])  # fmt: skip
def test_a_fleet_that_cannot_now_says_when_to_come_back(column: int, value: int, kind: str, after_s: str) -> None:
    at = door()
    at.scene.snapshot.live[:, column] = value
    at.scene.snapshot.refresh()
    found = at.say("POST", INFER, b"{}", infercast_class="gameplay")
    assert (found.status, found.headers["retry-after"], found.receives) == (503, after_s, 0)
    assert found.headers["infercast-outcome"] == found.value["infercast"]["kind"] == kind


def test_a_refusal_says_which_rules() -> None:
    found = infer(infercast_deadline_ms="1")
    assert (found.status, found.headers["infercast-outcome"], found.receives) == (403, "refused", 0)
    assert found.value["infercast"]["rule"] == "deadline"
    assert "POST /v1/decide" in found.error


@pytest.mark.parametrize(("word", "status", "said"), [
    ("trouble", 400, "input 'image' is missing"),
    ("fault", 500, "the replica says it is its fault"),
    ("broken", 500, "this is our fault, and logged (repeat the call)"),
])  # fmt: skip
def test_trouble_while_it_runs_is_told(word: str, status: int, said: str, caplog: pytest.LogCaptureFixture) -> None:
    at = door(*[word] * 9)
    found = at.say("POST", INFER, b"{}", infercast_class="gameplay")
    assert (found.status, found.error) == (status, said)
    assert "nobody foresaw" not in found.body.decode()
    assert ("nobody foresaw this" in caplog.text) is (word == "broken")
    assert len(at.scene.journal.of("call")) == len(at.scene.journal.of("received")) == 1


def test_a_decision_has_a_verdict_for_every_candidate() -> None:
    found = decide({"model": "digits", "class": "gameplay", "payload_bytes": 256, "deadline_ms": 200.5, "id": "d1"})
    assert found.status == 200
    candidates = [d.id for d in example_fleet().deployments if example_fleet().model_of[d.variant] == "digits"]
    assert [verdict["deployment"] for verdict in found.value["verdicts"]] == candidates
    assert found.value["chosen"] in candidates
    assert found.value["deadline_us"] == 200_500
    assert found.value["request"]["id"] == "d1"
    assert found.headers["infercast-decision"] == found.value["id"]
    assert found.value["summary"].startswith(found.value["chosen"])


def test_a_decision_is_the_one_that_a_call_gets() -> None:
    decided = decide({"model": "digits", "class": "gameplay", "payload_bytes": 2, "id": "same"}).value
    called = infer(infercast_id="same", content_length="2")
    assert called.headers["infercast-decision"] == decided["id"]
    assert decided["chosen"] == f"{called.headers['infercast-variant']}@{called.headers['infercast-site']}"


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        (b"", 400, "not JSON"),
        (b"[]", 400, "not a JSON object"),
        ({}, 400, "the key 'model' is missing"),
        ({"model": "digits", "clas": "gameplay"}, 400, "unknown key 'clas' (did you mean 'class'?)"),
        ({"model": "digits", "inputs": []}, 400, "unknown key 'inputs'"),
        ({"model": 7}, 400, "model is 7"),
        ({"model": "digits", "class": ["gameplay"]}, 400, "class is ['gameplay']"),
        ({"model": "digits", "payload_bytes": -1}, 400, "payload_bytes is -1"),
        ({"model": "digits", "payload_bytes": 1.5}, 400, "payload_bytes is 1.5"),
        ({"model": "digits", "payload_bytes": True}, 400, "payload_bytes is True"),
        ({"model": "digits", "deadline_ms": 0}, 400, "the deadline is 0 ms"),
        ({"model": "digits", "deadline_ms": True}, 400, "deadline_ms is True"),
        ({"model": "digits", "deadline_ms": None}, 400, "deadline_ms is None"),
        ({"model": "digits", "class": "gamepley"}, 400, "no data class is called 'gamepley'"),
        ({"model": "digts", "class": "gameplay"}, 404, "no model is called 'digts' (did you mean 'digits'?)"),
        (b'{"id": "' + b"x" * 70_000 + b'"}', 413, "at most 65536"),
    ],
)
def test_a_bad_question_is_told_which_field(asked: Any, status: int, said: str) -> None:
    found = decide(asked)
    assert found.status == status
    assert said in found.error


@pytest.mark.parametrize("payload_bytes", [10**10 + 1, 10**12])
def test_a_payload_that_no_call_could_bring_is_not_our_fault(payload_bytes: int) -> None:
    found = decide({"model": "digits", "class": "gameplay", "payload_bytes": payload_bytes})
    assert (found.status, found.headers["infercast-outcome"]) == (400, "bad_request")
    assert f"payload_bytes is {payload_bytes}" in found.error


def test_a_length_that_no_body_has_is_not_our_fault() -> None:
    assert infer(content_length="99999999999").status in (403, 413)


def test_a_larger_payload_never_costs_less() -> None:
    asked = [{"model": "digits", "class": "gameplay", "payload_bytes": 10**n} for n in range(11)]
    prices = [[verdict["price_nusd"] for verdict in decide(one).value["verdicts"]] for one in asked]
    for smaller, larger in pairwise(prices):
        assert all(0 <= less <= more for less, more in zip(smaller, larger, strict=True))


def test_signals_need_a_key_and_are_passed_on() -> None:
    assert door().say("GET", "/v1/signals").value == {"site": "fra", "signals": []}


def test_a_server_is_told_that_the_ingress_lives() -> None:
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(door().ingress({"type": "lifespan"}, receive, send))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_no_call_begins_that_could_not_be_written_down() -> None:
    at = door(engine=without_deadline())
    at.scene.journal.full = True
    told = at.say("POST", "/v2/models/digits/infer", b"{}")
    assert (told.status, told.receives, at.scene.runner.tried, at.scene.journal.lines) == (503, 0, [], [])
    assert "journal of fra has no room" in told.error
    at.scene.journal.full = False
    assert at.say("POST", "/v2/models/digits/infer", b"{}").status == 200


@pytest.mark.parametrize(("key", "closes"), [("nobody", True), ("studio", False)])
def test_a_connection_whose_body_was_left_unread_serves_no_other_call(key: str, closes: bool) -> None:
    """The proxy in front would send others' calls over it, while the rest of this body may still come."""
    at = door()
    at.ingress.proxied = True
    found = at.say("POST", INFER, b"{}", key, infercast_class="gameplay", content_length="2")
    assert (found.headers.get("connection") == "close") is closes
    assert at.say("GET", "/v2", key=None).headers.get("connection") is None


def test_a_caller_who_comes_by_itself_keeps_its_connection() -> None:
    """Closed while it still sends, it might never see the answer."""
    found = door().say("POST", INFER, b"{}", "nobody", content_length="2")
    assert (found.status, found.headers.get("connection")) == (401, None)


def test_who_names_no_class_is_told_so() -> None:
    found = door(entry="iad").say("POST", INFER, b"{}", "hospital")
    assert found.status == 421
    assert "no class is named, so all count: name one in infercast-class (" in found.error


class Cycle:
    """Where uvicorn keeps what has come of a body."""

    def __init__(self, *, more_body: bool) -> None:
        self.more_body = more_body

    async def receive(self) -> dict[str, object]:
        """Nobody asks."""
        raise AssertionError


@pytest.mark.parametrize("more", [True, False])
def test_a_connection_whose_body_has_come_whole_serves_other_calls_though_it_was_left_unread(more: bool) -> None:
    headers = {b"content-length": b"5"}
    assert Ask("POST", "/v2", headers, Cycle(more_body=more).receive).leaves_a_body() is more


@pytest.mark.parametrize("path", [INFER, "/v1/chat/completions"])
def test_a_refused_call_says_by_which_id_the_journal_knows_it(path: str) -> None:
    at = door()
    body = b'{"model":"chat","messages":[{"role":"user","content":"x"}]}'
    found = at.say("POST", path, body, infercast_class="gameplay", infercast_deadline_ms="1")
    (line,) = (line for line in at.scene.journal.lines if line["kind"] == "call")
    assert (line["outcome"], line["request"]) == ("refused", found.headers["infercast-id"])
