"""What the fleet file alone fixes, as arrays: made once per fleet, shared by every policy and every snapshot."""

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from . import kernel
from .model import Tier
from .network import Path
from .units import NUSD_PER_USD, PPM, nusd, ppm, us_from_ms

if TYPE_CHECKING:
    from .fleet import Deployment, Fleet

Table = npt.NDArray[np.int64]
Names = tuple[str, ...]
Standing = tuple[Names, Names, Names, tuple[Tier, ...], tuple[int | None, ...]]
PS_PER_BYTE_AT_1_KBPS = 8_000_000_000
TOKENS_PRICED = 1_000_000
"""Prices of tokens are given for so many."""
CALL_NUSD_MAX = 1_000_000_000_000
"""A call is priced at 1,000 USD at most, beside its time and its traffic."""


def draw_of(text: str) -> int:
    """Return a stable digest of a word as a number below 2**31 - 1."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") % kernel.FIELD


def ps_per_byte(kbps: int) -> int:
    """Return the time a byte takes on a link, in picoseconds, rounded up."""
    return min(-(-PS_PER_BYTE_AT_1_KBPS // kbps), kernel.PS_PER_BYTE_MAX)


def one_way_us(path: Path | None, total_bytes: int) -> int:
    """Return how long so many bytes are on a declared way: half its round trip, and their transfer; 0 without a way."""
    return 0 if path is None else path.rtt_us // 2 + kernel.transfer_us(ps_per_byte(path.kbps), total_bytes)


def prior_us(fleet: "Fleet", deployment: "Deployment") -> tuple[int, int]:
    """Return p50 and p95 of a call's time at a deployment by the files: the card's, with the fleet's call overhead."""
    service = fleet.service_ms(deployment)
    overhead_us = us_from_ms(fleet.call_overhead_ms)
    p50_us = us_from_ms(service.p50) + overhead_us
    return p50_us, max(p50_us, us_from_ms(service.p95) + overhead_us)


