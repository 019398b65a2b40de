"""Recorded calls as arrays, gathered row by row with a watch on their clock. Every fault of a file is said with its line."""

from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from infercast.policies.faults import BadInput, Fault
from infercast.policies.model import Request

from .durations import in_words
from .model import NEVER_EQUAL, Ints
from .workload_parts import Trace

FAULTS_MAX = 20
TOKENS_MAX = 1_000_000_000
ROWS_MAX = 100_000_000


@dataclass(frozen=True, slots=True)
class Recording:
    """A trace's rows in order of time; one place per row in every array, int64.

    `at_us` counts from the first row. `prompt` and `generated` are tokens. `model` is a number of `models`, the words of
    the trace. `content` is equal for equal prompts. `line` is where a row stands. Of a decision log, `request` are
    numbers of `requests`, which differ in more than their time.
    """

    file: str
    at_us: Ints
    line: Ints
    prompt: Ints
    generated: Ints
    content: Ints
    model: Ints
    models: tuple[str, ...]
    request: Ints
    requests: tuple[Request, ...]

    def __len__(self) -> int:
        return len(self.at_us)


class Rows:
    """Gathers the rows of a trace. A clock that jumps is a fault, and so is a hole, unless the trace keeps gaps."""

    def __init__(self, path: Path, trace: Trace) -> None:
        self.path, self._trace = path, trace
        self.faults: list[Fault] = []
        self._values = array("q")
        """Row after row, one value for each of COLUMNS."""
        self._models: dict[str, int] = {}
        self._requests: dict[Request, int] = {}
        self._newest_us: int | None = None

    def bad(self, path: Path, line: int, message: str, remedy: str = "") -> None:
        """Note a fault. Raises BadInput once there are as many as anybody reads."""
        self.faults.append(Fault(str(path), line, "", message, remedy))
        if len(self.faults) >= FAULTS_MAX:
            raise BadInput(self.faults)

    def new_file(self) -> None:
        """Say that the next rows stand in another file, whose clock begins anew."""
        self._newest_us = None

    def add(
        self,
        path: Path,
        line: int,
        at_us: int,
        prompt: int = 0,
        generated: int = 0,
        content: int = NEVER_EQUAL,
        model: str = "",
        request: Request | None = None,
    ) -> None:
        """Add a row, or note why it cannot be one. Raises BadInput for too many rows."""
        for what, tokens in (("prompt", prompt), ("generated", generated)):
            if not 0 <= tokens <= TOKENS_MAX:
                self.bad(path, line, f"{tokens} {what} tokens", f"from 0 to {TOKENS_MAX}")
                return
        if self._newest_us is not None and self._newest_us - at_us > self._trace.backwards_max:
            back = in_words(self._newest_us - at_us)
            self.bad(path, line, f"the clock goes back by {back}", "sort the file, or raise `backwards_max`")
        if len(self._values) >= ROWS_MAX * len(COLUMNS):
            raise BadInput([Fault(str(path), line, "", f"more than {ROWS_MAX} rows", "split the file")])
        self._newest_us = at_us if self._newest_us is None else max(at_us, self._newest_us)
        number = -1 if request is None else self._requests.setdefault(request, len(self._requests))
        of_model = self._models.setdefault(model, len(self._models))
        self._values.extend((at_us, line, prompt, generated, content, of_model, number))

    def recording(self, *, spread_s: bool = False) -> Recording:
        """Return the rows. Raises BadInput with all faults. `spread_s`: times are whole seconds, to be spread evenly."""
        if not self._values and not self.faults:
            self.faults.append(Fault(str(self.path), 0, "", "holds no calls", "is it the right file?"))
        if self.faults:
            raise BadInput(self.faults)
        table = np.frombuffer(self._values, dtype=np.int64).reshape(-1, len(COLUMNS))
        order = np.argsort(table[:, 0], kind="stable")
        found = {name: table[order, place] for place, name in enumerate(COLUMNS)}
        if spread_s:
            found["at_us"] = _spread(found["at_us"])
        self._check_gaps(found["at_us"], found["line"])
        found["at_us"] = found["at_us"] - found["at_us"][0]
        return Recording(file=str(self.path), models=tuple(self._models), requests=tuple(self._requests), **found)

    def _check_gaps(self, at_us: Ints, line: Ints) -> None:
        if self._trace.gaps == "keep":
            return
        gaps: npt.NDArray[np.int64] = np.diff(at_us)
        for where in np.flatnonzero(gaps > self._trace.gap_max).tolist():
            message = f"no call for {in_words(int(gaps[where]))} before this one: a hole, or a clock that jumped"
            self.bad(self.path, int(line[where + 1]), message, "mend the file, or write `gaps: keep`")
        if self.faults:
            raise BadInput(self.faults)


COLUMNS = ("at_us", "line", "prompt", "generated", "content", "model", "request")


def _spread(at_us: Ints) -> Ints:
    """Return times of whole seconds spread over their seconds: call j of n comes at (j + 1/2) / n."""
    _, starts, counts = np.unique(at_us, return_index=True, return_counts=True)
    place = np.arange(len(at_us)) - np.repeat(starts, counts)
    return at_us + (2 * place + 1) * 1_000_000 // (2 * np.repeat(counts, counts))
