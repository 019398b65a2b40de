"""The calls of a workload, made from its sources: the same bytes for the same seed. A call keeps its luck whatever comes beside it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from infercast.policies.faults import BadInput, Fault
from infercast.policies.fleet import Fleet
from infercast.policies.policy import Policy

from .change_calls import Changer
from .kind_book import KindBook
from .model import Calls
from .pieces import Piece, joined
from .recorded import Recorded
from .synthetic import MadeUp
from .traffic import TrafficChange
from .workload_file import Workload
from .workload_names import CALLS_MAX


def calls_of(
    workload: Workload,
    fleet: Fleet,
    policies: Mapping[str, Policy],
    seed: int,
    base_folder: Path,
    changes: Sequence[TrafficChange] = (),
    starts_at_s: int = 0,
) -> Calls:
    """Return all calls of a workload, in order of time. `base_folder` is where paths of traces begin.

    `starts_at_s` is what the clock shows at time 0, for day curves and hours. Raises BadInput for a trace that cannot be
    read, and for more than CALLS_MAX calls. The workload has no faults by `faults_of`.
    """
    book = KindBook(workload.sources, fleet, policies)
    sources = [
        Recorded(index, source, book, fleet, policies, seed, workload.ends_us(source), base_folder)
        if source.trace is not None
        else MadeUp(index, source, book, seed, workload.ends_us(source) or 0, starts_at_s)
        for index, source in enumerate(workload.sources)
    ]
    changer = Changer(changes, book, seed, starts_at_s)
    pieces: list[Piece] = []
    for source in sources:
        pieces.extend(_changed(source, changer, CALLS_MAX - sum(map(len, pieces))))
    return _one(pieces, book)


def _changed(source: MadeUp | Recorded, changer: Changer, calls_max: int) -> Iterator[Piece]:
    """Yield a source's pieces as the changes leave them. Raises BadInput where there may be more calls than `calls_max`."""
    for part in source.parts():
        multiples = changer.multiples(source.rows_of(part))
        expected = source.expected(part) * multiples
        calls_max -= round(expected)
        if calls_max < 0:
            message = f"about {expected:.3g} calls of {part} are more than can be run: at most {CALLS_MAX:.0e} in all"
            raise BadInput([Fault(source.name, 0, "", message, "lower its rate or a factor, or end sooner")])
        for multiple in range(multiples):
            piece = source.piece(part, multiple)
            changer.apply(piece)
            yield piece


def _one(pieces: list[Piece], book: KindBook) -> Calls:
    whole = joined(pieces)
    kinds, of_row = book.kinds()
    same = np.array_equal(of_row, np.arange(len(of_row)))
    kind = whole.row if same else of_row.astype(np.int32)[whole.row]
    return Calls(kinds, whole.at_us, kind, whole.payload_bytes, whole.work_ppm, whole.content, whole.luck)
