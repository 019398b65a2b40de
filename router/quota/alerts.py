"""Tells when a share of a budget is used: once in each period, whichever ingress sees it first."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from infercast.policies.units import PPM, usd

from ..conduct.ports import Journal
from ..ledger.ports import Measure, Quota
from .keeper import Keeper
from .periods import OF_WORD
from .rules import Alert

log = logging.getLogger("infercast.quota")
AFTERWARDS_S = 60
"""For so long a period is looked at when it is over: its last calls are settled behind its end."""


class Alerts:
    """Looks at what has been settled of the budgets of tenants that call here."""

    def __init__(self, keeper: Keeper, journal: Journal) -> None:
        self._keeper = keeper
        self._journal = journal
        self._told: set[tuple[Quota, Alert]] = set()
        self.told: Counter[str] = Counter()
        """How many were told from here, by tenant."""
        self.used: dict[tuple[str, str, str], float] = {}
        """By tenant, model and day or month: the share of such a budget that was used when this was last looked at."""

    async def round(self, alerts: Mapping[str, Sequence[Alert]], now_s: int) -> int:
        """Look once; return how many were told from here. That the ledger is out of reach is the keeper's to tell."""
        now = _watched(alerts, now_s)
        watched = sorted({*now, *_watched(alerts, now_s - AFTERWARDS_S)})
        self._told.intersection_update(watched)  # what was told of earlier periods is asked for no more
        quotas = sorted({quota for quota, _ in watched})
        if not quotas:
            self.used = {}
            return 0
        told = 0
        try:
            used = dict(zip(quotas, await self._keeper.ask(lambda store: store.used(quotas)), strict=True))
            self.used = self._shares(now, used)
            for quota, alert in watched:
                if (quota, alert) not in self._told and used[quota] * PPM >= alert.limit * alert.share_ppm:
                    told += await self._first(quota, alert, used[quota])
        except OSError:
            return told
        return told

    def _shares(
        self, watched: Sequence[tuple[Quota, Alert]], used_nusd: Mapping[Quota, int]
    ) -> dict[tuple[str, str, str], float]:
        """Return how much of each budget is used; of several for the same, of the least."""
        shares: dict[tuple[str, str, str], float] = {}
        for quota, alert in watched:
            if alert.limit:
                budget = (quota.tenant, quota.model, alert.per)
                shares[budget] = max(shares.get(budget, 0.0), used_nusd[quota] / alert.limit)
        return shares

    async def _first(self, quota: Quota, alert: Alert, used_nusd: int) -> bool:
        """Tell of an alert, unless another ingress has."""
        first = await self._keeper.ask(lambda store: store.alert(quota, alert.limit, alert.share_ppm))
        self._told.add((quota, alert))
        if first:
            self.told[quota.tenant] += 1
            share, budget_usd, used_usd = alert.share_ppm / PPM, usd(alert.limit), usd(used_nusd)
            facts = {"tenant": quota.tenant, "model": quota.model or None, "per": alert.per, "period": quota.period}
            self._journal.write("alert", **facts, budget_usd=budget_usd, share=share, used_usd=used_usd)
            of = f" for {quota.model}" if quota.model else ""
            said = "%s has used %.9g of the %.9g USD%s of the %s %s: %.6g%% and more"
            log.warning(said, quota.tenant, used_usd, budget_usd, of, alert.per, quota.period, 100 * share)
        return first


def _watched(alerts: Mapping[str, Sequence[Alert]], at_s: int) -> list[tuple[Quota, Alert]]:
    """Return the budgets that these are of, in the periods around an instant."""
    return [
        (Quota(tenant, alert.model, Measure.MONEY, OF_WORD[alert.per](at_s).name), alert)
        for tenant, its in alerts.items()
        for alert in its
    ]
