"""Leases in a ledger's store: granted from what is free, shrunk by what is settled or given back, gone when they expire."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, Connection, and_, bindparam, case, delete, func, select, tuple_, update

from .dialects import upsert
from .periods import kept_until_s, stands_until_s
from .ports import Ask, Granted, Lease, Measure, Quota
from .tables import ALERTS, LEASES, SPENT

QUOTA = (LEASES.c.tenant, LEASES.c.model, LEASES.c.measure, LEASES.c.period)
RENEWED = (Measure.MONEY, Measure.RUNNING)


def grant(db: Connection, holder: str, asks: Sequence[Ask], now_s: float) -> list[Granted]:
    """Let expired leases of the tenants go, and lease what is free. The tenants' turn has been taken."""
    quotas = {ask.quota for ask in asks}
    _expire(db, LEASES.c.tenant.in_({quota.tenant for quota in quotas}), now_s)
    mine, elsewhere = _leased(db, holder, quotas)
    settled = used(db, quotas)
    granted, more = [], dict[Quota, tuple[int, float]]()
    for ask in asks:
        quota = ask.quota
        free = ask.limit - settled[quota] - mine[quota] - elsewhere[quota]
        amount = max(0, min(ask.want, free))
        if amount:
            mine[quota] += amount
            so_far, until_s = more.get(quota, (0, 0.0))
            more[quota] = (so_far + amount, max(until_s, stands_until_s(quota, ask.expires_s)))
        granted.append(Granted(quota, amount, elsewhere[quota], settled[quota]))
    _add(db, holder, more)
    return granted


def _leased(db: Connection, holder: str, quotas: set[Quota]) -> tuple[dict[Quota, int], dict[Quota, int]]:
    """Return what the holder has of each quota, and what all others have."""
    mine, elsewhere = dict.fromkeys(quotas, 0), dict.fromkeys(quotas, 0)
    is_mine = (LEASES.c.holder == holder).label("is_mine")
    asked = select(*QUOTA, is_mine, func.sum(LEASES.c.amount)).where(_among(quotas)).group_by(*QUOTA, is_mine)
    for tenant, model, measure, period, own, amount in db.execute(asked):
        (mine if own else elsewhere)[Quota(tenant, model, Measure(measure), period)] = int(amount)
    return mine, elsewhere


def used(db: Connection, quotas: set[Quota]) -> dict[Quota, int]:
    """Return what entries have used of each quota: only money is booked so."""
    found = dict.fromkeys(quotas, 0)
    key = tuple_(SPENT.c.tenant, SPENT.c.model, SPENT.c.period)
    money = [(quota.tenant, quota.model, quota.period) for quota in quotas if quota.measure is Measure.MONEY]
    for tenant, model, period, cost_nusd in db.execute(select(SPENT).where(key.in_(money))):
        found[Quota(tenant, model, Measure.MONEY, period)] = cost_nusd
    return found


def _among(quotas: set[Quota]) -> Any:
    return tuple_(*QUOTA).in_([(quota.tenant, quota.model, str(quota.measure), quota.period) for quota in quotas])


def _add(db: Connection, holder: str, more: Mapping[Quota, tuple[int, float]]) -> None:
    if not more:
        return
    rows = [
        {
            **_row(quota),
            "holder": holder,
            "amount": amount,
            "expires_s": until_s,
            "settled": 0,
            "keep_until_s": kept_until_s(quota),
        }
        for quota, (amount, until_s) in sorted(more.items())
    ]
    new = upsert(db, LEASES)
    later = case((LEASES.c.expires_s > new.excluded.expires_s, LEASES.c.expires_s), else_=new.excluded.expires_s)
    added = {"amount": LEASES.c.amount + new.excluded.amount, "expires_s": later}
    db.execute(new.on_conflict_do_update(index_elements=[*QUOTA, LEASES.c.holder], set_=added), rows)


def _expire(db: Connection, whose: Any, now_s: float) -> None:
    """Let leases go that have expired."""
    expired = (whose, LEASES.c.expires_s <= now_s)
    db.execute(update(LEASES).where(*expired, LEASES.c.amount > 0).values(amount=0))
    db.execute(delete(LEASES).where(*expired, LEASES.c.keep_until_s <= now_s))


def shrink(db: Connection, holder: str, by: Mapping[Quota, int], *, settled: bool) -> None:
    """Take something off a holder's leases, where it has them; none falls below nothing. `settled` says that it was used."""
    rows = [
        {**{f"of_{name}": value for name, value in _row(quota).items()}, "of_holder": holder, "less": amount}
        for quota, amount in sorted(by.items())
        if amount > 0
    ]
    if not rows:
        return
    less = bindparam("less", type_=BigInteger)
    left = case((LEASES.c.amount > less, LEASES.c.amount - less), else_=0)
    named = and_(*(LEASES.c[name] == bindparam(f"of_{name}") for name in ("tenant", "model", "measure", "period")))
    changed = {"amount": left, "settled": LEASES.c.settled + less} if settled else {"amount": left}
    db.execute(update(LEASES).where(named, LEASES.c.holder == bindparam("of_holder")).values(changed), rows)
    db.execute(delete(LEASES).where(LEASES.c.holder == holder, LEASES.c.amount == 0, LEASES.c.keep_until_s == 0))


def renew(db: Connection, holder: str, expires_s: float, now_s: float) -> dict[Quota, Lease]:
    """Let a holder's leases live on, and return what it has."""
    _expire(db, LEASES.c.holder == holder, now_s)
    renewed = (LEASES.c.holder == holder, LEASES.c.measure.in_(RENEWED), LEASES.c.amount > 0)
    db.execute(update(LEASES).where(*renewed).values(expires_s=expires_s))
    asked = select(*QUOTA, LEASES.c.amount, LEASES.c.settled).where(LEASES.c.holder == holder)
    return {
        Quota(tenant, model, Measure(measure), period): Lease(amount, settled)
        for tenant, model, measure, period, amount, settled in db.execute(asked)
    }


def alert(db: Connection, quota: Quota, limit: int, share_ppm: int) -> bool:
    """Note an alert; return whether it is the first."""
    new = upsert(db, ALERTS).values(**_row(quota), limit=limit, share_ppm=share_ppm)
    return db.execute(new.on_conflict_do_nothing().returning(ALERTS.c.tenant)).first() is not None


def _row(quota: Quota) -> dict[str, str]:
    return {**quota._asdict(), "measure": str(quota.measure)}
