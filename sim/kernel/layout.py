"""Where everything of a running world stands: columns of the kernel's tables, and the bundle that holds them.

All numbers are whole: times in microseconds, money in nUSD, shares in millionths. `-1` is nobody, nothing, never.
"""

from typing import Any, NamedTuple

from infercast.policies.kernel import QUANTILES, SIZES

NONE = -1
PRIORITIES = 4
TRIED_MAX = 8
"""A call is tried on no more deployments than that: `fallbacks_max` ends at 7."""

# Columns of the deployments' table.
(
    D_SITE,
    D_MODEL,
    D_AT,
    D_SERVERS,
    D_BUSY,
    D_LOAD,
    D_DOWN,
    D_WAITING,
    D_BATCH_MAX,
    D_MARGINAL_PPM,
    D_SHAPE,
    D_P50_US,
    D_NUSD_PER_S,
    D_CONCURRENCY,
    D_PRIOR_P50_US,
    D_PRIOR_P95_US,
    D_CALL_NUSD,
    D_TOLD_LOAD,
) = range(18)
"""D_AT: the deployment's column in the views of its model. D_WAITING: queued tries that are not given up. D_TOLD_LOAD:
what its site told last; the column after it what it had told before; so, too, for the other things told."""
D_TOLD_LOAD_OLD = D_TOLD_LOAD + 1
D_HEAD = D_TOLD_LOAD_OLD + 1
D_TAIL = D_HEAD + PRIORITIES
D_TOLD_DOWN = D_TAIL + PRIORITIES
D_TOLD_DOWN_OLD = D_TOLD_DOWN + 1
D_TOLD_P50 = D_TOLD_DOWN_OLD + 1
D_TOLD_P50_OLD = D_TOLD_P50 + SIZES
D_TOLD_P95 = D_TOLD_P50_OLD + SIZES
D_TOLD_P95_OLD = D_TOLD_P95 + SIZES
D_TAUGHT = D_TOLD_P95_OLD + SIZES
D_TOLD_EXTRA_US, D_TOLD_EXTRA_OLD_US, D_SCALED, D_STOOD, D_STOOD_US, D_LOOK_US, D_COLS = range(
    D_TAUGHT + 1, D_TAUGHT + 8
)
"""D_TAUGHT: whether its estimates have changed since they were told. D_TOLD_EXTRA_US: what the times that are told have on top
while no replica is ready. D_SCALED: its row in the table of scaled deployments. D_STOOD: how many servers stand ready since
D_STOOD_US. D_LOOK_US: when its queue is next looked at for tries whose patience ends."""

# Columns of the sites' table. `S_ENTRY` numbers the entries, NONE for a site that no call enters at.
S_DOWN, S_SLOW_PPM, S_ENTRY, S_TOLD_US, S_TOLD_US_OLD, S_TICK_US, S_SYNCED_US, S_NEXT_US, S_CLEARED_US, S_COLS = range(
    10
)
"""S_NEXT_US: its next exchange. S_CLEARED_US: when its cache was last lost."""

# Columns of the table of ways, one row per (entry, site).
(
    W_RTT_US,
    W_SPREAD_US,
    W_SHAPE,
    W_PS_PER_BYTE,
    W_EGRESS,
    W_EGRESS_BACK,
    W_DOWN,
    W_TRUE_US,
    W_NEW,
    W_HEARD_US,
    W_TOLD_P50_US,
    W_TOLD_SPREAD_US,
    W_BELIEVED_P50_US,
    W_BELIEVED_SPREAD_US,
    W_COLS,
) = range(15)
"""W_TRUE_US: the median round trip as it is; W_HEARD_US: when its time was last learned; W_TOLD: what had been learned at the last exchange; W_BELIEVED: what is held true."""

# Columns of the table of cells, one row per (entry, deployment): tries sent and not back, and since when not believed.
C_SENT, C_HUSH_US, C_NEW, C_OLD, C_Z = range(5)
C_COLS = C_Z + QUANTILES
"""C_Z: learned quantiles as of the last exchange; C_NEW: whether they have changed since. C_OLD: whether what
was heard of it was old then."""

# Columns of the kinds' table: one row per (kind of call, place in its entries).
(
    K_ENTRY,
    K_MODEL,
    K_PRIORITY,
    K_RESPONSE_BYTES,
    K_ACCESS_PS_PER_BYTE,
    K_ACCESS_EGRESS,
    K_ACCESS_EGRESS_BACK,
    K_TENANT,
    K_TERMS,
    K_COLS,
) = range(10)
"""K_TERMS: first of its rows in the terms' table, one per period."""

