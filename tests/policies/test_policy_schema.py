"""The schema of policy files: the committed one is the present one, and it knows what the loader knows."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from infercast.policies.documents import Document, examine
from infercast.policies.policy import Base, Draft, Policy
from infercast.policies.policy_schema import BASE_FILE, TENANT_FILE, as_text, base_schema, tenant_schema

ROOT = Path(__file__).resolve().parents[2]
TENANTS = ROOT / "policies" / "tenants"
TENANT = jsonschema.Draft202012Validator(tenant_schema())
BASE = jsonschema.Draft202012Validator(base_schema())


def accepts(validator: Any, value: Any) -> bool:
    # JSON has no dates: an editor sees them as text.
    return bool(validator.is_valid(json.loads(json.dumps(value, default=str))))


def loads(value: Any, form: Any) -> bool:
    document = Document("f", "")
    document.value, document.faults = value, []
    return examine(document, form)[1] == []


@pytest.mark.parametrize(("name", "schema"), [(TENANT_FILE, tenant_schema()), (BASE_FILE, base_schema())])
def test_the_committed_schema_is_the_present_one(name: str, schema: dict[str, Any]) -> None:
    """After an intended change: `infercast policy schema --write policies/tenants`."""
    assert (TENANTS / name).read_text(encoding="utf-8") == as_text(schema)
    jsonschema.Draft202012Validator.check_schema(schema)


def policies() -> list[Path]:
    found = [path for path in TENANTS.rglob("*.yaml") if not path.name.endswith(".cases.yaml")]
    return sorted(found)


@pytest.mark.parametrize("path", policies(), ids=lambda path: path.name)
def test_every_file_names_its_schema_first_and_passes_it(path: Path) -> None:
    first, _, rest = path.read_text(encoding="utf-8").partition("\n")
    start = "# yaml-language-server: $schema="
    assert first.startswith(start)
    schema = json.loads((path.parent / first.removeprefix(start)).read_text(encoding="utf-8"))
    value = json.loads(json.dumps(yaml.safe_load(rest), default=str))
    assert list(map(str, jsonschema.Draft202012Validator(schema).iter_errors(value))) == []


def test_each_key_says_what_it_is_for() -> None:
    for schema in (tenant_schema(), base_schema()):
        own = [part for name, part in schema["$defs"].items() if name not in ("Claim", "Never", "Only", "Where")]
        for part in (schema, *own):
            for key, value in part.get("properties", {}).items():
                assert value.get("description"), f"{part['title']}.{key}"


VALUES: dict[str, list[Any]] = {
    "version": [1, 2],
    "tenant": ["t", "T", 1],
    "extends": ["base/b.yaml", "", None],
    "models": [["m"], [], None, "m", ["M"]],
    "deadline_quantile": ["p50", "p51", None],
    "always": [
        {}, None, {"deadline_ms": 5}, {"deadline_ms": 0}, {"deadline_ms": 2.5}, {"deadline_ms": "5"}, {"deadline_ms": True},
        {"residency": {"entry": ["DE"]}}, {"residency": {"entry": {"allow": None, "deny": ["DE"]}}}, {"residency": {"entry": "DE"}},
        {"residency": {"entry": [""]}}, {"residency": {"else": []}}, {"privacy": {"no_training": 1}}, {"privacy": {"tiers": ["edge"]}},
        {"privacy": {"tiers": ["sea"]}}, {"privacy": {"attestation": ["tdx"], "operators": {"deny": ["a"]}}},
        {"privacy": {"retention_days_max": -1}}, {"accuracy_min": {"m": 0.5}}, {"accuracy_min": {"M": 0.5}}, {"accuracy_min": {"m": 2}},
        {"price_max_usd": 1000}, {"price_max_usd": 1001}, {"log": {"keep_days": 3, "residency": ["DE"]}}, {"log": {"keep_days": 0.5}},
    ],
    "classes": [{"plain": {}}, {}, {"Plain": {}}, {f"c{n}": {} for n in range(13)}, None],
    "overrides": [
        [], [{"when": {}}], [{}], [{"when": {"hours": "22:00-06:00", "days": ["mon"]}, "constraints": {"deadline_ms": 1}}],
        [{"when": {"hours": "22-06"}}], [{"when": {"since": "2026-12-01"}}], [{"when": {"since": 5}}], [{"when": {"days": []}}],
        [{"when": {"origins": ["DE"]}, "objective": {"preference": "cheapest"}}], [{"when": {}, "objective": {"preference": "x"}}],
    ],
    "objective": [{}, {"preference": "fastest"}, {"waiting": {"usd_per_second": 11}}, {"exposure": {"usd_leaving_device": 1}}],
    "behaviour": [{}, {"fallbacks_max": 8}, {"hedge": {}}, {"hedge": {"budget_share": 2}}, {"cache": {"ttl_s": 5, "scope": "all"}}, {"cache": {"ttl_s": 5}}],
    "limits": [{}, {"requests_per_minute": 5}, {"requests_per_minute": -5}, {"budget_usd_per_day": 0.5}, {"else": 1},
        {"budgets": [{"per": "day", "usd": 2, "models": ["a"], "alert_at": [0.5, 1]}]}, {"budgets": [{"per": "year", "usd": 2}]},
        {"budgets": [{"per": "month", "usd": 2, "when_spent": "stop"}]}, {"budgets": [{"per": "day", "usd": 2, "alert_at": [0]}]},
        {"budgets": [{"per": "day", "usd": 2, "models": []}]}, {"completion_tokens_max": 0}, {"completion_tokens_max": 9},
        {"per_model": {"a": {"concurrent_max": 1}}}, {"per_model": {"A": {}}}, {"per_model": {"a": {"budgets": []}}},
    ],
    "claims": [[], [{"refused": True}], [{"refused": False}], [{"candidates_min": 2, "while": "any_one_site_down"}]],
    "else": [1],
}  # fmt: skip
FILES = st.fixed_dictionaries(
    {"version": st.sampled_from([1, 1, 1, 2]), "tenant": st.sampled_from(["t", "t", "t", "T"])},
    optional={key: st.sampled_from(values) for key, values in VALUES.items() if key not in ("version", "tenant")},
)


@settings(deadline=None, max_examples=400)
@given(FILES)
def test_the_schema_accepts_what_the_loader_accepts_and_nothing_else(raw: dict[str, Any]) -> None:
    assert accepts(TENANT, raw) is loads(raw, Draft if "extends" in raw else Policy), raw
    base = {key: value for key, value in raw.items() if key != "tenant"}
    assert accepts(BASE, base) is loads(base, Base), base


@pytest.mark.parametrize("key", sorted(VALUES))
def test_each_value_is_judged_alike(key: str) -> None:
    for value in VALUES[key]:
        raw = {"version": 1, "tenant": "t", "classes": {"plain": {}}, key: value}
        assert accepts(TENANT, raw) is loads(raw, Draft if "extends" in raw else Policy), value
