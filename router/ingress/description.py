"""What this entry says of itself: the OpenAPI document for programs, and a page of it for people. Needs no key."""

from functools import cache

import orjson

from .http import Ask, Reply
from .openapi import document
from .reference import page
from .routes import Route

HTML = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
)


def description_routes() -> list[Route]:
    """Return what is served."""
    return [Route("GET", "/openapi.json", _openapi), Route("GET", "/docs", _page)]


async def _openapi(ask: Ask) -> Reply:
    return Reply(200, _rendered(ask.root)[0], ((b"content-type", b"application/json"),))


async def _page(ask: Ask) -> Reply:
    return Reply(200, _rendered(ask.root)[1], HTML)


@cache
def _rendered(root: str) -> tuple[bytes, bytes]:
    """Return both, made once: there is one root to an entry."""
    found = document(root)
    return orjson.dumps(found), page(found).encode()
