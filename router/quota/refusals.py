"""What a caller is told whose tenant's limits leave no room: which limit, how much it is, and when there is more."""

from datetime import UTC, datetime

from infercast.policies.units import usd

from ..errors import Kind, Trouble
from ..ledger.ports import Measure
from .books import Book
from .rules import per_of

UNITS = {Measure.CALLS: "calls a minute", Measure.TOKENS: "tokens a minute", Measure.RUNNING: "calls at once"}
SOON_S = 1


def refused(book: Book, need: int, now_s: int) -> Trouble:
    """Return the refusal of a call that needs more of a quota than is left."""
    quota = book.quota
    of = f" of {quota.model}" if quota.model else ""
    if quota.measure is Measure.MONEY:
        return _over_budget(book, need, of)
    limit = f"the limit is {book.limit} {UNITS[quota.measure]}{of}"
    facts = {"limit": str(quota.measure), "model": quota.model or None, "most": book.limit}
    if quota.measure is Measure.RUNNING:
        return Trouble(
            Kind.LIMITED, limit, "repeat the call when another has ended", {**facts, "retry_after_s": SOON_S}
        )
    wait_s = max(SOON_S, book.period.ends_s - now_s)
    facts["retry_after_s"] = wait_s
    if need > book.limit:
        said = f"this call may use {need} {quota.measure}, and {limit}"
        return Trouble(Kind.LIMITED, said, "ask for fewer with max_tokens, or send a shorter prompt", facts)
    return Trouble(Kind.LIMITED, f"{limit}, and they are used up", f"the next minute begins in {wait_s} s", facts)


def _over_budget(book: Book, need: int, of: str) -> Trouble:
    per = per_of(book.quota)
    said = f"the budget{of} is {_plain(book.limit)} USD for the {per} {book.quota.period} (UTC)"
    facts = {
        "budget_usd": usd(book.limit), "per": per, "period": book.quota.period, "model": book.quota.model or None,
        "ends_s": book.period.ends_s,
    }  # fmt: skip
    left = f"and what is left of it does not cover this call, which may cost {usd(need):.9f} USD"
    return Trouble(Kind.OVER_BUDGET, f"{said}, {left}", f"a new {per} begins at {_when(book.period.ends_s)}", facts)


def _plain(nusd: int) -> str:
    """Write money without an exponent and without zeros that say nothing: 0.000001, 50."""
    return f"{usd(nusd):.9f}".rstrip("0").rstrip(".")


def _when(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def unreachable() -> Trouble:
    """Return the refusal of a call that only the ledger could let through, which cannot be asked."""
    said = "the ledger is out of reach, and what this entry may use without it is used up"
    return Trouble(Kind.UNAVAILABLE, said, "repeat the call", {"retry_after_s": SOON_S})
