"""What may be told of keys: everything but what opens anything."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from .keys import Key, Standing


def listing(keys: Iterable[Key], now_s: float) -> list[dict[str, Any]]:
    """Return one row a key, by id: whose it is, what it is bound to, how it stands. No secret and no hash.

    `old_until` is when the last secret that was rotated out ends, while one is still good.
    """
    by_id: dict[str, list[Key]] = {}
    for key in keys:
        by_id.setdefault(key.id, []).append(key)
    return [_row(by_id[key_id], now_s) for key_id in sorted(by_id)]


def _row(entries: list[Key], now_s: float) -> dict[str, Any]:
    *older, newest = entries
    still = [key.expires_at_s or 0 for key in older if key.standing(now_s) is Standing.VALID]
    return {
        "id": newest.id,
        "holder": str(newest.holder),
        "tenant": newest.tenant or None,
        "origin": newest.origin,
        "classes": list(newest.classes),
        "standing": str(newest.standing(now_s)),
        "issued_at": at(newest.issued_at_s or None),
        "expires_at": at(newest.expires_at_s),
        "revoked_at": at(newest.revoked_at_s),
        "old_until": at(max(still, default=None)),
    }


def at(when_s: int | None) -> str | None:
    """Return a time as people and programs read it, in UTC."""
    if when_s is None:
        return None
    try:
        return datetime.fromtimestamp(when_s, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):  # a year that calendars do not have
        return f"{when_s} s"
