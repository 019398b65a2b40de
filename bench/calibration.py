"""How well foretold times hold on a real cluster: `make bench-calibration`, or `python bench/calibration.py --json FILE`.

Starts a cluster of five labelled raylets on this machine, sends a stationary load, and reads in the sites' journals what
was foretold of each call and what it took. Then, in turns, the calls bring three times the work, and once the work again.
Takes about ten minutes. 1 when a goal is missed and --hold is given.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bench.busy import FAR_SITES, World, work_of, write_world  # noqa: E402 - the root had to come first
from bench.foretold import AFTER_CALLS, NEAR, P95, QUANTILES, Call, Change, Share, calls_of, change_of, share_of  # noqa: E402
from bench.machine import machine  # noqa: E402
from bench.sending import Lateness, Stream, Target, send_phase  # noqa: E402
from bench.svg import Panel, figure  # noqa: E402
from infercast import system  # noqa: E402
from infercast.router.serving.cluster import free_ports  # noqa: E402
from infercast.router.telemetry.journal import read_journal  # noqa: E402

WARM_CALLS = 100
"""The first calls of each stream, in which all programs run for the first time, are counted apart."""
SLOWER = 3
TURNS = 2
GOAL_UNDER, GOAL_OFF = 95.0, 1.5
GOAL_NEAR_SHARE = 0.9
PACKAGES = ("infercast", "ray", "onnxruntime-gpu", "numpy", "numba")
FIGURE = ROOT / "docs" / "figures" / "calibration.svg"


def main() -> int:
    """Run, print, write; 1 when a goal was missed and is to be held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1300, help="stationary calls of each of the eight streams")
    parser.add_argument("--change-calls", type=int, default=450, help="calls of each stream after each change")
    parser.add_argument("--per-s", type=float, default=6.0, help="calls per second and stream")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--svg", type=Path, default=FIGURE, help="draw the figure here")
    parser.add_argument("--hold", action="store_true", help="fail when a goal is missed")
    options = parser.parse_args()
    load_before = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="calibration-") as folder:
        world = write_world(Path(folder) / "world")
        calls, phases = run(world, Path(folder) / "state", options)
    stationary, warm = stationary_shares(calls)
    changes = changes_of(calls, "slow")
    back = changes_of(calls, "back")
    on = {
        **machine(PACKAGES),
        "load_before": load_before,
        "load_after": os.getloadavg(),
        "rounds": world.rounds,
        "phases": phases,
    }
    print(text(on, stationary, warm, changes, back))
    options.svg.parent.mkdir(parents=True, exist_ok=True)
    options.svg.write_text(drawn(stationary, changes), encoding="utf-8")
    if options.json:
        report = {"machine": on, "stationary": [asdict(share) for share in stationary], "warm": asdict(warm)}
        report |= {"slower": [asdict(change) for change in changes], "back": [asdict(change) for change in back]}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 1 if options.hold and missed(stationary, changes) else 0


def streams_of(world: World) -> list[Stream]:
    """Return a stream at every site that stays there, and one that travels where the site has not what it wants."""
    near = [Stream(site, "near") for site in world.sites]
    return [*near, *(Stream(site, "far") for site in world.sites if site not in FAR_SITES)]


def run(world: World, state: Path, options: argparse.Namespace) -> tuple[list[Call], list[dict[str, Any]]]:
    """Start a cluster, send all phases, end it; return what its journals say of the calls, and what the phases were like."""
    streams = streams_of(world)
    running = system.start(
        world.fleet, world.policies, state, free_ports(1)[0], lambda step: print(f"starting: {step}", file=sys.stderr)
    )
    try:
        target = Target(running.url, system.secret_of(state, "bench"))
        sent: list[dict[str, Any]] = []
        phases = [("stationary", WARM_CALLS + options.calls, 1)]
        for turn in range(TURNS):
            phases += [(f"slow{turn}", options.change_calls, SLOWER), (f"back{turn}", options.change_calls, 1)]
        for number, (phase, count, factor) in enumerate(phases):
            seed = options.seed + 1000 * number
            work = [work_of(world.rounds * factor, count, seed + 100 + at) for at in range(len(streams))]
            with Lateness() as late:
                bad = asyncio.run(send_phase(target, phase, streams, work, options.per_s, seed))
            sent.append(
                {
                    "phase": phase,
                    "calls": count * len(streams),
                    "unanswered": sum(bad),
                    "late_p99_ms": round(late.percentile(99), 1),
                    "late_max_ms": round(late.percentile(100), 1),
                }
            )
            print(sent[-1], file=sys.stderr)
        return calls_of(read_journal(state / "journal")), sent
    finally:
        system.stop(state)


def stationary_shares(calls: Sequence[Call]) -> tuple[list[Share], Share]:
    """Return the shares of the stationary phase, overall first and then by stream; and those of the first calls."""
    phase = [call for call in calls if call.phase == "stationary"]
    counted = [call for call in phase if call.number >= WARM_CALLS]
    by_stream = {name: [call for call in counted if call.stream == name] for name in sorted({c.stream for c in phase})}
    shares = [share_of("all", counted), *(share_of(name, chosen) for name, chosen in by_stream.items())]
    return shares, share_of("first calls", [call for call in phase if call.number < WARM_CALLS])


