"""Laws of the fair queue: nobody starves, shares follow weights, no place stays empty but what is kept for the modest, nothing leaks."""

from dataclasses import dataclass, field
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from infercast.router.conduct.turns import (
    FLOOD,
    LATE_PART,
    LATE_SHARE,
    LATELY_US,
    MEAN_HOLDS,
    Line,
    Place,
    Waiter,
    kept_for,
)

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
    floods: str = ""
    """Tenants that always have calls waiting, as many as there is room."""

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
            self.place.end(self.running.pop(which % len(self.running)), SERVICE_US, self.now_us)
            self.give()

    def turn_over(self) -> None:
        """All who were given a place take it; who began first ends, in its time; and who is next has been given its place."""
        while self.granted:
            self.take()
        self.now_us += SERVICE_US // self.room
        for tenant in self.floods:
            while (line := self.place.lines.get(tenant)) is None or line.waiting < self.room:
                self.come(tenant)
        self.end(0)

    def finish(self, tenant: str) -> None:
        """A tenant's first call there ends, and nothing is given for now."""
        while self.granted:
            self.take()
        line = next(line for line in self.running if line.tenant == tenant)
        self.running.remove(line)
        self.place.end(line, SERVICE_US, self.now_us)

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
        """No place is empty while somebody waits, but those that are kept for who asks for less than its share, from who asks for more."""
        if not self.waiting or self.free == 0:
            return
        place = self.place
        here = [line for line in place.lines.values() if self.is_here(line)]
        weights = sum(line.weight for line in here)
        shares = {line.tenant: Fraction(line.weight * self.room, weights) for line in here}
        asks = {line.tenant: place.asked(line, self.now_us) for line in here}
        calm = [
            line
            for line in here
            # As it is computed there: in floating point, a quotient would be another number.
            if asks[line.tenant] * weights < line.weight * self.room and asks_now(line) < FLOOD * self.room
        ]
        modest = [line for line in here if line in calm or asks_now(line) <= shares[line.tenant]]
        assert modest, "nothing is kept for who was not here lately, nor from one flood for another"
        assert not any(line.waiting for line in modest), "it is kept for the modest, and may be had by them"
        kept = kept_for(self.room, sum(asks[line.tenant] for line in calm))
        for line in (line for line in here if line.waiting):
            assert line.has, "who has nothing may have any place"
            assert self.free <= (kept if line.has >= shares[line.tenant] else 1), (
                "of a share, one place is left at most"
            )

    def is_here(self, line: Line) -> bool:
        return line.has > 0 or line.waiting > 0 or self.now_us - line.seen_us <= LATELY_US


def asks_now(line: Line) -> int:
    """How many calls a tenant has there or waiting."""
    return line.has + line.waiting


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
        scene.now_us += SERVICE_US // room
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


def flooded(room: int, tenants: str = "a") -> Scene:
    """A place at which tenants have had more calls than room for long enough that everybody knows."""
    scene = Scene(room, floods=tenants)
    for _ in range(2 * MEAN_HOLDS * room):
        scene.turn_over()
    return scene


def settle(scene: Scene, tenant: str) -> None:
    """Let a tenant make a call now and then, for so long that it is known to ask for little."""
    for turn in range(4 * MEAN_HOLDS * scene.room):
        if turn % (5 * scene.room) == 0:
            scene.come(tenant)
        scene.turn_over()


def has(scene: Scene, tenant: str) -> int:
    """How many places a tenant has."""
    return scene.place.lines[tenant].has


@given(st.integers(1, 8), st.sampled_from(["a", "b", "ab", "abc", "abcd"]))
@settings(deadline=None, max_examples=20)
def test_floods_have_all_places_alone_and_between_them(room: int, tenants: str) -> None:
    scene = flooded(room, tenants)
    for _ in range(3 * room):
        assert scene.free == 0
        scene.turn_over()


def test_the_last_free_place_is_kept_for_who_was_here_lately_and_given_to_all_once_he_was_not() -> None:
    scene = flooded(4)
    scene.come("b")
    scene.turn_over()
    assert has(scene, "b") == 1  # first of all that wait
    scene.finish("b")
    scene.give()
    assert (has(scene, "a"), scene.free) == (3, 1)  # the flood does not take it again
    scene.come("b")
    assert scene.given[-1] == "b"  # at once
    scene.finish("b")
    scene.now_us += LATELY_US + 1
    scene.give()
    assert has(scene, "a") == 4


def test_who_asks_for_little_goes_first_also_when_it_has_its_share_just_now() -> None:
    scene = flooded(4)
    settle(scene, "b")
    for _ in range(3):
        scene.come("b")
    for _ in range(3):
        scene.turn_over()
    assert (has(scene, "b"), has(scene, "a")) == (3, 1)
    for _ in range(12 * MEAN_HOLDS):  # if it asks for as much on and on, it is a flood like any other
        scene.come("b")
        scene.turn_over()
    assert (has(scene, "b"), has(scene, "a"), scene.free) == (2, 2, 0)


