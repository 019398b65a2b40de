"""What limits and budgets add to a call: `python bench/limits.py [--calls 20000]`.

Microseconds of one event loop's own time, beside a real ledger in a file: letting a call through and ending it (`open` and
`end`), setting its money aside and settling it (`reserve` and `end`), for tenants with more and more limits; and how often the
ledger itself was asked meanwhile.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from infercast.policies.fleet_file import load_fleet  # noqa: E402 - the root had to come first
from infercast.policies.model import Request  # noqa: E402
from infercast.policies.policy import Policy  # noqa: E402
from infercast.router.conduct.endings import Carrying  # noqa: E402
from infercast.router.conduct.ports import Carried  # noqa: E402
from infercast.router.ledger.opening import open_store  # noqa: E402
from infercast.router.quota.accounts import Ledgered  # noqa: E402
from infercast.router.telemetry.journal import FileJournal  # noqa: E402

CALLS = 20_000
WARM_CALLS = 500
PRICE_NUSD = 60
PAUSE_EVERY = 50
RATES: dict[str, Any] = {"requests_per_minute": 10**9, "tokens_per_minute": 10**9, "concurrent_max": 10**4}
MONEY: dict[str, Any] = {"budget_usd_per_day": 1000, "budget_usd_per_month": 10_000}
TENANTS: dict[str, dict[str, Any]] = {
    "no limits": {},
    "calls a minute": {"requests_per_minute": 10**9},
    "calls, tokens, calls at once": RATES,
    "all of them, and money a day and a month": {**RATES, **MONEY},
}


class Silent:
    """A journal that writes nothing: what its lines cost is told apart."""

    full = False

    def retry(self) -> bool:
        """Return True: nothing waits."""
        return True

    def write(self, kind: str, **facts: Any) -> None:
        """Do nothing."""


class Counted:
    """A ledger's store that counts what it is asked."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        self.asked += 1
        return getattr(self._store, name)


async def timed(limits: dict[str, Any], calls: int, folder: Path, journal: Any) -> tuple[float, int]:
    """Return the median microseconds of a call's way through its limits, and how often the ledger was asked."""
    raw = {"version": 1, "tenant": "t", "classes": {"c": {}}, "limits": limits}
    store = Counted(open_store(f"sqlite:///{folder}/{len(str(limits))}.db"))
    fleet = load_fleet(ROOT / "cluster.yaml")
    accounts = Ledgered(fleet, {"t": Policy.model_validate(raw)}, lambda: store, "bench-1-", journal)
    keeping = asyncio.create_task(accounts.run())
    took_ns = []
    for number in range(WARM_CALLS + calls):
        request = Request("r", "t", "digits", "fra", "zurich", ("c",), 2, 0, int(time.time()))
        call, carrying = Carried(request, b"{}", None), Carrying(request, f"bench-1-{number}", 0)
        began_ns = time.perf_counter_ns()
        accounts.look(request)
        hold = accounts.open(call, carrying)
        if asyncio.iscoroutine(hold):
            hold = await hold
        waiting = hold.reserve(PRICE_NUSD)  # type: ignore[union-attr]
        if waiting is not None:
            await waiting
        hold.end(PRICE_NUSD, 0)  # type: ignore[union-attr]
        took_ns.append(time.perf_counter_ns() - began_ns)
        if number % PAUSE_EVERY == 0:
            await asyncio.sleep(0)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    return median(took_ns[WARM_CALLS:]) / 1000, store.asked


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=CALLS)
    calls = parser.parse_args().calls
    with tempfile.TemporaryDirectory() as folder:
        journals: dict[str, Callable[[], Any]] = {
            "": Silent,
            ", with the line that says what is set aside": lambda: FileJournal(Path(folder), "bench"),
        }
        for name, limits in TENANTS.items():
            for more, journal in journals.items():
                if not more or "budget_usd_per_day" in limits:
                    took_us, asked = asyncio.run(timed(limits, calls, Path(folder), journal()))
                    print(f"{name + more:85} {took_us:7.2f} us   the ledger was asked {asked} times in {calls} calls")


if __name__ == "__main__":
    main()
