"""Vetoes that files alone decide: residency, privacy, accuracy. Each is a pure question with an answer in words.

Fail closed: an unknown country, operator or trust attribute fails every rule that asks for it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .fleet import Fleet, Site
from .model import Rule
from .network import Path
from .parts import Constraints, Operators, Places
from .units import PPM, ppm


@dataclass(frozen=True, slots=True)
class Veto:
    """A rule that said no, and why, with the values it compared."""

    rule: Rule
    detail: str


def outside(places: Places | None, countries: Iterable[str], fleet: Fleet) -> list[str]:
    """Return the countries that a residency part does not permit; an unknown one is never permitted."""
    if places is None:
        return []
    permits = fleet.world.permits(places.allow, places.deny)
    return sorted(country for country in countries if not permits(country))


def _said(places: Places | None) -> str:
    if places is None:
        return ""
    allow = "anywhere" if places.allow is None else ", ".join(places.allow) or "nowhere"
    return allow + (f" without {', '.join(places.deny)}" if places.deny else "")


def _residency(rule: Rule, part: str, countries: Iterable[str]) -> Callable[[Constraints, Fleet], Veto | None]:
    def ask(block: Constraints, fleet: Fleet) -> Veto | None:
        places: Places | None = getattr(block.residency, part)
        if bad := outside(places, countries, fleet):
            return Veto(rule, f"{part} in {', '.join(bad)}, allowed: {_said(places)}")
        return None

    return ask


def _operator_refused(operators: Operators | None, operator: str | None) -> bool:
    if operators is None:
        return False
    if operator is None or operator in operators.deny:
        return True
    return operators.allow is not None and operator not in operators.allow


def privacy_veto(block: Constraints, site: Site) -> Veto | None:
    """Return the first privacy rule that a site fails, or None."""
    asked, trust = block.privacy, site.trust
    if asked.tiers is not None and site.tier not in asked.tiers:
        return Veto(Rule.PRIVACY_TIER, f"tier {site.tier}, allowed: {', '.join(asked.tiers) or 'none'}")
    if _operator_refused(asked.operators, site.operator):
        return Veto(Rule.PRIVACY_OPERATOR, f"operator {site.operator or 'unknown'} is not permitted")
    limit = asked.retention_days_max
    if limit is not None and (trust.retention_days is None or trust.retention_days > limit):
        kept = "an unknown time" if trust.retention_days is None else f"{trust.retention_days} days"
        return Veto(Rule.PRIVACY_RETENTION, f"inputs are kept {kept}, at most {limit} days allowed")
    if asked.no_training and trust.trains_on_inputs is not False:
        return Veto(Rule.PRIVACY_TRAINING, "the operator trains on inputs, or does not say")
    if asked.attestation is not None and trust.attestation not in asked.attestation:
        wanted = " or ".join(asked.attestation)
        return Veto(Rule.PRIVACY_ATTESTATION, f"attestation {trust.attestation or 'unknown'}, asked: {wanted}")
    if lacking := sorted(set(asked.certifications) - set(trust.certifications)):
        return Veto(Rule.PRIVACY_CERTIFICATION, f"not certified {', '.join(lacking)}")
    return None


def _seen_veto(blocks: Iterable[Constraints], between: Iterable[str], fleet: Fleet) -> Veto | None:
    """Return why data may not pass places on its way. They see the data too: what may not see or keep it, may not pass it."""
    vetoes = []
    for place in between:
        site = fleet.site_by_id[place]
        for block in blocks:
            asked = (
                _residency(Rule.RESIDENCY_STORAGE, "storage", _stored_at(site))(block, fleet),
                privacy_veto(block, site),
            )
            vetoes += [Veto(veto.rule, f"passes {place}: {veto.detail}") for veto in asked if veto is not None]
    return min(vetoes, key=lambda veto: veto.rule, default=None)


def _stored_at(site: Site) -> list[str]:
    """Return where a site stores inputs: nowhere only when it says that it keeps them for no time."""
    return [] if site.trust.retention_days == 0 else [site.country]


def entry_veto(blocks: Iterable[Constraints], entry: Site, way_in: Path | None, fleet: Fleet) -> Veto | None:
    """Return why a call may not enter at a site, or None. Receiving is processing: the entry's own attributes count.

    `way_in` is the path from the call's origin to the entry, None where no link leads there.
    """
    blocks = tuple(blocks)
    if way_in is None:
        return Veto(Rule.PATH_NONE, f"no link leads from the call's origin to {entry.id}")
    for block in blocks:
        for part in ("entry", "processing"):
            if veto := _residency(Rule.ENTRY_RESIDENCY, part, [entry.country])(block, fleet):
                return Veto(veto.rule, f"{entry.id}: {veto.detail}")
        if veto := _residency(Rule.ENTRY_RESIDENCY, "storage", _stored_at(entry))(block, fleet):
            return Veto(veto.rule, f"{entry.id}: {veto.detail}")
    for block in blocks:
        if veto := _residency(Rule.ENTRY_TRANSIT, "transit", way_in.countries)(block, fleet):
            return Veto(veto.rule, f"way to {entry.id}: {veto.detail}")
    for block in blocks:
        if veto := privacy_veto(block, entry):
            return Veto(Rule.ENTRY_PRIVACY, f"{entry.id}: {veto.detail}")
    if veto := _seen_veto(blocks, way_in.via[1:-1], fleet):
        rule = Rule.ENTRY_RESIDENCY if veto.rule is Rule.RESIDENCY_STORAGE else Rule.ENTRY_PRIVACY
        return Veto(rule, f"way to {entry.id} {veto.detail}")
    return None


def site_veto(blocks: Iterable[Constraints], site: Site, path: Path | None, fleet: Fleet) -> Veto | None:
    """Return the first rule, in the order of Rule, that running at a site fails by what files say; None when it passes.

    `path` is the way from the entry to the site, None where no link leads there.
    """
    blocks = tuple(blocks)
    if path is None:
        return Veto(Rule.PATH_NONE, f"no link leads to {site.id}")
    questions = (
        _residency(Rule.RESIDENCY_PROCESSING, "processing", [site.country]),
        _residency(Rule.RESIDENCY_TRANSIT, "transit", path.countries),
        _residency(Rule.RESIDENCY_STORAGE, "storage", _stored_at(site)),
    )
    for ask in questions:
        for block in blocks:
            if veto := ask(block, fleet):
                return Veto(
                    veto.rule, f"{veto.detail}{_by_way_of(path) if veto.rule is Rule.RESIDENCY_TRANSIT else ''}"
                )
    vetoes = [veto for block in blocks if (veto := privacy_veto(block, site))]
    if vetoes:
        return min(vetoes, key=lambda veto: veto.rule)
    return _seen_veto(blocks, path.via[1:-1], fleet)


def _by_way_of(path: Path) -> str:
    return f", by way of {' > '.join(path.via)}"


def accuracy_floor_ppm(blocks: Iterable[Constraints], model: str) -> int | None:
    """Return the highest accuracy floor that any block sets for a model."""
    floors = [ppm(block.accuracy_min[model]) for block in blocks if model in block.accuracy_min]
    return max(floors, default=None)


def accuracy_veto(blocks: Iterable[Constraints], accuracy_ppm: int | None, model: str) -> Veto | None:
    """Return why a variant's accuracy is below the floor of a model, or None. What was never measured fails any floor."""
    floor = accuracy_floor_ppm(blocks, model)
    if floor is None:
        return None
    if accuracy_ppm is None:
        return Veto(Rule.ACCURACY, f"accuracy was never measured, floor {floor / PPM:.4f}")
    if accuracy_ppm < floor:
        return Veto(Rule.ACCURACY, f"accuracy {accuracy_ppm / PPM:.4f} is below the floor {floor / PPM:.4f}")
    return None
