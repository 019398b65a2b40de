"""The example fleet and its tenants: they load, decide as their cases say, and keep their promises wherever a call enters."""

from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from infercast.policies import BadInput, Engine, Fault, Fleet, Request, Snapshot, Tier, load_fleet, load_policies
from infercast.policies.cases import Case, check_cases, load_cases
from infercast.policies.model import Decision, Hosting, Rule

ROOT = Path(__file__).resolve().parents[2]
TENANTS = ROOT / "policies" / "tenants"


@cache
def fleet() -> Fleet:
    return load_fleet(ROOT / "cluster.yaml")


@cache
def engine() -> Engine:
    return Engine(fleet(), load_policies(TENANTS, fleet()))


def tenants() -> list[str]:
    return sorted(path.name.removesuffix(".cases.yaml") for path in TENANTS.glob("*.cases.yaml"))


@cache
def decided(tenant: str) -> dict[str, tuple[Case, Decision, tuple[str, ...]]]:
    _, cases = load_cases(TENANTS / f"{tenant}.cases.yaml", fleet())
    assert cases.tenant == tenant
    return {
        result.case.name: (result.case, result.decision, result.failures)
        for result in check_cases(TENANTS / f"{tenant}.cases.yaml", engine())
    }


def case_names() -> list[tuple[str, str]]:
    return [
        (tenant, case.name)
        for tenant in tenants()
        for case in load_cases(TENANTS / f"{tenant}.cases.yaml", fleet())[1].cases
    ]


def calls(tenant: str, classes: tuple[str, ...]) -> Iterator[Request]:
    places = [*fleet().site_by_id, *fleet().zone_by_id]
    for model, entry, origin in product(engine().models_of(tenant), fleet().site_by_id, places):
        yield Request("call", tenant, model, entry, origin, classes, payload_bytes=256)


def eligible(request: Request) -> set[str]:
    decision = engine().explain(request, Snapshot.declared(fleet()))
    return {verdict.deployment for verdict in decision.verdicts if verdict.rule is Rule.NONE}


def countries_of_ways(request: Request, site: str) -> set[str]:
    """Every country that a call's data touches: its way in, the entry, the way on, and where it runs."""
    network = fleet().network
    way_in, way_on = network.path(request.origin, request.entry), network.path(request.entry, site)
    assert way_in is not None
    assert way_on is not None
    return {fleet().country_of(request.entry), fleet().country_of(site), *way_in.countries, *way_on.countries}


def test_the_fleet_has_every_tier_and_fits_two_cores() -> None:
    assert {site.tier for site in fleet().sites} == set(Tier)
    assert sum(d.replicas for d in fleet().deployments if d.hosted is Hosting.OWN) <= 4
    assert load_fleet(ROOT / "cluster.yaml").digest == fleet().digest


def test_norway_is_a_country_and_the_eea_is_larger_than_the_eu() -> None:
    eu, eea = fleet().world.countries(["EU"]), fleet().world.countries(["EEA"])
    assert len(eu) == 27
    assert eea - eu == {"IS", "LI", "NO"}


def test_every_site_price_and_link_says_where_it_comes_from() -> None:
    assert [site.id for site in fleet().sites if not site.source] == []
    assert [(link.from_, link.to) for link in fleet().links if not link.source] == []


def test_every_zone_has_a_way_in() -> None:
    linked = {link.from_ for link in fleet().links}
    assert set(fleet().zone_by_id) <= linked


@pytest.mark.parametrize(("tenant", "name"), case_names(), ids=lambda value: value.replace(" ", "-"))
def test_a_case_holds(tenant: str, name: str) -> None:
    case, decision, failures = decided(tenant)[name]
    assert failures == ()
    candidates = {word for verdict in decision.verdicts for word in (verdict.site, verdict.deployment)}
    assert set(case.expect.vetoes) <= candidates, "a veto of what is no candidate would hold by itself"


