"""The examples of docs/workloads.md are right, on the example fleet and with its tenants."""

import re
from pathlib import Path

import pytest
import yaml

from infercast.policies.documents import Document
from infercast.policies.fleet_file import load_fleet
from infercast.policies.policy_file import load_policies
from infercast.sim.workload import calls_of
from infercast.sim.workload_file import Source, Workload
from infercast.sim.workload_names import faults_of
from infercast.sim.workload_parts import Trace
from tests.sim.workloads import NOON_S, ROOT

PAGE = (ROOT / "docs" / "workloads.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_is_right(text: str) -> None:
    fleet = load_fleet(ROOT / "cluster.yaml")
    policies = load_policies(ROOT / "policies" / "tenants", fleet)
    workload = Workload.model_validate(yaml.safe_load(text)["workload"])
    assert faults_of(workload, fleet, policies, Document("docs/workloads.md", text)) == []
    if all(source.trace is None for source in workload.sources):
        found = calls_of(workload, fleet, policies, 1, Path(), starts_at_s=NOON_S)
        assert {kind.tenant for kind in found.kinds} == {source.tenant for source in workload.sources}
        assert all(kind.entries for kind in found.kinds)
        assert len(found) > 10_000


def test_the_guide_shows_made_up_and_recorded_calls() -> None:
    assert len(EXAMPLES) == 2


def test_every_field_is_in_the_guide() -> None:
    for model in (Source, Trace):
        for name, field in model.model_fields.items():
            if name != "description":
                assert f"`{field.alias or name}`" in PAGE or f"{field.alias or name}: " in PAGE
