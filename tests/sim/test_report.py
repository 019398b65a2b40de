"""The report as a document: what stands in it, that it is whole, and that no text of anybody's becomes part of the page."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infercast.sim.comparison import compare
from infercast.sim.comparison_words import in_words
from infercast.sim.frontier import Point
from infercast.sim.model import Kind
from infercast.sim.report.land import LAND
from infercast.sim.report.markup import VOID, Markup, tag, text, unbroken
from infercast.sim.report.page import report
from infercast.sim.report.parts import decades, steps
from infercast.sim.report.projection import ASPECT, MAP_WIDTH, View
from infercast.sim.report.style import SECURITY, STYLE
from infercast.sim.report.sweep import sweep_report
from infercast.sim.results import summarise
from infercast.sim.summary import Flow, Place, Stopped, Summary
from tests.sim.runs import Call, run_of
from tests.sim.stories import before_and_after, example_fleet, summary_of

HOSTILE = (
    "<script>alert(1)</script>",
    "</title></style><img src=x onerror=alert(1)>",
    '" onload="alert(1)" x=\'',
    "a\x00b\x1b[31m\ud800\u202ec",
    "&lt;b&gt; &amp; ]]> <!-- --> {{7*7}}",
    "javascript:alert(1)//",
)
ADDRESSES = {"src", "href", "srcset", "action", "data", "poster", "xlink:href", "formaction", "style"}


class Reader(HTMLParser):
    """Reads a page strictly: every element closed in turn, no element or attribute that could do or fetch anything."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.seen: list[str] = []
        self.words: list[str] = []
        self.content = ""

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        assert name not in {"script", "img", "iframe", "object", "embed", "link", "base", "form", "a", "image", "use"}
        for key, value in attributes:
            assert key not in ADDRESSES
            assert not key.startswith("on")
            assert value is not None
            if key == "id":
                self.ids.append(value)
            if key == "http-equiv":
                self.content = dict(attributes)["content"] or ""
        self.seen.append(name)
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError("no comment is ours")


def read(page: str) -> Reader:
    """Read a page whole."""
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    assert len(set(reader.ids)) == len(reader.ids)
    return reader


@pytest.fixture(scope="module")
def story() -> tuple[list[Summary], list[Summary]]:
    return before_and_after()


def test_the_report_has_every_part(story: tuple[list[Summary], list[Summary]]) -> None:
    page = report("An edge in Warsaw", *story, changes=["site waw added"], about="Calls are made up.")
    words = " ".join(read(page).words)
    for part in ("What the scenario changes", "In short", "Where calls come from", "Latency", "Cost and deadlines"):
        assert part in words
    for part in (
        "Calls without an answer",
        "Use of servers",
        "site waw added",
        "Calls are made up.",
        "residency.transit",
    ):
        assert part in words
    assert "limits.concurrent max" in words
    assert "from 2026-01-01 00:00 UTC, 2 hours, 5 runs of each, seeds 0, 1, 2, 3, 4." in words
    assert "".join(re.split(r"\s+", in_words(compare(*story)))) in "".join(re.split(r"\s+", "".join(read(page).words)))
    for tenant in story[0][0].tenants:
        assert f"Latency of {tenant}" in words
    assert len(page.encode()) < 500_000


def test_long_changes_are_folded_and_whole() -> None:
    long = "add_site: " + "x" * 300 + " the end"
    words = read(report("t", [summarise(run_of([Call()]))], changes=["short", long])).words
    assert "short" in words
    assert long in words
    assert f"{long[:90]}…" in words


def test_every_picture_says_in_words_what_it_shows(story: tuple[list[Summary], list[Summary]]) -> None:
    page = report("t", *story)
    pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(pictures) > 10
    for picture in pictures:
        root = ET.fromstring(picture)  # our own words, and well-formed
        if root.get("aria-hidden") == "true":
            continue
        named = [root.find(f".//*[@id='{name}']") for name in root.get("aria-labelledby", "").split()]
        assert [element is not None and bool(element.text) for element in named] == [True, True]
        assert root.get("role") == "img"
    assert page.count("<details>") == 5


def test_before_and_after_differ_in_more_than_colour() -> None:
    assert ".line.before{stroke-dasharray" in STYLE
    assert ".bar.before{fill:url(#hatch)" in STYLE


