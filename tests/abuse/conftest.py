"""One entry for the whole folder, looked at after each test: nothing may be left on, and an ordinary call is answered."""

from collections.abc import Iterator

import pytest

from tests.abuse import scene


@pytest.fixture(scope="session")
def served() -> Iterator[scene.Entry]:
    """The entry that all tests share."""
    with scene.entry() as at:
        at.normal()
        at.quiet()
        yield at


@pytest.fixture
def at(served: scene.Entry, request: pytest.FixtureRequest) -> Iterator[scene.Entry]:
    """The entry, with its runner as usual at first, and all of it at rest at the end."""
    files = scene.files()
    before = len(served.journal.of("call"))
    served.heads.clear()
    yield served
    usual = {"pause_s": 0.0, "pace_s": 0.0, "endless": False, "event_bytes": 65536}
    vars(served.runner).update(usual)
    served.heads.clear()
    served.normal(texts=request.module.__name__ != "test_malformed")
    served.quiet()
    assert scene.files() <= files + 2 + served.kept, "files are left open"
    assert {line["reason"] for line in served.journal.of("call")[before:]}.isdisjoint({"fault"})
