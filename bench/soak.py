"""A long mixed run of the whole system under light faults: memory has to be flat, nothing left open, the books add up.

python bench/soak.py [--minutes 30] [--seed 7] [--write-docs docs/soak.md]

What is run, and what is asked of it, is in docs/soak.md. Exit code 1 where something is not as it should be.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bench.machine import machine  # noqa: E402 - the root had to come first
from bench.soak_samples import Sample, sample  # noqa: E402
from bench.soak_text import Soaked, drawn, put_into, text  # noqa: E402
from tests.trouble.afterwards import call_lines, told, wrong_costs, wrong_endings  # noqa: E402
from tests.trouble.callers import Crowd, Ended  # noqa: E402
from tests.trouble.faults import Trouble  # noqa: E402
from tests.trouble.rig import Rig  # noqa: E402
from tests.trouble.running import started  # noqa: E402

FIGURE = ROOT / "docs" / "figures" / "soak.svg"
PACKAGES = ("ray", "onnxruntime-gpu", "numpy")
CALLERS, PAUSE_S = 6, 0.1
"""Six callers, a tenth of a second on average between an answer and the next call."""
FAULT_PAUSE_S = 8.0
WARM_SHARE, WARM_MIN_S = 0.1, 30.0
"""How much of the run goes before its beginning is measured: caches fill, learned times and compiled code come to be."""
QUIET_S = 20.0
"""How long nobody calls before open files and tasks are counted: idle connections to upstreams are closed after 4 s."""
SAMPLES = 60


def main() -> None:
    """Run, print, and write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED", "7")))
    parser.add_argument("--write-docs", type=Path, help="put the tables into this file, and the figure beside it")
    parser.add_argument("--json", type=Path, help="write each role's memory over the run into this file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, started(Path(folder)) as rig:
        soaked = soak(rig, given.seed, given.minutes * 60)
    print(text(soaked))
    if given.json is not None:
        series = {
            role: [(round(hours * 60, 2), round(mb, 2)) for hours, mb in soaked.rss_mb(role)] for role in soaked.roles
        }
        given.json.write_text(json.dumps({"rss_mb_by_minute": series, "at_fault": soaked.faults()}), encoding="utf-8")
    if given.write_docs is not None:
        put_into(given.write_docs, soaked)
        FIGURE.parent.mkdir(parents=True, exist_ok=True)
        FIGURE.write_text(drawn(soaked), encoding="utf-8")
    sys.exit(0 if not soaked.faults() else 1)


def soak(rig: Rig, seed: int, for_s: float) -> Soaked:
    """Warm up, count what is open, run, and count again."""
    began = os.getloadavg()
    ended = warm_up(rig, seed, max(WARM_MIN_S, WARM_SHARE * for_s))
    before = quiet(rig)
    samples: list[Sample] = []
    with (
        Crowd(rig, seed, CALLERS, PAUSE_S) as crowd,
        Trouble(rig, random.Random(f"{seed} soak"), lightly=True, pause_s=FAULT_PAUSE_S) as trouble,
    ):
        start_s = time.monotonic()
        for number in range(SAMPLES + 1):
            time.sleep(max(0.0, start_s + for_s * number / SAMPLES - time.monotonic()))
            samples.append(sample(rig))
            _say(f"{samples[-1].at_s - samples[0].at_s:6.0f} s, {len(crowd.ended)} calls, {len(trouble.befell)} faults")
    ended += crowd.ended
    after = quiet(rig)
    return Soaked(
        seed=seed,
        minutes=for_s / 60,
        samples=samples,
        before=before,
        after=after,
        faults_drawn=Counter(_kind(name) for name in trouble.befell),
        statuses=Counter(end.status for end in crowd.ended),
        calls_per_s=len(crowd.ended) / for_s,
        books=books(rig, ended),
        machine={**machine(PACKAGES), "load_before": began, "load_after": os.getloadavg()},
    )


def warm_up(rig: Rig, seed: int, for_s: float) -> list[Ended]:
    """Let callers call without faults."""
    rig.well()
    _say(f"warming up for {for_s:.0f} s")
    with Crowd(rig, seed, CALLERS, PAUSE_S, "warm") as crowd:
        time.sleep(for_s)
    return list(crowd.ended)


def quiet(rig: Rig) -> Sample:
    """Wait until all is well and nothing is under way, and count what is open."""
    rig.recover()
    rig.well()
    time.sleep(QUIET_S)
    return sample(rig)


def books(rig: Rig, ended: list[Ended]) -> dict[str, Any]:
    """Hold what callers were told against the journals, and these against the ledger."""
    report, lines = rig.books(), call_lines(rig)
    paid = told(ended)
    found = rig.audit()
    return {
        "calls": report.calls,
        "told_calls": len(paid),
        "told_nusd": sum(end.cost_nusd for end in paid),
        "told_journal_nusd": sum(round(lines[end.id][0]["cost_usd"] * 1e9) for end in paid),
        "journal_nusd": report.journal_nusd,
        "ledger_nusd": report.ledger_nusd,
        "differing": report.differing,
        "wrong_costs": wrong_costs(ended, lines),
        "wrong_endings": wrong_endings(ended, lines),
        "off_policy": [*found.off_policy, *found.misplaced, *found.ended_twice],
    }


def _kind(name: str) -> str:
    """Say what kind a fault is of, whichever it befell."""
    for site in ("north ", "south ", " of fra", " of ams", " of dub"):
        name = name.replace(site, "")
    return name


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
