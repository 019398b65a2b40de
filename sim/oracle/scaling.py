"""Replicas that follow the load."""

from collections.abc import Callable
from dataclasses import dataclass, field

from infercast.policies.units import PPM, US_PER_S, ppm

from ..model import Scaling
from .agenda import Agenda
from .stations import Station

TICK_US = US_PER_S


@dataclass(slots=True, eq=False)
class Starting:
    """A replica on its way up."""

    dropped: bool = False


@dataclass(slots=True, eq=False)
class Scaler:
    """One deployment's autoscaling. `changed` is called when its ready replicas have become more or fewer."""

    station: Station
    words: Scaling
    agenda: Agenda
    changed: Callable[[Station], None]
    loads: list[int] = field(default_factory=list)
    starting: list[Starting] = field(default_factory=list)
    above_since_us: int | None = None
    below_since_us: int | None = None

    def __post_init__(self) -> None:
        words = self.words
        self.station.ready = min(max(self.station.card.replicas, words.replicas_min), words.replicas_max)

    def tick(self) -> None:
        """Look at the load, and grant a wish that has held long enough."""
        now_us, words = self.agenda.now_us, self.words
        self.loads.append(self.station.load)
        there = self.station.ready + len(self.starting)
        wish = self._wish()
        self.above_since_us = None if wish <= there else now_us if self.above_since_us is None else self.above_since_us
        self.below_since_us = None if wish >= there else now_us if self.below_since_us is None else self.below_since_us
        if self.above_since_us is not None and now_us - self.above_since_us >= words.upscale_delay_us:
            self.above_since_us = None
            for _ in range(wish - there):
                self._begin()
        if self.below_since_us is not None and now_us - self.below_since_us >= words.downscale_delay_us:
            self.below_since_us = None
            for _ in range(there - wish):
                self._end()
            self.changed(self.station)

    def _wish(self) -> int:
        window = self.loads[-max(1, self.words.look_back_us // TICK_US) :]
        wish = -(-sum(window) * PPM // (len(window) * ppm(self.words.target_ongoing)))
        return min(max(wish, self.words.replicas_min), self.words.replicas_max)

    def _begin(self) -> None:
        replica = Starting()
        self.starting.append(replica)

        def ready() -> None:
            if not replica.dropped:
                self.starting.remove(replica)
                self.station.ready += 1
                self.changed(self.station)

        self.agenda.schedule(self.agenda.now_us + self.words.cold_start_us, ready)

    def _end(self) -> None:
        """Let a replica go: the newest that is not ready; else one that is, which finishes what it runs."""
        if self.starting:
            self.starting.pop().dropped = True
        else:
            self.station.ready -= 1
