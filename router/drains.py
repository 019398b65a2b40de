"""Sites that their operator has drained: a small file in the state folder, followed while the system runs.

A drained site takes no new calls, its own or others', and ends those it has. It stays so until it is undrained, also over
restarts of workers, and of the whole system.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from infercast.policies.faults import BadInput, Fault, did_you_mean
from infercast.policies.fleet import Fleet
from infercast.policies.model import Tier

from .followed import Followed
from .key_changes import locked
from .key_file import read_json
from .keys import write_private

DRAIN_S = 30.0
"""How long calls under way may take to end, where what carries them is to end."""
DRAINED = "drained.json"
"""The file's name in a state folder. Where it is not there, no site is drained."""


class Drained(frozenset[str]):
    """The ids of drained sites."""

    @property
    def digest(self) -> str:
        """The digest of what it means."""
        return hashlib.blake2b(json.dumps(sorted(self)).encode(), digest_size=16).hexdigest()


def load_drained(path: Path) -> Drained:
    """Read the drained sites. Raises BadInput."""
    if not path.exists():
        return Drained()
    value = read_json(path)
    if not isinstance(value, list) or not all(isinstance(site, str) for site in value):
        raise BadInput([Fault(str(path), 0, "", "is no list of sites", "`infercast undrain SITE` writes it")])
    return Drained(value)


class DrainFile(Followed[Drained]):
    """The file of drained sites, and the last good state of it."""

    what = "the drained sites"

    def __init__(self, path: Path) -> None:
        """Read it for the first time. Raises BadInput: there is no last good state to keep."""
        self._path = path
        super().__init__()

    def _paths(self) -> Iterable[Path]:
        return [self._path]

    def _read(self, last: Drained | None) -> Drained:
        return load_drained(self._path)


def drain(state: Path, fleet: Fleet, site: str, *, on: bool) -> bool:
    """Drain a site, or take it back (`on` false). Returns whether that changed anything. Raises BadInput."""
    path = state / DRAINED
    with locked(state):
        drained = load_drained(path)
        faults = list(_faults(path, fleet, site)) if on or site not in drained else []
        if faults:
            raise BadInput(faults)
        changed = Drained(drained | {site} if on else drained - {site})
        if changed != drained:
            write_private(path, json.dumps(sorted(changed)))
        return changed != drained


def _faults(path: Path, fleet: Fleet, site: str) -> Iterator[Fault]:
    known = fleet.site_by_id
    if site not in known:
        yield Fault(str(path), 0, "", f"no site is called {site!r}", did_you_mean(site, known))
    elif known[site].tier is Tier.DEVICE:
        yield Fault(str(path), 0, "", f"{site} is a device, which runs its own calls", "end its agent instead")
