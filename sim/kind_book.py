"""The kinds that calls of a workload have, numbered as they come up; and where each kind enters."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from infercast.policies.compiled import no_ingress
from infercast.policies.constraints import entry_veto
from infercast.policies.fleet import Fleet
from infercast.policies.parts import Constraints
from infercast.policies.policy import Policy
from infercast.policies.units import deadline_us

from .clocks import zone_of
from .model import Ints, Kind
from .workload_file import Source

ENTRIES_MAX = 4
"""Most sites that a caller tries where its source names none."""


@dataclass(frozen=True, slots=True)
class Row:
    """A kind and the source it comes from. `named` are the entries that were said; None: all where it may enter.

    `first` is an entry that was used, tried before the others. `deadline_us` is what a log says of the caller's; 0: nothing.
    """

    source: int
    tenant: str
    model: str
    classes: tuple[str, ...]
    origin: str
    named: tuple[str, ...] | None
    first: str = ""
    deadline_us: int = 0


class KindBook:
    """Numbers rows from 0."""

    def __init__(self, sources: tuple[Source, ...], fleet: Fleet, policies: Mapping[str, Policy]) -> None:
        self._sources, self._fleet, self._policies = sources, fleet, policies
        self.rows: list[Row] = []
        self._number: dict[Row, int] = {}

    def number(self, row: Row) -> int:
        """Return a row's number; a new one where it is new."""
        found = self._number.setdefault(row, len(self.rows))
        if found == len(self.rows):
            self.rows.append(row)
        return found

    def source_of(self, row: Row) -> Source:
        """Return the source that a row comes from."""
        return self._sources[row.source]

    def elsewhere(self, number: int, origin: str) -> int:
        """Return the number of the same kind from another origin."""
        return self.number(replace(self.rows[number], origin=origin, first=""))

    def clock_of(self, row: Row) -> str | None:
        """Return the IANA name of the clock of a row's origin; None where it is not known."""
        return self.source_of(row).time_zones.get(row.origin) or zone_of(self._fleet, row.origin)

    def kinds(self) -> tuple[tuple[Kind, ...], Ints]:
        """Return the different kinds, and int64[rows]: the kind of each row."""
        numbers: dict[Kind, int] = {}
        of_row = [numbers.setdefault(self._kind(row), len(numbers)) for row in self.rows]
        return tuple(numbers), np.array(of_row, dtype=np.int64)

    def _kind(self, row: Row) -> Kind:
        source = self.source_of(row)
        return Kind(
            tenant=row.tenant,
            model=row.model,
            origin=row.origin,
            entries=row.named if row.named is not None else self._entries(row),
            classes=row.classes,
            priority=source.priority,
            deadline_us=row.deadline_us if source.deadline_ms is None else deadline_us(source.deadline_ms),
        )

    def _entries(self, row: Row) -> tuple[str, ...]:
        """Return the sites where a call may enter, the nearest first; only the nearest of all where it may enter nowhere.

        An override that holds at some time counts at all times: callers do not know the policy's clock.
        """
        policy = self._policies[row.tenant]
        blocks = policy.terms(self._fleet, row.classes, row.model, row.origin, 0).blocks
        ways = [(self._fleet.network.path(row.origin, site.id), site) for site in self._fleet.sites]
        near = sorted(((path.rtt_us, site.id) for path, site in ways if path is not None), key=lambda way: way)
        open_to = (site for _, site in near if self._open(row, site, policy, blocks))
        others = tuple(site for site in islice(open_to, ENTRIES_MAX) if site != row.first)
        found = ((row.first,) if row.first else ()) + others
        return found or tuple(site for _, site in near[:1])

    def _open(self, row: Row, entry: str, policy: Policy, blocks: Iterable[Constraints]) -> bool:
        if no_ingress(self._fleet, policy, entry):
            return False
        way_in = self._fleet.network.path(row.origin, entry)
        return entry_veto(blocks, self._fleet.site_by_id[entry], way_in, self._fleet) is None
