"""Measuring the real system for the simulator: the demo's workload, sent again and again while every site is up."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from infercast.load import PAUSE_S, Ended, Payloads, Sender, Sent, Stream
from infercast.policies import kernel
from infercast.policies.fleet import Fleet
from infercast.policies.units import US_PER_S, us_from_ms
from infercast.router.telemetry.journal import read_journal
from infercast.router.telemetry.log_reader import signals
from infercast.sim.measured import Believed, Measured, Rerun, middle
from infercast.sim.model import Kind

WARM_UP_CALLS = 15
"""Of each stream, before anything counts: connections, caches, and what the sites learn of times."""
ALONE_CALLS = 10
"""Of each stream by itself, with nothing else going on: what the sites' shared cores cost shows against these."""
Said = Callable[[str], None]


def measure(
    fleet: Fleet, sender: Sender, payloads: Payloads, streams: Sequence[Stream], state: Path, reruns: int, say: Said
) -> tuple[list[Rerun], Rerun]:
    """Send a workload `reruns` times, warmed up. Returns the reruns, and a small one whose streams came one by one.

    `state` is the running system's folder, `say` hears what is going on.
    """

    async def send() -> tuple[list[list[Sent]], list[list[Sent]]]:
        say("warming up")
        await sender.send([_of(stream, WARM_UP_CALLS) for stream in streams], PAUSE_S)
        alone = []
        for stream in streams:
            say(f"{stream.name}, alone")
            alone.append(await sender.send([_of(stream, ALONE_CALLS)], PAUSE_S))
        together = []
        for number in range(reruns):
            say(f"the whole workload, {number + 1} of {reruns}")
            together.append(await sender.send(streams, PAUSE_S))
        return together, alone

    together, alone = asyncio.run(send())
    say("reading the journals")
    lines = _lines(state / "journal")
    learned = list(signals(state / "decisions"))
    runs = [rerun_of(fleet, sender, payloads, sents, lines, learned) for sents in together]
    return runs, rerun_of(fleet, sender, payloads, [sent for sents in alone for sent in sents], lines, learned)


def _of(stream: Stream, calls: int) -> Stream:
    return stream.model_copy(update={"calls": min(stream.calls, calls)})


def _lines(journal: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the journals' lines of calls, by the call's id and the place that it entered at."""
    return {(line["request"], line["place"]): line for line in read_journal(journal) if line["kind"] == "call"}


def rerun_of(
    fleet: Fleet,
    sender: Sender,
    payloads: Payloads,
    sents: Sequence[Sent],
    lines: Mapping[tuple[str, str], dict[str, Any]],
    learned: Iterable[tuple[int, dict[str, Any]]],
) -> Rerun:
    """Return what callers, journals and the decision log say of a workload that was sent once.

    A stream whose calls entered at several places, one having given no answer, makes a kind for each.
    """
    starts_s = min(end.sent_s for sent in sents for end in sent.ended)
    kinds: dict[Kind, int] = {}
    calls = []
    for sent in sents:
        stream = sent.stream
        classes = (stream.data_class,) if stream.data_class else ()
        patience_us = round(sender.patience_s(stream) * US_PER_S)
        for at, end in enumerate(sent.ended):
            kind = Kind(stream.tenant, stream.model, stream.origin, (end.entry,), classes)
            kinds.setdefault(kind, patience_us)
            payload_bytes = len(payloads.of(stream.model, at)[0])
            line = lines[(end.call, end.entry)] if end.outcome == "answered" else None
            calls.append(_measured(list(kinds).index(kind), end, payload_bytes, line, starts_s))
    calls.sort(key=lambda call: call.sent_us)
    ends_s = starts_s + calls[-1].sent_us / US_PER_S
    sizes = {list(kinds)[call.kind].model: call.payload_bytes for call in calls}
    believed = believed_of(fleet, sizes, [body for at_s, body in learned if starts_s <= at_s <= ends_s])
    return Rerun(tuple(kinds), tuple(kinds.values()), tuple(calls), int(starts_s), believed)


def believed_of(fleet: Fleet, payload_bytes: Mapping[str, int], states: Sequence[Mapping[str, Any]]) -> Believed:
    """Return what the places believed, in the median over epochs: p50 and p95 of ways, and of deployments.

    `payload_bytes` is the size of a model's calls, by whose times its deployments are known.
    """
    trips: dict[tuple[str, str], list[tuple[int, int]]] = {}
    server: dict[str, list[tuple[int, int]]] = {}
    for state in states:
        for entry, rows in state["rtt"].items():
            for number, (p50_us, spread_us) in rows.items():
                trips.setdefault((entry, fleet.sites[int(number)].id), []).append((p50_us, p50_us + spread_us))
        for deployment, row in zip(fleet.deployments, state["live"], strict=True):
            model = fleet.model_of[deployment.variant]
            if model in payload_bytes:
                size = int(kernel.size_of(payload_bytes[model]))
                p50_us, spread_us = row[kernel.L_P50_US + size], row[kernel.L_SPREAD_US + size]
                server.setdefault(deployment.id, []).append((p50_us, p50_us + spread_us))
    return Believed(middle(server), middle(trips), _surprises(fleet, states))


def _surprises(fleet: Fleet, states: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], tuple[int, int, int, int]]:
    """Return what each entry had learned of surprises when its first epoch began."""
    found: dict[tuple[str, str], tuple[int, int, int, int]] = {}
    for state in states:
        for entry, rows in state["z"].items():
            for number, (p50, p90, p95, p99) in rows.items():
                found.setdefault((entry, fleet.deployments[int(number)].id), (p50, p90, p95, p99))
    return found


def _measured(kind: int, end: Ended, payload_bytes: int, line: dict[str, Any] | None, starts_s: float) -> Measured:
    sent_us = round((end.sent_s - starts_s) * US_PER_S)
    if line is None:
        rule = end.reason.rpartition(" ")[2] if end.outcome == "refused" else ""
        return Measured(kind, sent_us, payload_bytes, end.outcome, rule, end.entry)
    return Measured(
        kind,
        sent_us,
        payload_bytes,
        "answered",
        "",
        end.entry,
        line["deployment"],
        latency_us=us_from_ms(end.latency_ms),
        ended_us=round((line["at"] - starts_s) * US_PER_S),
        ran_us=line["ran_us"],
        at_site_us=line["at_site_us"],
        service_us=line["service_us"],
        told_nusd=round(line["cost_usd"] * 1e9),
        attempts=len(line["attempts"]),
    )