class Tables:
    """Arrays of one fleet, and the numbers that its names stand at."""

    def __init__(self, fleet: "Fleet") -> None:
        self._fleet = fleet
        self.site_index = {site.id: index for index, site in enumerate(fleet.sites)}
        self._by_model: dict[str, list[int]] = {model.id: [] for model in fleet.models}
        for index, deployment in enumerate(fleet.deployments):
            self._by_model[fleet.model_of[deployment.variant]].append(index)
        self._candidates: dict[str, tuple[int, ...]] = {m: tuple(rows) for m, rows in self._by_model.items()}
        self._rows: dict[str, dict[int, int]] = {}
        self._fixed: dict[tuple[str, str], Table] = {}
        self._sites: dict[str, npt.NDArray[np.intp]] = {}
        self._standing: dict[str, Standing] = {}
        variants = [variant.id for model in fleet.models for variant in model.variants]
        self._accuracies = {variant: _accuracy_ppm(fleet, variant) for variant in variants}
        self._errors = {model.id: _assumed_error_ppm(fleet, model.id) for model in fleet.models}

    def candidates(self, model: str) -> tuple[int, ...]:
        """Return the deployments of a model, in the order of the fleet file: the columns of its tables."""
        return self._candidates[model]

    def row_of(self, model: str) -> dict[int, int]:
        """Return where each deployment of a model stands in the model's tables."""
        found = self._rows.get(model)
        if found is None:
            found = self._rows[model] = {index: row for row, index in enumerate(self._candidates[model])}
        return found

    def sites_of(self, model: str) -> npt.NDArray[np.intp]:
        """Return the site number of each candidate of a model."""
        found = self._sites.get(model)
        if found is None:
            numbers = [self.site_index[self._fleet.deployments[index].site] for index in self._candidates[model]]
            found = self._sites[model] = np.array(numbers, dtype=np.intp)
        return found

    def assumed_error_ppm(self, model: str) -> int | None:
        """Return the error that an unmeasured variant is scored with: the worst measured one's; None where there is none."""
        return self._errors[model]

    def accuracy_ppm(self, deployment: int) -> int | None:
        """Return the measured accuracy of a deployment's variant."""
        return self._accuracies[self._fleet.deployments[deployment].variant]

    def variant_accuracy_ppm(self, variant: str) -> int | None:
        """Return the measured accuracy of a variant."""
        return self._accuracies[variant]

    def standing(self, model: str) -> Standing:
        """Return what each candidate of a model is, in columns: id, variant, site, tier, measured accuracy in ppm."""
        found = self._standing.get(model)
        if found is None:
            deployments = [self._fleet.deployments[index] for index in self._candidates[model]]
            found = self._standing[model] = (
                tuple(deployment.id for deployment in deployments),
                tuple(deployment.variant for deployment in deployments),
                tuple(deployment.site for deployment in deployments),
                tuple(self._fleet.site_by_id[deployment.site].tier for deployment in deployments),
                tuple(self._accuracies[deployment.variant] for deployment in deployments),
            )
        return found

    def fixed(self, entry: str, model: str) -> Table:
        """Return what never changes of a model's candidates seen from an entry: int64[F_ROWS, n]."""
        found = self._fixed.get((entry, model))
        if found is None:
            found = self._fixed[(entry, model)] = self._make_fixed(entry, model)
        return found

    def _make_fixed(self, entry: str, model: str) -> Table:
        fleet, candidates = self._fleet, self._candidates[model]
        table = np.zeros((kernel.F_ROWS, len(candidates)), dtype=np.int64)
        assumed = self._errors[model] or 0
        errors = {v.id: _error_ppm(fleet, v.id, assumed) for v in fleet.model_by_id[model].variants}
        for at, index in enumerate(candidates):
            deployment = fleet.deployments[index]
            path = fleet.network.path(entry, deployment.site)
            table[:, at] = (
                index,
                self.site_index[deployment.site],
                *_path_facts(path),
                errors[deployment.variant],
                self.ties[index],
                self.call_nusd[index],
            )
        return table

    @cached_property
    def ties(self) -> list[int]:
        """A stable number per deployment, for what is equal otherwise."""
        return [draw_of(deployment.id) for deployment in self._fleet.deployments]

    @cached_property
    def call_nusd(self) -> list[int]:
        """What the usual call costs at each deployment beside the time that it computes; 0 but at upstreams."""
        return [_call_nusd(self._fleet, deployment) for deployment in self._fleet.deployments]

    @cached_property
    def priors_us(self) -> Table:
        """Declared p50 and p95 of each deployment: int64[deployments, 2]."""
        return np.array([prior_us(self._fleet, deployment) for deployment in self._fleet.deployments], dtype=np.int64)

    @cached_property
    def live(self) -> Table:
        """The live table before any signal: not healthy, and slow rather than fast (the declared p95)."""
        live = np.zeros((len(self._fleet.deployments), kernel.L_COLS), dtype=np.int64)
        for index, deployment in enumerate(self._fleet.deployments):
            accelerator = self._fleet.site_by_id[deployment.site].accelerators[deployment.accelerator]
            live[index, kernel.L_CONCURRENCY] = deployment.replicas * deployment.concurrency
            live[index, kernel.L_QUEUE_MAX] = deployment.queue_max
            live[index, kernel.L_NUSD_PER_S] = round(accelerator.usd_per_hour * NUSD_PER_USD / 3600)
        p50_us, p95_us = self.priors_us[:, :1], self.priors_us[:, 1:]
        live[:, kernel.L_P50_US : kernel.L_P50_US + kernel.SIZES] = p95_us
        live[:, kernel.L_SPREAD_US : kernel.L_SPREAD_US + kernel.SIZES] = p95_us - p50_us
        return live

    def rtt(self, entry: str) -> Table:
        """Return the declared round trips from an entry to every site, int64[sites, R_COLS]."""
        table = np.zeros((len(self._fleet.sites), kernel.R_COLS), dtype=np.int64)
        for index, site in enumerate(self._fleet.sites):
            path = self._fleet.network.path(entry, site.id)
            table[index] = (path.rtt_us, path.spread_us) if path else (kernel.LATENCY_MAX_US, 0)
        return table

    def access(self, origin: str, entry: str) -> tuple[int, int, int, int, int]:
        """Return the way in: round trip, squared spread, ps per byte, egress out and back."""
        path = self._fleet.network.path(origin, entry)
        rtt_us, spread_us = (path.rtt_us, path.spread_us) if path else (0, 0)
        return (rtt_us, min(spread_us**2, kernel.SQUARE_MAX), *_path_facts(path))


def _call_nusd(fleet: "Fleet", deployment: "Deployment") -> int:
    price, tokens = deployment.usd_per_million_tokens, fleet.cards[deployment.variant].usual_tokens
    whole = nusd(deployment.usd_per_call)
    if price is not None and tokens is not None:
        per_million = nusd(price.prompt) * tokens.prompt + nusd(price.completion) * tokens.completion
        whole += -(-per_million // TOKENS_PRICED)
    return min(whole, CALL_NUSD_MAX)


def _path_facts(path: Path | None) -> tuple[int, int, int]:
    if path is None:
        return 0, 0, 0
    most = kernel.EGRESS_MAX_NUSD_PER_GB
    return ps_per_byte(path.kbps), min(path.egress_nusd_per_gb, most), min(path.egress_back_nusd_per_gb, most)


def _accuracy_ppm(fleet: "Fleet", variant: str) -> int | None:
    accuracy = fleet.cards[variant].accuracy
    return None if accuracy is None else ppm(accuracy.value)


def _error_ppm(fleet: "Fleet", variant: str, assumed_ppm: int) -> int:
    accuracy = _accuracy_ppm(fleet, variant)
    return assumed_ppm if accuracy is None else PPM - accuracy


def _assumed_error_ppm(fleet: "Fleet", model: str) -> int | None:
    measured = [_accuracy_ppm(fleet, variant.id) for variant in fleet.model_by_id[model].variants]
    known = [value for value in measured if value is not None]
    return PPM - min(known) if known else None
