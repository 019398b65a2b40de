"""Reading `cluster.yaml` and the cards that it names: every fault at once, nothing loaded in part."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from .documents import Document, dotted, examine, read_document
from .faults import BadInput, Fault, did_you_mean
from .fleet import IN_WORKER_P95_MAX_MS, Card, Deployment, Fleet
from .jurisdictions import country_codes
from .model import Hosting, Tier
from .upstream_checks import check_upstream_deployment, check_upstream_sites
from .wording import in_words


def load_fleet(path: Path | str) -> Fleet:
    """Read and check `cluster.yaml` and the cards it names. Raises BadInput with every fault at once."""
    path = Path(path)
    return fleet_of(read_document(path), path.parent)


def fleet_of(document: Document, folder: Path) -> Fleet:
    """Check a fleet document and the cards it names, which are looked for from `folder`. Raises BadInput like `load_fleet`.

    For documents that were changed after they were read.
    """
    for derived in ("cards", "artefacts", "files"):
        if isinstance(document.value, dict) and derived in document.value:
            raise BadInput([document.fault((derived,), f"unknown key {derived!r}", "name cards in the variants")])
    examined, faults = examine(document, Fleet)
    if examined is None:
        raise BadInput(faults)
    fleet = examined
    cards, card_faults = _load_cards(document, fleet, folder)
    faults += card_faults
    faults += list(_check_names(document, fleet)) + list(_check_places(document, fleet))
    if not faults:
        fleet = fleet.model_copy(
            update={"cards": cards, "artefacts": _artefacts(fleet, cards, folder), "files": _files(fleet, folder)}
        )
        faults += [*_check_deployments(document, fleet), *_check_interfaces(document, fleet)]
    if faults:
        raise BadInput(faults)
    return fleet


def _load_cards(document: Document, fleet: Fleet, folder: Path) -> tuple[dict[str, Card], list[Fault]]:
    cards: dict[str, Card] = {}
    faults: list[Fault] = []
    for m, model in enumerate(fleet.models):
        for v, variant in enumerate(model.variants):
            at = ("models", m, "variants", v, "card")
            try:
                cards[variant.id] = Card.model_validate_json((folder / variant.card).read_text(encoding="utf-8"))
            except OSError as error:
                faults.append(
                    document.fault(at, f"{variant.card!r} cannot be read: {error.strerror}", "make the model first")
                )
            except (ValidationError, UnicodeDecodeError) as error:
                faults.append(document.fault(at, f"{variant.card!r}: {_first_said(error)}", "make the model anew"))
            else:
                if cards[variant.id].variant != variant.id:
                    faults.append(document.fault(at, f"{variant.card!r} is the card of {cards[variant.id].variant!r}"))
    return cards, faults


def _first_said(error: ValidationError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"is not UTF-8: {error.reason}"
    first = error.errors()[0]
    return f"{dotted(first['loc'])}: {in_words(first)[0]}" if first["loc"] else in_words(first)[0]


def _artefacts(fleet: Fleet, cards: dict[str, Card], folder: Path) -> dict[str, str]:
    found = {}
    for model in fleet.models:
        for variant in model.variants:
            beside_card = Path(variant.card).parent / cards[variant.id].artefact
            found[variant.id] = str((folder / (variant.artefact or beside_card)).resolve())
    return found


def _files(fleet: Fleet, folder: Path) -> dict[str, str]:
    found = {}
    for site in fleet.sites:
        for field in ("key_file", "ca_file", "cert_file", "cert_key_file"):
            if site.upstream is not None and (name := getattr(site.upstream, field)) is not None:
                found[f"{site.id}.{field}"] = str((folder / name).resolve())
    return found


def _twice(document: Document, kind: str, ids: Iterable[str]) -> Iterable[Fault]:
    seen: set[str] = set()
    for index, word in enumerate(ids):
        if word in seen:
            yield document.fault((kind, index), f"{word!r} stands twice", "ids are unique")
        seen.add(word)


def _check_names(document: Document, fleet: Fleet) -> Iterable[Fault]:
    places = [*(site.id for site in fleet.sites), *(zone.id for zone in fleet.zones)]
    yield from _twice(document, "sites", (site.id for site in fleet.sites))
    yield from _twice(document, "zones", (zone.id for zone in fleet.zones))
    yield from _twice(document, "models", (model.id for model in fleet.models))
    yield from _twice(document, "deployments", (deployment.id for deployment in fleet.deployments))
    seen: set[str] = set()
    for m, model in enumerate(fleet.models):
        for v, variant in enumerate(model.variants):
            if variant.id in seen:
                yield document.fault(
                    ("models", m, "variants", v, "id"), f"{variant.id!r} stands twice", "ids are unique"
                )
            seen.add(variant.id)
    for index, zone in enumerate(fleet.zones):
        if zone.id in fleet.site_by_id:
            yield document.fault(("zones", index, "id"), f"{zone.id!r} is a site's id too", "name the zone differently")
    for index, link in enumerate(fleet.links):
        for end, place in (("from", link.from_), ("to", link.to)):
            if place not in places:
                yield document.fault(
                    ("links", index, end), f"no place is called {place!r}", did_you_mean(place, places)
                )
        if link.from_ == link.to:
            yield document.fault(("links", index), "a link has two ends", "a place reaches itself without a link")
    for index, deployment in enumerate(fleet.deployments):
        if deployment.variant not in fleet.model_of:
            remedy = did_you_mean(deployment.variant, fleet.model_of)
            yield document.fault(
                ("deployments", index, "variant"), f"no variant is called {deployment.variant!r}", remedy
            )
        if deployment.site not in fleet.site_by_id:
            remedy = did_you_mean(deployment.site, fleet.site_by_id)
            yield document.fault(("deployments", index, "site"), f"no site is called {deployment.site!r}", remedy)


def _check_places(document: Document, fleet: Fleet) -> Iterable[Fault]:
    for group, _, message, remedy in fleet.world.faults:
        yield document.fault(("jurisdictions", group), message, remedy)
    countries = [("sites", index, site.country) for index, site in enumerate(fleet.sites)]
    countries += [("zones", index, zone.country) for index, zone in enumerate(fleet.zones)]
    for kind, index, country in countries:
        if country not in country_codes():
            remedy = did_you_mean(country, country_codes())
            yield document.fault((kind, index, "country"), f"{country!r} is no ISO 3166 country", remedy)
    for index, site in enumerate(fleet.sites):
        if site.instances > 1 and site.tier is not Tier.DEVICE:
            yield document.fault(("sites", index, "instances"), "only device sites are templates", "list each site")
        if (site.tenant is None) is (site.tier is Tier.DEVICE):
            said = "a device belongs to a tenant" if site.tenant is None else "only a device belongs to a tenant"
            yield document.fault(("sites", index, "tenant"), said, "name it, on devices only")
    yield from check_upstream_sites(document, fleet)
    for index, zone in enumerate(fleet.zones):
        if zone.onward and not zone.peer:
            yield document.fault(
                ("zones", index, "onward"), "only a peer's calls are sent on", "write `peer: true` too"
            )
    for index, link in enumerate(fleet.links):
        for code in link.countries:
            if code not in country_codes():
                remedy = did_you_mean(code, country_codes())
                yield document.fault(("links", index, "countries"), f"{code!r} is no ISO 3166 country", remedy)
        if link.rtt_p95_ms is not None and link.rtt_p95_ms < link.rtt_ms:
            yield document.fault(("links", index, "rtt_p95_ms"), f"p95 {link.rtt_p95_ms} is below rtt_ms {link.rtt_ms}")


def _check_interfaces(document: Document, fleet: Fleet) -> Iterable[Fault]:
    """A call names a model and may run on any variant: so all of them take and give the same tensors, or all text."""
    ours = {deployment.variant for deployment in fleet.deployments if deployment.hosted is not Hosting.UPSTREAM}
    for index, model in enumerate(fleet.models):
        if model.task != "tensors":
            for v, variant in enumerate(model.variants):
                # What stands at upstreams only is theirs to run: nothing here needs its tokenizer.
                if fleet.cards[variant.id].text is None and (variant.id in ours or not fleet.upstream_deployments):
                    message = f"the card of {variant.id!r} has no `text`, which task {model.task!r} needs"
                    yield document.fault(("models", index, "variants", v, "card"), message, "see docs/models.md")
            continue
        first = fleet.cards[model.variants[0].id]
        for v, variant in enumerate(model.variants[1:], start=1):
            card = fleet.cards[variant.id]
            if (card.inputs, card.outputs) != (first.inputs, first.outputs):
                message = f"{variant.id!r} takes or gives other tensors than {first.variant!r}"
                yield document.fault(("models", index, "variants", v, "card"), message, "make it a model of its own")


def _check_deployments(document: Document, fleet: Fleet) -> Iterable[Fault]:
    used: dict[tuple[str, str], int] = {}
    for index, deployment in enumerate(fleet.deployments):
        at = ("deployments", index)
        site = fleet.site_by_id[deployment.site]
        times = fleet.cards[deployment.variant].service_time_ms
        yield from check_upstream_deployment(document, fleet, index)
        if deployment.accelerator not in site.accelerators:
            remedy = did_you_mean(deployment.accelerator, site.accelerators)
            yield document.fault((*at, "accelerator"), f"site {site.id!r} has no {deployment.accelerator!r}", remedy)
            continue
        if deployment.accelerator not in times:
            remedy = f"measure it; measured on: {', '.join(times)}"
            yield document.fault((*at, "accelerator"), f"{deployment.variant!r} was never timed on it", remedy)
            continue
        if deployment.hosted is Hosting.IN_WORKER and times[deployment.accelerator].p95 > IN_WORKER_P95_MAX_MS:
            message = f"p95 of {times[deployment.accelerator].p95} ms is too long for in_worker"
            yield document.fault((*at, "hosted"), message, f"at most {IN_WORKER_P95_MAX_MS} ms; write `hosted: own`")
        if deployment.batch_max > 1 and (why := _unbatchable(deployment, fleet.cards[deployment.variant])):
            yield document.fault((*at, "batch_max"), why, "leave batch_max out")
        key = (site.id, deployment.accelerator)
        needed = deployment.replicas if deployment.hosted is Hosting.OWN else 0
        used[key] = used.get(key, 0) + needed
        slots = site.accelerators[deployment.accelerator].slots
        if needed and used[key] > slots:
            message = f"site {site.id!r} has {slots} {deployment.accelerator} slots"
            yield document.fault((*at, "replicas"), message, "fewer replicas, or more slots")


def _unbatchable(deployment: Deployment, card: Card) -> str:
    """Return why calls of a deployment cannot be joined into batches; empty when they can."""
    if deployment.hosted is not Hosting.OWN:
        return "only replicas of their own gather batches"
    fixed = [tensor.name for tensor in (*card.inputs, *card.outputs) if tensor.shape[:1] != (-1,)]
    return f"{', '.join(fixed)} of {deployment.variant!r} has no free first dimension" if fixed else ""
