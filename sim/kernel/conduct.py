"""The way of one call, as the live router's `Caller` conducts it: decide, send, wait with patience, decide again."""

from typing import Any

from infercast.policies import kernel
from infercast.policies.model import Rule
from infercast.policies.patience import NOTHING_BEHIND
from infercast.policies.patience import patience_us as plain_patience_us
from infercast.policies.units import LATENCY_MAX_US

from ..model import Ended
from ..shapes import ONE_BITS
from ..shapes import point as plain_point
from ..shapes import trip_purpose as plain_trip_purpose
from .belief import count, distrust, follow_entry, follow_view, width_of
from .compiling import apart, inlined
from .ending import abandon, end_call, free_slot, take_slot, unanswered_us
from .heap import schedule
from .layout import (
    C_SENT,
    D_AT,
    D_SITE,
    EV_ARRIVE,
    EV_HEDGE,
    FREE,
    GOING,
    K_ACCESS_PS_PER_BYTE,
    K_ENTRY,
    K_MODEL,
    K_RESPONSE_BYTES,
    K_TENANT,
    K_TERMS,
    LOST,
    M_CODES,
    M_DEADLINE_US,
    M_EXPOSURE,
    M_FALLBACKS_MAX,
    M_LIMIT_US,
    M_MARGIN,
    M_OPEN,
    M_PARAMS,
    M_PLAN,
    M_SHUT_RULE,
    N_GOING,
    N_JITTER,
    N_LEARNS,
    N_PERIOD,
    NONE,
    S_CLEARED_US,
    S_DOWN,
    S_ENTRY,
    T_BACK_US,
    T_CALL,
    T_DEP,
    T_GONE,
    T_HEDGE,
    T_KIND,
    T_MEDIAN_US,
    T_NUMBER,
    T_PATIENCE_US,
    T_RESERVED_NUSD,
    T_SENT_US,
    T_SIBLING,
    T_SPREAD_US,
    T_STATE,
    T_TERMS,
    T_TIMED,
    T_TRIED,
    T_TRIES,
    T_TRIP_US,
    U_HEDGE_Z,
    U_HEDGES,
    U_TRACKED,
    U_TTL_US,
    W_DOWN,
    W_PS_PER_BYTE,
    W_SHAPE,
    W_TRUE_US,
    State,
)
from .learning import gave_up
from .limits import let_through, may_hedge, reserve, settle
from .servers import time_out

patience_us = inlined(plain_patience_us)
point, trip_purpose = inlined(plain_point), inlined(plain_trip_purpose)
decide, evaluate, transfer_us = kernel.decide, kernel.evaluate, kernel.transfer_us
V_SHUT, SHUT_TRIED = kernel.V_SHUT, kernel.SHUT_TRIED
V_Z, A_AT, A_PRICE = kernel.V_Z, kernel.A_AT, kernel.A_PRICE
A_DEPLOYMENT, A_LATENCY_US, A_MEDIAN_US, A_SPREAD_US = (
    kernel.A_DEPLOYMENT,
    kernel.A_LATENCY_US,
    kernel.A_MEDIAN_US,
    kernel.A_SPREAD_US,
)
O_RULE = kernel.O_RULE
CACHED, LIMITED, REFUSED, SATURATED, UNAVAILABLE, LATE, LOST_CALL = (
    int(Ended.CACHED),
    int(Ended.LIMITED),
    int(Ended.REFUSED),
    int(Ended.SATURATED),
    int(Ended.UNAVAILABLE),
    int(Ended.LATE),
    int(Ended.LOST),
)
DEADLINE_LOAD, CAPACITY, HEALTH, TRIED = (
    int(Rule.DEADLINE_LOAD),
    int(Rule.CAPACITY),
    int(Rule.HEALTH),
    int(Rule.TRIED),
)


@inlined
def enter(w: State, call: int, now_us: int) -> int:
    """A call reaches its entry. Returns its first try, or NONE where it ends at once: in the dark, by the cache, by a limit."""
    kind_row = w.call_kind[call]
    kind = w.kind[kind_row]
    site = kind[K_ENTRY]
    terms = kind[K_TERMS] + w.clock[N_PERIOD]
    w.clock[N_GOING] += 1
    w.entry[call] = site
    if w.site[site, S_DOWN]:
        end_call(w, call, LOST_CALL, 0, now_us - w.at_us[call])
        return NONE
    if w.question[call] != NONE and w.terms[terms, M_OPEN] and _kept(w, call, site, now_us):
        back_us = transfer_us(kind[K_ACCESS_PS_PER_BYTE], kind[K_RESPONSE_BYTES])
        end_call(w, call, CACHED, 0, unanswered_us(w, call, now_us) + back_us)
        return NONE
    limit = let_through(w, kind[K_TENANT], now_us)
    if limit:
        end_call(w, call, LIMITED, limit, unanswered_us(w, call, now_us))
        return NONE
    slot = take_slot(w)
    _begin(w, slot, call, kind_row, terms)
    return slot