def changes_of(calls: Sequence[Call], kind: str) -> list[Change]:
    """Return how each stream that stays at its site followed each change of a kind, `slow` or `back`."""
    found = []
    for turn in range(TURNS):
        before = f"slow{turn}" if kind == "back" else f"back{turn - 1}" if turn else "stationary"
        for name in sorted({call.stream for call in calls if call.stream.startswith("near")}):
            mine = [call for call in calls if call.stream == name]
            was, now = ([call for call in mine if call.phase == phase] for phase in (before, f"{kind}{turn}"))
            found.append(change_of(f"{name}, {turn + 1}", was, now))
    return found


def missed(stationary: Sequence[Share], changes: Sequence[Change]) -> list[str]:
    """Return the goals that were not reached, in words."""
    words = [
        f"{share.name}: {share.under[P95]:.2f}% under the p95, goal {GOAL_UNDER - GOAL_OFF} to {GOAL_UNDER + GOAL_OFF}%"
        for share in stationary
        if abs(share.under[P95] - GOAL_UNDER) > GOAL_OFF
    ]
    near = sum(change.near for change in changes)
    if near < GOAL_NEAR_SHARE * len(changes):
        words.append(f"slower: p95 within {NEAR:.0%} in {near} of {len(changes)} runs, goal 9 of 10")
    return words


def text(
    on: dict[str, Any],
    stationary: Sequence[Share],
    warm: Share,
    changes: Sequence[Change],
    back: Sequence[Change],
) -> str:
    """Return the figures as the Markdown that docs/estimates.md carries."""
    packages = ", ".join(f"{name} {on[name]}" for name in PACKAGES)
    return "\n".join(
        [
            (
                f"{on['cpu']}, {on['cores']} cores, {on['memory_gb']} GB, {on['system']}, Python {on['python']}; "
                f"load {on['load_before'][0]:.1f} before, {on['load_after'][0]:.1f} after."
            ),
            f"{packages}.",
            "",
            "| phase | calls | without an answer | a thread that sleeps wakes late: p99, ms | most, ms |",
            "|---|--:|--:|--:|--:|",
            *("| " + " | ".join(str(value) for value in phase.values()) + " |" for phase in on["phases"]),
            "",
            "| stationary | attempts | given up | " + " | ".join(f"under p{share}" for share in QUANTILES) + " |",
            "|---|--:|--:|" + "--:|" * len(QUANTILES),
            *(_share_text(share) for share in (*stationary, warm)),
            "",
            *_changes_text(f"{SLOWER}x slower", changes),
            "",
            *_changes_text("back again", back),
            "",
            *(f"Missed: {words}" for words in missed(stationary, changes)),
        ]
    )


def _share_text(share: Share) -> str:
    under = " | ".join(f"{value:.2f}%" for value in share.under)
    return f"| {share.name} | {share.attempts} | {share.given_up} | {under} |"


def _changes_text(name: str, changes: Sequence[Change]) -> list[str]:
    near = sum(change.near for change in changes)
    own = sum(abs(change.own_off) <= NEAR for change in changes)
    return [
        f"| {name} | p95 before, ms | true p95 after, ms | foretold after {AFTER_CALLS} calls, ms | off | own |",
        "|---|--:|--:|--:|--:|--:|",
        *(
            f"| {change.name} | {change.before_ms:.1f} | {change.truth_ms:.1f} | {change.estimate_ms:.1f} "
            f"| {change.off:+.1%} | {change.own_off:+.1%} |"
            for change in changes
        ),
        "",
        f"Within {NEAR:.0%} after {AFTER_CALLS} calls: {near} of {len(changes)}; own: {own} of {len(changes)}.",
    ]


def drawn(stationary: Sequence[Share], changes: Sequence[Change]) -> str:
    """Return the figure: shares under the p95 by stream, and how the foretold p95 followed the slowing."""
    names = [share.name for share in stationary]
    left = Panel("stationary: calls under the foretold p95, %", (-0.6, len(names) - 0.4), (90, 100), 60, 40, 400, 260)
    left.band(GOAL_UNDER - GOAL_OFF, GOAL_UNDER + GOAL_OFF)
    for y in (90, 92.5, 95, 97.5, 100):
        left.y_label(y, f"{y:g}")
    for x, share in enumerate(stationary):
        left.dot(x, share.under[P95])
        model, _, site = share.name.partition(" at ")
        left.x_label(x, f"{site or model}{'*' if model == 'far' else ''}")
    longest = max(len(change.course) for change in changes)
    right = Panel("after slowing 3x: foretold p95 / true p95, by calls", (0, longest), (0, 2), 540, 40, 400, 260)
    right.band(1 - NEAR, 1 + NEAR)
    for y in (0, 0.5, 1, 1.5, 2):
        right.y_label(y, f"{y:g}")
    for x in range(0, longest + 1, 100):
        right.x_label(x, str(x))
    for change in changes:
        right.line(list(enumerate(change.course)), opacity=0.5)
    caption = "Calibration on the real cluster; bands are the goals. Sites with * are those whose calls travel."
    return figure(980, 340, [left, right], caption)


if __name__ == "__main__":
    sys.exit(main())
