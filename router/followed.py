"""Files that are followed while a system runs: the last good state of them, and why a newer one is not in force.

Reading and checking happen off the request path. What comes of it is one value that is put in place of the old one
whole. A bad state of the files changes nothing.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from infercast.policies.faults import BadInput, Fault

log = logging.getLogger("infercast.followed")
WATCH_S = 1.0
"""How often followed files are looked at."""
IN_FORCE = "in-force.json"
"""The file in the state folder that says which policies and keys are in force, and why newer ones are not."""
CERTIFICATE_TOLD = "certificate.json"
"""The same of what clients are shown."""
Prints = tuple[tuple[str, int, int], ...]


class Digested(Protocol):
    """A value that says by a digest whether it means the same as another."""

    @property
    def digest(self) -> str:
        """The digest of what it means."""


Value = TypeVar("Value", bound=Digested)


class Followed(ABC, Generic[Value]):
    """Some files and what they say. Subclasses say which files, and how they are read."""

    what = "the files"
    """What these files hold, for the log."""

    def __init__(self) -> None:
        """Read them for the first time. Raises BadInput: there is no last good state to keep."""
        self._seen: Prints | None = prints_of(self._paths())
        self.refused: BadInput | None = None
        """Why the files as they stand now are not in force; None when they are."""
        self.current: Value = self._read(None)

    @abstractmethod
    def _paths(self) -> Iterable[Path]:
        """Return the files to be followed, as they stand now."""

    @abstractmethod
    def _read(self, last: Value | None) -> Value:
        """Return what the files say; `last` is what is in force. Raises BadInput."""

    def look(self) -> bool:
        """Read the files anew where they changed. True when `current` is another than before.

        Faults are kept in `refused` and logged; `current` stays what it was. Files that change while they are read
        are read again at the next look, and so are those that could not be looked at: no error ends the following.
        """
        try:
            return self._look()
        except OSError as error:
            self._seen = None
            said = Fault(str(error.filename or self.what), 0, "", f"could not be looked at: {error.strerror or error}")
            if self.refused is None or self.refused.faults != (said,):
                self.refused = BadInput([said])
                log.warning("%s in force stay: %s", self.what, self.refused)
            return False

    def _look(self) -> bool:
        prints = prints_of(self._paths())
        if prints == self._seen:
            return False
        try:
            found = self._read(self.current)
        except BadInput as error:
            if prints_of(self._paths()) == prints:
                self._seen, self.refused = prints, error
                log.warning("%s in force stay: %s", self.what, error)
            return False
        if prints_of(self._paths()) != prints:
            return False
        self._seen, self.refused = prints, None
        changed = found.digest != self.current.digest
        if changed:
            self.current = found
        return changed


def prints_of(paths: Iterable[Path]) -> Prints:
    """Return by what a change of files is known: name, size and time of each; none for one that cannot be looked at."""
    found = []
    for path in paths:
        try:
            facts = path.stat()
        except OSError:  # taken away between the listing and the look, or shut away: reading it says why
            continue
        found.append((str(path), facts.st_size, facts.st_mtime_ns))
    return tuple(found)
