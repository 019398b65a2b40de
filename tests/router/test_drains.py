"""Drained sites: the file that says which, the board that tells everybody, and what an entry and a decision make of it."""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infercast.policies.faults import BadInput
from infercast.policies.model import Rule
from infercast.policies.snapshot import DRAINED_US, Report, Snapshot
from infercast.router.drains import DRAINED, DrainFile, drain, load_drained
from infercast.router.errors import Kind
from infercast.router.ingress.models import ready
from infercast.router.serving.board import Board
from infercast.router.signals import merged
from tests.router.fakes import ROOT, Clock, ask, example_engine, example_fleet, scene
from tests.router.test_caller import trouble_of

FLEET = example_fleet()


def test_a_site_is_drained_once_and_stays_so_until_it_is_taken_back(tmp_path: Path) -> None:
    assert sorted(load_drained(tmp_path / DRAINED)) == []
    assert drain(tmp_path, FLEET, "fra", on=True)
    assert not drain(tmp_path, FLEET, "fra", on=True)
    assert drain(tmp_path, FLEET, "iad", on=True)
    assert sorted(load_drained(tmp_path / DRAINED)) == ["fra", "iad"]
    assert drain(tmp_path, FLEET, "fra", on=False)
    assert not drain(tmp_path, FLEET, "fra", on=False)
    assert sorted(load_drained(tmp_path / DRAINED)) == ["iad"]


@pytest.mark.parametrize(
    ("site", "said"), [("frra", "no site is called 'frra' (did you mean 'fra'?)"), ("berlin-cam", "is a device")]
)
@pytest.mark.parametrize("on", [True, False])
def test_what_is_no_site_of_ours_is_not_drained(tmp_path: Path, site: str, said: str, on: bool) -> None:
    with pytest.raises(BadInput, match=said.replace("(", r"\(").replace(")", r"\)").replace("?", r"\?")):
        drain(tmp_path, FLEET, site, on=on)
    assert not (tmp_path / DRAINED).exists()


def test_a_site_that_has_left_the_fleet_can_be_taken_back(tmp_path: Path) -> None:
    (tmp_path / DRAINED).write_text('["old"]')
    assert drain(tmp_path, FLEET, "old", on=False)


@pytest.mark.parametrize("text", ["{}", "[1]", "[", '"fra"'])
def test_a_bad_file_is_a_fault_and_changes_nothing_while_it_is_followed(tmp_path: Path, text: str) -> None:
    drain(tmp_path, FLEET, "fra", on=True)
    followed = DrainFile(tmp_path / DRAINED)
    (tmp_path / DRAINED).write_text(text)
    assert not followed.look()
    assert sorted(followed.current) == ["fra"]
    assert followed.refused is not None
    with pytest.raises(BadInput):
        load_drained(tmp_path / DRAINED)


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """Makes the board without its actor, as often as it is asked to: always on the same state folder."""
    shutil.copytree(ROOT / "policies" / "tenants", tmp_path / "tenants")
    (tmp_path / "keys.json").write_text("[]")
    plain = Board.__ray_metadata__.modified_class  # type: ignore[attr-defined] # the class behind the actor
    made = []

    def make() -> Any:
        made.append(plain(FLEET, str(tmp_path / "tenants"), str(tmp_path), f"sqlite:///{tmp_path}/ledger.db"))
        return made[-1]

    yield make
    for kept in made:
        kept._settling.close()


def told(kept: Any, source: str = "fra/1", under_way: tuple[int, bool] = (0, False)) -> Any:
    """What an exchange says of drained sites."""

    async def story() -> Any:
        kept._keep_watching = lambda: None
        return (await kept.exchange(source, {}, "", "", under_way))[3]

    return asyncio.run(story())


