"""Tells when a share of a budget is used: once in each period, whichever ingress sees it first."""

import logging
from collections.abc import Mapping, Sequence

from infercast.policies.units import PPM, usd

from ..conduct.ports import Journal
from ..ledger.ports import Measure, Quota
from .keeper import Keeper
from .periods import OF_WORD
from .rules import Alert

log = logging.getLogger("infercast.quota")


class Alerts:
    """Looks at what has been settled of the budgets of tenants that call here."""

    def __init__(self, keeper: Keeper, journal: Journal) -> None:
        self._keeper = keeper
        self._journal = journal
        self._told: set[tuple[Quota, Alert]] = set()

    async def round(self, alerts: Mapping[str, Sequence[Alert]], now_s: int) -> int:
        """Look once; return how many were told from here. That the ledger is out of reach is the keeper's to tell."""
        watched = [
            (Quota(tenant, alert.model, Measure.MONEY, OF_WORD[alert.per](now_s).name), alert)
            for tenant, its in alerts.items()
            for alert in its
        ]
        self._told.intersection_update(watched)  # what was told of earlier periods is asked for no more
        watched = [each for each in watched if each not in self._told]
        quotas = sorted({quota for quota, _ in watched})
        if not quotas:
            return 0
        told = 0
        try:
            used = dict(zip(quotas, await self._keeper.ask(lambda store: store.used(quotas)), strict=True))
            for quota, alert in watched:
                if used[quota] * PPM >= alert.limit * alert.share_ppm:
                    told += await self._first(quota, alert, used[quota])
        except OSError:
            return told
        return told

    async def _first(self, quota: Quota, alert: Alert, used_nusd: int) -> bool:
        """Tell of an alert, unless another ingress has."""
        first = await self._keeper.ask(lambda store: store.alert(quota, alert.limit, alert.share_ppm))
        self._told.add((quota, alert))
        if first:
            share, budget_usd, used_usd = alert.share_ppm / PPM, usd(alert.limit), usd(used_nusd)
            facts = {"tenant": quota.tenant, "model": quota.model or None, "per": alert.per, "period": quota.period}
            self._journal.write("alert", **facts, budget_usd=budget_usd, share=share, used_usd=used_usd)
            of = f" for {quota.model}" if quota.model else ""
            said = "%s has used %.9g of the %.9g USD%s of the %s %s: %.6g%% and more"
            log.warning(said, quota.tenant, used_usd, budget_usd, of, alert.per, quota.period, 100 * share)
        return first
