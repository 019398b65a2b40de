"""`/admin/v1`: what a platform team asks of a running system, and its keys, with a key of its own. No inference."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from infercast.policies.documents import dotted
from infercast.policies.faults import did_you_mean

from .. import VERSION
from ..errors import Kind, Trouble
from ..key_changes import GRACE_S
from ..key_listing import listing
from ..keys import Holder, Key
from ..ledger.asking import DIMENSIONS, Wanted
from .desk import Desk
from .http import Ask, Reply
from .routes import Route

ADMIN_BYTES_MAX = 16 * 1024
SECONDS_MAX = 366 * 86_400
FIELDS: dict[str, type] = {"id": str, "tenant": str, "admin": bool, "origin": str, "classes": list, "lifetime_s": int}
NAMED = {str: "text", bool: "true or false", list: "a list", int: "a whole number"}
USAGE: dict[str, type] = {"by": list, "since_s": int, "until_s": int, "tenant": str}
USAGE_BY = ("tenant", "model")
GRACE: dict[str, type] = {"grace_s": int}


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that is asked for. A `lifetime_s` of None is for ever."""

    id: str
    tenant: str
    holder: Holder
    origin: str | None
    classes: tuple[str, ...]
    lifetime_s: int | None


class Office(Protocol):
    """What the system does for its platform team. All raise Trouble: BAD_REQUEST or UNAVAILABLE."""

    async def told(self) -> dict[str, Any]:
        """Return which policies and keys are in force in the cluster, and why newer files are not."""
        ...

    def here(self) -> dict[str, Any]:
        """Return what this site knows: the digests that it decides by, and the signals it has heard."""
        ...

    async def usage(self, by: list[str], wanted: Wanted) -> list[dict[str, Any]]:
        """Return the ledger's sums by some of its dimensions."""
        ...

    async def issue(self, new: NewKey) -> str:
        """Issue a key and return its secret."""
        ...

    async def rotate(self, key_id: str, grace_s: int) -> str:
        """Give a key a new secret and return it."""
        ...

    async def revoke(self, key_id: str) -> None:
        """End a key."""
        ...

    async def drain(self, site: str, *, on: bool) -> None:
        """Let a site take no new calls, anywhere in the cluster; or let it take them again."""
        ...


