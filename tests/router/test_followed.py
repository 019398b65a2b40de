"""Files that are followed: whatever happens to them, the following goes on."""

import asyncio
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from infercast.router.followed import IN_FORCE, Followed
from infercast.router.keys import Keys
from infercast.router.ledger.opening import ledger_url
from infercast.router.policy_folder import PolicyFolder
from infercast.router.serving import board
from infercast.router.serving.board import Board
from tests.router.fakes import ROOT, example_fleet


class Flaky(Followed[Keys]):
    """Follows nothing, until `broken` is set."""

    broken: OSError | None = None

    def _paths(self) -> Iterable[Path]:
        if self.broken is not None:
            raise self.broken
        return ()

    def _read(self, last: Keys | None) -> Keys:
        return last or Keys(())


def test_files_that_cannot_be_looked_at_are_told_and_looked_at_again() -> None:
    flaky = Flaky()
    assert not flaky.look()
    flaky.broken = FileNotFoundError(2, "No such file or directory", "tenants/old")
    assert not flaky.look()
    told = flaky.refused
    assert str(told) == "tenants/old: could not be looked at: No such file or directory"
    assert not flaky.look()
    assert flaky.refused is told, "what is the same is told once"
    flaky.broken = None
    assert not flaky.look()
    assert flaky.refused is None


def test_a_subfolder_that_goes_while_the_folder_is_listed_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "policies" / "tenants", tmp_path, dirs_exist_ok=True)
    folder = PolicyFolder(tmp_path, example_fleet())
    version, whole = folder.current.version, Path.rglob

    def vanishing(self: Path, pattern: str) -> Any:
        raise FileNotFoundError(2, "No such file or directory", str(self / "gone"))

    monkeypatch.setattr(Path, "rglob", vanishing)
    assert not folder.look()
    monkeypatch.setattr(Path, "rglob", whole)
    (tmp_path / "studio.yaml").write_text("version: 1\ntenant: studio\nclasses: {gameplay: {}}\n")
    assert folder.look()
    assert (folder.current.version, folder.refused) == (version + 1, None)


def test_a_watch_that_ended_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(ROOT / "policies" / "tenants", tmp_path / "tenants")
    (tmp_path / "keys.json").write_text("[]")
    monkeypatch.setattr(board, "WATCH_S", 0.0)
    plain = Board.__ray_metadata__.modified_class  # type: ignore[attr-defined] # the class behind the actor
    kept = plain(example_fleet(), str(tmp_path / "tenants"), str(tmp_path), ledger_url(tmp_path))

    async def story() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(PolicyFolder, "look", lambda self: 1 // 0)
            await kept.exchange("fra/1", {}, "", "")
            await asyncio.wait([kept._watching])
        (tmp_path / IN_FORCE).unlink()
        (tmp_path / "tenants" / "studio.yaml").write_text("version: 1\ntenant: studio\nclasses: {gameplay: {}}\n")
        await kept.exchange("fra/1", {}, "", "")
        async with asyncio.timeout(20):
            while not (tmp_path / IN_FORCE).exists():  # noqa: ASYNC110 - a file says nothing when it comes
                await asyncio.sleep(0.01)
        kept._watching.cancel()
        kept._settling.close()

    with caplog.at_level(logging.ERROR):
        asyncio.run(story())
    assert "followed no longer" in caplog.text
    assert "ZeroDivisionError" in caplog.text
