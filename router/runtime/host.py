"""The variants that this process hosts: parse, check, run, render."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from infercast.policies.fleet import Deployment, Fleet

from ..api import Api, Asked, Stream, Usage
from ..errors import Kind, Trouble
from ..oip import parse_infer, render_infer
from ..streams import Watched
from .batch import Raw, run_batch
from .session import Session

if TYPE_CHECKING:
    from ..openai.host import LanguageHost

INLINE_P95_MAX_MS = 1.0
"""Up to this declared service time an inference runs on the event loop: a thread's hand-over costs as much."""
INLINE_BODY_BYTES_MAX = 4096
"""A call may bring many inputs at once: larger bodies go to a thread whatever one inference takes."""


@dataclass(slots=True)
class Answer:
    """What a replica gives back: the protocol's body, and the time it took: in the replica, and at the whole site.

    Nobody changes one that was given to him; it is not frozen because that takes three times as long, on every call.

    A streamed answer has a `stream` in place of a body; its first event is there, and its times are those until then.
    A text's `service_us` ends with its first part, whether it is streamed or not.
    """

    body: bytes
    header_bytes: int | None
    variant: str
    site: str
    service_us: int
    emulated_us: int = 0
    at_site_us: int = 0
    usage: Usage | None = None
    stream: Stream | None = None

    def __reduce__(self) -> tuple[type["Answer"], tuple[object, ...]]:
        """Travel by its values in order, which is the fastest."""
        times = (self.service_us, self.emulated_us, self.at_site_us)
        return Answer, (self.body, self.header_bytes, self.variant, self.site, *times, self.usage, self.stream)

    def after(self, at_site_us: int) -> "Answer":
        """Return it with the time that it took at the site; `replace` takes five times as long, on every call."""
        return Answer(
            self.body,
            self.header_bytes,
            self.variant,
            self.site,
            self.service_us,
            self.emulated_us,
            at_site_us,
            self.usage,
            self.stream,
        )


def holding(answer: Answer, held: ExitStack) -> Answer:
    """Return an answer that lets go of what is held only when its stream has ended; without a stream, as it is."""
    if answer.stream is None:
        return answer
    kept = held.pop_all()
    return replace(answer, stream=Watched(answer.stream, lambda _: kept.close()))


class Host:
    """Sessions of the deployments that run in this process."""

    def __init__(self, fleet: Fleet, deployments: list[Deployment]) -> None:
        self._fleet = fleet
        self._sessions: dict[str, Session] = {}
        self._inline: dict[str, bool] = {}
        self._texts: dict[str, LanguageHost] = {}
        self._threads = ThreadPoolExecutor(max_workers=max(1, len(deployments)), thread_name_prefix="inference")
        for deployment in deployments:
            card = fleet.cards[deployment.variant]
            if fleet.model_by_id[fleet.model_of[deployment.variant]].task != "tensors":
                self._texts[deployment.variant] = _language_host(fleet, deployment)
                continue
            session = Session(card, fleet.artefacts[deployment.variant], deployment.accelerator)
            self._sessions[deployment.variant] = session
            self._inline[deployment.variant] = fleet.service_ms(deployment).p95 <= INLINE_P95_MAX_MS
            _warm(session)

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants hosted here."""
        return (*self._sessions, *self._texts)

    def lives(self, variant: str) -> bool:
        """Whether calls of a variant may be sent here. False for a language model whose thread is gone, or fails again and again."""
        return variant not in self._texts or self._texts[variant].lives

    async def run(self, variant: str, site: str, asked: Asked, timeout_s: float | None = None) -> Answer:
        """Answer one call. Raises Trouble(BAD_REQUEST) for a body that the variant cannot take, TimeoutError."""
        if variant in self._texts:
            async with asyncio.timeout(timeout_s):
                return await self._texts[variant].run(asked.api, asked.body, asked.stream)
        if asked.api is not Api.INFER:
            raise Trouble(Kind.BAD_REQUEST, f"{variant} takes tensors", "call it by /v2/models/{model}/infer")
        if self.inline(variant, asked):
            return self.run_inline(variant, site, asked)
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._threads, self._run, variant, site, asked.body, asked.header_bytes)
        return await asyncio.wait_for(running, timeout_s)

    def inline(self, variant: str, asked: Asked) -> bool:
        """Return whether a call is so short that it runs where it is: on the event loop."""
        short = self._inline.get(variant, False) and len(asked.body) <= INLINE_BODY_BYTES_MAX
        return short and asked.api is Api.INFER

    def run_inline(self, variant: str, site: str, asked: Asked) -> Answer:
        """Answer such a call. Raises Trouble(BAD_REQUEST) for a body that the variant cannot take."""
        return self._run(variant, site, asked.body, asked.header_bytes)

    async def run_batch(self, variant: str, site: str, calls: Sequence[Raw]) -> list[Answer | Trouble]:
        """Answer several infer requests in one run, on a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._run_batch, variant, site, calls)

    def _run_batch(self, variant: str, site: str, calls: Sequence[Raw]) -> list[Answer | Trouble]:
        began_ns = time.perf_counter_ns()
        model = self._fleet.model_of[variant]
        came: list[Answer | Trouble] = []
        for one in run_batch(self._sessions[variant], calls):
            if isinstance(one, Trouble):
                came.append(one)
                continue
            body, header_bytes = render_infer(model, variant, *one)
            came.append(Answer(body, header_bytes, variant, site, (time.perf_counter_ns() - began_ns) // 1000))
        return came

    def _run(self, variant: str, site: str, body: bytes, header_bytes: int | None) -> Answer:
        began_ns = time.perf_counter_ns()
        call = parse_infer(body, header_bytes)
        session = self._sessions[variant]
        session.check(call.inputs)
        outputs = session.run(call.inputs, call.outputs)
        rendered, rendered_header = render_infer(self._fleet.model_of[variant], variant, call, outputs)
        return Answer(rendered, rendered_header, variant, site, (time.perf_counter_ns() - began_ns) // 1000)


def _language_host(fleet: Fleet, deployment: Deployment) -> "LanguageHost":
    """Load a language model: `concurrency` of its streams advance together, `queue_max` in all may be on."""
    from ..language.model import Embedder, TextModel
    from ..openai.host import LanguageHost

    variant, artefact = deployment.variant, fleet.artefacts[deployment.variant]
    text = fleet.cards[variant].text
    if text is None:
        raise ValueError(f"the card of {variant} says nothing of its tokeniser")
    model: TextModel | Embedder
    if fleet.model_by_id[fleet.model_of[variant]].task == "embedding":
        model = Embedder(variant, artefact, text, deployment.accelerator)
    else:
        places = (deployment.concurrency, deployment.queue_max)
        model = TextModel(variant, artefact, text, deployment.accelerator, *places)
    return LanguageHost(variant, deployment.site, model)


def _warm(session: Session) -> None:
    """Run once on zeros, so that the first caller does not pay for the first run."""
    from .session import DTYPES

    shapes = {tensor.name: [1 if size == -1 else size for size in tensor.shape] for tensor in session.card.inputs}
    session.run({tensor.name: np.zeros(shapes[tensor.name], DTYPES[tensor.datatype]) for tensor in session.card.inputs})
