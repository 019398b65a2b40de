"""Counts calls that have ended. A call costs a look-up and a handful of appends; sums and buckets are made once a second."""

import asyncio
from collections import Counter
from collections.abc import Iterator

from infercast.policies.fleet import Fleet
from infercast.policies.model import Request

from ..api import Api, Usage
from ..conduct.endings import Answered, Carrying, ending
from ..conduct.ports import Lost
from ..conduct.tries import Try
from ..errors import Kind, Trouble
from . import table
from .buckets import Buckets, Labels, Sample
from .stages import stages_of
from .table import Metric, Shape

NOTED_MAX = 10_000
"""Buckets are made of so many calls at the latest, should nobody ask for samples."""
TOGETHER = 64
"""So many answered calls are counted together."""
ANSWERED = ("answered", "")
OPERATIONS = {Api.CHAT: "chat", Api.COMPLETION: "text_completion", Api.EMBEDDING: "embeddings"}
"""What OpenTelemetry's conventions call them."""
PROVIDER = "infercast"
NUSD_PER_USD = 1_000_000_000


class Stages:
    """The stages of calls of one model at one site."""

    __slots__ = ("auth", "decide", "inference", "network", "queue")

    def __init__(self) -> None:
        self.auth, self.decide, self.queue, self.network, self.inference = (Buckets(table.STAGE) for _ in range(5))


class Alike:
    """Calls that share their labels."""

    __slots__ = ("calls", "cost_nusd", "firsts", "received_bytes", "stages", "took")

    def __init__(self, took: Buckets, stages: Stages) -> None:
        self.calls = 0
        self.firsts = 0
        """Calls that their first attempt answered."""
        self.cost_nusd = 0
        self.received_bytes = 0
        self.took = took
        self.stages = stages


