"""A disk that takes no log while the ledger is away: leases are kept on, and calls go through when it is back."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from infercast.router.errors import Kind, Trouble
from infercast.router.sight.log_lines import LOGGER, log_to
from tests.router.quota.support import accounts_on, call_of, ledger, opened, running
from tests.router.quota.test_accounts import Away, until


@pytest.fixture(params=["it cannot be opened", "it takes no byte"])
def _no_room(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """A log file on a disk that is full."""
    logger = logging.getLogger(LOGGER)
    before = (list(logger.handlers), logger.level, logger.propagate)
    log_to("fra", tmp_path / "logs" / "fra.jsonl")
    if request.param == "it cannot be opened":
        (tmp_path / "logs").rmdir()
        (tmp_path / "logs").write_text("no folder")
    else:
        (tmp_path / "logs" / "fra.jsonl").symlink_to("/dev/full")
        logging.getLogger("infercast.journal").error("the journal is not written")
    yield
    for handler in logger.handlers:
        handler.close()
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.mark.usefixtures("_no_room")
def test_leases_are_kept_though_the_log_takes_nothing() -> None:
    async def scene() -> None:
        with ledger() as inner:
            store = Away(inner)
            store.away = True
            async with running(accounts_on(store, {"requests_per_minute": 5})) as accounts:
                with pytest.raises(Trouble) as caught:
                    await opened(accounts, call_of())
                assert caught.value.kind is Kind.UNAVAILABLE
                await until(lambda: accounts.keeper.out_of_reach)
                store.away = False
                await until(lambda: not accounts.keeper.out_of_reach)
                await opened(accounts, call_of())

    asyncio.run(asyncio.wait_for(scene(), 90))