def test_as_many_places_are_kept_as_the_modest_have_needed_of_late() -> None:
    scene = flooded(5)
    frees = set()
    for turn in range(40 * MEAN_HOLDS):  # on average b has one of the five places
        if turn % 5 == 0:
            scene.come("b")
        scene.turn_over()
        if turn > 20 * MEAN_HOLDS and not has(scene, "b"):
            frees.add(scene.free)
    assert scene.place.kept == 2
    assert max(frees, default=0) <= 2
    scene.now_us += LATELY_US + 1
    scene.come("a")
    assert (scene.place.kept, scene.free) == (0, 0)


def test_who_has_less_than_its_share_leaves_one_place_and_not_more() -> None:
    scene = flooded(4)
    place = scene.place
    for _ in range(40):
        line = scene.line("b")
        scene.now_us += SERVICE_US
        line.asked, line.asked_us = 1.0, scene.now_us  # it has asked for one place on average
    while has(scene, "a") > 1:
        scene.finish("a")
    assert place.stand(scene.free, scene.now_us).kept == 2
    scene.give()
    assert (has(scene, "a"), scene.free) == (2, 2)
    scene.finish("a")
    scene.now_us += 1
    assert place.may_have(place.lines["a"], 2, scene.now_us)
    assert not place.may_have(place.lines["a"], 1, scene.now_us)


def test_a_tenant_that_is_known_to_ask_for_little_is_a_flood_as_soon_as_it_asks_for_twice_the_room() -> None:
    scene = Scene(4, floods="a")
    settle(scene, "b")
    scene.floods = ""
    while scene.running or scene.granted or scene.waiting:
        scene.turn_over()
    scene.come("a")
    scene.turn_over()
    for _ in range(12):
        scene.come("b")
    assert (has(scene, "b"), scene.free) == (4, 0)
    scene.turn_over()
    assert (has(scene, "b"), scene.free) == (3, 1)


def test_places_that_come_free_together_go_to_the_modest_who_wait_before_what_is_left_is_looked_at() -> None:
    scene = flooded(8)
    settle(scene, "b")
    while has(scene, "b"):
        scene.finish("b")
    scene.give()
    scene.come("b")  # takes what was kept
    before = has(scene, "a")
    scene.come("b")
    scene.come("b")
    for _ in range(3):
        scene.finish("a")
    scene.give()
    assert (has(scene, "b"), has(scene, "a"), scene.free) == (3, before - 3, 1)


def test_nothing_is_kept_where_nobody_asks_for_more_than_its_share() -> None:
    scene = Scene(4)
    settle(scene, "a")
    settle(scene, "b")
    assert scene.place.stand(scene.free, scene.now_us).kept == 0
    for _ in range(2):
        scene.come("a")
        scene.come("b")
    assert scene.free == 0


def test_what_a_tenant_asks_for_is_averaged_over_the_time_that_it_does() -> None:
    place = Place(4, 4, 64, SERVICE_US)
    line = place.line("a", 1, 0)
    over_us = MEAN_HOLDS * SERVICE_US
    place.begin(line)
    place.begin(line)
    place.end(line, SERVICE_US, over_us)
    assert line.asked == 2
    place.end(line, SERVICE_US, over_us + over_us // 2)
    assert line.asked == 1.5
    assert place.asked(place.line("a", 1, 3 * over_us), 3 * over_us) == 0


def test_a_flood_s_turn_is_foretold_by_the_places_that_it_may_have() -> None:
    scene = flooded(5)
    settle(scene, "b")
    place = scene.place
    place.stand(scene.free, scene.now_us)
    assert place.kept >= 1
    assert place.wait_us(9, place.lines["a"]) == 10 * place.held_us // (5 - place.kept)
    assert place.wait_us(9, place.lines["b"]) == 10 * place.held_us // 5


@given(st.integers(1, 64), st.floats(0, 64), st.floats(0, 1))
def test_what_is_kept_is_the_least_that_serves_and_grows_with_what_is_asked(
    room: int, asked: float, part: float
) -> None:
    asked = min(asked, float(room))
    kept = kept_for(room, asked)
    assert 1 <= kept <= room
    assert kept_for(room, asked * part) <= kept

    def late(kept: int) -> float:
        return (asked / room) ** kept * (1 - LATE_PART) ** room

    assert kept == room or late(kept) <= LATE_SHARE + 1e-12
    assert kept == 1 or late(kept - 1) > LATE_SHARE - 1e-12


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
        place.end(line, 40_000, 0)
    assert 38_000 <= place.held_us <= 40_000
    assert place.wait_us(3) == 4 * place.held_us // 2


def test_an_entry_has_a_share_of_a_place_whatever_it_hears_of_others() -> None:
    place = Place(6, 2, 64, 8_000)
    assert [place.free(in_flight) for in_flight in (0, 5, 6, 60)] == [6, 2, 2, 2]
    place.begin(place.line("a", 1, 0))
    place.begin(place.line("a", 1, 0))
    assert place.free(60) == -54 + 54  # its two are there: no more for now