class Counting:
    """What has been counted at one entry since its worker started. Lives on the event loop that carries the calls."""

    def __init__(self, entry: str, fleet: Fleet) -> None:
        self._entry = entry
        self._fleet = fleet
        self._site_of = {deployment.id: deployment.site for deployment in fleet.deployments}
        self._alike: dict[tuple[str, str, str, str, str], Alike] = {}
        self._histograms: dict[tuple[Metric, Labels], Buckets] = {}
        self._stages: dict[tuple[str, str], Stages] = {}
        self._attempts: Counter[tuple[str, str, str, str]] = Counter()
        self._lost_nusd: Counter[tuple[str, str, str]] = Counter()
        self._ended: list[tuple[Carrying, str, str, int, int]] = []
        self._since = 0

    def ended(self, carrying: Carrying, answered: Answered | None, error: BaseException | None) -> None:
        """Take in a call. Those that were answered are counted some at a time: so the code for it is run while it is near."""
        if error is not None or answered is None:
            # At once: an error may hold on to what the call carried.
            self._count(carrying, "" if answered is None else answered.deployment, ending(error))
            return
        answer = answered.answer
        ended = self._ended
        ended.append((carrying, answered.deployment, answer.site, answer.at_site_us, answer.service_us))
        if len(ended) >= TOGETHER:
            self._count_ended()

    def _count_ended(self) -> None:
        for carrying, deployment, site, at_site_us, service_us in self._ended:
            stages = self._count(carrying, deployment, ANSWERED).stages
            auth_us, decide_us, queue_us, network_us, inference_us = stages_of(
                carrying, self._entry, site, at_site_us, service_us
            )
            stages.auth.note(auth_us)
            stages.decide.note(decide_us)
            if queue_us >= 0:
                stages.queue.note(queue_us)
            if network_us >= 0:
                stages.network.note(network_us)
            if inference_us >= 0:
                stages.inference.note(inference_us)
        self._since += len(self._ended)
        self._ended.clear()
        if self._since >= NOTED_MAX:
            self._fold()

    def _count(self, carrying: Carrying, deployment: str, ended: tuple[str, str]) -> Alike:
        """Count a call among those that are alike, which are returned."""
        request = carrying.request
        outcome, reason = ended
        key = (request.tenant, request.model, deployment, outcome, reason)
        alike = self._alike.get(key) or self._new(key)
        alike.calls += 1
        alike.received_bytes += carrying.received_bytes
        took_us = carrying.ended_us - (carrying.arrived_us or carrying.began_us)
        alike.took.note(took_us)
        if carrying.queued_us:
            self._histogram(table.TURN_WAIT, (self._entry, request.tenant, request.model)).note(carrying.queued_us)
        for place, cost_nusd in carrying.spent:
            if place == deployment:
                alike.cost_nusd += cost_nusd
            else:  # a try that was paid for, and lost
                self._lost_nusd[request.tenant, request.model, self._site_of[place]] += cost_nusd
        tries = carrying.tries
        if len(tries) == 1 and not reason:
            alike.firsts += 1
        elif tries:
            self._tried(request, tries)
        if carrying.api is not Api.INFER:
            self._text(carrying, self._site_of.get(deployment, ""), reason, took_us)
        if reason:
            self._since += 1
        return alike

    def _new(self, key: tuple[str, str, str, str, str]) -> Alike:
        """Return where calls of a kind are counted that has not been seen yet, or whose model is a caller's invention."""
        tenant, model, deployment, outcome, reason = key
        if model not in self._fleet.model_by_id:
            model = ""
        known = self._alike.get((tenant, model, deployment, outcome, reason))
        if known is not None:
            return known
        site = self._site_of.get(deployment, "")
        took = self._histogram(table.DURATION, (self._entry, tenant, model, site, outcome))
        stages = self._stages.setdefault((model, site), Stages())
        made = self._alike[tenant, model, deployment, outcome, reason] = Alike(took, stages)
        return made

    def _histogram(self, metric: Metric, labels: Labels) -> Buckets:
        key = (metric, labels)
        found = self._histograms.get(key)
        if found is None:
            found = self._histograms[key] = Buckets(metric)
        return found

    def _tried(self, request: Request, tries: list[Try]) -> None:
        """Count the attempts of a call that took several, or came to nothing."""
        before: set[int] = set()
        for tried in tries:
            kind = "first" if not before else "retry" if tried.index in before else "fallback"
            before.add(tried.index)
            if tried.beside:
                kind = "hedge"
            site = self._fleet.deployments[tried.index].site
            self._attempts[request.model, site, kind, came_of(tried)] += 1

    def _text(self, carrying: Carrying, site: str, reason: str, took_us: int) -> None:
        """Count a text, or embeddings, in the words of OpenTelemetry."""
        request = carrying.request
        model = request.model if request.model in self._fleet.model_by_id else ""
        labels = (self._entry, request.tenant, site, OPERATIONS[carrying.api], PROVIDER, model)
        self._histogram(table.REQUEST, (*labels, reason)).note(took_us)
        usage = carrying.usage
        if usage is not None:
            self._histogram(table.USAGE, (*labels, "input")).note(usage.prompt_tokens)
            if carrying.api is not Api.EMBEDDING:
                self._histogram(table.USAGE, (*labels, "output")).note(usage.completion_tokens)
        if carrying.begun_us:
            self._histogram(table.FIRST_TOKEN, labels).note(
                carrying.begun_us - (carrying.arrived_us or carrying.began_us)
            )
            further = _further(usage)
            if further:
                per_token_us = (carrying.ended_us - carrying.begun_us) // further
                self._histogram(table.PER_TOKEN, labels).note(per_token_us)

    def _fold(self) -> None:
        self._since = 0
        for histogram in self._histograms.values():
            histogram.fold()
        for stages in self._stages.values():
            for name in Stages.__slots__:
                getattr(stages, name).fold()

    def samples(self) -> Iterator[Sample]:
        """Yield every series with its value now."""
        self._count_ended()
        self._fold()
        yield from self._counters()
        for (_, labels), histogram in self._histograms.items():
            yield from histogram.samples(labels)
        for (model, site), stages in self._stages.items():
            for name in Stages.__slots__:
                histogram = getattr(stages, name)
                if histogram.count:
                    yield from histogram.samples((self._entry, model, site, name))

    def _counters(self) -> Iterator[Sample]:
        sums: Counter[tuple[Metric, Labels]] = Counter()
        for (tenant, model, deployment, outcome, reason), alike in self._alike.items():
            site = self._site_of.get(deployment, "")
            whose = (self._entry, tenant, model)
            sums[table.CALLS, (*whose, site, outcome, reason)] += alike.calls
            sums[table.RECEIVED, whose] += alike.received_bytes
            if deployment:
                sums[table.COST, (*whose, site)] += alike.cost_nusd
            if alike.firsts:
                sums[table.ATTEMPTS, (self._entry, model, site, "first", "answered")] += alike.firsts
        for (tenant, model, site), cost_nusd in self._lost_nusd.items():
            sums[table.COST, (self._entry, tenant, model, site)] += cost_nusd
        for (model, site, kind, outcome), count in self._attempts.items():
            sums[table.ATTEMPTS, (self._entry, model, site, kind, outcome)] += count
        for (metric, labels), count in sums.items():
            value = count / NUSD_PER_USD if metric is table.COST else count
            yield Sample(metric.name, Shape.COUNTER, labels, value)


def came_of(tried: Try) -> str:
    """Return what came of an attempt."""
    match tried.met:
        case None if tried.outrun:  # it is being cancelled, or its answer came second
            return "outrun"
        case None:
            return "answered" if tried.ended_us else "cancelled"
        case asyncio.CancelledError():
            return "outrun" if tried.outrun else "cancelled"
        case TimeoutError():
            return "late"
        case Lost(alive=alive):
            return "declined" if alive else "lost"
        case Trouble(kind=Kind.SATURATED | Kind.UNAVAILABLE):
            return "declined"
        case Trouble(kind=kind) if kind is not Kind.FAULT:
            return "refused"
    return "fault"


def _further(usage: Usage | None) -> int:
    return usage.completion_tokens - 1 if usage is not None else 0
