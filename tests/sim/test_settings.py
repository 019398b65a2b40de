"""PATH=VALUES: what is read, and where it is put."""

import pytest
import yaml

from infercast.policies.documents import Document
from infercast.policies.faults import BadInput, Fault
from infercast.sim.edited import part_of
from infercast.sim.settings import put, read_axis

FLEET = """
sites: [{id: fra, accelerators: {cpu: {slots: 2, usd_per_hour: 0.1}}}, {id: dub}]
deployments: [{variant: digits-1.5, site: fra}]
links: [{from: fra, to: dub, rtt_ms: 3}]
plain: 1
"""


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a=1,2,4", (1, 2, 4)),
        ("a=0:0.01:5", (0.0, 0.0025, 0.005, 0.0075, 0.01)),
        ("a=1:4:4", (1, 2, 3, 4)),
        ("a=4:1:4", (4, 3, 2, 1)),
        ("a=1:2:3", (1.0, 1.5, 2.0)),
        ("a=cheapest,balanced", ("cheapest", "balanced")),
        ("a=15m", ("15m",)),
        ("a=null,true", (None, True)),
        ("a='08:00',\"22:00\"", ("08:00", "22:00")),
    ],
)
def test_values_are_a_list_or_a_range(text: str, values: tuple[object, ...]) -> None:
    axis = read_axis(text)
    assert axis.values == values
    assert [type(value) for value in axis.values] == [type(value) for value in values]
    assert [setting.value for setting in axis.settings()] == list(values)


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a=",
        "=1",
        "a=,",
        "a..b=1",
        "a=1:2:1",
        "a=x:y:3",
        "a=0:1:99999999",
        "a=[",
        ".a=1",
        "a=[:1:3",
        "a=2026-13-45",
        "a=0x_",
        "a=.nan:1:3",
        "a=1:.inf:3",
    ],
)
def test_what_is_neither_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(BadInput, match=r"command line: --over: .*\("):
        read_axis(text)


@pytest.mark.parametrize(
    "values", ["1:2", "0:2", "0.5:1", "1,1:2", "-1:2", "1:2:3:4", "10:20", "08:00", "1e-3:2", "1:2:2.5"]
)
def test_a_range_of_other_than_three_parts_is_refused(values: str) -> None:
    with pytest.raises(BadInput, match=r"is no range \(FIRST:LAST:COUNT"):
        read_axis(f"traffic.scale={values}")


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("sites.fra.accelerators.cpu.slots", ("sites", 0, "accelerators", "cpu", "slots")),
        ("sites[fra].accelerators.cpu.slots", ("sites", 0, "accelerators", "cpu", "slots")),
        ("sites[1].instances", ("sites", 1, "instances")),
        ("deployments[digits-1.5@fra].replicas", ("deployments", 0, "replicas")),
        ("links[fra~dub].rtt_ms", ("links", 0, "rtt_ms")),
        ("links[dub~fra].rtt_ms", ("links", 0, "rtt_ms")),
        ("new.part", ("new", "part")),
        ("plain", ("plain",)),
    ],
)
def test_a_value_is_put_there_and_nowhere_else(path: str, place: tuple[str | int, ...]) -> None:
    document = Document("f", FLEET)
    part, faults = part_of(document), list[Fault]()
    put(part, read_axis(f"{path}=77").settings(), faults)
    assert faults == []
    assert part.at(*place).value == 77
    expected = yaml.safe_load(FLEET)
    inner = expected
    for step in place[:-1]:
        inner = inner.setdefault(step, {}) if isinstance(inner, dict) else inner[step]
    inner[place[-1]] = 77
    assert part.plain() == expected


@pytest.mark.parametrize(("path", "said"), [("sites.frx.id", "did you mean 'fra'"), ("plain.a", "plain value")])
def test_a_path_that_leads_nowhere_is_a_fault(path: str, said: str) -> None:
    part, faults = part_of(Document("f", FLEET)), list[Fault]()
    put(part, read_axis(f"{path}=1").settings(), faults)
    assert len(faults) == 1
    assert said in str(faults[0])
    assert path in str(faults[0])
    assert part.plain() == yaml.safe_load(FLEET)


def test_of_equal_items_in_one_line_the_one_that_is_named_is_set() -> None:
    part = part_of(Document("f.yaml", "day_curve: [1, 1, 1, 1]"))
    faults: list[Fault] = []
    put(part, read_axis("day_curve[2]=9").settings(), faults)
    assert not faults
    assert part.plain() == {"day_curve": [1, 1, 9, 1]}