def test_the_board_tells_at_once_and_again_when_it_starts_anew(tmp_path: Path, board: Callable[[], Any]) -> None:
    kept = board()
    assert told(kept) == frozenset()
    assert asyncio.run(kept.drain("iad", True)).faults == ()
    assert told(kept) == {"iad"}
    assert json.loads((tmp_path / "in-force.json").read_text())["drained"]["sites"] == ["iad"]
    assert asyncio.run(kept.drain("nowhere", True)).faults[0].message == "no site is called 'nowhere'"
    again = board()
    assert told(again) == {"iad"}
    assert asyncio.run(again.in_force())[2] == {"iad"}
    asyncio.run(again.drain("iad", False))
    assert told(again) == frozenset()


def test_a_system_that_ends_waits_for_calls_and_for_sites_that_have_not_heard_of_it(board: Callable[[], Any]) -> None:
    kept = board()
    told(kept, "fra/1", (2, False))
    told(kept, "iad/2", (0, False))
    assert asyncio.run(kept.end()) == 3
    assert told(kept, "fra/1", (2, True)) == {site.id for site in FLEET.sites}
    told(kept, "iad/2", (0, True))
    assert asyncio.run(kept.end()) == 2
    told(kept, "fra/1", (0, True))
    assert asyncio.run(kept.end()) == 0


def drained_at(*sites: str) -> Snapshot:
    """Every site healthy and idle, some of them drained."""
    snapshot = Snapshot(FLEET)
    for index, deployment in enumerate(FLEET.deployments):
        snapshot.hear(index, Report(0, 15, 20, drained=deployment.site in sites), 1000)
    snapshot.believe(1000)
    return snapshot


def test_nothing_goes_to_a_drained_site_and_its_verdict_says_why_also_when_it_is_made_again() -> None:
    engine, snapshot = example_engine(), drained_at("fra")
    for seen in (snapshot, Snapshot.restored(FLEET, snapshot.state())):
        decision = engine.explain(ask(), seen)
        verdict = decision.verdict_of("digits-small@fra")
        assert (verdict.rule, verdict.detail) == (Rule.HEALTH, "not healthy: drained by its operator")
        assert decision.chosen is not None
        assert not decision.chosen.endswith("@fra")
    assert drained_at().digest() != snapshot.digest()


def test_a_drained_site_that_falls_silent_is_gone_not_drained_and_one_that_is_taken_back_is_well() -> None:
    snapshot = drained_at("fra")
    index = FLEET.deployment_index["digits-small@fra"]
    assert snapshot.age_us[index] == DRAINED_US
    snapshot.hear(index, Report(0, 15, 20), 2000)
    snapshot.believe(2000)
    assert (snapshot.age_us[index], snapshot.live[index, 3]) == (0, 1)
    snapshot = drained_at("fra")
    snapshot.believe(10_000_000)
    assert "last heard of" in example_engine().explain(ask(), snapshot).verdict_of("digits-small@fra").detail


def test_of_several_who_speak_for_a_deployment_one_that_says_drained_counts() -> None:
    assert merged("d", [(Report(0, 1, 1), 5), (Report(0, 1, 1, drained=True), 5)]).report.drained


@pytest.mark.parametrize("model", ["digits", ""])
def test_a_drained_entry_takes_no_new_call_and_says_where_it_may_enter(model: str) -> None:
    at = scene()
    at.caller.drained = frozenset({"fra", "dub"})
    trouble = trouble_of(at, ask(model=model))
    assert trouble.kind is Kind.UNAVAILABLE
    assert "drained by its operator" in trouble.message
    entries = trouble.extra["entries"]
    assert entries
    assert not {"fra", "dub"} & set(entries)
    assert trouble.remedy == f"enter at {', '.join(entries)}"
    assert at.body.reads == 0
    assert at.runner.calls == []
    assert at.journal.only()["reason"] == "unavailable"
    assert at.caller.under_way == 0
    assert not ready(at.caller)


def test_a_call_that_is_under_way_ends_though_its_entry_is_drained_meanwhile() -> None:
    at = scene("lost")
    at.runner.each = lambda index: setattr(at.caller, "drained", frozenset({"fra"}))
    with Clock().rules():
        assert asyncio.run(at.caller.call(ask(), at.body)).attempts == 2