class Admin:
    """Answers the platform team at one entry."""

    def __init__(self, desk: Desk, office: Office) -> None:
        self._desk = desk
        self._office = office

    def routes(self) -> Iterator[Route]:
        """Yield what is served."""
        yield Route("GET", "/admin/v1/status", self._status)
        yield Route("POST", "/admin/v1/usage", self._usage)
        yield Route("GET", "/admin/v1/keys", self._list)
        yield Route("POST", "/admin/v1/keys", self._issue)
        yield Route("POST", "/admin/v1/keys/{id}/rotate", self._rotate)
        yield Route("POST", "/admin/v1/keys/{id}/revoke", self._revoke)
        yield Route("POST", "/admin/v1/sites/{id}/drain", self._drain)
        yield Route("POST", "/admin/v1/sites/{id}/undrain", self._undrain)

    async def _status(self, ask: Ask) -> Reply:
        self._desk.admin(ask)
        told = await self._office.told()
        told["keys"]["ids"] = [row["id"] for row in listing(self._desk.keys, time.time())]
        here = {"site": self._desk.caller.entry, "version": VERSION, "emulated_distances": self._desk.emulated}
        return Reply.json({**here, **told, "here": self._office.here()})

    async def _usage(self, ask: Ask) -> Reply:
        self._desk.admin(ask)
        body = await ask.small_body(ADMIN_BYTES_MAX)
        asked = _fields(body, USAGE) if body else {}
        by = list(asked.get("by", USAGE_BY))
        if unknown := [name for name in by if name not in DIMENSIONS]:
            raise Trouble(
                Kind.BAD_REQUEST, f"{unknown[0]!r} is nothing to sum by", did_you_mean(unknown[0], DIMENSIONS)
            )
        wanted = Wanted(asked.get("since_s"), asked.get("until_s"), asked.get("tenant", ""))
        if wanted.since_s is not None and wanted.until_s is not None and wanted.since_s >= wanted.until_s:
            said = f"since_s is {wanted.since_s}, which is not before until_s, {wanted.until_s}"
            raise Trouble(Kind.BAD_REQUEST, said, "give since_s the earlier one")
        return Reply.json(
            {"usage": await self._office.usage(list(dict.fromkeys(by)), wanted)}, cache_control="no-store"
        )

    async def _list(self, ask: Ask) -> Reply:
        self._desk.admin(ask)
        return Reply.json({"keys": listing(self._desk.keys, time.time())})

    async def _issue(self, ask: Ask) -> Reply:
        who = self._desk.admin(ask)
        asked = _fields(await ask.small_body(ADMIN_BYTES_MAX), FIELDS)
        admin = asked.get("admin", False)
        tenant, origin, classes = asked.get("tenant", ""), asked.get("origin"), asked.get("classes", [])
        if not all(isinstance(name, str) for name in classes):
            raise Trouble(Kind.BAD_REQUEST, "classes are not all text", "name data classes of the tenant's policy")
        if admin and (tenant or origin or classes):
            raise Trouble(Kind.BAD_REQUEST, "an admin's key is bound to no tenant, origin or class", "leave them out")
        lifetime_s = _seconds("lifetime_s", asked["lifetime_s"], 1) if "lifetime_s" in asked else None
        name = asked.get("id") or ("admin" if admin else f"{tenant}.{origin}" if origin else tenant)
        holder = Holder.ADMIN if admin else Holder.TENANT
        secret = await self._office.issue(NewKey(name, tenant, holder, origin, tuple(classes), lifetime_s))
        return self._done(who, "issued", name, secret)

    async def _rotate(self, ask: Ask) -> Reply:
        who = self._desk.admin(ask)
        body = await ask.small_body(ADMIN_BYTES_MAX)
        grace_s = _seconds("grace_s", _fields(body, GRACE).get("grace_s", GRACE_S) if body else GRACE_S, 0)
        secret = await self._office.rotate(ask.names["id"], grace_s)
        return self._done(who, "rotated", ask.names["id"], secret)

    async def _revoke(self, ask: Ask) -> Reply:
        who, key_id = self._desk.admin(ask), ask.names["id"]
        if who.id == key_id:
            raise Trouble(Kind.BAD_REQUEST, f"{key_id!r} is the key of this very call", "revoke it with another one")
        await self._office.revoke(key_id)
        return self._done(who, "revoked", key_id)

    async def _drain(self, ask: Ask) -> Reply:
        return await self._set_drained(ask, on=True)

    async def _undrain(self, ask: Ask) -> Reply:
        return await self._set_drained(ask, on=False)

    async def _set_drained(self, ask: Ask, *, on: bool) -> Reply:
        who, site = self._desk.admin(ask), ask.names["id"]
        await self._office.drain(site, on=on)
        self._desk.journal.write("admin", by=who.id, what="drained" if on else "undrained", site=site)
        return Reply.json({"site": site, "drained": on}, cache_control="no-store")

    def _done(self, who: Key, what: str, key_id: str, secret: str = "") -> Reply:
        """Write down who did what to which key, and return the answer: a secret stands in this one place."""
        self._desk.journal.write("admin", by=who.id, what=what, key=key_id)
        shown = {"id": key_id, "secret": secret} if secret else {"id": key_id, "standing": what}
        return Reply.json(shown, cache_control="no-store")


def _fields(body: bytes, known: dict[str, type]) -> dict[str, Any]:
    """Return a body's fields. Raises Trouble for one that is unknown or of another type; no value is repeated."""
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Trouble(Kind.BAD_REQUEST, "the body is not JSON") from error
    if not isinstance(asked, dict):
        raise Trouble(Kind.BAD_REQUEST, "the body is not a JSON object")
    for field, value in asked.items():
        if field not in known:
            raise Trouble(Kind.BAD_REQUEST, f"unknown key {dotted((field,))!r}", did_you_mean(field, known))
        if type(value) is not known[field]:
            said = f"{field} is not {NAMED[known[field]]}"
            raise Trouble(Kind.BAD_REQUEST, said, "see docs/security.md")
    return asked


def _seconds(field: str, value: int, least: int) -> int:
    if not least <= value <= SECONDS_MAX:
        raise Trouble(Kind.BAD_REQUEST, f"{field} is {value}", f"seconds from {least} to {SECONDS_MAX}")
    return value
