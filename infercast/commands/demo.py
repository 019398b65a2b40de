"""`demo`: start, send real traffic, cut a site's power in mid-traffic, show what went where and why, end everything."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from infercast import system
from infercast.audit import Audit, audit
from infercast.load import LOST, PAUSE_S, Payloads, Sender, Sent, Traffic, load_traffic
from infercast.policies.engine import Engine
from infercast.policies.fleet import Fleet
from infercast.policies.fleet_file import load_fleet
from infercast.policies.model import Request
from infercast.policies.policy import Policy
from infercast.policies.policy_file import load_policies
from infercast.policies.record import reasons
from infercast.policies.snapshot import Snapshot

from .app import (
    FAILED,
    FLEET,
    POLICIES,
    STATE,
    AsJson,
    FleetPath,
    PoliciesPath,
    StatePath,
    app,
    err,
    out,
    print_json,
    refusing,
)
from .call import addresses
from .explain import nearest_entry
from .running import Port, start_with_progress

TrafficPath = Annotated[Path, typer.Option("--traffic", help="The traffic to send.")]
KILL_AFTER_S = 2.0
FAILED_SHARE_MAX = 0.1
"""Share of calls that may fail while every site is up: a busy machine misses deadlines, a broken one answers nothing."""
Problems = list[str]


@app.command()
def demo(
    fleet: FleetPath = FLEET,
    policies: PoliciesPath = POLICIES,
    state: StatePath = STATE,
    port: Port = 8000,
    traffic: TrafficPath = Path("examples/demo.yaml"),
    json: AsJson = False,
) -> None:
    """Show the whole idea on this machine: start, real traffic, a power cut, and a table of what went where and why.

    Leaves nothing running. Exit code 1 when a call had no outcome, or anything left its policy.
    """
    with refusing():
        world = load_fleet(fleet)
        tenants = load_policies(policies, world)
        plan = load_traffic(traffic, world, tenants)
        payloads = Payloads(world, fleet.resolve().parent)
        running = start_with_progress(fleet, policies, state, port)
        try:
            calm, cut = asyncio.run(_send(running, state, world, tenants, plan, payloads))
        finally:
            with err.status("ending…"):
                system.stop(state)
        found = audit(state / "journal", Engine(world, tenants))
    problems = _problems(calm, cut, found)
    if json:
        print_json({"emulated_distances": True, "calm": _rows(calm), "cut": _rows(cut), "killed": plan.kill,
                    "audit": _audit_row(found), "problems": problems})  # fmt: skip
    else:
        _show(plan, calm, cut, found, problems, _why(world, tenants, plan))
    if problems:
        raise typer.Exit(FAILED)


async def _send(
    running: system.Running, state: Path, fleet: Fleet, policies: dict[str, Policy], plan: Traffic, payloads: Payloads
) -> tuple[list[Sent], list[Sent]]:
    where = addresses(running, state, fleet)
    total = sum(stream.calls for stream in plan.streams)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        bar = progress.add_task("calls, all sites up", total=total)
        sender = Sender(fleet, policies, payloads, where, lambda: progress.advance(bar))
        calm = await sender.send(plan.streams, PAUSE_S)
        if plan.kill is None:
            return calm, []
        bar = progress.add_task(f"calls, {plan.kill} cut off in mid-traffic", total=total)
        sender = Sender(fleet, policies, payloads, where, lambda: progress.advance(bar))
        cutting = asyncio.create_task(_cut(running, plan.kill))
        cut = await sender.send(plan.streams, PAUSE_S)
        await cutting
    return calm, cut


async def _cut(running: system.Running, site: str) -> None:
    await asyncio.sleep(KILL_AFTER_S)
    await asyncio.to_thread(system.kill_site, running, site)


def _problems(calm: list[Sent], cut: list[Sent], found: Audit) -> Problems:
    problems = [f"{sent.stream.name}: {len(sent.ended)} of {sent.stream.calls} calls ended" for sent in (*calm, *cut)
                if len(sent.ended) != sent.stream.calls]  # fmt: skip
    failed = sum(1 for sent in calm for end in sent.ended if end.outcome == "failed")
    if failed > FAILED_SHARE_MAX * sum(len(sent.ended) for sent in calm):
        problems.append(f"{failed} calls failed while every site was up")
    problems += [f"off its policy: {call}" for call in found.off_policy]
    problems += [f"payload where it may not be: {call}" for call in found.misplaced]
    problems += [f"ended twice: {call}" for call in found.ended_twice]
    return problems


def _row(sent: Sent) -> dict[str, Any]:
    stream, ended = sent.stream, sent.ended
    latencies_ms = sent.latencies_ms()
    right = [end.right for end in ended if end.right is not None]
    p50_ms, p95_ms = np.percentile(latencies_ms, (50, 95)).tolist() if latencies_ms else (None, None)
    return {
        "stream": stream.name,
        "tenant": stream.tenant,
        "class": stream.data_class,
        "model": stream.model,
        "from": stream.origin,
        "sent": len(ended),
        "answered": len(latencies_ms),
        "ran": dict(Counter(f"{end.variant}@{end.site}" for end in ended if end.outcome == "answered").most_common()),
        "entered": dict(Counter(end.entry for end in ended).most_common()),
        "second_attempts": sum(1 for end in ended if end.attempts > 1),
        "p50_ms": p50_ms,
        "p95_ms": p95_ms,
        "accuracy": sum(right) / len(right) if right else None,
        "accuracy_n": len(right),
        "cost_usd": sum(end.cost_usd for end in ended),
        "refused": dict(Counter(end.reason for end in ended if end.outcome == "refused").most_common()),
        "failed": dict(Counter(end.reason for end in ended if end.outcome == "failed").most_common()),
    }


def _rows(sents: list[Sent]) -> list[dict[str, Any]]:
    return [_row(sent) for sent in sents]


def _audit_row(found: Audit) -> dict[str, Any]:
    return {
        "calls": found.calls,
        "payloads_received": found.received,
        "off_policy": len(found.off_policy),
        "misplaced": len(found.misplaced),
        "ended_twice": len(found.ended_twice),
    }


def _show(
    plan: Traffic, calm: list[Sent], cut: list[Sent], found: Audit, problems: Problems, why: dict[str, str]
) -> None:
    out.print(_table("All sites up (distances emulated from the fleet's links)", calm, why))
    out.print(_sum(calm), highlight=False)
    if plan.kill is not None:
        out.print(_table(f"{plan.kill} cut off {KILL_AFTER_S:.0f} s into the traffic", cut, why))
        out.print(_sum(cut), highlight=False)
        out.print(_of_the_cut(plan.kill, cut), highlight=False)
    out.print(
        f"The places' own journals: {found.calls} calls, each with one ending; {found.received} payloads received "
        f"({found.payload_bytes:,} bytes), {len(found.misplaced)} of them where the policy does not allow; "
        f"{len(found.off_policy)} attempts outside a policy.",
        highlight=False,
    )
    for problem in problems:
        out.print(f"[red]✗[/] {problem}", highlight=False)
    if not problems:
        out.print("[green]✓[/] no call ended twice or not at all, and nothing left its policy")


def _sum(sents: list[Sent]) -> str:
    ends = [end for sent in sents for end in sent.ended]
    counts = Counter(end.outcome for end in ends)
    slowest_ms = max((end.latency_ms for end in ends), default=0.0)
    return (
        f"{len(ends)} calls: {counts['answered']} answered, the slowest after {slowest_ms:.0f} ms; {counts['refused']} "
        f"refused by their policies; {counts['failed']} without an answer in time."
    )


def _of_the_cut(site: str, cut: list[Sent]) -> str:
    ends = [(sent.stream, end) for sent in cut for end in sent.ended]
    lost = [end for _, end in ends if end.reason == LOST]
    there = sum(1 for end in lost if site in end.tried)
    moved = sum(1 for _, end in ends if end.outcome == "answered" and end.attempts > 1)
    ours = [end for stream, end in ends if end.outcome == "answered" and stream.entries[:1] == (site,)]
    entered = sum(1 for end in ours if end.entry != site)
    elsewhere = f" ({len(lost) - there} more elsewhere, this machine being busy)" if len(lost) > there else ""
    return (
        f"Of the calls that the cut touched: answered by the next allowed candidate {moved}; entered at the next site "
        f"{entered}; without an answer {there}, which had entered at {site} itself{elsewhere}."
    )


def _why(fleet: Fleet, policies: dict[str, Policy], plan: Traffic) -> dict[str, str]:
    """Return, for each stream, what its tenant prefers and which rules veto candidates, decided on an idle fleet."""
    engine, idle = Engine(fleet, policies), Snapshot.declared(fleet)
    said = {}
    for stream in plan.streams:
        entry = stream.entries[0] if stream.entries else nearest_entry(fleet, stream.origin)
        classes = (stream.data_class,) if stream.data_class else ()
        decision = engine.explain(Request("", stream.tenant, stream.model, entry, stream.origin, classes), idle)
        vetoed = any(verdict.rule for verdict in decision.verdicts)
        vetoes = reasons(decision).replace(", ", "\n") if vetoed else "nothing"
        said[stream.name] = f"{decision.preference}; vetoed:\n{vetoes}"
    return said


def _table(title: str, sents: list[Sent], why: dict[str, str]) -> Table:
    table = Table(title=title, show_lines=True)
    for column in ("tenant", "calls", "from → entry", "ran at", "why", "p50 / p95 ms", "accuracy", "µUSD", "no answer"):
        table.add_column(column, overflow="fold", no_wrap=column in ("tenant", "ran at", "why", "p50 / p95 ms", "µUSD"))
    for row in _rows(sents):
        spent = f"{row['p50_ms']:.1f} / {row['p95_ms']:.1f}" if row["p50_ms"] is not None else ""
        right = f"{row['accuracy']:.3f} of {row['accuracy_n']}" if row["accuracy_n"] else ""
        unanswered = {**{f"refused: {reason}": n for reason, n in row["refused"].items()}, **row["failed"]}
        table.add_row(
            row["tenant"],
            f"{row['sent']} {row['stream']} ({row['class'] or 'no class'})",
            f"{row['from']} → {', '.join(row['entered'])}",
            "\n".join(f"{count} {name}" for name, count in row["ran"].items()),
            why[row["stream"]],
            spent,
            right,
            f"{row['cost_usd'] * 1e6:.2f}",
            "\n".join(f"{count} {reason}" for reason, count in unanswered.items()),
        )
    return table
