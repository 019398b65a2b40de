"""The report in a real browser: from a disk, without a network, light and dark, on a desk and on a phone.

Needs Chromium on the machine (Debian: `apt-get install chromium`); driven by Playwright, which brings no browser here.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from infercast.sim.report.page import report
from tests.sim.stories import before_and_after

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: it is in the extra `dev`")
if not CHROMIUM:
    pytest.skip("no Chromium on this machine: `apt-get install chromium` on Debian", allow_module_level=True)

Scheme = Literal["light", "dark"]
VIEWS: list[tuple[int, Scheme]] = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
HOSTILE = "</title><script>document.title='taken'</script>\"><img src=x onerror=\"document.title='taken'\">"
CONTRAST_LEAST = 4.5
"""WCAG 2.1, success criterion 1.4.3."""
LETTERS_LEAST_PX = 9.0

LUMINANCE = """
selector => {
  const channel = value => { const c = value / 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4 };
  const light = text => {
    const [r, g, b] = text.match(/[\\d.]+/g).map(Number);
    return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  };
  const element = document.querySelector(selector), style = getComputedStyle(element);
  const ink = light(element.namespaceURI.endsWith('svg') && element.tagName === 'text' ? style.fill : style.color);
  const ground = light(getComputedStyle(document.body).backgroundColor);
  return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
}
"""
LETTERS = """
() => Math.min(...[...document.querySelectorAll('svg text')].map(text => {
  const svg = text.ownerSVGElement;
  return parseFloat(getComputedStyle(text).fontSize) * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
}))
"""
BLOCKED = """
kind => new Promise(done => {
  addEventListener('securitypolicyviolation', event => done(event.effectiveDirective));
  const element = document.createElement(kind);
  if (kind === 'script' || kind === 'style') element.textContent = '0';
  else element.src = 'http://127.0.0.1:9/x';
  document.body.append(element);
  setTimeout(() => done('let in'), 5000);
})
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM)
        yield running
        running.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    page = report("An edge site in Warsaw", *before_and_after(), changes=["site waw added", HOSTILE], about=HOSTILE)
    path.write_text(page, encoding="utf-8")
    return path


class Shown:
    """A report that a browser shows, and all that it said and asked for on the way."""

    def __init__(self, browser: Any, file: Path, width: int, scheme: Scheme) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, offline=True)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())


@pytest.fixture
def shown(browser: Any, file: Path, request: pytest.FixtureRequest) -> Iterator[Shown]:
    one = Shown(browser, file, *getattr(request, "param", (1280, "light")))
    yield one
    one.context.close()


@pytest.mark.parametrize("shown", VIEWS, indirect=True)
def test_it_reaches_for_nothing_and_complains_of_nothing(shown: Shown, file: Path) -> None:
    assert shown.asked == [file.as_uri()]
    assert shown.said == []
    assert shown.page.title() == "An edge site in Warsaw"


@pytest.mark.parametrize("shown", VIEWS, indirect=True)
def test_everything_is_seen_and_nothing_hangs_over(shown: Shown, tmp_path: Path) -> None:
    page = shown.page
    page.screenshot(path=tmp_path / "report.png", full_page=True)
    wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1]
    for selector, least in (("h1", 1), ("section h2", 7), (".words", 1), ("svg[role=img]", 16), ("summary", 5)):
        found = page.locator(selector)
        assert found.count() >= least
        for index in range(found.count()):
            assert found.nth(index).is_visible()
            box = found.nth(index).bounding_box()
            assert box["height"] > 10
    assert page.locator("details table").first.is_hidden()
    assert page.evaluate(LETTERS) >= LETTERS_LEAST_PX


@pytest.mark.parametrize("shown", [(1280, "light"), (1280, "dark")], indirect=True)
def test_words_stand_out_from_the_ground(shown: Shown) -> None:
    for selector in (
        "h1",
        "p.quiet",
        "figcaption",
        "summary",
        "svg text",
        "svg text.quiet",
        ".line.before",
        ".line.after",
    ):
        assert shown.page.evaluate(LUMINANCE, selector) >= CONTRAST_LEAST, selector


def test_dark_is_dark_and_light_is_light(browser: Any, file: Path) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        one = Shown(browser, file, 1280, scheme)
        grounds.append(one.page.evaluate("getComputedStyle(document.body).backgroundColor"))
        one.context.close()
    assert grounds == ["rgb(255, 255, 255)", "rgb(20, 24, 29)"]


def test_tables_open_by_keyboard(shown: Shown) -> None:
    page = shown.page
    for index in range(page.locator("summary").count()):
        page.locator("summary").nth(index).focus()
        page.keyboard.press("Enter")
    tables = page.locator("details table")
    assert tables.count() == 5
    assert all(tables.nth(index).is_visible() for index in range(tables.count()))
    wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1]


@pytest.mark.parametrize(
    ("kind", "directive"),
    [("script", "script-src-elem"), ("img", "img-src"), ("style", "style-src-elem"), ("iframe", "frame-src")],
)
def test_what_is_put_into_it_is_kept_out(shown: Shown, kind: str, directive: str) -> None:
    assert shown.page.evaluate(BLOCKED, kind) == directive


def test_hostile_words_are_shown_as_words(shown: Shown) -> None:
    assert shown.page.get_by_text(HOSTILE, exact=True).count() == 2
    assert shown.page.locator("script, img").count() == 0