@pytest.mark.parametrize("tenant", tenants())
def test_a_tenant_states_enough_cases(tenant: str) -> None:
    cases = [case for case, _, _ in decided(tenant).values()]
    assert len(cases) >= 6
    assert len(cases) == len(load_cases(TENANTS / f"{tenant}.cases.yaml", fleet())[1].cases), "a name stands twice"
    assert {case.request.data_class for case in cases} == {None, *engine().policies[tenant].classes}
    assert any(case.expect.outcome != "chosen" for case in cases)


def test_every_policy_has_cases() -> None:
    assert tenants() == sorted(engine().policies)


@pytest.mark.parametrize("tenant", tenants())
def test_no_class_is_at_least_as_strict_as_every_class(tenant: str) -> None:
    passed = 0
    for unnamed in calls(tenant, ()):
        got = eligible(unnamed)
        passed += len(got)
        for name in engine().policies[tenant].classes:
            named = Request(
                unnamed.id, tenant, unnamed.model, unnamed.entry, unnamed.origin, (name,), unnamed.payload_bytes
            )
            assert got <= eligible(named), (unnamed, name)
    assert passed > 0, "nothing passed, so nothing was compared"


def test_a_patients_data_never_touches_a_country_outside_the_eea() -> None:
    eea, sites = fleet().world.countries(["EEA"]), set()
    for request in calls("hospital", ("personal",)):
        for deployment in eligible(request):
            site = deployment.partition("@")[2]
            sites.add(site)
            assert countries_of_ways(request, site) <= eea, (request, deployment)
    assert sites == {"berlin-cam", "fra", "dub"}


def test_a_fingerprint_never_leaves_its_device() -> None:
    passed = [(call, deployment) for call in calls("hospital", ("biometric",)) for deployment in eligible(call)]
    assert passed
    assert {(call.entry, deployment.partition("@")[2]) for call, deployment in passed} == {("berlin-cam",) * 2}


def test_no_call_enters_where_no_way_leads_from_its_origin() -> None:
    unreachable = [r for r in calls("hospital", ("biometric",)) if fleet().network.path(r.origin, r.entry) is None]
    assert unreachable
    assert {deployment for request in unreachable for deployment in eligible(request)} == set()


def test_the_banks_data_never_crosses_britain_and_still_reaches_dublin() -> None:
    sites = set()
    for name in ("ledger", "identity"):
        for request in calls("bank", (name,)):
            for deployment in eligible(request):
                site = deployment.partition("@")[2]
                sites.add(site)
                assert countries_of_ways(request, site) <= {"DE", "CH", "IE", "FR", "NL", "BE", "LU"}, (
                    request,
                    deployment,
                )
    assert sites == {"fra", "dub"}


def test_only_the_clinic_uses_the_clinics_cameras() -> None:
    for tenant in set(tenants()) - {"hospital"}:
        for name in engine().policies[tenant].classes:
            for request in calls(tenant, (name,)):
                assert not any(deployment.endswith("@berlin-cam") for deployment in eligible(request)), request


def faults_of(folder: Path, *changes: tuple[str, str]) -> tuple[tuple[Fault, ...], list[int]]:
    """Load a copy of cluster.yaml with changes made to it; return the faults, and the line that each change begins on."""
    text = (ROOT / "cluster.yaml").read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} must stand once"
        text = text.replace(old, new)
    lines = [text[: text.index(new)].count("\n") + 1 for _, new in changes]
    (folder / "examples").symlink_to(ROOT / "examples")
    path = folder / "cluster.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as refused:
        load_fleet(path)
    assert {fault.file for fault in refused.value.faults} == {str(path)}
    return refused.value.faults, lines


MISSPELT = ("operator: charity-clinic", "operater: charity-clinic")
TYPO = ("attestation: nitro, certifications: [iso27001, soc2]}\n    accelerators:\n      cpu: {slots: 4, usd_per_hour: 0.096}",
        "attestation: nitros, certifications: [iso27001, soc2]}\n    accelerators:\n      cpu: {slots: 4, usd_per_hour: 0.096}")  # fmt: skip
