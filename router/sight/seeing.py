"""What looks at the calls of one entry: it counts each, and plans the spans of those that are traced."""

from collections.abc import Callable, Iterable, Iterator

from infercast.policies.fleet import Fleet

from .. import VERSION
from ..conduct import clock
from ..conduct.endings import Answered, Carrying
from . import table
from .buckets import Labels, Sample
from .context import Sampler, Traced
from .counting import Counting
from .exporting import Exporting
from .settings import TraceSettings
from .spans import Planner
from .table import Metric

Read = Callable[[], Iterable[tuple[Labels, float]]]
"""Returns a metric's series now: labels without the entry, which stands first in all of them, and the value."""


class Seeing:
    """Implements `Sight`. `exporting` is where spans go; None where there are none."""

    def __init__(
        self, entry: str, fleet: Fleet, traces: TraceSettings | None = None, exporting: Exporting | None = None
    ) -> None:
        self._entry = entry
        self._counting = Counting(entry, fleet)
        self._planner = Planner(entry, fleet)
        self._exporting = exporting
        self._sampler = Sampler(traces.share, traces.heeds, clock.now_us) if traces else None
        self.traces = traces is not None and exporting is not None
        self._watched: list[tuple[Metric, Read]] = [(table.BUILD, lambda: [((VERSION,), 1)])]

    def watch(self, metric: Metric, read: Read) -> None:
        """Read a metric whenever samples are asked for: what is kept elsewhere is not counted twice."""
        self._watched.append((metric, read))

    def began(self, carrying: Carrying, traceparent: bytes | None) -> None:
        """Take a call that begins into a trace, or leave it out."""
        if self._sampler is not None:
            carrying.traced = self._sampler.take(traceparent, peer=bool(carrying.hops))

    def sent_on(self, carrying: Carrying) -> bytes:
        """Return the `traceparent` that a traced call is sent on with."""
        return carrying.traced.sent_on() if isinstance(carrying.traced, Traced) else b""

    def ended(self, carrying: Carrying, answered: Answered | None, error: BaseException | None) -> None:
        """Count a call, and queue its spans."""
        self._counting.ended(carrying, answered, error)
        if self._exporting is not None and isinstance(carrying.traced, Traced):
            self._exporting.put(self._planner.plan(carrying.traced, carrying, answered, error))

    def samples(self) -> Iterator[Sample]:
        """Yield every series with its value now."""
        yield from self._counting.samples()
        for metric, read in self._watched:
            for labels, value in read():
                yield Sample(metric.name, metric.shape, (self._entry, *labels), value)
        if self._exporting is not None:
            for result in ("exported", "dropped"):
                yield Sample(
                    table.SPANS.name, table.SPANS.shape, (self._entry, result), getattr(self._exporting, result)
                )

    def close(self) -> None:
        """Send what spans wait."""
        if self._exporting is not None:
            self._exporting.close()
