"""Issuing, rotating and revoking keys: one writer at a time, whole files, and a running system follows within seconds.

The secrets of keys that this machine's own programs use (the command line's, a device agent's) are replaced beside the
file. Every other secret is returned once, and kept nowhere.
"""

import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, count
from pathlib import Path

from infercast.policies.faults import BadInput, Fault, did_you_mean

from .bundle import bundle_id, bundle_path, read_bundle, write_bundle
from .key_file import KEYS, load_keys, save_keys
from .keys import Holder, Key, Standing, hash_of, issue, new_secret, write_private

GRACE_S = 600
"""How long the old secret of a rotated key stays good, unless told otherwise."""
ENDED_KEPT_S = 30 * 86_400
"""For how long an expired or revoked key is told from one that nobody issued."""
CREDENTIALS = "credentials.json"
ID_PATTERN = "[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
"""Ids stand in logs, messages and paths."""
Change = Callable[[list[Key], int], tuple[list[Key], str]]


def issue_key(
    state: Path,
    key_id: str,
    tenant: str,
    origin: str | None = None,
    classes: Iterable[str] = (),
    holder: Holder = Holder.TENANT,
    lifetime_s: int | None = None,
) -> str:
    """Write a new key and return its secret. Raises BadInput for an id that is, or was, another key's."""

    def change(keys: list[Key], now_s: int) -> tuple[list[Key], str]:
        if re.fullmatch(ID_PATTERN, key_id) is None:
            raise _bad(state, f"{key_id!r} is no id", "letters, digits, `.`, `_` and `-`, at most 128 of them")
        if any(key.id == key_id for key in keys):
            raise _bad(
                state, f"a key {key_id!r} is, or was, there already", "give another with --id, or rotate this one"
            )
        expires_at_s = None if lifetime_s is None else now_s + lifetime_s
        key, secret = issue(key_id, tenant, origin, set(classes), holder=holder, now_s=now_s, expires_at_s=expires_at_s)
        return [*keys, key], secret

    return _changed(state, change)


def free_id(state: Path, wanted: str) -> str:
    """Return an id that is, and was, no key's: the one that is wanted, or that with a number behind it. Raises BadInput."""
    taken = {key.id for key in load_keys(state / KEYS)} if (state / KEYS).exists() else set()
    more = (f"{wanted}-{number}" for number in count(2))
    return next(name for name in chain([wanted], more) if name not in taken)


def rotate_key(state: Path, key_id: str, grace_s: int = GRACE_S) -> str:
    """Give a key a new secret and return it; the old one is good for `grace_s` more.

    The new one lives as long as the old one was to live. Raises BadInput for a key that is not there or was revoked.
    """

    def change(keys: list[Key], now_s: int) -> tuple[list[Key], str]:
        newest = _newest(state, keys, key_id)
        if newest.standing(now_s) is Standing.REVOKED:
            raise _bad(state, f"the key {key_id!r} was revoked", "issue one with another id")
        secret = new_secret()
        lives_s = None if newest.expires_at_s is None else newest.expires_at_s - newest.issued_at_s
        expires_at_s = None if lives_s is None else now_s + lives_s
        fresh = replace(newest, sha256=hash_of(secret), issued_at_s=now_s, expires_at_s=expires_at_s)
        return [*(_ending(key, now_s + grace_s) if key.id == key_id else key for key in keys), fresh], secret

    return _changed(state, change, key_id)


def revoke_key(state: Path, key_id: str) -> None:
    """End a key with all of its secrets at once. Raises BadInput for one that is not there."""

    def change(keys: list[Key], now_s: int) -> tuple[list[Key], str]:
        _newest(state, keys, key_id)
        gone = [
            replace(key, revoked_at_s=now_s) if key.id == key_id and key.revoked_at_s is None else key for key in keys
        ]
        return gone, ""

    _changed(state, change, key_id)


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Hold the keys of a state folder for writing; others wait."""
    lock = os.open(state / f"{KEYS}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _changed(state: Path, change: Change, key_id: str = "") -> str:
    if not (state / KEYS).exists():
        raise _bad(state, "no keys are here", "`infercast up` issues the first ones")
    with locked(state):
        now_s = int(time.time())
        before = [key for key in load_keys(state / KEYS) if not _long_gone(key, now_s)]
        keys, secret = change(before, now_s)
        save_keys(state / KEYS, keys)
        _replace_secret(state, [key for key in keys if key.id == key_id], secret)
    return secret


def _replace_secret(state: Path, entries: list[Key], secret: str) -> None:
    """Hand a key's new state to the programs of this machine that use it."""
    if not entries:
        return
    known = read_credentials(state)
    if secret and entries[0].id in known:
        write_private(state / CREDENTIALS, json.dumps({**known, entries[0].id: secret}, indent=1))
    path = bundle_path(state, entries[0].origin or "")
    if path.exists() and entries[0].id == bundle_id(entries[0].tenant, entries[0].origin or ""):
        write_bundle(path, secret or read_bundle(path).secret, entries)


def read_credentials(state: Path) -> dict[str, str]:
    """Return the secrets that this machine's own programs use, by the ids of their keys; none where there are none."""
    try:
        known: dict[str, str] = json.loads((state / CREDENTIALS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known


def _newest(state: Path, keys: list[Key], key_id: str) -> Key:
    mine = [key for key in keys if key.id == key_id]
    if not mine:
        raise _bad(state, f"no key is called {key_id!r}", did_you_mean(key_id, {key.id for key in keys}))
    return mine[-1]


def _ending(key: Key, at_s: int) -> Key:
    return replace(key, expires_at_s=at_s if key.expires_at_s is None else min(at_s, key.expires_at_s))


def _long_gone(key: Key, now_s: int) -> bool:
    ended = [at_s for at_s in (key.expires_at_s, key.revoked_at_s) if at_s is not None]
    return bool(ended) and min(ended) + ENDED_KEPT_S < now_s


def _bad(state: Path, message: str, remedy: str) -> BadInput:
    return BadInput([Fault(str(state / KEYS), 0, "", message, remedy)])
