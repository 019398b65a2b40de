"""Keys: their secrets are shown once, their hashes are kept where only the owner reads."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.router.key_file import load_keys, save_keys
from infercast.router.keys import Key, Keys, hash_of, issue, write_private


def test_a_key_is_found_by_its_secret_only() -> None:
    (clinic, clinic_secret), (bank, bank_secret) = issue("k1", "clinic", "berlin", ("personal",)), issue("k2", "bank")
    keys = Keys([clinic, bank])
    assert keys.find(clinic_secret) == clinic == Key("k1", "clinic", hash_of(clinic_secret), "berlin", ("personal",))
    assert keys.find(bank_secret) == bank
    for other in ("", "k1", "clinic", clinic.sha256, clinic_secret[:-1], clinic_secret + " ", clinic_secret.upper()):
        assert keys.find(other) is None
    assert (keys.tenants(), keys.origins()) == (frozenset({"clinic", "bank"}), frozenset({"berlin"}))


@given(st.text())
def test_no_guess_finds_a_key(guess: str) -> None:
    assert Keys([issue("k", "t")[0]]).find(guess) is None


def test_no_two_secrets_are_equal_and_each_is_long() -> None:
    secrets = [issue("k", "t")[1] for _ in range(100)]
    assert len(set(secrets)) == 100
    assert all(len(secret) >= 43 for secret in secrets), "256 bits in base64"


def test_classes_are_sorted() -> None:
    assert issue("k", "t", None, ["b", "a"])[0].classes == ("a", "b")


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


def test_a_write_that_fails_leaves_the_old_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    write_private(path, "old")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_private(path, "new")
    assert path.read_text() == "old"
