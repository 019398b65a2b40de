"""What a worker does for the platform team: it asks the board, which has the state folder. No call waits for this."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ray.actor import ActorHandle
from ray.exceptions import RayError

from infercast.policies.faults import Fault

from ..errors import Kind, Trouble
from ..ingress.admin import NewKey
from ..ledger.asking import Wanted

BOARD_S = 10.0
USAGE_S = 30.0
"""The sums of some millions of calls take so long; HAProxy gives up on who is silent for 35 s."""


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a change: a secret, where there is one to show, or why nothing was changed."""

    secret: str = ""
    faults: tuple[Fault, ...] = ()


class BoardOffice:
    """The board, asked from one site. `here` says what this site knows."""

    def __init__(self, board: ActorHandle, here: Callable[[], dict[str, Any]]) -> None:
        self._board = board
        self.here = here

    async def told(self) -> dict[str, Any]:
        """Return which policies and keys are in force in the cluster, and why newer files are not."""
        told: dict[str, Any] = await _heard(self._board.told.remote())
        return told

    async def usage(self, by: list[str], wanted: Wanted) -> list[dict[str, Any]]:
        """Return the ledger's sums."""
        rows: list[dict[str, Any]] | Done | None = await _heard(
            self._board.usage.remote(by, wanted), USAGE_S, *TOO_MUCH
        )
        if rows is None:
            raise Trouble(Kind.UNAVAILABLE, "the ledger is out of reach", "calls wait in the journals; try again later")
        if isinstance(rows, Done):
            _secret(rows)
            return []
        return rows

    async def issue(self, new: NewKey) -> str:
        """Issue a key and return its secret."""
        return _secret(await _heard(self._board.issue_key.remote(new)))

    async def rotate(self, key_id: str, grace_s: int) -> str:
        """Give a key a new secret and return it."""
        return _secret(await _heard(self._board.rotate_key.remote(key_id, grace_s)))

    async def revoke(self, key_id: str) -> None:
        """End a key."""
        _secret(await _heard(self._board.revoke_key.remote(key_id)))

    async def drain(self, site: str, *, on: bool) -> None:
        """Drain a site, or take it back."""
        _secret(await _heard(self._board.drain.remote(site, on)))


SILENT = "the board, which keeps the keys, does not answer", "look at /admin/v1/keys before you repeat it"
TOO_MUCH = (
    f"the board has not added up the ledger within {USAGE_S:.0f} s",
    "ask for fewer days (since_s, until_s), or prune it",
)


async def _heard(asked: Any, within_s: float = BOARD_S, said: str = SILENT[0], remedy: str = SILENT[1]) -> Any:
    try:
        return await asyncio.wait_for(asked, within_s)
    except (RayError, TimeoutError) as error:
        raise Trouble(Kind.UNAVAILABLE, said, remedy) from error


def _secret(done: Done) -> str:
    if done.faults:
        # Without the file: where it stands on that machine is of no use to who asks over HTTP.
        said = "; ".join(
            f"{fault.message} ({fault.remedy})" if fault.remedy else fault.message for fault in done.faults
        )
        raise Trouble(Kind.BAD_REQUEST, said)
    return done.secret
