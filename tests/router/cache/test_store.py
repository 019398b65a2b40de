"""What is kept, in memory: within its bounds, the least recently used first, fair between tenants, gone in time."""

from collections import OrderedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from infercast.router.api import Api
from infercast.router.cache.store import KEPT_BYTES, Kept, Key, Store
from tests.router.fakes import ask

SECOND_US = 1_000_000


def key(name: str, tenant: str = "t") -> Key:
    return Key(tenant, "", (), "m", "", Api.INFER, False, name.encode())


def kept(name: str, tenant: str = "t", size: int = 100, made_us: int = 0, lifetime_s: float = 10) -> Kept:
    body, lifetime_us = b"x" * size, int(lifetime_s * SECOND_US)
    return Kept(key(name, tenant), ask(), "d", "v", "s", body, None, None, made_us, lifetime_us)


def room_for(count: int, size: int = 100) -> int:
    return count * (size + KEPT_BYTES)


def names(store: Store) -> set[str]:
    return {one.key.digest.decode() for one in store}


def test_the_least_recently_used_goes_first() -> None:
    store = Store(room_for(3))
    for name in "abc":
        assert store.put(kept(name))
    assert store.get(key("a"), 0) is not None
    store.put(kept("d"))
    assert names(store) == {"a", "c", "d"}


def test_what_is_larger_than_an_entry_may_be_is_not_kept() -> None:
    store = Store(100_000, entry_bytes_max=5_000)
    assert not store.put(kept("a", size=5_000))
    assert store.put(kept("a", size=5_000 - KEPT_BYTES))


def test_events_count() -> None:
    store = Store(100_000, entry_bytes_max=5_000)
    streamed = kept("a", size=0)
    streamed.events = (b"x" * 10,) * 100
    assert not store.put(streamed)


def test_one_key_has_one_answer() -> None:
    store = Store()
    store.put(kept("a", size=10))
    store.put(kept("a", size=20))
    assert (len(store), store.size_bytes) == (1, 20 + KEPT_BYTES)
    found = store.get(key("a"), 0)
    assert found is not None
    assert len(found.body) == 20


def test_a_tenant_who_floods_pushes_out_its_own() -> None:
    """Somebody who holds less than half of what the flooder holds loses nothing."""
    store = Store(room_for(100))
    for number in range(20):
        store.put(kept(f"calm{number}", "calm"))
    for number in range(5_000):
        store.put(kept(f"flood{number}", "flooder"))
    assert sum(one.key.tenant == "calm" for one in store) == 20
    assert len(store) == 100


def test_many_tenants_share_what_there_is() -> None:
    store = Store(room_for(64))
    for number in range(64):
        store.put(kept(str(number), "first"))
    for number in range(3_200):
        store.put(kept(str(number), f"tenant{number % 4}"))
    held = {tenant: sum(one.key.tenant == tenant for one in store) for tenant in ("first", "tenant0", "tenant3")}
    assert min(held.values()) >= 64 / 5 / 2
    assert len(store) == 64


@pytest.mark.parametrize("swept_at_s", [10, 11, 5_000_000])
def test_what_has_had_its_time_is_swept_away(swept_at_s: int) -> None:
    store = Store()
    gone: list[Kept] = []
    store.dropped = gone.append
    store.put(kept("a"))
    store.put(kept("b", lifetime_s=6_000_000))
    store.sweep(0)
    store.sweep(9_999_999)
    assert len(store) == 2
    store.sweep(swept_at_s * SECOND_US)
    assert names(store) == {"b"}
    assert [one.key for one in gone] == [key("a")]


def test_what_is_shortened_goes_earlier() -> None:
    store = Store()
    one = kept("a")
    store.put(one)
    store.sweep(0)
    store.shorten(one, 3 * SECOND_US)
    store.shorten(one, 30 * SECOND_US)
    store.sweep(2 * SECOND_US)
    assert len(store) == 1
    store.sweep(3 * SECOND_US)
    assert len(store) == 0


class Machine(RuleBasedStateMachine):
    """The store against the plainest description of one tenant's: an ordered dictionary, and a sum."""

    SIZE = 12_000

    def __init__(self) -> None:
        super().__init__()
        self.store = Store(self.SIZE)
        self.plain: OrderedDict[Key, Kept] = OrderedDict()
        self.gone: list[Kept] = []
        self.put: list[Kept] = []
        self.store.dropped = self.gone.append
        self.now_us = 0

    @rule(name=st.sampled_from("abcdefgh"), size=st.integers(0, 4_000), lifetime_s=st.sampled_from([0.5, 1, 3.2, 90]))
    def put_one(self, name: str, size: int, lifetime_s: float) -> None:
        one = kept(name, size=size, made_us=self.now_us, lifetime_s=lifetime_s)
        self.put.append(one)
        assert self.store.put(one)
        self.plain.pop(one.key, None)
        while sum(each.size_bytes for each in self.plain.values()) + one.size_bytes > self.SIZE:
            self.plain.popitem(last=False)
        self.plain[one.key] = one

    @rule(name=st.sampled_from("abcdefgh"))
    def get_one(self, name: str) -> None:
        found, plain = self.store.get(key(name), self.now_us), self.plain.get(key(name))
        if plain is not None and self.now_us - plain.made_us >= plain.lifetime_us:
            del self.plain[key(name)]
            plain = None
        if plain is not None:
            self.plain.move_to_end(key(name))
        assert found is plain

    @rule(passed_ms=st.sampled_from([1, 400, 1_000, 60_000]))
    def sweep(self, passed_ms: int) -> None:
        self.now_us += passed_ms * 1000
        self.store.sweep(self.now_us)
        second = self.now_us // SECOND_US
        for one in [each for each in self.plain.values() if each.due_s <= second]:
            del self.plain[one.key]

    @precondition(lambda self: self.plain)
    @rule(data=st.data())
    def shorten(self, data: st.DataObject) -> None:
        one = self.plain[data.draw(st.sampled_from(sorted(self.plain, key=lambda each: each.digest)))]
        age_us = self.now_us - one.made_us
        self.store.shorten(one, max(age_us + 1, data.draw(st.integers(1, 5_000_000))))

    @precondition(lambda self: self.plain)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        one = self.plain.pop(data.draw(st.sampled_from(sorted(self.plain, key=lambda each: each.digest))))
        self.store.drop(one)
        self.store.drop(one)

    @invariant()
    def the_same_is_kept_and_counted(self) -> None:
        assert [*self.store] == [*self.plain.values()]
        assert self.store.size_bytes == sum(one.size_bytes for one in self.plain.values()) <= self.SIZE
        assert len(self.gone) + len(self.plain) == len(self.put)
        assert sum(map(len, self.store._due.values())) == len(self.plain)
        assert sum(map(len, self.store._by_size)) == bool(self.plain)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=40)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30), st.integers(0, 3_000)), max_size=120))
def test_a_tenant_loses_only_what_a_larger_one_would(steps: list[tuple[str, int, int]]) -> None:
    """Whoever loses an answer to another tenant's held at least half of what anybody held."""
    store = Store(20_000)
    putting = ""

    def dropped(one: Kept) -> None:
        held = {name: shelf.size_bytes for name, shelf in store._shelves.items()}
        mine = held.get(one.key.tenant, 0) + one.size_bytes
        if one.key.tenant != putting:
            assert mine * 2 > max(held.values(), default=0)

    store.dropped = dropped
    for tenant, number, size in steps:
        putting = tenant
        store.put(kept(str(number), tenant, size))
        assert store.size_bytes <= 20_000
