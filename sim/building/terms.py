"""What the policies make of each kind of call, laid out for the kernel: equal parts are kept once."""

import numpy as np
import numpy.typing as npt

from infercast.policies import kernel
from infercast.policies.compiled import Compiled
from infercast.policies.engine import PLAN_CANDIDATES_MIN, Engine, tighter
from infercast.policies.model import Request
from infercast.policies.patience import DEADLINE_DEFAULT_US
from infercast.policies.tables import draw_of

from ..kernel import layout as at
from ..model import Calls, Ints, World
from .pool import Pool

NO_CANDIDATE = 255
"""What stands in the place of a rule where a row of codes is longer than a model has candidates."""


class Terms:
    """The terms of every (kind, entry) row in every period between whose ends no policy's time window opens or closes."""

    def __init__(self, world: World, rows: list[tuple[int, str]], last_us: int) -> None:
        self._world = world
        self._engine = Engine(world.fleet, world.policies)
        self._codes: dict[int, int] = {}
        self._code_rows: list[npt.NDArray[np.uint8]] = []
        self._plans: dict[tuple[object, ...], int] = {}
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
        row[at.M_SHUT_RULE] = int(compiled.codes.max(initial=0)) if vetoed else 0
        row[at.M_MARGIN] = compiled.margin
        row[at.M_OPEN] = compiled.gate is None
        return row

    def _place_codes(self, compiled: Compiled) -> int:
        key = id(compiled.codes)  # kept in `_kept`, so no other array takes its number
        if key not in self._codes:
            self._codes[key] = len(self._code_rows)
            self._code_rows.append(compiled.codes)
        return self._codes[key]

    def _place_plan(self, key: tuple[object, ...], candidates: int) -> int:
        """Return which plan is a kind's; NONE for one with few candidates. Kinds that are alike in all it needs share it."""
        if candidates < PLAN_CANDIDATES_MIN:
            return at.NONE
        return self._plans.setdefault(key, len(self._plans))

    def table(self) -> Ints:
        """Return the terms: int64[rows x periods, M_COLS]."""
        return np.array(self._rows, dtype=np.int64).reshape(-1, at.M_COLS)

    def codes(self, width: int) -> npt.NDArray[np.uint8]:
        """Return what files veto, uint8[rows, width]."""
        table = np.full((max(1, len(self._code_rows)), width), NO_CANDIDATE, dtype=np.uint8)
        for row, codes in zip(table, self._code_rows, strict=False):
            row[: len(codes)] = codes
        return table

    def plans(self, width: int) -> Ints:
        """Return room for all plans, none of which agrees with a view yet: int64[plans, SIZES, PLAN_ORDER + PLAN_EACH * width]."""
        columns = kernel.PLAN_ORDER + kernel.PLAN_EACH * width
        plans = np.zeros((max(1, len(self._plans)), kernel.SIZES, columns), dtype=np.int64)
        plans[:, :, kernel.PLAN_VERSION] = -1
        return plans

    def draws(self, calls: Calls) -> Ints:
        """Return the draw of each call that near-ties are shared by; of none where no policy shares them."""
        numbers = range(len(calls)) if self._margins else range(0)
        return np.array([draw_of(str(number)) for number in numbers] or [0], dtype=np.int64)
