"""What an upstream says that is no answer: whose fault it is, whether it is tried elsewhere, what the caller is told of it."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from infercast.policies.model import Rule
from infercast.router.conduct.ports import Lost
from infercast.router.errors import Kind, Trouble
from infercast.router.ingress.answers import reply_of
from infercast.router.ingress.http import Reply
from infercast.router.ingress.openai_errors import openai_reply_of
from infercast.router.upstream import statuses
from infercast.router.upstream.statuses import Broken, Declined, Full, Misset
from tests.router.test_upstream_runner import SAID, Raw, call_of, ran, recording
from tests.router.upstreams import answer, answering, as_json, scripted


def status(line: str, body: Raw | None = None, *headers: str) -> bytes:
    return answer(as_json(body or {}), line, *headers)


def saturated(rule: Rule, written: Callable[[Trouble], Reply] = reply_of) -> bytes:
    """What a peer's ingress says when a candidate would pass without its load."""
    reply = written(Trouble(Kind.SATURATED, "0/2 candidates pass", "", {"outcome": "saturated", "rule": rule.word}))
    lines = [f"{name.decode()}: {value.decode()}" for name, value in reply.headers]
    return answer(reply.body, "503 Service Unavailable", *lines)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (status("429 Too Many Requests", None, "retry-after: 17"), Full),
        (status("429 Too Many Requests"), Full),
        (status("503 Service Unavailable", None, "retry-after: 2"), Full),
        (status("401 Unauthorized", {"error": {"message": "Incorrect API key provided: sk-far"}}), Misset),
        (status("403 Forbidden"), Misset),
        (status("404 Not Found"), Misset),
        (status("301 Moved", None, "location: http://169.254.169.254/"), Misset),
        (status("307 Temporary Redirect", None, "location: http://127.0.0.1:1/"), Misset),
        (status("500 Internal Server Error"), Broken),
        (status("502 Bad Gateway"), Broken),
        (status("503 Service Unavailable"), Broken),
        (status("504 Gateway Timeout"), Broken),
        (status("204 No Content"), Broken),
        (status("403 Forbidden", None, "infercast-outcome: refused"), Declined),
        (status("421 Misdirected", None, "infercast-outcome: wrong_entry"), Declined),
        (saturated(Rule.DEADLINE_LOAD), Declined),
        (saturated(Rule.DEADLINE_LOAD, openai_reply_of), Declined),
        (saturated(Rule.CAPACITY), Full),
        (saturated(Rule.CAPACITY, openai_reply_of), Full),
        (status("503 Service Unavailable", None, "infercast-outcome: saturated"), Full),
        (status("508 Loop Detected", None, "infercast-outcome: loop"), Misset),
        (status("400 Bad Request", {"error": "infercast-hops: sk-far"}, "infercast-outcome: bad_hops"), Misset),
        (answer(b"not json"), Broken),
        (answer(b"[1, 2]"), Broken),
        (answer(as_json(SAID), "200 OK", "content-encoding: gzip"), Broken),
    ],
)
def test_what_is_not_the_callers_fault_is_decided_again(text: bytes, kind: type[Lost]) -> None:
    with scripted(answering(text)) as port, pytest.raises(Lost) as caught:
        ran(port, call_of())
    assert type(caught.value) is kind
    assert "sk-far" not in str(caught.value)
    if isinstance(caught.value, Full):
        assert caught.value.retry_after_s in (1, 2, 17)


def test_what_nobody_can_have_used_is_not_believed() -> None:
    """A sum of such numbers fits into no ledger."""
    told = {**SAID, "usage": {"prompt_tokens": 3, "completion_tokens": 2**63}}
    with scripted(answering(answer(as_json(told)))) as port:
        assert ran(port, call_of()).usage is None


