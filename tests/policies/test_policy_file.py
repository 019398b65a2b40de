"""Reading a folder of policies: bases, shadows, all faults of all files at once, and nothing loaded in part."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infercast.policies.faults import BadInput, Fault
from infercast.policies.policy import Policy
from infercast.policies.policy_file import BASES_MAX, form_faults, load_policies, load_policy, load_shadows
from tests.support import fleet_of, raw_policy, write

Raw = dict[str, Any]


def put(folder: Path, **files: Raw | str) -> Path:
    """Write files; `base__company` stands for base/company.yaml."""
    for name, raw in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, raw)
    return folder


def extending(base: str = "base/company.yaml", **parts: Any) -> Raw:
    return {"version": 1, "tenant": "t", "extends": base, **parts}


def faults_of(folder: Path) -> tuple[Fault, ...]:
    with pytest.raises(BadInput) as caught:
        load_policies(folder, fleet_of())
    return caught.value.faults


def said(folder: Path) -> list[str]:
    return [str(fault).replace(f"{folder}/", "") for fault in faults_of(folder)]


def test_a_tenant_stands_on_its_base_and_its_bases_base(tmp_path: Path) -> None:
    put(
        tmp_path,
        base__group={"version": 1, "always": {"deadline_ms": 900, "privacy": {"no_training": True}}},
        base__company={"version": 1, "extends": "group.yaml", "always": {"deadline_ms": 500}, "classes": {"plain": {}}},
        t=extending(always={"price_max_usd": 1}),
        alone=raw_policy(tenant="alone"),
    )
    policies = load_policies(tmp_path, fleet_of())
    assert set(policies) == {"t", "alone"}
    policy = policies["t"]
    assert type(policy) is Policy
    assert (policy.always.deadline_ms, policy.always.price_max_usd, policy.always.privacy.no_training) == (500, 1, True)
    assert policy.extends == "base/company.yaml"
    assert load_policy(tmp_path / "t.yaml", fleet_of()) == policy
    written_out = raw_policy({"deadline_ms": 500, "price_max_usd": 1, "privacy": {"no_training": True}})
    assert policy.digest == Policy.model_validate(written_out).digest, "what is meant counts, not where it stands"


def test_a_looser_line_names_both_lines(tmp_path: Path) -> None:
    put(
        tmp_path,
        base__group="version: 1\nalways:\n  deadline_ms: 300\n",
        base__company="version: 1\nextends: group.yaml\nclasses:\n  plain:\n    residency: {processing: [eea]}\n",
        t="version: 1\ntenant: t\nextends: base/company.yaml\nalways:\n  deadline_ms: 400\nclasses:\n  plain:\n    residency:\n      processing: [DE, US]\n",
    )
    remedy = "(a file may only tighten its base)"
    above = f"400 ms is above the base's 300 ms {remedy}"
    wider = f"permits US too, the base permits eea {remedy}"
    place = "classes.plain.residency.processing.allow"
    assert said(tmp_path) == [
        f"t.yaml:5: always.deadline_ms: is looser than its base, base/group.yaml:3: {above}",
        f"t.yaml:9: {place}: is looser than its base, base/company.yaml:5: {wider}",
    ]


def test_a_base_may_not_loosen_its_base_either(tmp_path: Path) -> None:
    put(
        tmp_path,
        base__group={"version": 1, "limits": {"concurrent_max": 1}},
        base__company={"version": 1, "extends": "group.yaml", "limits": {"concurrent_max": 2}},
        t=extending(classes={"plain": {}}),
        u={**extending(classes={"plain": {}}), "tenant": "u"},
    )
    faults = faults_of(tmp_path)
    assert [(Path(fault.file).name, fault.field) for fault in faults] == [("company.yaml", "limits.concurrent_max")]


def test_a_bases_faults_come_once_and_with_its_tenants_own(tmp_path: Path) -> None:
    put(
        tmp_path,
        base__company={"version": 1, "always": {"deadline_ms": -1, "residency": {"entry": ["atlantis"]}}},
        t=extending(models=["digit"]),
        u={**extending(), "tenant": "u"},
        v=raw_policy({"deadline_ms": 0}, tenant="v"),
    )
    assert sorted((Path(fault.file).name, fault.field) for fault in faults_of(tmp_path)) == [
        ("company.yaml", "always.deadline_ms"),
        ("company.yaml", "always.residency.entry"),
        ("t.yaml", "models[0]"),
        ("v.yaml", "always.deadline_ms"),
    ]


def test_a_base_that_nobody_extends_is_checked_too(tmp_path: Path) -> None:
    put(tmp_path, t=raw_policy(), base__idle={"version": 1, "models": ["digit"]})
    assert [Path(fault.file).name for fault in faults_of(tmp_path)] == ["idle.yaml"]


@pytest.mark.parametrize(
    ("extends", "message"),
    [
        ("base/none.yaml", "no file is at"),
        ("base", "is no base"),
        ("/etc/passwd.yaml", "is no base"),
        ("t.yaml", "a circle"),
        (None, "must be text"),
        ("", "must have at least 1 characters"),
        (["a"], "must be text"),
    ],
)
def test_a_base_that_cannot_be_is_named_on_its_line(tmp_path: Path, extends: Any, message: str) -> None:
    put(tmp_path, t=f"version: 1\ntenant: t\nextends: {json.dumps(extends)}\nclasses: {{plain: {{}}}}\n")
    (fault,) = faults_of(tmp_path)
    assert (fault.line, fault.field) == (3, "extends")
    assert message in fault.message


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_circle_of_bases_is_a_fault_and_ends(tmp_path: Path, length: int) -> None:
    put(tmp_path, t=extending("base/b0.yaml", classes={"plain": {}}))
    for n in range(length):
        put(tmp_path, **{f"base__b{n}": {"version": 1, "extends": f"b{(n + 1) % length}.yaml"}})
    assert [fault.message for fault in faults_of(tmp_path) if "circle" in fault.message] != []
    with pytest.raises(BadInput, match="circle"):
        load_policy(tmp_path / "t.yaml", fleet_of())


@pytest.mark.parametrize("names", ["abcdefgh", "hgfedcba"])
def test_bases_stand_at_most_four_above_each_other(tmp_path: Path, names: str) -> None:
    def chain(folder: Path, length: int) -> Path:
        for n in range(length):
            above = {"extends": f"{names[n + 1]}.yaml"} if n + 1 < length else {}
            put(folder, **{f"base__{names[n]}": {"version": 1, **above}})
        return put(folder, t=extending(f"base/{names[0]}.yaml", classes={"plain": {}}))

    assert load_policies(chain(tmp_path / "four", BASES_MAX), fleet_of())
    five = chain(tmp_path / "five", BASES_MAX + 1)
    assert any("more than 4 bases" in fault.message for fault in faults_of(five))
    with pytest.raises(BadInput, match="more than 4 bases"):
        load_policy(five / "t.yaml", fleet_of())


def test_bounds_hold_for_a_file_and_its_base_together(tmp_path: Path) -> None:
    def many(what: str) -> Raw:
        over = [{"when": {"models": ["digits"]}, "constraints": {}}] * 33
        return {"version": 1, "overrides": over, "classes": {f"{what}{n}": {} for n in range(7)}}

    put(tmp_path, base__company=many("a"), t={**many("b"), **extending()})
    assert {fault.field: fault.message for fault in faults_of(tmp_path)} == {
        "classes": "14 classes with those of the base, at most 12",
        "overrides": "66 overrides with those of the base, at most 64",
    }


def test_somewhere_there_must_be_a_class(tmp_path: Path) -> None:
    put(tmp_path, base__company={"version": 1}, t=extending())
    (fault,) = faults_of(tmp_path)
    assert (fault.field, fault.message) == ("classes", "neither this file nor its base has a class")


def test_claims_speak_of_the_whole_policy_and_are_inherited(tmp_path: Path) -> None:
    claim = {"classes": ["plain"], "never": {"processed": ["US"]}}
    put(tmp_path, base__company={"version": 1, "classes": {"plain": {}}}, t=extending(claims=[claim]))
    assert len(load_policies(tmp_path, fleet_of())["t"].claims) == 1
    put(tmp_path, base__company={"version": 1, "classes": {"plain": {}}, "claims": [claim]})
    assert len(load_policies(tmp_path, fleet_of())["t"].claims) == 2
    put(tmp_path, t=extending(claims=[{**claim, "classes": ["plane"]}]))
    assert [fault.remedy for fault in faults_of(tmp_path)] == ["did you mean 'plain'?"]


def test_names_in_every_part_are_held_against_the_fleet(tmp_path: Path) -> None:
    bad = {
        "residency": {"storage": {"deny": ["atlantis"]}},
        "privacy": {"operators": ["acmee"], "certifications": ["iso27002"]},
        "accuracy_min": {"digit": 0.5},
        "log": {"residency": ["eeea"]},
    }
    put(
        tmp_path,
        t=raw_policy(
            overrides=[{"when": {"models": ["digit"], "origins": ["berln", "DE"]}, "constraints": bad}], always=bad
        ),
    )
    fields = [fault.field for fault in faults_of(tmp_path)]
    inner = ["residency.storage", "privacy.operators", "privacy.certifications", "accuracy_min.digit", "log.residency"]
    wanted = [f"{block}.{part}" for block in ("always", "overrides[0].constraints") for part in inner]
    assert sorted(fields) == sorted([*wanted, "overrides[0].when.models[0]", "overrides[0].when.origins[0]"])
    assert all(fault.remedy for fault in faults_of(tmp_path))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"when": {}, "constraints": {}}, "names no calls and no time"),
        ({"when": {"zone": "UTC"}, "constraints": {}}, "names no calls and no time"),
        ({"when": {"models": ["digits"]}}, "changes nothing"),
        ({"when": {"models": []}, "constraints": {}}, "names none, so it would never apply"),
        ({"when": {"origins": [], "hours": "08:00-09:00"}, "constraints": {}}, "names none, so it would never apply"),
    ],
)
def test_an_override_without_effect_is_a_fault(tmp_path: Path, override: Raw, message: str) -> None:
    put(tmp_path, t=raw_policy(overrides=[override]))
    assert [fault.message for fault in faults_of(tmp_path)] == [message]


def test_shadows_are_versions_of_tenants(tmp_path: Path) -> None:
    put(
        tmp_path,
        base__company={"version": 1, "always": {"deadline_ms": 5}},
        t=extending(classes={"plain": {}}),
        shadow__t=extending("../base/company.yaml", classes={"plain": {"deadline_ms": 1}}),
    )
    assert load_policies(tmp_path, fleet_of())["t"].classes["plain"].deadline_ms is None
    shadow = load_shadows(tmp_path, fleet_of())["t"]
    assert (shadow.classes["plain"].deadline_ms, shadow.always.deadline_ms) == (1, 5)
    put(tmp_path, shadow__u=raw_policy(tenant="u"))
    assert ["is the shadow of no tenant" in fault.message for fault in faults_of(tmp_path)] == [True]
    assert load_shadows(tmp_path / "nowhere", fleet_of()) == {}


@pytest.mark.parametrize("path", ["base/company.yml", "shadow/t.yml", "t2.yml"])
def test_a_file_with_another_ending_is_not_passed_over(tmp_path: Path, path: str) -> None:
    put(tmp_path, t=raw_policy())
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text("version: 1")
    assert ["is not read" in fault.message for fault in faults_of(tmp_path)] == [True]


def test_without_a_fleet_the_form_is_checked_all_the_same(tmp_path: Path) -> None:
    put(
        tmp_path,
        base__company={"version": 2},
        shadow__t=extending(always={"deadline_ms": 0}),
        t=extending(models=["no-such-model"]),
        u=raw_policy(extra=1),
        w="[",
    )
    write(tmp_path / "t.cases.yaml", "no policy")
    found = sorted((Path(fault.file).name, fault.field) for fault in form_faults(tmp_path))
    assert found == [("company.yaml", "version"), ("t.yaml", "always.deadline_ms"), ("u.yaml", "extra"), ("w.yaml", "")]


LINES = [
    "version: 1", "tenant: t", "extends: base/b.yaml", "extends: t.yaml", "classes: {plain: {}}", "classes:", "always: {deadline_ms: 5}",
    "always: {deadline_ms: .inf}", "overrides: [{when: {hours: '22:00-06:00'}, constraints: {}}]", "overrides: [{when: 7}]",
    "models: [digits]", "models: [&a x, *a]", "claims: [{never: {processed: [US]}}]", "claims: [{}]", "limits: {concurrent_max: 1}",
    "always: {residency: {entry: [eea]}}", "objective: {preference: cheapest}", "? [a]", "- x", "\t", "behaviour: {cache: {ttl_s: 1}}",
    "tenant: &t [*t]", "always: {log: {residency: {deny: [FR]}}}", "deadline_quantile: p50", "classes: {plain: {deadline_ms: 9}}",
]  # fmt: skip


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(LINES), max_size=7), st.lists(st.sampled_from(LINES), max_size=5))
def test_whatever_stands_in_the_files_they_load_whole_or_not_at_all(
    tmp_path: Path, own: list[str], base: list[str]
) -> None:
    put(tmp_path, t="\n".join(["version: 1", "tenant: t", *own]), base__b="\n".join(["version: 1", *base]))
    faults: tuple[Fault, ...] = ()
    policies: dict[str, Policy] = {}
    try:
        policies = load_policies(tmp_path, fleet_of())
    except BadInput as error:
        faults = error.faults
    assert bool(faults) is not bool(policies)
    assert all(fault.message and Path(fault.file).parent in (tmp_path, tmp_path / "base") for fault in faults)
    for policy in policies.values():
        assert policy.terms(fleet_of(), (), "digits", "berlin", 0).blocks