NO_COUNTRY = ("country: SG\n    place", "country: SGP\n    place")
NO_PLACE = ("to: gru\n    rtt_ms: 195", "to: grru\n    rtt_ms: 195")
BACKWARDS = ("rtt_p95_ms: 116.9", "rtt_p95_ms: 16.9")
TWICE = ("- {id: tokyo, country: JP, place: Tokyo, lat: 35.7647, lon: 140.386}",
         "- {id: tokyo, country: JP, lat: 35.7, lon: 140}\n  - {id: tokyo, country: JP, lat: 35, lon: 139.7}")  # fmt: skip


def test_a_model_that_takes_text_has_cards_that_tell_how(tmp_path: Path) -> None:
    faults, _ = faults_of(tmp_path, ("  - id: vision\n", "  - id: vision\n    task: chat\n"))
    assert [(fault.field, fault.message) for fault in faults] == [
        (f"models[1].variants[{at}].card", f"the card of {name!r} has no `text`, which task 'chat' needs")
        for at, name in enumerate(("squeezenet", "resnet50"))
    ]


def test_all_faults_of_spelling_come_at_once(tmp_path: Path) -> None:
    faults, lines = faults_of(tmp_path, MISSPELT, TYPO)
    assert [(fault.line, fault.field, fault.remedy) for fault in faults] == [
        (lines[0], "sites[0].operater", "did you mean 'operator'?"),
        (lines[1], "sites[4].trust.attestation", "did you mean 'nitro'?"),
    ]


def test_all_faults_of_meaning_come_at_once(tmp_path: Path) -> None:
    faults, lines = faults_of(tmp_path, NO_COUNTRY, TWICE, BACKWARDS, NO_PLACE)
    country, twice, backwards, place = lines
    assert [(fault.line, fault.field, fault.message, fault.remedy) for fault in faults] == [
        (country, "sites[2].country", "'SGP' is no ISO 3166 country", "did you mean 'SG'?"),
        (twice + 1, "zones[7]", "'tokyo' stands twice", "ids are unique"),
        (backwards, "links[1].rtt_p95_ms", "p95 16.9 is below rtt_ms 93.5", ""),
        (place, "links[6].to", "no place is called 'grru'", "did you mean 'gru'?"),
    ]


def test_faults_of_spelling_and_of_meaning_come_together(tmp_path: Path) -> None:
    faults, lines = faults_of(tmp_path, MISSPELT, NO_COUNTRY, TWICE, BACKWARDS, NO_PLACE)
    spelling, country, twice, backwards, place = lines
    assert [fault.line for fault in faults] == [spelling, country, twice + 1, backwards, place]


@pytest.mark.parametrize("tenant", ["annotator", "bank", "studio"])
def test_nobody_enters_at_another_tenants_device(tenant: str) -> None:
    for data_class in engine().policies[tenant].classes:
        for model in engine().models_of(tenant):
            request = Request("r", tenant, model, "berlin-cam", "berlin-cam", (data_class,))
            decision = engine().explain(request, Snapshot.declared(fleet()))
            assert {verdict.rule.word for verdict in decision.verdicts} == {"entry.privacy"}
            assert "berlin-cam" not in decision.entries


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("bank.cases.yaml", "bnak.cases.yaml", "no tenant is called 'bnak' (did you mean 'bank'?)"),
        ("bank.yaml", "bnak.yaml", "'bank' is not the file's name 'bnak'"),
        ("bank.yaml", "bank.yml", "is not read (call it bank.yaml)"),
    ],
)
def test_a_file_that_would_not_be_read_is_a_fault(tmp_path: Path, old: str, new: str, said: str) -> None:
    for path in TENANTS.glob("*.yaml"):
        (tmp_path / (new if path.name == old else path.name)).write_text(
            path.read_text(encoding="utf-8"), encoding="utf-8"
        )
    with pytest.raises(BadInput) as caught:
        load_policies(tmp_path, fleet())
    assert said in str(caught.value)
