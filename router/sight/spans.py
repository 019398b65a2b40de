"""The spans of a call that has ended, worked out from the times that it kept: one for each stage, below one for the call.

    infer digits                      the call, from its headers to its end
      auth                            whose call it is, and its metadata
      decide                          each decision: where to, out of how many, what was expected
      queue                           waiting at the entry for its turn
      receive                         the body, where it was waited for
      network                         there and back, where it ran at another site
        queue, inference              waiting and running there

What the times do not tell is not made up: where within the network's span the other site's part began is not known, so it
stands in the middle; a span that came to nothing has no parts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from infercast.policies.fleet import Fleet

from ..api import Api
from ..conduct.endings import Answered, Carrying, ending
from ..conduct.tries import Try
from .context import Traced, new_id
from .counting import OPERATIONS, PROVIDER, came_of
from .stages import stages_of

Value = str | int | float | bool | list[str]
Facts = dict[str, Value]


@dataclass(slots=True)
class Planned:
    """A span as it will be sent. Times are microseconds of the clock of `conduct`."""

    name: str
    trace_id: int
    span_id: int
    parent_id: int
    began_us: int
    ended_us: int
    facts: Mapping[str, Value]
    failed: bool = False
    kind: str = "INTERNAL"


class Planner:
    """Plans spans for one entry."""

    def __init__(self, entry: str, fleet: Fleet) -> None:
        self._entry = entry
        self._fleet = fleet

    def plan(
        self, traced: Traced, carrying: Carrying, answered: Answered | None, error: BaseException | None
    ) -> list[Planned]:
        """Return the spans of a call."""
        outcome, reason = ending(error)
        known = carrying.request.model in self._fleet.model_by_id
        facts = self._facts(carrying, outcome, reason, known=known)
        if answered is not None:
            facts |= _answered(carrying, answered)
        operation = OPERATIONS.get(carrying.api, "infer")
        root = Planned(
            f"{operation} {carrying.request.model}" if known else operation,
            traced.trace_id,
            traced.span_id,
            traced.parent_id,
            carrying.arrived_us or carrying.began_us,
            carrying.ended_us,
            facts,
            failed=outcome == "failed",
            kind="SERVER",
        )
        return [root, *self._stages(root, carrying, answered, error)]

    def _facts(self, carrying: Carrying, outcome: str, reason: str, *, known: bool) -> Facts:
        request = carrying.request
        facts: Facts = {
            "infercast.entry": self._entry,
            "infercast.tenant": request.tenant,
            "infercast.origin": request.origin,
            "infercast.call": carrying.number,
            "infercast.outcome": outcome,
            "infercast.attempts": len(carrying.attempts),
            "infercast.received_bytes": carrying.received_bytes,
        }
        if carrying.tries:  # before that, classes may be the caller's inventions
            facts["infercast.classes"] = list(request.classes)
        if reason:
            facts["error.type"] = reason
        if known:
            facts["infercast.model"] = request.model
        if carrying.api is not Api.INFER:
            facts["gen_ai.operation.name"] = OPERATIONS[carrying.api]
            facts["gen_ai.provider.name"] = PROVIDER
            if known:
                facts["gen_ai.request.model"] = request.model
        return facts

    def _stages(
        self, root: Planned, carrying: Carrying, answered: Answered | None, error: BaseException | None
    ) -> Iterator[Planned]:
        began_us, ended_us = carrying.began_us, carrying.ended_us
        if carrying.arrived_us:
            yield _below(root, "auth", carrying.arrived_us, began_us, {})
        if not carrying.tries:
            facts: Facts = {"error.type": ending(error)[1]} if error is not None else {}
            yield _below(root, "decide", began_us, carrying.admitted_us or ended_us, facts)
        if carrying.received_us:
            if carrying.tries:
                yield _below(root, "decide", began_us, carrying.admitted_us, {})
            yield _below(root, "receive", carrying.admitted_us, carrying.received_us, {})
        for from_us, to_us in carrying.waits:
            yield _below(root, "queue", from_us, to_us, {})
        for number, tried in enumerate(carrying.tries):
            # What was decided from the headers is looked at again with the body, and when its turn has come: one span, where
            # neither was waited for.
            from_us = tried.began_us
            if number == 0 and not carrying.received_us:
                queued_us = next((wait_us for wait_us, _ in carrying.waits if wait_us < tried.began_us), 0)
                if queued_us:
                    yield _below(root, "decide", began_us, queued_us, {})
                else:
                    from_us = began_us
            yield _below(root, "decide", from_us, tried.sent_us, self._decided(tried))
            yield from self._ran(root, carrying, tried, answered)

    def _decided(self, tried: Try) -> Facts:
        choice = tried.choice
        return {
            "infercast.decision": tried.decision_id,
            "infercast.deployment": self._fleet.deployments[tried.index].id,
            "infercast.site": self._fleet.deployments[tried.index].site,
            "infercast.candidates": len(choice.deployments),
            "infercast.expected_latency_us": choice.latency_us[0],
            "infercast.expected_cost_usd": choice.price_nusd[0] / 1_000_000_000,
        }

    def _ran(self, root: Planned, carrying: Carrying, tried: Try, answered: Answered | None) -> Iterator[Planned]:
        """Yield what became of an attempt once it was sent."""
        deployment = self._fleet.deployments[tried.index]
        away = deployment.site != self._entry
        ended_us = tried.ended_us or carrying.ended_us
        facts: Facts = {"infercast.deployment": deployment.id, "infercast.site": deployment.site}
        came = came_of(tried)
        if answered is None or tried.stake is not carrying.won:
            facts["error.type"] = "outrun" if came == "answered" else came
            yield _below(root, "network" if away else "inference", tried.sent_us, ended_us, facts, failed=True)
            return
        answer = answered.answer
        times = (answer.site, answer.at_site_us, answer.service_us)
        _, _, queue_us, network_us, inference_us = stages_of(carrying, self._entry, *times)
        above, began_us = root, tried.sent_us
        if away:
            whole_us = carrying.ended_us if carrying.begun_us else ended_us
            above = _below(root, "network", tried.sent_us, whole_us, facts)
            above.kind = "CLIENT"
            yield above
            began_us += max(0, network_us) // 2
        queue_us -= carrying.queued_us  # its turn has a span of its own
        if queue_us > 0:
            yield _below(above, "queue", began_us, began_us + queue_us, {})
            began_us += queue_us
        yield _below(above, "inference", began_us, began_us + inference_us, facts)


def _answered(carrying: Carrying, answered: Answered) -> Facts:
    answer, usage = answered.answer, carrying.usage
    facts: Facts = {
        "infercast.site": answer.site,
        "infercast.tier": answered.tier,
        "infercast.variant": answer.variant,
        "infercast.decision": answered.decision_id,
        "infercast.cost_usd": answered.cost_usd,
        "infercast.emulated_us": answer.emulated_us,
    }
    if answered.freshness is not None:
        facts["infercast.cache"] = answered.freshness.how
        facts["infercast.cache_age_s"] = answered.freshness.age_s
    if carrying.api is not Api.INFER:
        facts["gen_ai.response.model"] = answer.variant
        if usage is not None:
            facts["gen_ai.usage.input_tokens"] = usage.prompt_tokens
            facts["gen_ai.usage.output_tokens"] = usage.completion_tokens
        if carrying.begun_us:
            facts["infercast.time_to_first_token_us"] = carrying.begun_us - (carrying.arrived_us or carrying.began_us)
    return facts


def _below(above: Planned, name: str, began_us: int, ended_us: int, facts: Facts, *, failed: bool = False) -> Planned:
    return Planned(name, above.trace_id, new_id(64), above.span_id, began_us, max(began_us, ended_us), facts, failed)