def test_the_page_lets_in_no_style_but_its_own(story: tuple[list[Summary], list[Summary]]) -> None:
    page = report("t", *story)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    assert (
        read(page).content
        == SECURITY
        == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert page.index("Content-Security-Policy") < page.index("<style>")
    assert not re.search(r"https?://|@import", page)


def test_a_scenario_alone_has_no_comparison(story: tuple[list[Summary], list[Summary]]) -> None:
    reader = read(report("t", story[0]))
    words = " ".join(reader.words)
    assert "this scenario" in words
    assert "before" not in words
    assert "Change" not in words


def hostile(summary: Summary, name: str) -> Summary:
    """A summary in which every name is hostile. Files allow few of them; the report trusts none."""
    overall = replace(summary.overall, stopped=(Stopped("refused", name, 3),))
    (group,) = list(summary.tenants.values())[:1]
    return replace(
        summary,
        fleet=name,
        overall=overall,
        tenants={name: group},
        curves={name: ((1.0, 0.5), (2.0, 1.0))},
        busy={name: summary.busy["fra"]},
        flows=(Flow(name, name, 5), Flow(name, "", 1)),
        places=(Place(name, "edge", name, 1.0, 2.0), Place(name + "z", "zone", name, 30.0, 20.0)),
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(story: tuple[list[Summary], list[Summary]], name: str) -> None:
    before, after = ([hostile(each, name) for each in side] for side in story)
    page = report(name, before, after, changes=[name], about=name)
    page.encode()
    reader = read(page)
    plain = read(report("t", *story, changes=["c"], about="a"))
    assert set(reader.seen) <= set(plain.seen)
    shown = re.sub("[\x00\x1b\ud800\u202e]", "\N{REPLACEMENT CHARACTER}", name)
    assert sum(shown in words for words in reader.words) >= 10
    for picture in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ET.fromstring(picture)


@given(st.text())
@settings(max_examples=200)
def test_any_text_comes_back_as_it_was_or_marked(value: str) -> None:
    for page in (tag("p", value), tag("p", unbroken(value)), tag("p", title=value)):
        reader = Reader()
        reader.feed(page)
        reader.close()
        assert reader.open == []
        page.encode()
        assert set(reader.seen) <= {"p", "span"}
    reader = Reader()
    reader.feed(tag("p", unbroken(value)))
    shown = "".join(reader.words).replace("\r", "\N{REPLACEMENT CHARACTER}")
    assert shown == re.sub(r"\r", "\N{REPLACEMENT CHARACTER}", plain(value))


def plain(value: str) -> str:
    reader = Reader()
    reader.feed(text(value))
    reader.close()
    return "".join(reader.words)


def test_only_our_own_names_become_elements() -> None:
    for wrong in ("p onload", "p>", "", "1"):
        with pytest.raises(ValueError, match="is no"):
            tag(wrong)
    with pytest.raises(ValueError, match="is no attribute"):
        tag("p", **{"x y": "z"})
    assert tag("p", Markup("<b></b>"), "<b>", x=1.25, y=-0.01, z=None) == '<p x="1.2" y="0"><b></b>&lt;b&gt;</p>'


def test_an_empty_run_has_a_report() -> None:
    words = " ".join(read(report("t", [summarise(run_of([]))])).words)
    assert "No calls were answered." in words
    assert "No server stood ready." in words


def test_a_run_that_was_stopped_early_says_so() -> None:
    stopped = summarise(run_of([Call()], stopped_early=True))
    assert "stopped before their last call" in " ".join(read(report("t", [stopped])).words)


def test_there_must_be_runs() -> None:
    with pytest.raises(ValueError, match="no run"):
        report("t", [])


def test_a_large_world_stays_below_half_a_megabyte() -> None:
    fleet = example_fleet()
    tenants = tuple(f"tenant-with-a-rather-long-name-{n:03}" for n in range(60))
    big = [summary_of(fleet, seed, n=20_000, tenants=tenants) for seed in (1, 2)]
    sites = [f"site-with-a-rather-long-name-{n:04}" for n in range(1500)]
    places = tuple(
        Place(name, "edge", "DE", (n * 7) % 120 - 50.0, (n * 11) % 360 - 180.0) for n, name in enumerate(sites)
    )
    busy = dict.fromkeys(sites, big[0].busy["fra"])
    flows = tuple(Flow(sites[n], sites[(n * 13) % 1500], n) for n in range(1500))
    wide = [replace(each, places=places, busy=busy, flows=flows) for each in big]
    page = report("t", wide, wide)
    read(page)
    assert 100_000 < len(page.encode()) < 500_000
    words = " ".join(read(page).words)
    assert "Of 60 tenants, the 12 with most calls" in words
    assert "400 of 1500 places are drawn." in words


def test_a_sweep_has_a_page_with_its_frontier() -> None:
    points = [Point("two replicas", 2.0, 50.0), Point(HOSTILE[0], 3.0, 40.0), Point("four, slower", 4.0, 45.0)]
    page = sweep_report("How many replicas?", points, about="A sweep.")
    reader = read(page)
    words = " ".join(reader.words)
    assert "2 of 3 points are beaten by no other in both cost and p95 latency" in words
    assert f"{HOSTILE[0]}: $3 a day, 40 ms" in words
    marks = re.findall(r'<(rect|circle) x?c?x="([\d.]+)"', page.split("</defs>")[1])
    assert [shape for shape, _ in marks] == ["rect", "rect", "circle"]
    assert re.findall(r"<td class=\"word\">(.*?)</td>", page) == ["no other", "no other", "another"]
    ET.fromstring(re.findall(r"<svg.*?</svg>", page, re.DOTALL)[1])
    many = sweep_report("t", [Point(f"point {n}", float(n % 70), float(n % 90)) for n in range(3000)])
    assert len(many.encode()) < 500_000
    with pytest.raises(ValueError, match="no point"):
        sweep_report("t", [])


def test_the_land_is_where_it_is() -> None:
    """Points well inside of continents and oceans, told apart by the outline as it is drawn (even-odd)."""
    land = [(50, 10), (40, -100), (-10, -55), (0, 25), (60, 100), (-25, 135), (20, 78), (72, -40)]
    sea = [(0, -30), (0, 80), (30, -150), (40, -40), (-50, 0), (45, 170), (-10, -170), (70, 179.9 - 185)]
    assert [_on_land(*point) for point in land] == [True] * len(land)
    assert [_on_land(*point) for point in sea] == [False] * len(sea)
    assert len(LAND) < 30_000


def _on_land(lat: float, lon: float) -> bool:
    x, y, inside = 2 * lon + 0.01, -2 * lat + 0.01, False
    for ring in re.findall(r"M[^z]+z", LAND):
        values = [int(number) for number in re.findall(r"-?\d+", ring)]
        points = [(values[0], values[1])]
        for dx, dy in zip(values[2::2], values[3::2], strict=True):
            points.append((points[-1][0] + dx, points[-1][1] + dy))
        assert all(-360 <= px <= 360 and -180 <= py <= 180 for px, py in points)
        for (x1, y1), (x2, y2) in zip(points, points[1:] + points[:1], strict=True):
            if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
                inside = not inside
    return inside


@given(
    st.lists(st.builds(Place, st.just("p"), st.just("edge"), st.just("DE"), st.floats(-60, 80), st.floats(-180, 180)))
)
def test_every_place_is_in_the_view(places: list[Place]) -> None:
    view = View.of(places)
    assert 0 < view.span <= 360
    for place in places:
        x, y = view.at(place)
        assert -0.01 <= x <= MAP_WIDTH + 0.01
        assert -0.01 <= y <= MAP_WIDTH / ASPECT + 0.01


@given(st.floats(1e-6, 1e9), st.floats(1, 1e6))
def test_axis_marks_go_round_what_is_shown(low: float, factor: float) -> None:
    marks = decades(low, low * factor)
    assert marks[0] <= low * (1 + 1e-9)
    assert marks[-1] >= low * factor * (1 - 1e-9)
    assert len(marks) >= 2
    assert marks == sorted(set(marks))
    round_numbers = steps(low)
    assert round_numbers[0] == 0
    assert round_numbers[-1] >= low * (1 - 1e-6)
    assert 3 <= len(round_numbers) <= 7


def test_kinds_without_calls_are_shown_as_such() -> None:
    kinds = (Kind("quiet", "digits", "berlin", ("ber",)), Kind("t", "digits", "berlin", ("ber",)))
    words = " ".join(read(report("t", [summarise(run_of([Call(kind=1)], kinds))])).words)
    assert "quiet" in words
