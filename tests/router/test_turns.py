"""Laws of the fair queue: nobody starves, shares follow weights, no place stays empty but the one that is kept, nothing leaks."""

from dataclasses import dataclass, field
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from infercast.router.conduct.turns import LATELY_US, Line, Place, Waiter

SERVICE_US = 10_000
WEIGHTS = {"a": 1, "b": 1, "c": 3, "d": 7}
TENANTS = st.sampled_from(sorted(WEIGHTS))


@dataclass
class Scene:
    """A place with all that is there: who waits, who has been given a place, who runs."""

    room: int
    now_us: int = 0
    place: Place = field(init=False)
    waiting: list[Waiter] = field(default_factory=list)
    granted: list[Waiter] = field(default_factory=list)
    running: list[Line] = field(default_factory=list)
    given: list[str] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        self.place = Place(self.room, 1, 1000, SERVICE_US)

    def line(self, tenant: str) -> Line:
        return self.place.line(tenant, WEIGHTS[tenant], self.now_us)

    @property
    def free(self) -> int:
        return self.place.free(len(self.running))

    def come(self, tenant: str) -> None:
        """A call comes and waits, and gets its turn at once where there is room."""
        self.count += 1
        line = self.line(tenant)
        waiter = Waiter(self.count, self.place, line)
        self.place.put(line, waiter)
        self.waiting.append(waiter)
        self.give()

    def give(self) -> None:
        while (waiter := self.place.next(self.free, self.now_us)) is not None:
            self.waiting.remove(waiter)
            self.granted.append(waiter)
            self.given.append(waiter.line.tenant)
        self.check()

    def take(self) -> None:
        """Who was given a place first takes it."""
        if self.granted:
            waiter = self.granted.pop(0)
            self.place.remove(waiter)
            self.place.begin(waiter.line)
            self.running.append(waiter.line)
            self.check()

    def end(self, which: int) -> None:
        """One that runs ends."""
        if self.running:
            self.place.end(self.running.pop(which % len(self.running)), SERVICE_US)
            self.give()

    def drop(self, which: int) -> None:
        """One that waits, or was given a place, is cancelled."""
        all_ = [*self.waiting, *self.granted]
        if all_:
            gone = all_[which % len(all_)]
            self.place.remove(gone)
            self.place.remove(gone)  # twice is once
            (self.granted if gone in self.granted else self.waiting).remove(gone)
            self.give()

    def check(self) -> None:
        """What is counted is what is there, and no more is there than there is room for."""
        place = self.place
        assert (place.waiting, place.promised, place.running) == (
            len(self.waiting),
            len(self.granted),
            len(self.running),
        )
        assert sum(line.waiting for line in place.lines.values()) == place.waiting
        assert sum(line.has for line in place.lines.values()) == place.promised + place.running <= self.room
        assert {waiter.number for waiter in place.waiters()} == {waiter.number for waiter in self.waiting}

    def wants(self) -> None:
        """No place is empty while somebody waits, but the last, for one who was here lately and has less than its share."""
        if not self.waiting or self.free == 0:
            return
        assert self.free == 1
        lines = self.place.lines.values()
        here = [line for line in lines if line.has or line.waiting or self.now_us - line.seen_us <= LATELY_US]
        weights = sum(line.weight for line in here)
        waits = {waiter.line.tenant for waiter in self.waiting}
        assert any(line.has * weights < line.weight * self.room for line in here if line.tenant not in waits)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), TENANTS),
        st.tuples(st.just("take"), st.just(0)),
        st.tuples(st.sampled_from(["end", "drop"]), st.integers(0, 40)),
        st.tuples(st.just("pass"), st.integers(0, 2 * LATELY_US)),
    ),
    max_size=120,
)


@given(st.integers(1, 6), STEPS)
@settings(deadline=None)
def test_nothing_is_lost_or_counted_twice_and_no_place_stays_empty(
    room: int, steps: list[tuple[str, int | str]]
) -> None:
    scene = Scene(room)
    for what, which in steps:
        match what, which:
            case "come", str(tenant):
                scene.come(tenant)
            case "take", _:
                scene.take()
            case "end", int(number):
                scene.end(number)
            case "drop", int(number):
                scene.drop(number)
            case _, int(us):
                scene.now_us += us
                scene.place.forget(scene.now_us)
                scene.give()
        scene.wants()
    while scene.waiting or scene.granted or scene.running:  # nobody starves: all come to their turn as others end
        before = (len(scene.waiting), len(scene.granted), len(scene.running))
        scene.now_us += LATELY_US
        scene.give()
        while scene.granted:
            scene.take()
        scene.end(0)
        assert (len(scene.waiting), len(scene.granted), len(scene.running)) < before
    scene.now_us += LATELY_US + 1
    scene.place.forget(scene.now_us)
    assert scene.place.lines == {}