@pytest.mark.parametrize(
    ("text", "paid"),
    [
        (status("500 Internal Server Error"), False),
        (status("503 Service Unavailable"), False),
        (status("529 Overloaded"), False),
        (status("429 Too Many Requests"), False),
        (status("404 Not Found"), False),
        (status("504 Gateway Timeout", None, "infercast-outcome: deadline"), False),
        (status("502 Bad Gateway"), True),
        (status("504 Gateway Timeout"), True),
        (status("408 Request Timeout"), True),
        (status("204 No Content"), True),
        (answer(b"not json"), True),
    ],
)
def test_an_error_that_an_upstream_answers_with_is_not_paid_for(text: bytes, *, paid: bool) -> None:
    """What stands in front of it is another matter: behind a gateway's error the call may have run."""
    with scripted(answering(text)) as port, pytest.raises(Lost) as caught:
        ran(port, call_of())
    assert caught.value.ran is paid


@pytest.mark.parametrize(
    ("line", "body", "kind", "said"),
    [
        ("400 Bad Request", {"error": {"message": "max_tokens is too large", "type": "x"}}, Kind.BAD_REQUEST, "max_tokens is too large"),
        ("422 Unprocessable", {"detail": "bad shape"}, Kind.BAD_REQUEST, "bad shape"),
        ("400 Bad Request", {"error": "unexpected shape"}, Kind.BAD_REQUEST, "unexpected shape"),
        ("400 Bad Request", {"error": "no datatype infercast-hops"}, Kind.BAD_REQUEST, "no datatype infercast-hops"),
        ("413 Too Large", {}, Kind.TOO_LARGE, "far does not take this body"),
        ("400 Bad Request", {"error": {"message": "x" * 9999 + "\n"}}, Kind.BAD_REQUEST, "x" * 500),
    ],
)  # fmt: skip
def test_what_is_the_callers_fault_is_told_to_the_caller(line: str, body: Raw, kind: Kind, said: str) -> None:
    with scripted(answering(status(line, body))) as port, pytest.raises(Trouble) as caught:
        ran(port, call_of())
    assert (caught.value.kind, caught.value.message) == (kind, said)


@pytest.mark.parametrize(
    ("error", "blamed"),
    [
        ({"message": "x", "param": "messages", "code": "context_length_exceeded"},
         {"param": "messages", "code": "context_length_exceeded"}),
        ({"message": "x", "param": None, "code": 400}, {}),
        ({"message": "x", "param": "a\nb", "code": "x" * 101}, {}),
        ("x", {}),
    ],
)  # fmt: skip
def test_what_programs_go_by_is_told_to_the_caller_too(error: Any, blamed: Raw) -> None:
    text = status("400 Bad Request", {"error": error, "param": "of another", "code": "place"})
    with scripted(answering(text)) as port, pytest.raises(Trouble) as caught:
        ran(port, call_of())
    assert (caught.value.message, caught.value.extra) == ("x", blamed)


@pytest.mark.parametrize(
    ("value", "told_s"),
    [
        ("7", 7),
        ("0", 1),
        ("soon", 1),
        ("9" * 12, 600),
        ("Wed, 21 Oct 2015 07:28:37 GMT", 37),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 1),
        ("Thu, 31 Dec 2099 23:59:59 GMT", 600),
        ("Thu, 31 Dec 99999 23:59:59 GMT", 1),
    ],
)
def test_when_to_come_back_is_a_count_of_seconds_or_a_date(
    value: str, told_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statuses, "time", SimpleNamespace(time=lambda: 1445412480.0))
    with pytest.raises(Full) as caught:
        statuses.judge("far", 429, {"retry-after": value}, b"")
    assert caught.value.retry_after_s == told_s


def test_no_redirect_is_followed() -> None:
    asked: list[bytes] = []
    with scripted(recording(answer(b"secret"), asked)) as inside:
        moved = status("302 Found", None, f"location: http://127.0.0.1:{inside}/secret")
        with scripted(answering(moved)) as port, pytest.raises(Misset):
            ran(port, call_of())
    assert asked == []
