"""The guide to limits: what it shows is what a policy may say, and the numbers that it names are those of the code."""

import re
from pathlib import Path

import yaml

from infercast.policies.parts import Budget, Limits, ModelLimits
from infercast.policies.prices import COMPLETION_TOKENS_UNKNOWN
from infercast.router.conduct.endings import BYTES_PER_TOKEN
from infercast.router.quota import accounts, books, keeper

PAGE = (Path(__file__).parents[2] / "docs" / "limits.md").read_text(encoding="utf-8")


def test_the_limits_that_are_shown_are_some_that_a_policy_may_set() -> None:
    found = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    limits = Limits.model_validate({**yaml.safe_load(found[1])["limits"]}, strict=False)
    assert limits.model_fields_set == set(Limits.model_fields), "each of them is shown"
    assert limits.completion_max("chat") == 256
    assert limits.completion_max("vision") == 1024


def test_every_key_is_explained() -> None:
    for name in {*Limits.model_fields, *Budget.model_fields, *ModelLimits.model_fields}:
        assert f"`{name}`" in PAGE, name


def test_its_numbers_are_those_of_the_code() -> None:
    assert f"{COMPLETION_TOKENS_UNKNOWN:,} at most" in PAGE
    assert BYTES_PER_TOKEN == 4
    assert "a quarter of the body's bytes" in PAGE
    assert f"between a {books.LEAST_SHARE}th and a {books.MOST_SHARE}nd of the limit" in PAGE
    assert books.HORIZON_US == 2_000_000
    assert f"for up to {keeper.USABLE_US // 1_000_000} s" in PAGE
    assert f"from the others for {keeper.LEASE_S:.0f} s" in PAGE
    assert f"A call waits {accounts.WAIT_S:.0f} s for" in PAGE
    assert "What nobody used for a second goes back" in PAGE
    assert keeper.IDLE_S == 1
