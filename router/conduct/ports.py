"""What the conduct of a call needs from the world. Ray, HTTP and the device agent stand behind these."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from infercast.policies.model import Choice, Request

from ..api import Api
from ..errors import Kind, Trouble
from ..runtime.host import Answer

if TYPE_CHECKING:
    from .endings import Answered, Carrying

BUSY_S = 1
"""When to come back to a place of ours that had no room."""


class Lost(Exception):  # noqa: N818 - an expected event, the reason for a fallback
    """A replica or site could not be reached, or died with the call; the call may be tried elsewhere.

    `alive` says that the site itself is well, so that other calls may go there; `retry_after_s` that it has no room for so long;
    `ran` that it may have run there all the same: then it is paid for; `blames` that it speaks against the candidate, whose circuit
    opens after some of them; `again` that the same candidate may be asked once more.
    """

    alive = False
    ran = True
    blames = True
    again = False
    retry_after_s = 0


class Passed(Lost):
    """The place answered that it cannot take this call now: it is well, or tells itself that it is not."""

    alive = True
    ran = blames = False

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(str(trouble))
        self.again = trouble.kind is Kind.SATURATED
        self.retry_after_s = BUSY_S if trouble.kind is Kind.SATURATED else 0


@dataclass(slots=True)
class Carried:
    """A call on its way: its metadata, and the payload as it was received. Made for each call, so not frozen."""

    request: Request
    body: bytes
    header_bytes: int | None
    api: Api = Api.INFER
    stream: bool = False
    hops: tuple[str, ...] = ()
    """Which clusters it has come through, and under which numbers (see `upstream.hops`)."""
    number: str = ""
    """The number that this cluster settles it under."""
    tokens_max: int | None = None
    """Of a text: the most completion tokens that it asks for, over all of its answers; None where it does not say."""
    traceparent: bytes = b""
    """What upstreams are told of the trace that it is part of."""
    holder: str = ""
    """A digest of the key that it came with."""
    control: str | None = None
    """What its caller says of kept answers: the header `cache-control`."""


@dataclass(slots=True)
class Received:
    """A call's body, read once the call may enter. `request` stands in where the body says more than the headers did."""

    body: bytes
    header_bytes: int | None = None
    api: Api = Api.INFER
    stream: bool = False
    request: Request | None = None
    tokens_max: int | None = None

    def carried(self, request: Request, hops: tuple[str, ...] = (), number: str = "") -> Carried:
        """Return the call as it is carried, with the size that it has."""
        told = self.request or request
        if told.payload_bytes != len(self.body):
            told = replace(told, payload_bytes=len(self.body))
        return Carried(told, self.body, self.header_bytes, self.api, self.stream, hops, number, self.tokens_max)


Receive = Callable[[], Coroutine[Any, Any, Received]]


class Runner(Protocol):
    """Runs a call on one deployment, wherever that is."""

    async def run(self, deployment: int, call: Carried, timeout_s: float) -> Answer:
        """Return the answer, a streamed one once its first event is there. Raises Lost, Trouble, or TimeoutError when `timeout_s` passes."""
        ...


class Hold(Protocol):
    """What one call may use of its tenant's limits, from when it has been let through until it has ended."""

    def reserve(self, aside_nusd: int) -> Awaitable[None] | None:
        """Set aside the most that a try may cost; None when that is done, else it is to be awaited.

        Raises Trouble(OVER_BUDGET, or UNAVAILABLE where the ledger is out of reach), at once or when awaited, where the
        money is not there: then that try is not made.
        """
        ...

    def lost(self, aside_nusd: int, cost_nusd: int) -> None:
        """A try that was reserved for brought no answer, and cost so much (0 where it surely did not run): the rest is free."""
        ...

    def end(self, cost_nusd: int, tokens: int | None) -> None:
        """Settle what the call has cost in all, and its tokens (None: as many as were set aside). Called exactly once.

        Whatever else was set aside is free again.
        """
        ...


class Accounts(Protocol):
    """The tenants' limits and budgets."""

    def look(self, request: Request) -> None:
        """Raise Trouble(LIMITED or OVER_BUDGET) where a limit leaves no room at all: before the body is read, at no cost.

        The model may not be known yet, since it stands in the body (`request.model` is empty).
        """
        ...

    def open(self, call: "Carried", carrying: "Carrying") -> Hold | Awaitable[Hold]:
        """Count a call in its tenant's limits. Raises Trouble(LIMITED, OVER_BUDGET or UNAVAILABLE), at once or when awaited.

        Waits for the ledger no longer than a moment, where it waits at all; whoever cancels it has counted nothing.
        """
        ...


Run = Callable[[Choice | None], Coroutine[Any, Any, "Answered"]]
"""Runs a call. It is told what a decision on it, made just now, would say: None where anything else has run since."""


class Cache(Protocol):
    """Answers that were given before."""

    def serves(self, tenant: str) -> bool:
        """Return whether any call of a tenant's may be answered from here: then its limits are asked only after that."""
        ...

    def covers(self, call: "Carried") -> bool:
        """Return whether a call may be answered from here, or its answer kept. Of most it may not, so this is quick."""
        ...

    def through(
        self, call: "Carried", carrying: "Carrying", still: Choice | None, run: Run
    ) -> Coroutine[Any, Any, "Answered"]:
        """Answer a call from what is kept and still allowed; else run it, and keep its answer.

        Raises what `run` raises, and Trouble(NOT_KEPT) where only a kept answer is asked for and there is none.
        """
        ...

    def judge(self) -> None:
        """Look at everything that is kept by the policies that have just come in force; what they forbid is dropped."""
        ...


class Sight(Protocol):
    """Who looks at calls that have ended: metrics and traces."""

    traces: bool
    """Whether `began` wants to be called."""

    def began(self, carrying: "Carrying", traceparent: bytes | None) -> None:
        """Take a call that begins into a trace, or leave it out; sets `carrying.traced`."""
        ...

    def sent_on(self, carrying: "Carrying") -> bytes:
        """Return the `traceparent` that a traced call is sent on with."""
        ...

    def ended(self, carrying: "Carrying", answered: "Answered | None", error: BaseException | None) -> None:
        """Count a call. Takes microseconds, and waits for nothing."""
        ...


class DecisionLog(Protocol):
    """Keeps decisions so that they can be made again. None of its methods waits for a disk."""

    def put(self, digest: str, document: dict[str, Any]) -> None:
        """Keep a fleet or policy by its digest."""
        ...

    def snapshot(self, epoch: int, state_of: Callable[[], dict[str, Any]]) -> None:
        """Keep an epoch's signals."""
        ...

    def decision(self, at_s: int, record_of: Callable[[], dict[str, Any]], keep_until_s: int | None) -> None:
        """Keep a decision."""
        ...

    def withhold(self) -> None:
        """Count a decision that may not be kept here."""
        ...


class Journal(Protocol):
    """Writes down what happened: metadata only, never a payload."""

    full: bool
    """Whether lines wait that could not be written: then no new call is to begin."""

    def retry(self) -> bool:
        """Write the lines that wait; True when none is left."""
        ...

    def write(self, kind: str, **facts: Any) -> None:
        """Append one line."""
        ...
