"""Whose call it is: from the `Authorization` of any API, HTTP or gRPC."""

from .errors import Kind, Trouble
from .keys import Holder, Key, Keys, Standing

REMEDY = "send `Authorization: Bearer KEY`"


def authenticate(keys: Keys, authorization: str | None, holder: Holder, now_s: float) -> Key:
    """Return the key that an `Authorization` shows. Raises Trouble: UNAUTHENTICATED or FORBIDDEN.

    That a key has ended, and what it opens, is told only to who holds its secret; a stranger hears the same of all.
    """
    scheme, _, secret = (authorization or "").strip().partition(" ")
    key = keys.find(secret.strip()) if scheme.lower() == "bearer" else None
    if key is None:
        raise Trouble(Kind.UNAUTHENTICATED, "no valid key", REMEDY)
    standing = key.standing(now_s)
    if standing is not Standing.VALID:
        ended = "has expired" if standing is Standing.EXPIRED else "was revoked"
        raise Trouble(Kind.UNAUTHENTICATED, f"the key {key.id!r} {ended}", "ask for a new one")
    if key.holder is not holder:
        opens = "/admin alone" if key.holder is Holder.ADMIN else "a tenant's calls, not /admin"
        raise Trouble(Kind.FORBIDDEN, f"the key {key.id!r} opens {opens}", "use another key")
    return key
