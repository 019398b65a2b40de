"""Recorded calls: what the rows of a trace are on this fleet. The source's own words take the place of the trace's."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from infercast.policies.faults import BadInput, Fault, did_you_mean
from infercast.policies.fleet import Fleet
from infercast.policies.model import PAYLOAD_BYTES_MAX
from infercast.policies.policy import Policy
from infercast.policies.units import US_PER_S

from .attributes import CONTENT_BITS, contents, lucks, payloads, works
from .kind_book import KindBook, Row
from .model import NEVER_EQUAL, WORK_MAX_PPM, WORK_USUAL_PPM, Ints
from .pieces import Piece
from .recording import FAULTS_MAX, Recording
from .streams import number_of, stream
from .traces import read_trace
from .workload_file import Source

LATER_MAX_US = US_PER_S
"""Calls that scaling adds to a trace come up to so much after the recorded one."""
WORK_MIN_PPM = 1000


class Recorded:
    """A source whose calls were recorded; draws its pieces. Raises BadInput where its trace cannot be read or used."""

    def __init__(
        self,
        index: int,
        source: Source,
        book: KindBook,
        fleet: Fleet,
        policies: Mapping[str, Policy],
        seed: int,
        until_us: int | None,
        base_folder: Path,
    ) -> None:
        if source.trace is None:
            raise ValueError("a recorded source has a trace")
        self.name, self._source, self._trace, self._seed = source.name, source, source.trace, seed
        whole = read_trace(self._trace, base_folder)
        _check_names(whole, source, fleet, policies)
        taken = np.zeros(len(whole), dtype=np.bool_)
        taken[self._trace.first :: self._trace.every] = True
        self._models = [self._model_of(word) for word in whole.models]
        taken &= np.array([model is not None for model in self._models])[whole.model]
        at_us = np.rint(whole.at_us / self._trace.speed).astype(np.int64) + source.from_
        self._until_us = int(at_us[-1]) + LATER_MAX_US if until_us is None else until_us
        taken &= at_us < self._until_us
        self._at_us, self._taken, self._whole = at_us[taken], taken, whole
        if not taken.any():
            message = f"none of its {len(whole)} rows becomes a call"
            remedy = "look at `models`, `first`, `until` and `speed`" + _has_models(whole)
            raise BadInput([Fault(whole.file, 0, "", message, remedy)])
        self._payload = self._payload_of_rows()[taken]
        self._work = self._work_of_rows()[taken]
        self._origins = list(source.origins) or [""]
        self._rows = self._table(index, book)

    def parts(self) -> list[str]:
        """Return the one part that a trace has."""
        return ["its trace"]

    def rows_of(self, part: str) -> list[int]:
        """Return the rows of the book that its calls have."""
        return [row for row in np.unique(self._rows).tolist() if row >= 0]

    def expected(self, part: str) -> float:
        """Return how many calls there are, in the source as it stands."""
        return float(len(self._at_us))

    def piece(self, part: str, multiple: int) -> Piece:
        """Return the recorded calls, or the k-th copy of them: each a little later, asking others' questions."""
        source, name, n = self._source, (self._source.name, multiple), len(self._at_us)
        found = Piece(
            name,
            multiple,
            self._at_us,
            self._drawn_rows(stream(self._seed, *name, "origins")),
            self._payload
            if source.payload_bytes is None
            else payloads(source.payload_bytes, n, stream(self._seed, *name, "payload")),
            self._work if source.work is None else works(source.work, n, stream(self._seed, *name, "work")),
            self._contents(multiple)
            if source.repeated is None
            else contents(source.repeated, (source.name,), n, stream(self._seed, *name, "content")),
            lucks(n, stream(self._seed, *name, "luck")),
        )
        if multiple:
            later = stream(self._seed, *name, "later").integers(0, LATER_MAX_US, n, dtype=np.int64)
            found.at_us = self._at_us + later
            order = np.argsort(found.at_us, kind="stable")
            found.take(order[: np.searchsorted(found.at_us[order], self._until_us)])
        return found

    def _model_of(self, word: str) -> str | None:
        """Return the fleet's model for the trace's word; None where its rows are left out. A log's requests say it later."""
        if self._source.model is not None:
            return self._source.model
        return self._trace.models.get(word) if self._trace.models else word

    def _payload_of_rows(self) -> Ints:
        whole = self._whole
        if whole.requests:
            return np.array([request.payload_bytes for request in whole.requests], dtype=np.int64)[whole.request]
        payload: Ints = np.rint(whole.prompt * self._trace.bytes_per_token).astype(np.int64)
        return np.minimum(payload, PAYLOAD_BYTES_MAX)

    def _work_of_rows(self) -> Ints:
        """Return the work of each row: its tokens, as a share of the median of all rows for the same model of the trace."""
        whole = self._whole
        if whole.requests:
            return np.full(len(whole), WORK_USUAL_PPM, dtype=np.int64)
        tokens = whole.prompt + self._trace.generated_weight * whole.generated
        usual = np.array([max(1.0, np.median(tokens[whole.model == model])) for model in range(len(whole.models))])
        work: Ints = np.rint(tokens * WORK_USUAL_PPM / usual[whole.model]).astype(np.int64)
        return np.clip(work, WORK_MIN_PPM, WORK_MAX_PPM)

    def _contents(self, multiple: int) -> Ints:
        """Return what the calls ask. Copies ask each other the same, but nothing that other copies or sources ask."""
        content = self._whole.content[self._taken]
        if not (content != NEVER_EQUAL).any():
            return content
        return np.where(content == NEVER_EQUAL, content, content ^ number_of(CONTENT_BITS, "copy", self.name, multiple))

    def _table(self, index: int, book: KindBook) -> Ints:
        """Return the book's row of each model, or request, of the trace from each origin: int64[those, origins]."""
        source, requests = self._source, self._whole.requests
        if not requests:
            who = (index, source.tenant or "")
            classes = source.classes or ()
            rows = [
                [
                    -1 if model is None else book.number(Row(*who, model, classes, origin, source.entries))
                    for origin in self._origins
                ]
                for model in self._models
            ]
            return np.array(rows, dtype=np.int64)
        used = set(np.unique(self._whole.request[self._taken]).tolist())
        of_word = dict(zip(self._whole.models, self._models, strict=True))
        found = np.full((len(requests), len(self._origins)), -1, dtype=np.int64)
        for number, request in enumerate(requests):
            for place, origin in enumerate(self._origins if number in used else ()):
                row = Row(
                    index,
                    source.tenant or request.tenant,
                    of_word[request.model] or "",
                    request.classes if source.classes is None else source.classes,
                    origin or request.origin,
                    source.entries,
                    "" if origin else request.entry,
                    request.deadline_us,
                )
                found[number, place] = book.number(row)
        return found

    def _drawn_rows(self, luck: np.random.Generator) -> npt.NDArray[np.int32]:
        kinds = (self._whole.request if self._whole.requests else self._whole.model)[self._taken]
        weights = np.cumsum([self._source.origins.get(origin, 1.0) for origin in self._origins])
        places = np.searchsorted(weights, luck.random(len(kinds)) * weights[-1], side="right")
        rows: Ints = self._rows[kinds, np.minimum(places, len(weights) - 1)]
        return rows.astype(np.int32)