@inlined
def _kept(w: State, call: int, site: int, now_us: int) -> bool:
    """Return whether the entry has an answer to a call's question that may be given again."""
    kept_us = w.kept_us[w.question[call]]
    tenant = w.kind[w.call_kind[call], K_TENANT]
    return bool(kept_us > w.site[site, S_CLEARED_US] and now_us - kept_us < w.tenant[tenant, U_TTL_US])


@inlined
def _begin(w: State, slot: int, call: int, kind: int, terms: int) -> None:
    row = w.tries[slot]
    row[T_CALL] = call
    row[T_KIND] = kind
    row[T_TERMS] = terms
    row[T_NUMBER] = 0
    row[T_TRIES] = 0
    row[T_RESERVED_NUSD] = 0
    row[T_SIBLING] = NONE
    row[T_HEDGE] = NONE


@inlined
def _follow_on(w: State, slot: int) -> int:
    """Return a place for a further try of a call, made from what one of its tries knows."""
    row = w.tries[slot]
    following = take_slot(w)
    new = w.tries[following]
    _begin(w, following, row[T_CALL], row[T_KIND], row[T_TERMS])
    new[T_RESERVED_NUSD] = row[T_RESERVED_NUSD]
    new[T_NUMBER] = row[T_TRIES]
    new[T_TRIES] = row[T_TRIES]
    for number in range(row[T_TRIES]):
        new[T_TRIED + number] = row[T_TRIED + number]
    return following


@inlined
def _mark(w: State, slot: int, view: Any, shut: bool) -> None:
    """Shut, or open again, what a call was tried on."""
    row = w.tries[slot]
    for number in range(row[T_NUMBER]):
        at = w.dep[row[T_TRIED + number], D_AT]
        if shut:
            view[V_SHUT, at] |= SHUT_TRIED
        else:
            view[V_SHUT, at] &= ~SHUT_TRIED