# Columns of the terms' table: what a policy makes of a kind of call while none of its time windows opens or closes.
(
    M_CODES,
    M_PARAMS,
    M_EXPOSURE,
    M_PLAN,
    M_DEADLINE_US,
    M_LIMIT_US,
    M_FALLBACKS_MAX,
    M_SHUT_RULE,
    M_MARGIN,
    M_OPEN,
    M_COLS,
) = range(11)
"""M_OPEN: whether such calls may enter here. M_DEADLINE_US: the stricter of the policy's and the kind's; M_LIMIT_US: that, or what nothing waits longer than. M_PLAN: its plan, NONE for none. M_SHUT_RULE: the rule to say where files veto every candidate, 0 where they do not."""

# Columns of the tries' table.
(
    T_CALL,
    T_STATE,
    T_GONE,
    T_KIND,
    T_TERMS,
    T_DEP,
    T_NUMBER,
    T_NEXT,
    T_SENT_US,
    T_ARRIVED_US,
    T_STARTED_US,
    T_SERVICE_US,
    T_BATCH,
    T_LEADS,
    T_FINISH,
    T_BACK_US,
    T_TRIP_US,
    T_PATIENCE_US,
    T_TIMED,
    T_MEDIAN_US,
    T_SPREAD_US,
    T_TRIES,
    T_RESERVED_NUSD,
    T_SIBLING,
    T_HEDGE,
    T_TRIED,
) = range(26)
"""T_NUMBER counts a call's tries from 0. T_LEADS: it is the first of its batch, whose further tries hang on T_NEXT; T_FINISH
is the sequence number of its end. T_TIMED: the end of its patience is scheduled. T_TRIES, T_TRIED: how many tries the call has
had, and where. T_SIBLING: the other of two tries that are both waited for; T_HEDGE: the sequence number of the hedge that is due."""
T_COLS = T_TRIED + TRIED_MAX
FREE, GOING, QUEUED, RUNNING, BACK, LOST = range(6)
"""A try's state: no try; on its way; in a queue; in service; its answer on its way; lost, with nothing to come but the end
of its caller's patience. T_GONE: it was given up, and what is still to come of it is nobody's."""

# Scheduled events: the lowest three bits of the second number of a heap entry.
EV_ARRIVE, EV_FINISH, EV_RETURN, EV_TIMER, EV_HEDGE, EV_READY, EV_QUEUE = range(7)
EV_BITS, SLOT_BITS, NUMBER_BITS = 3, 24, 4
EV_MASK, SLOT_MASK = (1 << EV_BITS) - 1, (1 << SLOT_BITS) - 1
SEQUENCE_SHIFT = EV_BITS + SLOT_BITS
CALL_SHIFT = SEQUENCE_SHIFT + NUMBER_BITS
CALLS_MAX = 1 << (61 - CALL_SHIFT)
LATE_BIT, LAST_BIT = 1 << 62, 1 << 61
"""Ends of patience (both bits) come after all else that is scheduled for their time; looks at a queue for them (the first
bit) just before."""

# Columns of the tenants' table: limits (NONE for none) and what is used of them.
(
    U_TRACKED,
    U_PER_MINUTE_MAX,
    U_RUNNING_MAX,
    U_DAY_MAX_NUSD,
    U_MONTH_MAX_NUSD,
    U_CALLS,
    U_MINUTE,
    U_IN_MINUTE,
    U_RUNNING,
    U_RESERVED_NUSD,
    U_DAY,
    U_DAY_NUSD,
    U_MONTH,
    U_MONTH_NUSD,
    U_HEDGES,
    U_HEDGE_PPM,
    U_HEDGE_Z,
    U_TTL_US,
    U_COLS,
) = range(19)
"""U_TRACKED: whether anything of it is asked for. U_HEDGE_Z: the quantile after which a hedge is due, NONE for no hedges."""

# Columns of the table of scaled deployments.
(
    G_DEP,
    G_MIN,
    G_MAX,
    G_TARGET_PPM,
    G_LOOKS,
    G_UP_US,
    G_DOWN_US,
    G_COLD_US,
    G_CONCURRENCY,
    G_READY,
    G_ABOVE_US,
    G_BELOW_US,
    G_SUM,
    G_SAMPLES,
    G_BEGUN,
    G_CAME,
    G_FIRST,
    G_STARTING,
    G_COLS,
) = range(19)
"""G_LOOKS: how many looks at the load count. G_BEGUN, G_CAME: replicas ever begun, and those whose cold start is over, wanted or
not. G_FIRST, G_STARTING: where the numbers of those that are awaited begin in their ring, and how many they are."""

