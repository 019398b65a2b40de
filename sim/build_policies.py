"""What the policies make of each kind of call, laid out for the kernel: equal parts are kept once."""

import numpy as np
import numpy.typing as npt

from infercast.policies import kernel
from infercast.policies.compiled import Compiled
from infercast.policies.engine import PLAN_CANDIDATES_MIN, Engine, tighter
from infercast.policies.model import Request
from infercast.policies.patience import DEADLINE_DEFAULT_US
from infercast.policies.tables import draw_of

from . import layout as at
from .model import Calls, Ints, World
from .pool import Pool

PLACES = 2
"""Of a decision only the best is used, and the time of the next, for patience: fewer places, fewer candidates to look at."""
NO_PLAN_LENGTH = kernel.SIZES * kernel.PLAN_ORDER


class Terms:
    """The terms of every (kind, entry) row in every period between whose ends no policy's time window opens or closes."""

    def __init__(self, world: World, rows: list[tuple[int, str]], last_us: int) -> None:
        self._world = world
        self._engine = Engine(world.fleet, world.policies)
        self._codes: dict[int, int] = {}
        self._code_rows: list[npt.NDArray[np.uint8]] = []
        self._code_end = 0
        self._plans: dict[tuple[object, ...], int] = {}
        self._plan_end = NO_PLAN_LENGTH
        self._plan_widths: list[tuple[int, int]] = []
        self._kept: list[Compiled] = []
        self.params = Pool(kernel.P_COLS)
        self.exposures = Pool(len(world.fleet.sites))
        self.periods_s = self._periods(last_us)
        self._margins = False
        starts = [world.starts_at_s, *self.periods_s]
        self._rows = [self._row(*row, at_s) for row in rows for at_s in starts]

    def _periods(self, last_us: int) -> list[int]:
        """Return when, after the start, some policy's terms may change."""
        first_s = self._world.starts_at_s
        last_s = first_s + last_us // 1_000_000 if first_s else 0
        found = set()
        for tenant in {kind.tenant for kind in self._world.calls.kinds}:
            at_s = first_s
            while tenant in self._world.policies:
                _, at_s = self._world.policies[tenant].period(at_s)
                if at_s > last_s:
                    break
                found.add(at_s)
        return sorted(found)

    def first(self, row: int) -> int:
        """Return where the terms of a (kind, entry) row begin: one after the other, one per period."""
        return row * (1 + len(self.periods_s))

    def _row(self, kind: int, entry: str, at_s: int) -> list[int]:
        asked = self._world.calls.kinds[kind]
        request = Request("", asked.tenant, asked.model, entry, asked.origin, asked.classes, at_s=at_s)
        compiled = self._engine.compiled(request)
        self._kept.append(compiled)
        deadline_us = tighter(compiled.deadline_us, asked.deadline_us)
        codes = self._place_codes(compiled)
        params = self.params.place(compiled.params.tobytes(), compiled.params)
        exposure = self.exposures.place(compiled.exposure.tobytes(), compiled.exposure)
        self._margins |= compiled.margin > 0
        vetoed = bool(compiled.codes.all())
        row = [0] * at.M_COLS
        row[at.M_CODES] = codes
        row[at.M_PARAMS] = params
        row[at.M_EXPOSURE] = exposure
        row[at.M_PLAN] = self._place_plan((codes, params, exposure, entry, asked.model), len(compiled.codes))
        row[at.M_DEADLINE_US] = deadline_us
        row[at.M_LIMIT_US] = deadline_us or DEADLINE_DEFAULT_US
        row[at.M_FALLBACKS_MAX] = compiled.terms.behaviour.fallbacks_max
        row[at.M_PLACES] = min(PLACES, compiled.answer.shape[1])
        row[at.M_SHUT_RULE] = int(compiled.codes.max(initial=0)) if vetoed else 0
        row[at.M_MARGIN] = compiled.margin
        row[at.M_OPEN] = compiled.gate is None
        return row

    def _place_codes(self, compiled: Compiled) -> int:
        key = id(compiled.codes)  # kept in `_kept`, so no other array takes its number
        if key not in self._codes:
            self._codes[key] = self._code_end
            self._code_rows.append(compiled.codes)
            self._code_end += len(compiled.codes)
        return self._codes[key]

    def _place_plan(self, key: tuple[object, ...], candidates: int) -> int:
        """Return where the plan of a kind begins; 0, where NO_PLAN stands, for one with few candidates."""
        if candidates < PLAN_CANDIDATES_MIN:
            return 0
        if key not in self._plans:
            self._plans[key] = self._plan_end
            self._plan_widths.append((self._plan_end, candidates))
            self._plan_end += kernel.SIZES * (kernel.PLAN_ORDER + 3 * candidates)
        return self._plans[key]

    def table(self) -> Ints:
        """Return the terms: int64[rows x periods, M_COLS]."""
        return np.array(self._rows, dtype=np.int64).reshape(-1, at.M_COLS)

    def codes(self) -> npt.NDArray[np.uint8]:
        """Return what files veto, one row of candidates after the other."""
        return np.concatenate(self._code_rows) if self._code_rows else np.zeros(1, dtype=np.uint8)

    def plans(self) -> Ints:
        """Return room for all plans, none of which agrees with a view yet."""
        plans = np.zeros(self._plan_end, dtype=np.int64)
        for begin, candidates in self._plan_widths:
            width = kernel.PLAN_ORDER + 3 * candidates
            for size in range(kernel.SIZES):
                plans[begin + size * width + kernel.PLAN_VERSION] = -1
        return plans

    def draws(self, calls: Calls) -> Ints:
        """Return the draw of each call that near-ties are shared by; of none where no policy shares them."""
        numbers = range(len(calls)) if self._margins else range(0)
        return np.array([draw_of(str(number)) for number in numbers] or [0], dtype=np.int64)
