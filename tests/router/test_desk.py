"""What the ingress remembers from call to call: keys, paths, the series of ids."""

from unittest.mock import patch

import pytest

from infercast.router.errors import Kind, Trouble
from infercast.router.ingress.desk import SHOWN_MAX, Desk
from infercast.router.ingress.http import Ask, Message
from infercast.router.ingress.oip import MODEL, not_ready
from infercast.router.ingress.routes import FOUND_MAX, Route, Routes
from infercast.router.keys import Keys, issue
from tests.router.fakes import WALL_S, door


async def _nothing() -> Message:
    raise AssertionError


async def _refuse(_: Ask) -> object:
    raise not_ready("any")


def asked(path: str = "/v2", secret: str = "") -> Ask:
    """A call with a key."""
    return Ask("GET", path, {b"authorization": f"Bearer {secret}".encode()}, _nothing)


def with_key(expires_at_s: int | None = None) -> tuple[Desk, str]:
    """A desk with one key."""
    key, secret = issue("studio", "studio", "paris", expires_at_s=expires_at_s)
    desk = door().ingress.desk
    desk.keys = Keys([key])
    return desk, secret


def test_a_key_that_is_known_ends_when_it_ends() -> None:
    desk, secret = with_key(expires_at_s=WALL_S + 10)
    for now_s in (WALL_S, WALL_S + 9):
        with patch("infercast.router.ingress.desk._now_s", lambda now_s=now_s: now_s):
            assert desk.key(asked(secret=secret)).id == "studio"
    with patch("infercast.router.ingress.desk._now_s", lambda: WALL_S + 10), pytest.raises(Trouble) as caught:
        desk.key(asked(secret=secret))
    assert (caught.value.kind, caught.value.message) == (Kind.UNAUTHENTICATED, "the key 'studio' has expired")


def test_a_key_that_is_known_is_nobodys_once_it_is_withdrawn() -> None:
    desk, secret = with_key()
    assert desk.key(asked(secret=secret)).id == "studio"
    desk.keys = Keys([])
    with pytest.raises(Trouble, match="no valid key"):
        desk.key(asked(secret=secret))


def test_what_is_remembered_of_keys_has_an_end() -> None:
    desk, secret = with_key()
    for spaces in range(SHOWN_MAX + 10):  # the same key, shown in other words each time
        desk.key(asked(secret=f"{' ' * spaces}{secret}"))
    assert len(desk._shown) <= SHOWN_MAX


def test_calls_without_an_id_get_one_of_their_own() -> None:
    desk, secret = with_key()
    other, _ = with_key()
    key = desk.key(asked(secret=secret))
    ids = [at.request_of(asked(secret=secret), key, "digits").id for at in (desk, other) for _ in range(50)]
    assert len(set(ids)) == len(ids)


def test_a_path_is_found_again_with_names_that_are_the_calls_own() -> None:
    routes = Routes([Route("GET", MODEL, _refuse)])  # type: ignore[arg-type]
    for _ in range(3):
        ask = asked("/v2/models/digits")
        routes.find(ask)
        assert ask.names == {"model": "digits"}
        ask.names["model"] = "other"


def test_what_is_remembered_of_paths_has_an_end() -> None:
    routes = Routes([Route("GET", MODEL, _refuse)])  # type: ignore[arg-type]
    for number in range(FOUND_MAX + 10):
        routes.find(asked(f"/v2/models/m{number}"))
    assert len(routes._found) <= FOUND_MAX
    with pytest.raises(Trouble, match="not served"):
        routes.find(asked("/v2/models"))
