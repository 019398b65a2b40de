"""What the parts of an entry count by themselves, read whenever metrics are asked for: no part counts for the sake of metrics.

A gauge whose subject is gone (a budget's day that is over, a tenant of whom nothing is kept any more) is told as 0 from then on:
else its last value would stand.
"""

from collections.abc import Callable, Iterable, Iterator

from infercast.policies.fleet import Fleet

from ..cache.answers import AnswerCache
from ..conduct import clock
from ..conduct.breaker import State
from ..conduct.caller import Caller
from ..quota.accounts import Ledgered
from ..quota.rules import word_of
from ..sight import table
from ..sight.buckets import Labels
from ..sight.seeing import Read
from ..sight.table import Metric

Watch = Callable[[Metric, Read], None]
Series = Iterable[tuple[Labels, float]]
CIRCUIT_STATES = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


def lasting(read: Read) -> Read:
    """Return what reads the same, and 0 for what was there before and is not any more."""
    known: dict[Labels, None] = {}

    def again() -> Iterator[tuple[Labels, float]]:
        now = dict(read())
        known.update(dict.fromkeys(now))
        for labels in known:
            yield labels, now.get(labels, 0)

    return again


def place_of(fleet: Fleet, index: int) -> Labels:
    """Return a deployment's labels."""
    deployment = fleet.deployments[index]
    return deployment.id, deployment.site, fleet.model_of[deployment.variant]


def watch_conduct(watch: Watch, caller: Caller) -> None:
    """Watch how calls are carried: what is under way, who waits for a turn, what is shut."""
    attempts, turns, fleet = caller.attempts, caller.attempts.turns, caller.fleet
    circuits, everywhere = attempts.circuits, range(len(fleet.deployments))

    def states() -> Series:
        of = ((index, circuits.state(index)) for index in everywhere)
        return [(place_of(fleet, index), CIRCUIT_STATES[state]) for index, state in of if state is not State.CLOSED]

    watch(table.CIRCUIT, lasting(states))
    watch(table.CIRCUITS_OPENED, lambda: [((), circuits.opened)])
    watch(table.RETRIES_DENIED, lambda: [((), attempts.counts.retries_denied)])
    watch(table.UNDER_WAY, lambda: [((), caller.under_way)])
    watch(table.DRAINED, lasting(lambda: [((site,), 1) for site in caller.drained]))
    watch(table.WAITING, lambda: [(place_of(fleet, index), waiting) for index, waiting in turns.waiting()])
    watch(table.SHED, lambda: [(place_of(fleet, index), turns.sheds[index]) for index in everywhere])
    watch(table.HELD_BACK, lambda: [((), caller.held_back)])


def watch_accounts(watch: Watch, accounts: Ledgered) -> None:
    """Watch the tenants' limits: what is leased of them, what they refused, what of budgets is used."""
    keeper, alerts = accounts.keeper, accounts.alerts

    def leases() -> Iterator[tuple[Labels, float, float]]:
        now_us, now_s = clock.now_us(), keeper.wall_s()
        for quota, book in keeper.books.items():
            if book.limit > 0 and book.period.begins_s <= now_s < book.period.ends_s:
                left = book.free if book.alive(now_us) else 0
                labels = quota.tenant, quota.model, word_of(quota)
                yield labels, max(0, book.held) / book.limit, max(0, left) / book.limit

    watch(table.LEASE_HELD, lasting(lambda: [(labels, held) for labels, held, _ in leases()]))
    watch(table.LEASE_LEFT, lasting(lambda: [(labels, left) for labels, _, left in leases()]))
    watch(table.LEDGER_AWAY, lambda: [((), int(keeper.out_of_reach))])
    watch(table.LIMITED, accounts.refused.items)
    watch(table.BUDGET_USED, lasting(lambda: list(alerts.used.items())))
    watch(table.BUDGET_ALERTS, lambda: [((tenant,), count) for tenant, count in alerts.told.items()])


def watch_cache(watch: Watch, cache: AnswerCache) -> None:
    """Watch what is kept, and what comes of it."""
    store = cache.store

    def kept(what: str) -> Series:
        return [((tenant,), sizes[what]) for tenant, sizes in store.told().items()]

    watch(table.CACHE_CALLS, cache.counts.items)
    watch(table.CACHE_BYTES, lasting(lambda: kept("bytes")))
    watch(table.CACHE_ANSWERS, lasting(lambda: kept("answers")))
    watch(table.CACHE_EVICTED, lambda: [((tenant,), count) for tenant, count in store.evicted.items()])
