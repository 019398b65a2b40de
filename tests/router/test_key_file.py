"""The file of keys: only hashes in it, read by its owner, refused with every fault, followed while it changes."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.policies.faults import BadInput
from infercast.router.key_file import KeyFile, keys_of, load_keys, save_keys
from infercast.router.keys import Holder, Key, hash_of, issue

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=20)
TIMES = st.none() | st.integers(0, 2**53)
TENANTS = st.builds(
    Key, id=NAMES, tenant=NAMES, sha256=NAMES.map(hash_of), origin=st.none() | NAMES,
    classes=st.lists(NAMES, max_size=3).map(tuple), issued_at_s=st.integers(0, 2**53), expires_at_s=TIMES,
    revoked_at_s=TIMES,
)  # fmt: skip
ADMINS = st.builds(Key, id=NAMES, tenant=st.just(""), sha256=NAMES.map(hash_of), holder=st.just(Holder.ADMIN))
RINGS = st.lists(TENANTS | ADMINS, unique_by=(lambda key: key.id, lambda key: key.sha256), max_size=5)


def told(path: Path, value: Any) -> str:
    with pytest.raises(BadInput) as refused:
        keys_of(path, value)
    return str(refused.value)


def entry(**other: Any) -> dict[str, Any]:
    return {**asdict(issue("k", "clinic")[0]), **other}


def test_only_hashes_are_stored_and_only_the_owner_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key, secret = issue("k1", "clinic", "berlin", ("personal", "open"))
    before = os.umask(0)
    try:
        save_keys(path, [key])
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    assert secret not in text
    assert secret.removeprefix("ic-") not in text
    assert json.loads(text)[0]["sha256"] == hash_of(secret)
    assert load_keys(path).find(secret) == key
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys.json"]


def test_keys_are_replaced_whole_and_the_mode_with_them(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text("[]")
    path.chmod(0o644)
    key, secret = issue("k1", "clinic")
    save_keys(path, [key])
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_keys(path).find(secret) == key
    save_keys(path, [])
    assert load_keys(path).tenants() == frozenset()


@given(RINGS)
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, ring: list[Key]) -> None:
    path = tmp_path_factory.getbasetemp() / "ring.json"
    save_keys(path, ring)
    assert sorted(load_keys(path), key=lambda key: key.id) == sorted(ring, key=lambda key: key.id)


def test_keys_of_an_older_version_are_read(tmp_path: Path) -> None:
    old = {"id": "k", "tenant": "clinic", "sha256": hash_of("s"), "origin": None, "classes": ["open"]}
    assert keys_of(tmp_path, [old]).find("s") == Key("k", "clinic", hash_of("s"), None, ("open",))


def test_every_fault_comes_at_once_with_its_place(tmp_path: Path) -> None:
    said = told(
        tmp_path / "keys.json",
        [entry(tenannt="x"), entry(expires_at_s="soon"), entry(holder="root"), {"id": "k"}, entry(id="")],
    )
    for words in (
        "[0].tenannt: unknown key 'tenannt' (did you mean 'tenant'?)",
        "[1].expires_at_s: must be a whole number, is 'soon'",
        "[2].holder: 'root' is not known here (known: admin, tenant)",
        "[3].tenant: the key 'tenant' is missing",
        "[3].sha256: the key 'sha256' is missing",
        "[4].id: ",
    ):
        assert words in said, words


@pytest.mark.parametrize("misplaced", ["ic-my-own-secret", "IC" * 32, ["ic-my-own-secret"], {"ic-my-own-secret": 1}])
def test_a_secret_that_stands_for_a_hash_is_not_repeated(tmp_path: Path, misplaced: Any) -> None:
    said = told(tmp_path, [entry(sha256=misplaced)])
    assert "sha256: is no SHA-256 in hex" in said
    assert "my-own" not in said
    assert "ICIC" not in said


def test_keys_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    one = entry()
    said = told(
        tmp_path,
        [one, {**one, "id": "other"}, entry(tenant="bank"), entry(id="root", holder="admin"), entry(tenant="")],
    )
    for words in (
        "[1]: 'other' has the secret of 'k'",
        "[2]: 'k' stands twice, bound to other things",
        "[3]: 'root' is an admin's, which has no tenant, origin or classes",
        "[4]: 'k' has no tenant",
    ):
        assert words in said, words


@pytest.mark.parametrize(
    "text", ["", "[", "[" * 100_000, "{}", "null", '"keys"', "[1]", "\x00", "[" + "1" * 5000 + "]", '[{"id": 1}]']
)
def test_what_is_no_file_of_keys_is_refused_in_words(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"keys\.json"):
        load_keys(path)


def test_a_file_that_is_not_there_or_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        load_keys(tmp_path / "keys.json")
    (tmp_path / "keys.json").write_bytes(b"\xff\xfe[]")
    with pytest.raises(BadInput, match="not JSON"):
        load_keys(tmp_path / "keys.json")


def test_a_change_is_followed_and_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key, secret = issue("k", "clinic")
    save_keys(path, [key])
    file = KeyFile(path)
    assert not file.look()
    other, other_secret = issue("other", "clinic")
    save_keys(path, [key, other])
    assert file.look()
    assert file.current.find(other_secret) == other
    path.write_text(json.dumps([entry(colour="red")]))
    assert not file.look()
    assert file.refused is not None
    assert "colour" in str(file.refused)
    assert file.current.find(secret) == key
    path.unlink()
    assert not file.look()
    assert "No such file" in str(file.refused)
    assert file.current.find(other_secret) == other
    save_keys(path, [replace(key, revoked_at_s=1)])
    assert file.look()
    assert file.refused is None
    assert file.current.find(other_secret) is None


def test_what_cannot_be_looked_at_is_told_and_changes_nothing(tmp_path: Path) -> None:
    """Also for a user whom no mode keeps out: a file below what is no folder."""
    folder = tmp_path / "state"
    folder.mkdir()
    save_keys(folder / "keys.json", [issue("k", "clinic")[0]])
    file = KeyFile(folder / "keys.json")
    digest = file.current.digest
    folder.rename(tmp_path / "away")
    folder.write_text("no folder")
    assert not file.look()
    assert "cannot be read: Not a directory" in str(file.refused)
    assert file.current.digest == digest


def test_a_file_that_is_bad_from_the_start_is_no_file_to_follow(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("[")
    with pytest.raises(BadInput):
        KeyFile(tmp_path / "keys.json")
