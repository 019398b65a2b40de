"""How fast calls are taken over from journals into the ledger, what that costs, and how long it takes to ask what they cost.

    python bench/ledger.py [--calls 100000] [--ledger postgresql://…/empty]

Writes lines as a site's worker does, settles them as the board does (one process, one thread), and asks as `infercast usage`
does. The ledger is a fresh SQLite file, or an empty database that is named. Prints one JSON object.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infercast.router.ledger.asking import Wanted
from infercast.router.ledger.checking import check
from infercast.router.ledger.opening import ledger_url, open_store
from infercast.router.ledger.ports import Ask, Measure, Quota
from infercast.router.ledger.reading import sums_by
from infercast.router.ledger.settler import Settler
from infercast.router.ledger.store import SqlStore
from infercast.router.telemetry.journal import FileJournal

TENANTS, MODELS, SITES = 20, 10, ("fra", "sin", "gru", "iad", "dub")
GRANTS = 300
FACTS: dict[str, Any] = {
    "hops": [], "settled": True, "device": False, "entry": "fra", "origin": "paris", "classes": ["personal"],
    "received_bytes": 600, "outcome": "answered", "reason": "", "expected_us": [1000, 2000, 3000, 4000], "ran_us": 1234,
    "at_site_us": 1200, "service_us": 1000, "tokens": None, "took_us": 1500,
}  # fmt: skip
"""What is the same of all calls here."""


def write(folder: Path, calls: int) -> int:
    """Write the lines of calls, one in ten of them with a try that was lost; return their bytes."""
    journal = FileJournal(folder, "fra")
    for number in range(calls):
        site = SITES[number % len(SITES)]
        deployment = f"digits-large@{site}"
        lost = [("digits-small@fra", 20)] if number % 10 == 0 else []
        spent = [(deployment, 50 + number % 7), *lost]
        journal.write(
            "call", **FACTS, number=f"fra-4711-0a1b2c3d-{number}", request=f"{number:032x}",
            at_s=int(time.time()), tenant=f"tenant-{number % TENANTS}", model=f"model-{number % MODELS}", deployment=deployment, decision=f"{number:024x}", cost_usd=sum(cost for _, cost in spent) / 1e9, spent=spent,
            attempts=[deployment],
        )  # fmt: skip
    journal.close()
    return sum(path.stat().st_size for path in folder.glob("*.jsonl"))


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that something took, and the processor's seconds of this process."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall_s, time.process_time() - cpu_s


def grants(store: SqlStore) -> None:
    """Ask for leases as two ingresses do that share four quotas."""
    day = time.strftime("%Y-%m-%d", time.gmtime())
    quotas = [Quota("tenant-1", model, Measure.MONEY, period) for model in ("", "model-1") for period in (day, day[:7])]
    for number in range(GRANTS):
        asks = [Ask(quota, 10**15, 1000, time.time() + 30) for quota in quotas]
        store.grant(f"fra-{number % 2}-", asks, time.time())


def main() -> None:
    """Run and print."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--calls", type=int, default=100_000)
    words.add_argument("--ledger", default="")
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as name:
        state = Path(name)
        folder = state / "journal"
        journal_bytes = write(folder, given.calls)
        store = open_store(given.ledger or ledger_url(state))
        settle_s, settle_cpu_s = timed(lambda: Settler(folder, store).round())
        store.flush()
        grant_s, _ = timed(lambda: grants(store))
        usage_s, _ = timed(lambda: sums_by(store, ("tenant", "model", "day"), Wanted()))
        check_s, _ = timed(lambda: check(folder, store))
        file_bytes = 0 if given.ledger else (state / "ledger.db").stat().st_size
        store.close()
    entries = given.calls + given.calls // 10
    print(
        json.dumps(
            {
                "ledger": store.name if given.ledger else "sqlite",
                "processors": os.cpu_count(),
                "calls": given.calls,
                "entries": entries,
                "entries_per_s": round(entries / settle_s),
                "settle_cpu_us_per_call": round(settle_cpu_s / given.calls * 1e6, 1),
                "journal_bytes_per_call": round(journal_bytes / given.calls),
                "ledger_bytes_per_call": round(file_bytes / given.calls),
                "grant_ms": round(grant_s / GRANTS * 1000, 2),
                "usage_s": round(usage_s, 2),
                "check_s": round(check_s, 2),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
