"""The guide to kept answers: what it shows is a policy, and what it lists is what there is."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from infercast.policies.faults import BadInput
from infercast.policies.parts import Cache
from infercast.policies.policy import Policy
from infercast.policies.policy_file import load_policies
from infercast.router.cache.control import NO_WISH, wish_of
from infercast.router.cache.questions import BODY_BYTES_MAX
from infercast.router.cache.store import ENTRY_BYTES_MAX, SIZE_BYTES
from tests.router.fakes import ROOT, example_fleet

PAGE = (ROOT / "docs" / "cache.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL))
def test_what_it_shows_may_stand_in_a_policy_file(text: str, tmp_path: Path) -> None:
    assert loaded(tmp_path, yaml.safe_load(text)).behaviour.cache is not None


def loaded(folder: Path, parts: dict[str, Any]) -> Policy:
    value = {"version": 1, "tenant": "t", "classes": {"plain": {}}, **parts}
    (folder / "t.yaml").write_text(yaml.safe_dump(value), encoding="utf-8")
    return load_policies(folder, example_fleet())["t"]


@pytest.mark.parametrize(
    ("model", "models", "said"),
    [
        ("embeding", None, "no embedding model is called 'embeding' (did you mean 'embedding'?)"),
        ("digits", None, "no embedding model is called 'digits'"),
        ("embedding", ["chat"], "'embedding' is not among the models that may be called (add it to `models`)"),
    ],
)
def test_a_model_that_compares_nothing_is_a_fault(model: str, models: Any, said: str, tmp_path: Path) -> None:
    cache = {"ttl_s": 60, "similar": {"model": model}}
    with pytest.raises(BadInput) as caught:
        loaded(
            tmp_path, {"behaviour": {"cache": cache}, "models": models} if models else {"behaviour": {"cache": cache}}
        )
    (fault,) = caught.value.faults
    assert fault.field == "behaviour.cache.similar.model"
    assert said in str(fault)


@pytest.mark.parametrize("cache", [{}, {"ttl_s": 0}, {"ttl_s": 5, "scope": "all"}, {"ttl_s": 5, "similar": {}},
                                   {"ttl_s": 5, "similar": {"model": "embedding", "min_similarity": 0.2}}])  # fmt: skip
def test_what_makes_no_sense_is_refused(cache: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        loaded(tmp_path, {"behaviour": {"cache": cache}})


def test_it_names_every_key_and_every_directive() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE.partition("## What is the same")[0], flags=re.MULTILINE)) == set(
        Cache.model_fields
    )
    directives = re.findall(
        r"^\| `([a-z-]+)(?:=N)?` \| ", PAGE.partition("## What a caller may say")[2], flags=re.MULTILINE
    )
    heard = [word for word in directives if wish_of(f"{word}=1") != NO_WISH]
    assert heard == ["no-store", "no-cache", "max-age", "min-fresh", "only-if-cached"]


def test_its_sizes_are_those_of_the_code() -> None:
    for size, said in ((SIZE_BYTES, "64 MiB"), (ENTRY_BYTES_MAX, "1 MiB")):
        assert size == int(said.split()[0]) * 1024 * 1024
        assert said in PAGE
    assert f"{BODY_BYTES_MAX // 1024} KiB" in PAGE
