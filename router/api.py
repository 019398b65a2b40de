"""What a call may ask for, and what an answer may be beside bytes: the words that hosts, conduct and ingress share."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol


class Api(StrEnum):
    """In whose words a call's body speaks. It goes to the replica as it came, whatever stands between."""

    INFER = "infer"
    """Open Inference Protocol v2."""
    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"
    """OpenAI's chat completions, completions and embeddings."""


class Usage(NamedTuple):
    """Tokens of a call, as its replica counted them."""

    prompt_tokens: int
    completion_tokens: int = 0


Event = bytes | Usage
"""Of a streamed answer: one event's JSON in the API's own words, without framing; or, once and last, what was used."""


class Stream(Protocol):
    """A streamed answer. Closing it ends the work behind it, wherever that runs."""

    def __aiter__(self) -> AsyncIterator[Event]:
        """Return itself."""
        ...

    async def __anext__(self) -> Event:
        """Return the next event. Raises Lost or Trouble where it was cut short."""
        ...

    async def aclose(self) -> None:
        """End it. May be called at any time and more than once."""
        ...


class Asked(Protocol):
    """What a replica is asked: a body in an API's words; `header_bytes` of it are JSON where binary tensors follow."""

    @property
    def body(self) -> bytes:
        """The body as it came."""
        ...

    @property
    def header_bytes(self) -> int | None:
        """How much of it is JSON, where the rest is not."""
        ...

    @property
    def api(self) -> Api:
        """In whose words it is."""
        ...

    @property
    def stream(self) -> bool:
        """Whether the answer is to come in events."""
        ...


@dataclass(frozen=True, slots=True)
class Asking:
    """Just that, for what is nobody's call."""

    body: bytes
    header_bytes: int | None = None
    api: Api = Api.INFER
    stream: bool = False
