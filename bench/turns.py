"""What the fair queue alone does: `python bench/turns.py [--places 4,8,16] [--seconds 300] [--seeds 4]`, in model time.

The queue of `router/conduct/turns.py` itself, without a system around it: a calm tenant calls at random times (Poisson), a flood
asks for one and a half times the places, and each call holds its place for 200 ms. So it tells what waiting for turns costs the calm tenant,
and what its kept places cost the flood, apart from any machine. Beside it: what the calm tenant would wait with its half of the places
to itself. `bench/fairness.py` measures the system.
"""

import argparse
import random
import sys
from dataclasses import dataclass, field
from heapq import heappop, heappush
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from infercast.router.conduct.turns import Line, Place, Waiter  # noqa: E402 - the root had to come first

HELD_US, QUEUE_MAX = 200_000, 64
CALM = (0.1, 0.2, 0.3, 0.4)
"""What the calm tenant asks for, as a part of the places: its share is a half."""
FLOOD = 1.5
KNOWN_US = 10_000_000
"""Calls before that are not told of: nobody is known yet, and a flood that has just begun holds all places."""


class Call(Waiter):
    """A call that waits, and since when."""

    __slots__ = ("came_us",)

    def __init__(self, number: int, place: Place, line: Line, came_us: int) -> None:
        super().__init__(number, place, line)
        self.came_us = came_us


@dataclass
class Model:
    """One place, its calls, and what has come of them."""

    places: int
    luck: random.Random
    place: Place = field(init=False)
    ends: list[tuple[int, int, Line]] = field(default_factory=list)
    took_ms: list[float] = field(default_factory=list)
    waited: int = 0
    flood: int = 0
    number: int = 0

    def __post_init__(self) -> None:
        self.place = Place(self.places, self.places, QUEUE_MAX, HELD_US)

    @property
    def free(self) -> int:
        """Free places."""
        return self.place.free(self.place.running)

    def begin(self, line: Line, came_us: int, now_us: int) -> None:
        """A call begins; it holds its place for a hundredth longer at most."""
        self.number += 1
        self.place.begin(line)
        held_us = int(HELD_US * (1 + self.luck.random() / 100))
        heappush(self.ends, (now_us + held_us, self.number, line))
        if now_us < KNOWN_US:
            return
        if line.tenant == "flood":
            self.flood += 1
            return
        self.took_ms.append((now_us - came_us + held_us) / 1000)
        self.waited += now_us > came_us

    def come(self, tenant: str, now_us: int) -> None:
        """A call comes: it begins, waits, or is refused."""
        line = self.place.line(tenant, 1, now_us)
        if not self.place.waiting and self.place.may_have(line, self.free, now_us):
            self.begin(line, now_us, now_us)
        elif line.waiting < QUEUE_MAX:
            self.number += 1
            self.place.put(line, Call(self.number, self.place, line, now_us))
            self.give(now_us)

    def end(self) -> None:
        """The first that ends does."""
        now_us, _, line = heappop(self.ends)
        self.place.end(line, HELD_US, now_us)
        self.give(now_us)

    def give(self, now_us: int) -> None:
        """Who is next begins."""
        while (call := self.place.next(self.free, now_us)) is not None:
            assert isinstance(call, Call)
            self.place.remove(call)
            self.begin(call.line, call.came_us, now_us)


def play(places: int, parts: dict[str, float], seconds: int, seed: int) -> Model:
    """Play tenants that ask for such parts of the places."""
    model = Model(places, random.Random(seed))
    gap_us = {tenant: HELD_US / (places * part) for tenant, part in parts.items()}
    due = [(int(model.luck.expovariate(1 / gap)), tenant) for tenant, gap in gap_us.items()]
    while (first := min(due))[0] < seconds * 1_000_000:
        now_us, tenant = first
        while model.ends and model.ends[0][0] <= now_us:
            model.end()
        model.come(tenant, now_us)
        due[due.index(first)] = (now_us + 1 + int(model.luck.expovariate(1 / gap_us[tenant])), tenant)
    return model


def p95(models: list[Model]) -> float:
    """Return how long all but a twentieth of the calm calls took at most, in ms."""
    took_ms = sorted(ms for model in models for ms in model.took_ms)
    return took_ms[int(0.95 * len(took_ms))]


def main() -> None:
    """Play, and print."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--places", default="4,8,16")
    words.add_argument("--seconds", type=int, default=300)
    words.add_argument("--seeds", type=int, default=4)
    given = words.parse_args()
    print(
        "| places | calm asks for | calm p95, ms | to alone | with its half to itself | calm that wait | the flood has | nobody has |\n|---|---|---|---|---|---|---|---|"
    )
    for places in (int(word) for word in given.places.split(",")):
        for calm in CALM:
            alone = [play(places, {"calm": calm}, given.seconds, seed) for seed in range(given.seeds)]
            half = [play(places // 2, {"calm": 2 * calm}, given.seconds, seed) for seed in range(given.seeds)]
            models = [play(places, {"calm": calm, "flood": FLOOD}, given.seconds, seed) for seed in range(given.seeds)]
            calls = sum(len(model.took_ms) for model in models)
            over_us = given.seeds * places * (given.seconds * 1_000_000 - KNOWN_US)
            flood = sum(model.flood for model in models) * HELD_US / over_us
            idle = 1 - flood - calls * HELD_US / over_us
            waited = sum(model.waited for model in models) / calls
            worse, apart = p95(models) / p95(alone) - 1, p95(half) / p95(alone) - 1
            print(
                f"| {places} | {calm:.0%} | {p95(models):.0f} | {worse:+.0%} | {apart:+.0%} | {waited:.0%} | {flood:.0%} | {idle:.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
