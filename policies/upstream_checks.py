"""What a fleet file may not say of upstreams: addresses, tasks, prices, names that do not fit."""

from collections.abc import Iterable

from .documents import Document
from .faults import Fault, did_you_mean
from .fleet import Deployment, Fleet, Site
from .model import Hosting, Tier
from .upstream import TASKS_OF, Upstream, url_faults


def check_upstream_sites(document: Document, fleet: Fleet) -> Iterable[Fault]:
    """Return the faults of sites with an upstream."""
    for index, site in enumerate(fleet.sites):
        if (upstream := site.upstream) is None:
            continue
        at = ("sites", index, "upstream")
        if site.tier is Tier.DEVICE:
            yield document.fault(("sites", index, "tier"), "an upstream is no device", "write edge or cloud")
        for message, remedy in url_faults(upstream):
            yield document.fault((*at, "url"), message, remedy)
        if upstream.key_env is not None and upstream.key_file is not None:
            yield document.fault((*at, "key_file"), "the key lies in two places", "keep key_env or key_file")
        for variant in upstream.models:
            if variant not in fleet.model_of:
                remedy = did_you_mean(variant, fleet.model_of)
                yield document.fault((*at, "models", variant), f"no variant is called {variant!r}", remedy)


def check_upstream_deployment(document: Document, fleet: Fleet, index: int) -> Iterable[Fault]:
    """Return the faults of a deployment that concern upstreams; its names are known to be good."""
    deployment, at = fleet.deployments[index], ("deployments", index)
    site = fleet.site_by_id[deployment.site]
    if (site.upstream is None) is (deployment.hosted is Hosting.UPSTREAM):
        said = "has no upstream" if site.upstream is None else "is an upstream: nothing else runs there"
        remedy = "write in_worker or own" if site.upstream is None else "write `hosted: upstream`"
        yield document.fault((*at, "hosted"), f"site {site.id!r} {said}", remedy)
        return
    if site.upstream is not None:
        yield from _check_task(document, fleet, index, site.upstream)
    yield from _check_price(document, fleet, deployment, site, index)


def _check_task(document: Document, fleet: Fleet, index: int, upstream: Upstream) -> Iterable[Fault]:
    model = fleet.model_by_id[fleet.model_of[fleet.deployments[index].variant]]
    if model.task not in TASKS_OF[upstream.api]:
        can = " and ".join(sorted(TASKS_OF[upstream.api]))
        message = f"{model.id!r} is for {model.task}, which an {upstream.api} upstream is not asked for"
        yield document.fault(("deployments", index, "variant"), message, f"it is for {can}")


def _check_price(document: Document, fleet: Fleet, deployment: Deployment, site: Site, index: int) -> Iterable[Fault]:
    for field in ("usd_per_call", "usd_per_million_tokens"):
        if field in deployment.model_fields_set and site.upstream is None:
            remedy = "price the time: usd_per_hour of the accelerator"
            yield document.fault(("deployments", index, field), "only upstreams are paid by the call", remedy)
    priced = deployment.usd_per_million_tokens is not None
    if priced and site.upstream is not None and fleet.cards[deployment.variant].usual_tokens is None:
        message = f"the card of {deployment.variant!r} does not say how many tokens the usual call has"
        yield document.fault(("deployments", index, "usd_per_million_tokens"), message, "write `usual_tokens` there")
