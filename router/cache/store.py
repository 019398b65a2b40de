"""What is kept, in memory, within a number of bytes: by tenant the least recently used goes first, and all goes in time.

When there is no room, it is made by whoever holds most (to within a factor of two): a tenant who floods the store pushes
out answers of its own. Every step takes the same time however much is kept.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from infercast.policies.model import Request
from infercast.policies.parts import Similar
from infercast.policies.units import US_PER_S

from ..api import Api

SIZE_BYTES = 64 * 1024 * 1024
"""What a worker keeps in all."""
ENTRY_BYTES_MAX = 1024 * 1024
"""Larger answers are not kept."""
KEPT_BYTES = 1024
"""What an answer takes beside its bytes."""


class Key(NamedTuple):
    """What must be equal for an answer to be given again. `holder` is empty where the whole tenant shares it."""

    tenant: str
    holder: str
    classes: tuple[str, ...]
    model: str
    variant: str
    api: Api
    stream: bool
    digest: bytes


@dataclass(slots=True, eq=False)
class Kept:
    """An answer that is kept: a body, or the events of a stream. `deployment` made it for `request`, at `made_us` here.

    It is gone `lifetime_us` later. `similar`: it was made for another question than its key's, similar by these words of the policy.
    `beside_bytes` is what is kept for its sake elsewhere.
    """

    key: Key
    request: Request
    deployment: str
    variant: str
    site: str
    body: bytes
    header_bytes: int | None
    events: tuple[bytes, ...] | None
    made_us: int
    lifetime_us: int
    similar: Similar | None = None
    beside_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        """What it takes."""
        events = () if self.events is None else self.events
        return len(self.body) + sum(map(len, events)) + 64 * len(events) + KEPT_BYTES + self.beside_bytes

    @property
    def due_s(self) -> int:
        """The second in which it is gone."""
        return -(-(self.made_us + self.lifetime_us) // US_PER_S)


class _Shelf:
    """What is kept of one tenant, the least recently used first."""

    def __init__(self) -> None:
        self.kept: dict[Key, Kept] = {}
        self.size_bytes = 0


class Store:
    """Answers by key. `dropped` is told of each that goes, however it goes."""

    def __init__(self, size_bytes: int = SIZE_BYTES, entry_bytes_max: int = ENTRY_BYTES_MAX) -> None:
        self.entry_bytes_max = min(entry_bytes_max, size_bytes)
        self.size_bytes = 0
        self.dropped: Callable[[Kept], None] = lambda kept: None
        self._size_bytes_max = size_bytes
        self._shelves: dict[str, _Shelf] = {}
        # Tenants by how many bits the number of their bytes has: the last that is not empty holds those with most.
        self._by_size: list[dict[str, None]] = [{} for _ in range(size_bytes.bit_length() + 1)]
        self._due: dict[int, dict[Kept, None]] = {}
        self._swept_s: int | None = None
        self.evicted: Counter[str] = Counter()
        """How many answers of each tenant had to go before their time, for want of room."""

    def __len__(self) -> int:
        return sum(len(shelf.kept) for shelf in self._shelves.values())

    def __iter__(self) -> Iterator[Kept]:
        """Return all that is kept, as of now."""
        return iter([kept for tenant in self.tenants for kept in self.of(tenant)])

    @property
    def tenants(self) -> list[str]:
        """Of whom anything is kept."""
        return list(self._shelves)

    def of(self, tenant: str) -> list[Kept]:
        """Return what is kept of a tenant, as of now, the least recently used first."""
        return list(self._shelves[tenant].kept.values()) if tenant in self._shelves else []

    def told(self) -> dict[str, dict[str, int]]:
        """Return how much is kept of each tenant: numbers only."""
        return {
            tenant: {"answers": len(shelf.kept), "bytes": shelf.size_bytes}
            for tenant, shelf in sorted(self._shelves.items())
        }

    def get(self, key: Key, now_us: int) -> Kept | None:
        """Return what is kept under a key, now the most recently used."""
        shelf = self._shelves.get(key.tenant)
        kept = None if shelf is None else shelf.kept.pop(key, None)
        if shelf is None or kept is None:
            return None
        shelf.kept[key] = kept
        if now_us - kept.made_us >= kept.lifetime_us:
            self.drop(kept)
            return None
        return kept

    def put(self, kept: Kept) -> bool:
        """Keep an answer, in place of one under its key; False where it is too large."""
        size_bytes = kept.size_bytes
        if size_bytes > self.entry_bytes_max or kept.lifetime_us <= 0:
            return False
        shelf = self._shelves.get(kept.key.tenant)
        older = None if shelf is None else shelf.kept.get(kept.key)
        if older is not None:
            self.drop(older)
        while self.size_bytes + size_bytes > self._size_bytes_max:
            self._make_room()
        shelf = self._shelves.setdefault(kept.key.tenant, _Shelf())
        shelf.kept[kept.key] = kept
        self._due.setdefault(kept.due_s, {})[kept] = None
        self._resize(kept.key.tenant, shelf, size_bytes)
        return True

    def drop(self, kept: Kept) -> None:
        """Let an answer go; one that is gone already is left alone."""
        tenant = kept.key.tenant
        shelf = self._shelves.get(tenant)
        if shelf is None or shelf.kept.get(kept.key) is not kept:
            return
        del shelf.kept[kept.key]
        due = self._due[kept.due_s]
        del due[kept]
        if not due:
            del self._due[kept.due_s]
        self._resize(tenant, shelf, -kept.size_bytes)
        if not shelf.kept:
            del self._shelves[tenant]
        self.dropped(kept)

    def shorten(self, kept: Kept, lifetime_us: int) -> None:
        """Let an answer go earlier than was thought."""
        if lifetime_us < kept.lifetime_us:
            due = self._due[kept.due_s]
            del due[kept]
            if not due:
                del self._due[kept.due_s]
            kept.lifetime_us = lifetime_us
            self._due.setdefault(kept.due_s, {})[kept] = None

    def sweep(self, now_us: int) -> None:
        """Drop whatever has had its time. Called about once a second."""
        now_s, since_s = now_us // US_PER_S, self._swept_s
        self._swept_s = now_s
        few = since_s is not None and now_s - since_s < len(self._due)
        seconds = range(since_s + 1, now_s + 1) if few and since_s is not None else list(self._due)
        for second in seconds:
            for kept in list(self._due.get(second, ())) if second <= now_s else ():
                self.drop(kept)

    def _make_room(self) -> None:
        """Drop what has been used least recently of a tenant that holds most."""
        largest = next(tenants for tenants in reversed(self._by_size) if tenants)
        tenant = next(iter(largest))
        self.evicted[tenant] += 1
        self.drop(next(iter(self._shelves[tenant].kept.values())))

    def _resize(self, tenant: str, shelf: _Shelf, by_bytes: int) -> None:
        before, after = shelf.size_bytes, shelf.size_bytes + by_bytes
        shelf.size_bytes = after
        self.size_bytes += by_bytes
        if before.bit_length() == after.bit_length():
            return
        self._by_size[before.bit_length()].pop(tenant, None)
        if after:
            self._by_size[after.bit_length()][tenant] = None
