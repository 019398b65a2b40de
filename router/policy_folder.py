"""The tenants' policies as they stand in a folder, read anew when a file changes. A bad file changes nothing.

Reading, checking and compiling happen off the request path. What comes of it is one value that is put in place of the
old one whole: a call is decided by all of the old policies or all of the new.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from infercast.policies.faults import BadInput
from infercast.policies.fleet import Fleet
from infercast.policies.policy import Policy
from infercast.policies.policy_file import load_policies, load_shadows

log = logging.getLogger("infercast.policies")
WATCH_S = 1.0
"""How often the folder is looked at."""
Prints = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Policies:
    """One state of the folder: the policies that decide, and the versions that decide beside them for comparison."""

    version: int
    live: Mapping[str, Policy]
    shadow: Mapping[str, Policy] = field(default_factory=dict)
    digest: str = field(init=False)
    """A digest of all policies' meanings."""

    def __post_init__(self) -> None:
        parts = [f"{kind}{t}{p.digest}" for kind, of in (("", self.live), ("~", self.shadow)) for t, p in of.items()]
        object.__setattr__(self, "digest", blake2b("\x1f".join(sorted(parts)).encode(), digest_size=16).hexdigest())


class PolicyFolder:
    """A folder of policies, and the last good state of it."""

    def __init__(self, folder: Path, fleet: Fleet) -> None:
        """Read it for the first time. Raises BadInput: there is no last good state to keep."""
        self._folder = folder
        self._fleet = fleet
        self._seen = self._prints()
        self.refused: BadInput | None = None
        """Why the files as they stand now are not in force; None when they are."""
        self.current = self._read(1)

    def look(self) -> bool:
        """Read the folder anew where it changed. True when `current` is another than before.

        Faults are kept in `refused` and logged; `current` stays what it was. Files that change while they are read
        are read again at the next look.
        """
        prints = self._prints()
        if prints == self._seen:
            return False
        try:
            found = self._read(self.current.version + 1)
        except BadInput as error:
            if self._prints() == prints:
                self._seen, self.refused = prints, error
                log.warning("the policies in force stay: %s", error)
            return False
        if self._prints() != prints:
            return False
        self._seen, self.refused = prints, None
        changed = found.digest != self.current.digest
        if changed:
            self.current = found
        return changed

    def _read(self, version: int) -> Policies:
        # A shadow of no tenant is a fault of the folder.
        return Policies(version, load_policies(self._folder, self._fleet), load_shadows(self._folder, self._fleet))

    def _prints(self) -> Prints:
        found = []
        for path in sorted(self._folder.rglob("*.y*ml")):
            try:
                facts = path.stat()
            except FileNotFoundError:  # taken away between the listing and the look
                continue
            found.append((str(path), facts.st_size, facts.st_mtime_ns))
        return tuple(found)
