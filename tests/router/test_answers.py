"""How trouble becomes an answer: one status per kind, and whose fault it is."""

import orjson
import pytest

from infercast.policies.model import Outcome
from infercast.router.conduct.deciding import KIND_OF
from infercast.router.errors import Kind, Trouble
from infercast.router.ingress.answers import RETRY_AFTER_S, STATUS, reply_of
from infercast.router.ingress.rpc_status import CODE

THEIRS = {
    Kind.BAD_REQUEST,
    Kind.BAD_HOPS,
    Kind.UNAUTHENTICATED,
    Kind.FORBIDDEN,
    Kind.NOT_FOUND,
    Kind.WRONG_METHOD,
    Kind.SLOW,
    Kind.TOO_LARGE,
    Kind.WRONG_ENTRY,
    Kind.REFUSED,
    Kind.LIMITED,
    Kind.OVER_BUDGET,
}


def test_every_kind_has_a_status_and_there_is_no_other() -> None:
    assert set(STATUS) == set(Kind)
    for kind, status in STATUS.items():
        assert (400 <= status < 500) == (kind in THEIRS), kind
        assert 400 <= status < 600


def test_every_kind_has_a_code_of_grpc() -> None:
    assert set(CODE) == set(Kind)


def test_every_outcome_but_a_choice_has_a_kind() -> None:
    assert set(KIND_OF) == set(Outcome) - {Outcome.CHOSEN}


@pytest.mark.parametrize("kind", Kind)
def test_an_answer_says_kind_message_remedy_and_facts(kind: Kind) -> None:
    reply = reply_of(Trouble(kind, "what is wrong", "what to do", {"allow": ["GET", "HEAD"]}))
    assert reply.status == STATUS[kind]
    assert orjson.loads(reply.body) == {
        "error": "what is wrong (what to do)",
        "infercast": {"kind": str(kind), "allow": ["GET", "HEAD"]},
    }
    headers = dict(reply.headers)
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"infercast-outcome"] == str(kind).encode()
    assert (b"retry-after" in headers) == (kind in RETRY_AFTER_S)
    assert (b"www-authenticate" in headers) == (kind is Kind.UNAUTHENTICATED)
    assert headers[b"allow"] == b"GET, HEAD"


def test_what_may_pass_later_says_when() -> None:
    assert set(RETRY_AFTER_S) == {kind for kind, status in STATUS.items() if status in (429, 503)}


def test_without_a_remedy_there_are_no_brackets() -> None:
    assert orjson.loads(reply_of(Trouble(Kind.FAULT, "gone")).body)["error"] == "gone"


def test_troubles_do_not_share_their_facts() -> None:
    one, other = Trouble(Kind.FAULT, "a"), Trouble(Kind.FAULT, "a")
    one.extra["tenant"] = "hospital"
    assert other.extra == {}
