"""A workload held against a fleet and its policies: each word that nobody declared, and each source without calls, is a fault."""

from collections.abc import Iterable, Mapping

from infercast.policies.documents import Document, Location
from infercast.policies.faults import Fault, did_you_mean
from infercast.policies.fleet import Fleet
from infercast.policies.policy import Policy
from infercast.policies.units import US_PER_S

from .clocks import zone_of
from .workload_file import Source, Workload
from .workload_parts import Trace

CALLS_MAX = 100_000_000
"""Most calls of a workload: their arrays take 4.4 GB."""
TURNS_MAX = 10_000_000
"""Most bursts of a source."""
BRINGS_MODELS = ("burstgpt", "decision_log")
"""Formats whose rows name models."""


def faults_of(
    workload: Workload, fleet: Fleet, policies: Mapping[str, Policy], document: Document, at: Location = ("workload",)
) -> list[Fault]:
    """Return what is wrong with a workload on this fleet under these policies; `at` is where it stands in `document`.

    What a trace's rows name is checked when they are read.
    """
    faults: list[Fault] = []
    seen: set[str] = set()
    for index, source in enumerate(workload.sources):
        here = (*at, "sources", index)
        if source.name in seen:
            faults.append(document.fault((*here, "name"), f"{source.name!r} stands twice", "names are unique"))
        seen.add(source.name)
        faults += _who(document, here, source, policies)
        faults += _what(document, here, source, fleet, policies)
        faults += _where(document, here, source, fleet)
        faults += _when(document, here, source, workload)
    calls = sum(_expected(source, workload) for source in workload.sources)
    if calls > CALLS_MAX:
        message = f"about {calls:.3g} calls, at most {CALLS_MAX:.0e} can be run"
        faults.append(document.fault((*at, "sources"), message, "lower a rate, or end sooner"))
    return faults


def _expected(source: Source, workload: Workload) -> float:
    end_us = workload.ends_us(source)
    if source.rate is None or end_us is None:
        return 0.0
    return source.rate.mean_per_s * max(0, end_us - source.from_) / US_PER_S


def _who(document: Document, at: Location, source: Source, policies: Mapping[str, Policy]) -> Iterable[Fault]:
    if source.tenant is None:
        if source.trace is None or source.trace.format != "decision_log":
            yield document.fault(
                (*at, "tenant"), "the key 'tenant' is missing", "add it; only a decision log has tenants"
            )
        return
    policy = policies.get(source.tenant)
    if policy is None:
        message = f"no tenant is called {source.tenant!r}"
        yield document.fault((*at, "tenant"), message, did_you_mean(source.tenant, policies))
        return
    for index, word in enumerate(source.classes or ()):
        if word not in policy.classes:
            message = f"{policy.tenant!r} has no class {word!r}"
            yield document.fault((*at, "classes", index), message, did_you_mean(word, policy.classes))


def _what(
    document: Document, at: Location, source: Source, fleet: Fleet, policies: Mapping[str, Policy]
) -> Iterable[Fault]:
    trace = source.trace
    named: list[tuple[Location, str]] = [] if source.model is None else [((*at, "model"), source.model)]
    if trace is not None:
        named += [((*at, "trace", "models", word), model) for word, model in trace.models.items()]
        yield from _models_of_trace(document, at, source, trace)
    elif source.model is None:
        yield document.fault((*at, "model"), "the key 'model' is missing", "add it; only a trace brings models")
    policy = policies.get(source.tenant or "")
    for here, model in named:
        if model not in fleet.model_by_id:
            yield document.fault(here, f"no model is called {model!r}", did_you_mean(model, fleet.model_by_id))
        elif policy is not None and policy.models is not None and model not in policy.models:
            message = f"{policy.tenant!r} may not call {model!r}"
            yield document.fault(here, message, did_you_mean(model, policy.models))


def _models_of_trace(document: Document, at: Location, source: Source, trace: Trace) -> Iterable[Fault]:
    if trace.models and trace.format not in BRINGS_MODELS:
        message = f"rows of {trace.format} name no models"
        yield document.fault((*at, "trace", "models"), message, "write `model` in the source")
    elif trace.models and source.model is not None:
        yield document.fault((*at, "trace", "models"), "the source names its model already", "keep one of them")
    elif source.model is None and not trace.models and trace.format != "decision_log":
        remedy = "add it, or `models` in the trace" if trace.format in BRINGS_MODELS else "add it"
        yield document.fault((*at, "model"), "the key 'model' is missing", remedy)


def _where(document: Document, at: Location, source: Source, fleet: Fleet) -> Iterable[Fault]:
    places = (*fleet.site_by_id, *fleet.zone_by_id)
    if not source.origins and (source.trace is None or source.trace.format != "decision_log"):
        yield document.fault(
            (*at, "origins"), "the key 'origins' is missing", "name zones or sites that calls come from"
        )
    for index, entry in enumerate(source.entries or ()):
        if entry not in fleet.site_by_id:
            remedy = did_you_mean(entry, fleet.site_by_id)
            yield document.fault((*at, "entries", index), f"no site is called {entry!r}", remedy)
    for word in source.time_zones:
        if word not in places:
            here = (*at, "time_zones", word)
            yield document.fault(here, f"no place is called {word!r}", did_you_mean(word, places))
    for origin in source.origins:
        here = (*at, "origins", origin)
        if origin not in places:
            yield document.fault(here, f"no place is called {origin!r}", did_you_mean(origin, places))
        else:
            yield from _origin(document, here, source, origin, fleet)


def _origin(document: Document, at: Location, source: Source, origin: str, fleet: Fleet) -> Iterable[Fault]:
    site = fleet.site_by_id.get(origin)
    if site is not None and site.tenant is not None and source.tenant not in (None, site.tenant):
        yield document.fault(at, f"{origin!r} is a device of {site.tenant!r}", "a device calls for its own tenant")
    entries = [entry for entry in source.entries or fleet.site_by_id if entry in fleet.site_by_id]
    if entries and all(fleet.network.path(origin, entry) is None for entry in entries):
        to = " or ".join(source.entries) if source.entries else "any site"
        yield document.fault(at, f"no link leads from {origin!r} to {to}", "add a link to the fleet, or another entry")
    if source.day_curve is not None and origin not in source.time_zones and zone_of(fleet, origin) is None:
        message = f"the clock of {origin!r} is not known: its country is not"
        yield document.fault(at, message, f"add `time_zones: {{{origin}: Area/City}}`")


def _when(document: Document, at: Location, source: Source, workload: Workload) -> Iterable[Fault]:
    end_us = workload.ends_us(source)
    if end_us is None and source.trace is None:
        yield document.fault((*at, "until"), "nothing says when it ends", "add `until`, or `duration` to the workload")
    elif end_us is not None and source.from_ >= end_us:
        yield document.fault((*at, "from"), "it begins after the workload has ended", "begin sooner, or last longer")
    bursty = source.rate.bursty if source.rate is not None else None
    if bursty is not None and end_us is not None:
        turns = (end_us - source.from_) / (bursty.calm_mean + bursty.burst_mean)
        if turns > TURNS_MAX:
            said = f"about {turns:.3g} bursts, at most {TURNS_MAX:.0e} can be drawn"
            yield document.fault((*at, "rate", "bursty"), said, "let calm and bursts last longer")
    if source.rate is not None and source.rate.mean_per_s == 0:
        yield document.fault((*at, "rate"), "its rate is 0, so no call would come", "leave the source out")