def _has_models(whole: Recording) -> str:
    return f"; its models are {', '.join(map(repr, whole.models))}" if any(whole.models) else ""


def _check_names(whole: Recording, source: Source, fleet: Fleet, policies: Mapping[str, Policy]) -> None:
    """Raise BadInput for each word of a log that is not declared here, at the first line that has it."""
    trace, faults = source.trace, list[Fault]()
    for what, words, known in _words(whole, source, fleet, policies):
        for number, word in words:
            if word not in known and trace is not None and not (what == "model" and trace.models):
                line = int(whole.line[np.flatnonzero(whole.request == number)[0]])
                message = f"no {what} is called {word!r} here"
                faults.append(Fault(whole.file, line, "", message, did_you_mean(word, known)))
    if faults:
        raise BadInput(faults[:FAULTS_MAX])


def _words(
    whole: Recording, source: Source, fleet: Fleet, policies: Mapping[str, Policy]
) -> Iterable[tuple[str, list[tuple[int, str]], Iterable[str]]]:
    places = {*fleet.site_by_id, *fleet.zone_by_id}
    asked = list(enumerate(whole.requests))
    if source.tenant is None:
        yield "tenant", _firsts((number, request.tenant) for number, request in asked), policies
    if source.model is None:
        yield "model", _firsts((number, request.model) for number, request in asked), fleet.model_by_id
    if not source.origins:
        yield "place", _firsts((number, request.origin) for number, request in asked), places
        if source.entries is None:
            yield "site", _firsts((number, request.entry) for number, request in asked), fleet.site_by_id


def _firsts(words: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    """Return each word with the first number that it stands at."""
    found: dict[str, int] = {}
    for number, word in words:
        found.setdefault(word, number)
    return [(number, word) for word, number in found.items()]
