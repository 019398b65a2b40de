"""The bodies of infer answers name the request that they answer: taken out before they are kept, put in when given again."""

import orjson

from ..api import Api


def nameless(api: Api, body: bytes, header_bytes: int | None) -> tuple[bytes, int | None] | None:
    """Return an answer without its request's id; None for one that is not as the protocol says."""
    if api is not Api.INFER:
        return body, header_bytes
    try:
        head = orjson.loads(body[:header_bytes])
        if not isinstance(head, dict) or not head:
            return None
        if "id" not in head:
            return body, header_bytes
        del head["id"]
        written = orjson.dumps(head)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None
    return (written, None) if header_bytes is None else (written + body[header_bytes:], len(written))


def named(body: bytes, header_bytes: int | None, call_id: str) -> tuple[bytes, int | None]:
    """Return such an answer with an id; without, as it is."""
    if not call_id:
        return body, header_bytes
    end = body.rindex(b"}", 0, header_bytes)
    head = b'%b,"id":%b}' % (body[:end], orjson.dumps(call_id))
    return (head, None) if header_bytes is None else (head + body[header_bytes:], len(head))
