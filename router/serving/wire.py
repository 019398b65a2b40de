"""What travels between workers of one cluster. Trouble travels as a value: exceptions do not survive the way whole."""

from collections.abc import Awaitable
from dataclasses import dataclass

from infercast.policies.model import Request

from ..errors import Kind, Trouble
from ..runtime.host import Answer


@dataclass(frozen=True, slots=True)
class Away:
    """A call handed to another site of the cluster: that site checks it against the policy once more."""

    request: Request
    deployment: int
    body: bytes
    header_bytes: int | None
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Came:
    """What comes back: an answer, or the trouble with the call. `lost` says that the place behind it was lost."""

    answer: Answer | None = None
    lost: bool = False
    kind: Kind = Kind.FAULT
    message: str = ""
    remedy: str = ""

    def trouble(self) -> Trouble:
        """Return the trouble that came instead of an answer."""
        return Trouble(self.kind, self.message, self.remedy)


def came_from(answer: Answer | Trouble) -> Came:
    """Return an answer or a trouble as what travels."""
    if isinstance(answer, Trouble):
        return Came(kind=answer.kind, message=answer.message, remedy=answer.remedy)
    return Came(answer)


async def came_of(running: Awaitable[Answer]) -> Came:
    """Wait for a call and return what came of it, troubles as values."""
    try:
        return came_from(await running)
    except Trouble as trouble:
        return came_from(trouble)
