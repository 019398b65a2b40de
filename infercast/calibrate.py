"""Measuring the real system for the simulator: the demo's workload, sent again and again while every site is up."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from infercast.load import Ended, Payloads, Sender, Sent, Stream
from infercast.policies.units import US_PER_S, us_from_ms
from infercast.router.telemetry.journal import read_journal
from infercast.sim.measured import Measured, Rerun
from infercast.sim.model import Kind

WARM_UP_CALLS = 15
"""Of each stream, before anything counts: connections, caches, and what the sites learn of times."""
ALONE_CALLS = 10
"""Of each stream by itself, with nothing else going on: what the sites' shared cores cost shows against these."""
Said = Callable[[str], None]


def measure(
    sender: Sender, payloads: Payloads, streams: Sequence[Stream], journal: Path, reruns: int, pause_s: float, say: Said
) -> tuple[list[Rerun], Rerun]:
    """Send a workload `reruns` times, warmed up. Returns the reruns, and a small one whose streams came one by one."""

    async def send() -> tuple[list[list[Sent]], list[list[Sent]]]:
        say("warming up")
        await sender.send([_of(stream, WARM_UP_CALLS) for stream in streams], pause_s)
        alone = []
        for stream in streams:
            say(f"{stream.name}, alone")
            alone.append(await sender.send([_of(stream, ALONE_CALLS)], pause_s))
        together = []
        for number in range(reruns):
            say(f"the whole workload, {number + 1} of {reruns}")
            together.append(await sender.send(streams, pause_s))
        return together, alone

    together, alone = asyncio.run(send())
    lines = _lines(journal)
    runs = [rerun_of(sender, payloads, sents, lines) for sents in together]
    return runs, rerun_of(sender, payloads, [sent for sents in alone for sent in sents], lines)


def _of(stream: Stream, calls: int) -> Stream:
    return stream.model_copy(update={"calls": min(stream.calls, calls)})


def _lines(journal: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the journals' lines of calls, by the call's id and the place that it entered at."""
    return {(line["request"], line["place"]): line for line in read_journal(journal) if line["kind"] == "call"}


def rerun_of(
    sender: Sender, payloads: Payloads, sents: Sequence[Sent], lines: dict[tuple[str, str], dict[str, Any]]
) -> Rerun:
    """Return what callers and journals say of a workload that was sent once."""
    starts_s = min(end.sent_s for sent in sents for end in sent.ended)
    kinds, patience_us, calls = [], [], []
    for number, sent in enumerate(sents):
        stream = sent.stream
        classes = (stream.data_class,) if stream.data_class else ()
        kinds.append(Kind(stream.tenant, stream.model, stream.origin, tuple(sender.entries(stream)), classes))
        patience_us.append(round(sender.patience_s(stream) * US_PER_S))
        for at, end in enumerate(sent.ended):
            payload_bytes = len(payloads.of(stream.model, at)[0])
            line = lines[(end.call, end.entry)] if end.outcome == "answered" else None
            calls.append(_measured(number, end, payload_bytes, line, starts_s))
    calls.sort(key=lambda call: call.sent_us)
    return Rerun(tuple(kinds), tuple(patience_us), tuple(calls), int(starts_s))


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
