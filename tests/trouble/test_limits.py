"""Limits and budgets that hold over three ingresses at once: raced for, with one of them killed, and with the ledger away."""

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import httpx

from infercast.policies.units import nusd, usd
from tests.trouble import world
from tests.trouble.rig import Raw, Rig, until

CALL_NUSD = nusd(0.0002)
"""What `score` costs at the cheaper upstream."""
CALLS = 20
"""So many calls a budget here pays for."""
AWAY = "the ledger is out of reach"


def paid(rig: Rig) -> int:
    """What poor has paid for `score`, by the journals, in nano-USD."""
    lines = rig.lines(tenant="poor", model="score")
    return sum(cost_nusd for line in lines for _, cost_nusd in line["spent"])


def budget_of(limit_nusd: int) -> Raw:
    return {"budgets": [{"per": "day", "usd": usd(limit_nusd), "models": ["score"]}]}


def racing(rig: Rig, calls: int, prefix: str, entries: tuple[str, ...] = tuple(world.OWN)) -> Counter[int]:
    """Make many calls at once, at every entry; how they ended, by status."""

    def one(number: int) -> int:
        try:
            entry = entries[number % len(entries)]
            return rig.infer("poor", "score", entry, infercast_id=f"{prefix}{number}").status_code
        except httpx.HTTPError:
            return 0

    with ThreadPoolExecutor(24) as threads:
        return Counter(threads.map(one, range(calls)))


def test_three_ingresses_race_for_one_budget_and_spend_it_and_no_more(rig: Rig) -> None:
    limit_nusd = paid(rig) + CALLS * CALL_NUSD
    with rig.policy("poor", limits=budget_of(limit_nusd)):
        ended = racing(rig, 5 * CALLS, "race")
        assert {200, 402} <= set(ended) <= {200, 402, 503}, ended  # the last where the ledger does not answer in time
        assert ended[200] <= CALLS
        assert paid(rig) <= limit_nusd
        # What one ingress had leased and did not use goes back: in the end all of it is spent.
        until(lambda: racing(rig, 3, f"rest{time.monotonic_ns()}-") and paid(rig) == limit_nusd, "all of it is spent")
        refused = rig.infer("poor", "score")
        assert refused.status_code == 402
        told = refused.json()["infercast"]
        assert (told["kind"], told["model"], nusd(told["budget_usd"])) == ("over_budget", "score", limit_nusd)
        assert rig.infer("poor", "digits").status_code == 200


def test_an_ingress_that_is_killed_keeps_nobodys_money(rig: Rig) -> None:
    limit_nusd = paid(rig) + CALLS * CALL_NUSD
    with rig.policy("poor", limits=budget_of(limit_nusd)):
        with rig.north.told(does="hang"), ThreadPoolExecutor(1) as beside:
            hanging = beside.submit(racing, rig, 4, "killed", ("ams",))
            until(lambda: len(rig.lines("reserved", tenant="poor", place="ams")) >= 1, "money is set aside at ams")
            rig.kill("ams")
            hanging.result()
        rig.well()
        # Its lease runs out, and its calls that never ended cost nothing: others spend all there is.
        until(
            lambda: racing(rig, 6, f"after{time.monotonic_ns()}-") and paid(rig) > limit_nusd - CALL_NUSD,
            "all is spent",
        )
        assert paid(rig) <= limit_nusd + CALLS * CALL_NUSD, "one lease, at most, is spent twice"
        assert rig.infer("poor", "score").status_code == 402


@contextmanager
def held(rig: Rig) -> Iterator[None]:
    """Let another program write to the ledger, and not come to an end."""
    with closing(sqlite3.connect(rig.state / "ledger.db", isolation_level=None, timeout=60)) as other:
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


def test_while_the_ledger_is_out_of_reach_what_is_leased_is_used_and_then_calls_are_refused_with_the_reason(
    rig: Rig,
) -> None:
    with rig.policy("poor", limits={"requests_per_minute": 25_600}):

        def used() -> bool:
            """Whether a call is let through by what is leased; it is not where a minute has begun, or the lease has gone back."""
            until(lambda: rig.infer("poor").status_code == 200, "poor calls")
            until(
                lambda: rig.infer("poor").status_code == 200, "poor calls again, by a lease that is larger than a call"
            )
            with held(rig):
                return rig.infer("poor").status_code == 200

        until(used, "what has been leased is used")
        with held(rig):
            refused = until(lambda: _refused(rig), "what is leased is used up")
            assert refused.status_code == 503
            assert AWAY in refused.json()["error"]
            assert rig.infer("calm").status_code == 200, "who has no limits does not notice"
        until(lambda: rig.infer("poor").status_code == 200, "the ledger is there again")


def _refused(rig: Rig) -> httpx.Response | None:
    for _ in range(50):
        answer = rig.infer("poor")
        if answer.status_code != 200:
            return answer
    return None
