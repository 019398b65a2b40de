"""The tenants' policies as they stand in a folder, read anew when a file changes. A bad file changes nothing.

A call is decided by all of the old policies or all of the new.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from infercast.policies.fleet import Fleet
from infercast.policies.policy import Policy
from infercast.policies.policy_file import load_policies, load_shadows

from .followed import Followed


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


class PolicyFolder(Followed[Policies]):
    """A folder of policies, and the last good state of it."""

    what = "the policies"

    def __init__(self, folder: Path, fleet: Fleet) -> None:
        """Read it for the first time. Raises BadInput: there is no last good state to keep."""
        self._folder = folder
        self._fleet = fleet
        super().__init__()

    def _paths(self) -> Iterable[Path]:
        return sorted(self._folder.rglob("*.y*ml"))

    def _read(self, last: Policies | None) -> Policies:
        # A shadow of no tenant is a fault of the folder.
        version = last.version + 1 if last else 1
        return Policies(version, load_policies(self._folder, self._fleet), load_shadows(self._folder, self._fleet))
