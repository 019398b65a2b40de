"""Keys: their secrets are shown once, their hashes are kept where only the owner reads."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.router.keys import Holder, Key, Keys, Standing, hash_of, issue, write_private


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


@given(st.integers(0, 2**40), st.integers(0, 2**40) | st.none(), st.integers(0, 2**40) | st.none())
def test_a_key_that_has_ended_stays_ended(now_s: int, expires_s: int | None, revoked_s: int | None) -> None:
    key = replace(issue("k", "t")[0], expires_at_s=expires_s, revoked_at_s=revoked_s)
    standing = key.standing(now_s)
    assert (standing is Standing.REVOKED) == (revoked_s is not None)
    assert (standing is Standing.VALID) == (revoked_s is None and (expires_s is None or now_s < expires_s))
    if standing is not Standing.VALID:
        assert key.standing(now_s + 1) is standing


def test_the_digest_tells_what_is_meant_and_not_the_order() -> None:
    one, two = issue("one", "t")[0], issue("two", "t")[0]
    assert Keys([one, two]).digest == Keys([two, one]).digest
    changed = [
        replace(one, **{name: value})  # type: ignore[arg-type]
        for name, value in {
            "id": "three", "tenant": "u", "sha256": "0" * 64, "origin": "paris", "classes": ("open",),
            "holder": Holder.ADMIN, "issued_at_s": 1, "expires_at_s": 1, "revoked_at_s": 1,
        }.items()
    ]  # fmt: skip
    assert len({Keys([key, two]).digest for key in [one, *changed]}) == len(changed) + 1


def test_an_admins_key_is_no_tenants() -> None:
    keys = Keys([issue("admin", "", holder=Holder.ADMIN)[0], issue("k", "clinic")[0]])
    assert keys.tenants() == {"clinic"}


def test_a_write_that_fails_leaves_the_old_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    write_private(path, "old")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_private(path, "new")
    assert path.read_text() == "old"