# Places of the clock.
(
    N_NOW_US,
    N_SEQUENCE,
    N_HEAP,
    N_FREE,
    N_CALL,
    N_TICK,
    N_CHANGE,
    N_PERIOD,
    N_TRIES,
    N_GOING,
    N_CALLS,
    N_EXCHANGE_US,
    N_JITTER,
    N_LEARNS,
    N_BIN_US,
    N_BINS,
    N_STARTS_AT_S,
    N_ROOM,
    N_TELLS,
    N_SCALE_US,
    N_LAST_SENT_US,
    N_TICK_US,
    N_BIN,
    N_BIN_ENDS_US,
    N_COLS,
) = range(25)
"""N_TELLS: whether told times can change. N_SCALE_US: when loads are next looked at for autoscaling.
N_LAST_SENT_US: when the last call is sent, even if it finds no entry. N_CALL: the next call to enter. N_TICK: the site whose exchange is next, at
N_TICK_US. N_BIN: the bin that it is now. N_TRIES: tries
that are not FREE. N_GOING: calls that have entered and not ended."""

# Columns of the table of changes to the world, in order of time.
X_AT_US, X_WHAT, X_TARGET, X_VALUE, X_COLS = range(5)
CH_SITE_DOWN, CH_DEP_DOWN, CH_SITE_SLOW, CH_WAY_DOWN, CH_WAY_RTT = range(5)
"""X_VALUE is what holds from then on: 1 for down and 0 for up, millionths for slow, microseconds for a round trip."""

# Why the kernel came back.
DONE, PAUSED, FULL = range(3)


class State(NamedTuple):
    """Everything that the kernel reads and writes. Arrays only; the numbers of rows and columns are above."""

    clock: Any
    dep: Any
    site: Any
    way: Any
    cell: Any
    kind: Any
    terms: Any
    tries: Any
    heap: Any
    changes: Any
    deps_of: Any
    """int64: the deployments of all sites, one site after the other; `deps_from` int64[sites + 1] says where each begins."""
    deps_from: Any
    views: Any
    """int64[views, V_ROWS, candidates], as wide as the model with the most needs; `view_of` int64[entries, models] says which
    is whose, NONE for none, `view_tick_us` to which exchange it has been followed."""
    view_of: Any
    view_tick_us: Any
    candidates: Any
    """int64: the deployments of all models, one model after the other; `candidates_from` int64[models + 1]."""
    candidates_from: Any
    codes: Any
    """uint8[rows, candidates]: what files veto; columns that are no candidate's are vetoed."""
    params: Any
    exposures: Any
    plans: Any
    no_plan: Any
    answer: Any
    """int64[A_ROWS, 2]: only the best is used, and the time of the next, for patience; fewer places, fewer candidates to look
    at. `answer_alone` has one, for calls that may not fall back."""
    answer_alone: Any
    out: Any
    shapes: Any
    at_us: Any
    enter_us: Any
    access_us: Any
    """int32: the round trip between each call's caller and its entry."""
    order: Any
    """int64: the calls that enter, in the order in which they do."""
    call_kind: Any
    """int32: the row of each call in the kinds' table."""
    periods_s: Any
    """int64: when a time window of some policy opens or closes, in seconds since 1970."""
    payload_bytes: Any
    work_ppm: Any
    luck: Any
    draw: Any
    ended: Any
    rule: Any
    deployment: Any
    entry: Any
    latency_us: Any
    wait_us: Any
    cost_nusd: Any
    egress_nusd: Any
    attempts: Any
    hedged: Any
    busy_us: Any
    replica_us: Any
    tenant: Any
    scaled: Any
    loads: Any
    """int64[scaled, looks]: what the load was at the latest looks; `starting` int64[scaled, replicas]: replicas awaited."""
    starting: Any
    question: Any
    """int32: for each call, which question it is at its entry, NONE for one whose answer is not kept; `kept_us` when the
    answer to each came."""
    kept_us: Any
    service_bins: Any
    service_meta: Any
    service_recent: Any
    trip_bins: Any
    trip_meta: Any
    trip_recent: Any
    surprise: Any
    fresh: Any
    """int64[entries, 1 + deployments]: how many cells are new since the last exchange, and which deployments'."""