@inlined
def place(w: State, slot: int, now_us: int) -> int:
    """Decide where a call goes, and send it there. Returns the slot if it stands at a deployment of its own site at once."""
    row = w.tries[slot]
    call, number, terms = row[T_CALL], row[T_NUMBER], w.terms[row[T_TERMS]]
    kind = w.kind[row[T_KIND]]
    site, model = kind[K_ENTRY], kind[K_MODEL]
    entry = w.site[site, S_ENTRY]
    left_us = terms[M_LIMIT_US] - (now_us - w.enter_us[call])
    if number == 0 and terms[M_SHUT_RULE]:
        _refuse(w, slot, now_us, REFUSED, terms[M_SHUT_RULE])
        return NONE
    follow_view(w, entry, site, model)
    view = w.views[w.view_of[entry, model]]
    codes, exposure, params = w.codes[terms[M_CODES]], w.exposures[terms[M_EXPOSURE]], w.params[terms[M_PARAMS]]
    plan = w.plans[terms[M_PLAN]] if terms[M_PLAN] != NONE else w.no_plan
    answer = w.answer if terms[M_FALLBACKS_MAX] else w.answer_alone
    deadline_us = terms[M_DEADLINE_US] if number == 0 else left_us
    draw = w.draw[call] if terms[M_MARGIN] else 0
    if number:
        _mark(w, slot, view, True)
    found = decide(view, codes, exposure, params, plan, answer, w.payload_bytes[call], deadline_us, draw)
    if number:
        _mark(w, slot, view, False)
    if found == 0:
        if row[T_SIBLING] != NONE:
            w.tries[row[T_SIBLING], T_SIBLING] = NONE
            free_slot(w, slot)
        elif number:
            _refuse(w, slot, now_us, LATE, 0)
        else:
            evaluate(view, codes, exposure, params, w.payload_bytes[call], deadline_us, w.out)
            ended, rule = _outcome(w.out, width_of(w, model))
            _refuse(w, slot, now_us, ended, rule)
        return NONE
    last = found == 1 or number >= terms[M_FALLBACKS_MAX]
    d = answer[A_DEPLOYMENT, 0]
    wait_us = patience_us(answer[A_LATENCY_US, 0], NOTHING_BEHIND if last else answer[A_LATENCY_US, 1], left_us)
    row[T_DEP] = d
    row[T_SENT_US] = now_us
    row[T_PATIENCE_US] = now_us + wait_us
    row[T_MEDIAN_US] = answer[A_MEDIAN_US, 0]
    row[T_SPREAD_US] = answer[A_SPREAD_US, 0]
    row[T_TIMED] = 0
    row[T_GONE] = 0
    row[T_STATE] = GOING
    row[T_TRIED + number] = d
    row[T_TRIES] = number + 1
    w.attempts[call] += 1
    tenant = w.tenant[kind[K_TENANT]]
    if tenant[U_TRACKED]:
        if number == 0:
            reserve(w, slot, answer[A_PRICE, 0])
            if tenant[U_HEDGE_Z] != NONE and found > 1:
                z_milli = view[V_Z + tenant[U_HEDGE_Z], answer[A_AT, 0]]
                after_us = max(0, answer[A_MEDIAN_US, 0] + z_milli * answer[A_SPREAD_US, 0] // 1000)
                if after_us < wait_us:
                    row[T_HEDGE] = schedule(w, now_us + after_us, EV_HEDGE, slot)
        if row[T_SIBLING] != NONE:
            tenant[U_HEDGES] += 1
            w.hedged[call] = 1
            w.tries[row[T_SIBLING], T_TRIED + number] = d
            w.tries[row[T_SIBLING], T_TRIES] = number + 1
    if w.dep[d, D_SITE] == site:
        row[T_BACK_US] = 0
        return slot
    _send(w, slot, entry, now_us)
    return NONE


@inlined
def _send(w: State, slot: int, entry: int, now_us: int) -> None:
    """Put a try on its way to another site."""
    row = w.tries[slot]
    call, d = row[T_CALL], row[T_DEP]
    way = w.way[entry, w.dep[d, D_SITE]]
    rtt_us = way[W_TRUE_US]
    if w.clock[N_JITTER]:
        drawn = w.shapes[way[W_SHAPE], point(w.luck[call], trip_purpose(row[T_NUMBER]))]
        rtt_us = min((rtt_us * drawn) >> ONE_BITS, LATENCY_MAX_US)
    out_us = transfer_us(way[W_PS_PER_BYTE], w.payload_bytes[call])
    back_us = transfer_us(way[W_PS_PER_BYTE], w.kind[row[T_KIND], K_RESPONSE_BYTES])
    row[T_TRIP_US] = rtt_us + out_us + back_us
    row[T_BACK_US] = rtt_us - rtt_us // 2 + back_us
    w.cell[entry, d, C_SENT] += 1
    count(w, entry, d, 1)
    if way[W_DOWN]:
        row[T_STATE] = LOST
        time_out(w, slot)
        return
    there_us = now_us + rtt_us // 2 + out_us
    schedule(w, there_us, EV_ARRIVE, slot)
    if there_us > row[T_PATIENCE_US]:
        time_out(w, slot)


@inlined
def _refuse(w: State, slot: int, now_us: int, ended: int, rule: int) -> None:
    call = w.tries[slot, T_CALL]
    settle(w, slot)
    end_call(w, call, ended, rule, unanswered_us(w, call, now_us))
    free_slot(w, slot)


@apart
def _outcome(out: Any, width: int) -> tuple[int, int]:
    """Return how a call ends that no candidate passes, and the rule to say, as `Engine.choose` does."""
    most, ended = 0, REFUSED
    for at in range(width):
        rule = out[at, O_RULE]
        most = max(most, rule)
        if rule in (DEADLINE_LOAD, CAPACITY):
            ended = SATURATED
        elif rule in (HEALTH, TRIED) and ended != SATURATED:
            ended = UNAVAILABLE
    return ended, most


@inlined
def lose_patience(w: State, slot: int, now_us: int) -> int:
    """The end of a try's patience: it is given up, its site distrusted. Returns the call's next try, or NONE for none."""
    row = w.tries[slot]
    call, d, tries = row[T_CALL], row[T_DEP], row[T_TRIES]
    site = w.kind[row[T_KIND], K_ENTRY]
    entry = w.site[site, S_ENTRY]
    terms = w.terms[row[T_TERMS]]
    following = _follow_on(w, slot) if row[T_SIBLING] == NONE else NONE
    if w.clock[N_LEARNS]:
        follow_entry(w, entry, site)
        patience = row[T_PATIENCE_US] - row[T_SENT_US]
        gave_up(w, entry, d, patience, row[T_MEDIAN_US], row[T_SPREAD_US])
    abandon(w, slot, now_us)
    distrust(w, entry, site, d, now_us)
    left_us = terms[M_LIMIT_US] - (now_us - w.enter_us[call])
    if following != NONE and (tries > terms[M_FALLBACKS_MAX] or left_us <= 0):
        _refuse(w, following, now_us, LATE, 0)
        return NONE
    return following


@inlined
def hedge(w: State, slot: int, sequence: int) -> int:
    """A hedge is due. Returns a second try to be placed beside the first, or NONE where it is not wanted any more."""
    row = w.tries[slot]
    if row[T_STATE] == FREE or row[T_GONE] or row[T_HEDGE] != sequence:
        return NONE
    if not may_hedge(w, w.kind[row[T_KIND], K_TENANT]):
        return NONE
    following = _follow_on(w, slot)
    w.tries[following, T_SIBLING] = slot
    row[T_SIBLING] = following
    return following
