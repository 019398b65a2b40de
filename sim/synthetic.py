"""Made-up calls: when they come follows from a rate, a day's curve and the origins' weights; the rest is drawn."""

import numpy as np

from infercast.policies.faults import BadInput, Fault

from .attributes import contents, lucks, payloads, works
from .intensity import Floats, Intensity, bursts, day_curve, steady
from .kind_book import KindBook, Row
from .model import Ints
from .pieces import Piece
from .streams import stream
from .workload_file import Source

BLOCK_MAX = 1 << 24


class MadeUp:
    """A source's intensities, one per origin; draws its pieces.

    `until_us` is when it ends; `starts_at_s` what the clock shows at time 0.
    """

    def __init__(self, index: int, source: Source, book: KindBook, seed: int, until_us: int, starts_at_s: int) -> None:
        if source.rate is None or source.tenant is None or source.model is None:
            raise ValueError("a made-up source has a rate, a tenant and a model")
        self.name = source.name
        self._source, self._rate, self._seed = source, source.rate, seed
        self._until_us, self._starts_at_s = until_us, starts_at_s
        who = (index, source.tenant, source.model, source.classes or ())
        self.rows = {origin: book.number(Row(*who, origin, source.entries)) for origin in source.origins}
        self._book = book
        whole, before = sum(source.origins.values()), 0.0
        self._share, self._phase = dict[str, float](), dict[str, float]()
        for origin, weight in source.origins.items():
            self._share[origin] = weight / whole
            self._phase[origin] = (before + weight / 2) / whole  # equal origins then follow each other evenly
            before += weight

    def parts(self) -> list[str]:
        """Return the origins that send."""
        return [origin for origin, weight in self._source.origins.items() if weight]

    def rows_of(self, origin: str) -> list[int]:
        """Return the rows of the book that an origin's calls have."""
        return [self.rows[origin]]

    def expected(self, origin: str) -> float:
        """Return how many calls of an origin are expected, in the source as it stands."""
        return float(self._intensity(origin).expected()[-1])

    def piece(self, origin: str, multiple: int) -> Piece:
        """Return the calls of one origin: those of the source as it stands, or the k-th that scaling adds."""
        source, name = self._source, (self._source.name, origin, multiple)
        at_us = self._moments(origin, multiple)
        n = len(at_us)
        return Piece(
            name,
            multiple,
            at_us,
            np.full(n, self.rows[origin], dtype=np.int32),
            payloads(source.payload_bytes, n, stream(self._seed, *name, "payload")),
            works(source.work, n, stream(self._seed, *name, "work")),
            contents(source.repeated, (source.name,), n, stream(self._seed, *name, "content")),
            lucks(n, stream(self._seed, *name, "luck")),
        )

    def _intensity(self, origin: str) -> Intensity:
        source, rate = self._source, self._rate
        share = self._share[origin]
        if rate.bursty is not None:  # the bursts are the source's: all origins and multiples go through them together
            luck = stream(self._seed, source.name, "bursts")
            found = bursts(rate.bursty, luck, source.from_, self._until_us).scaled(share)
        else:
            found = steady(rate.mean_per_s * share, source.from_, self._until_us)
        if source.day_curve is None:
            return found
        clock = self._book.clock_of(self._book.rows[self.rows[origin]])
        if clock is None:
            fault = Fault(source.name, 0, f"origins.{origin}", "its clock is not known", "add it to `time_zones`")
            raise BadInput([fault])
        return found.times(day_curve(source.day_curve, clock, self._starts_at_s, source.from_, self._until_us))

    def _moments(self, origin: str, multiple: int) -> Ints:
        intensity = self._intensity(origin)
        expected = intensity.expected()
        if expected[-1] <= 0:
            return np.zeros(0, dtype=np.int64)
        if self._rate.even_per_s is not None:
            phase = (self._phase[origin] + _halving(multiple)) % 1.0
            return intensity.moments(np.arange(phase, expected[-1]), expected)
        luck = stream(self._seed, self._source.name, origin, multiple, "arrivals")
        return intensity.moments(_poisson(float(expected[-1]), luck), expected)


def _poisson(expected: float, luck: np.random.Generator) -> Floats:
    """Return a Poisson process of rate 1 up to `expected`: running sums of exponential gaps."""
    parts: list[Floats] = []
    reached = 0.0
    while reached < expected:
        left = expected - reached
        gaps = luck.standard_exponential(min(BLOCK_MAX, int(left + 4 * left**0.5) + 16))
        gaps[0] += reached
        parts.append(np.cumsum(gaps))
        reached = float(parts[-1][-1])
    whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return whole[: np.searchsorted(whole, expected)]


def _halving(number: int) -> float:
    """Return the van der Corput sequence 0, 1/2, 1/4, 3/4, ...: each point falls into one of the widest gaps before."""
    found, part = 0.0, 0.5
    while number:
        found += part * (number & 1)
        number >>= 1
        part /= 2
    return found