@given(
    st.integers(1, 3),
    st.dictionaries(TENANTS, st.integers(60, 80), min_size=2, max_size=4),
    st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=50)
def test_over_any_time_in_which_two_wait_their_shares_differ_by_no_more_than_a_call_of_each(
    room: int, calls: dict[str, int], luck: object
) -> None:
    """Goyal, Vin and Cheng's theorem 1, for calls of one length; a few more may be under way where there is more room."""
    scene = Scene(room)
    come = [tenant for tenant, count in calls.items() for _ in range(count)]
    luck.shuffle(come)  # type: ignore[attr-defined]
    for tenant in come:
        scene.come(tenant)
    began = len(scene.given)
    while all(scene.place.lines[tenant].waiting for tenant in calls):
        while scene.granted:
            scene.take()
        scene.end(0)  # calls are of one length: who began first ends first
    given_ = scene.given[began:]
    for first in range(0, len(given_), 7):
        for last in range(first + 1, len(given_) + 1, 5):
            part = given_[first:last]
            got = {tenant: Fraction(part.count(tenant), WEIGHTS[tenant]) for tenant in calls}
            each = sorted(Fraction(1, WEIGHTS[tenant]) for tenant in calls)
            assert max(got.values()) - min(got.values()) <= each[-1] + each[-2] + (room - 1) * each[-1]


def test_a_tenant_s_calls_have_their_turns_in_the_order_in_which_they_came_also_when_put_back() -> None:
    scene = Scene(1)
    for _ in range(5):
        scene.come("a")
    second = scene.waiting[1]
    scene.place.remove(second)
    again = Waiter(second.number, scene.place, second.line)
    scene.place.put(again.line, again)
    scene.waiting[1] = again
    order = []
    while scene.granted:
        order.append(scene.granted[0].number)
        scene.take()
        scene.end(0)
    assert order == [1, 2, 3, 4, 5]


def test_a_newcomer_goes_next_however_many_of_another_wait() -> None:
    scene = Scene(1)
    for _ in range(50):
        scene.come("a")
    for _ in range(10):
        scene.take()
        scene.end(0)
    scene.come("b")
    scene.take()
    scene.end(0)
    assert scene.given[-1] == "b"


def test_the_last_free_place_is_kept_for_who_was_here_lately_and_given_to_all_once_he_was_not() -> None:
    scene = Scene(4)
    scene.come("b")
    scene.take()
    scene.end(0)
    for _ in range(8):
        scene.come("a")
    assert (len(scene.granted), scene.free) == (3, 1)
    scene.come("b")
    assert scene.given[-1] == "b"  # at once: the flood has not taken it
    scene.granted.remove(next(waiter for waiter in scene.granted if waiter.line.tenant == "b"))
    scene.place.remove(scene.place.lines["b"].granted[0])
    scene.now_us += LATELY_US + 1
    scene.give()
    assert [waiter.line.tenant for waiter in scene.granted] == ["a"] * 4


def test_who_has_its_share_already_finds_no_place_kept() -> None:
    scene = Scene(2)
    scene.come("a")
    scene.come("b")
    scene.come("b")
    scene.come("a")
    assert [waiter.line.tenant for waiter in scene.granted] == ["a", "b"]
    scene.take()
    scene.take()
    scene.end(0)
    assert scene.given == ["a", "b", "a"]


def test_what_goes_before_a_call_is_its_own_queue_and_no_more_of_others_than_have_their_turn_before() -> None:
    scene = Scene(1)
    for _ in range(30):
        scene.come("a")
    ahead = scene.place.ahead
    assert ahead(scene.line("a"), 0, 0) == 29
    assert ahead(scene.line("b"), 0, 0) == 1
    assert ahead(scene.line("d"), 0, 0) == 1  # rounded up: who may be unlucky is told so
    scene.come("d")
    assert ahead(scene.line("d"), 0, 0) == 2
    assert ahead(scene.line("a"), 0, 0) == 30


def test_a_place_s_wait_is_by_how_long_calls_have_held_it() -> None:
    place = Place(2, 1, 64, 8_000)
    line = place.line("a", 1, 0)
    for _ in range(60):
        place.begin(line)
        place.end(line, 40_000)
    assert 38_000 <= place.held_us <= 40_000
    assert place.wait_us(3) == 4 * place.held_us // 2


def test_an_entry_has_a_share_of_a_place_whatever_it_hears_of_others() -> None:
    place = Place(6, 2, 64, 8_000)
    assert [place.free(in_flight) for in_flight in (0, 5, 6, 60)] == [6, 2, 2, 2]
    place.begin(place.line("a", 1, 0))
    place.begin(place.line("a", 1, 0))
    assert place.free(60) == -54 + 54  # its two are there: no more for now
