"""Issuing, rotating and revoking: what becomes of the file, and of the secrets that this machine's programs use."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infercast.policies.faults import BadInput
from infercast.router.bundle import BundleFile, bundle_path, read_bundle, write_bundle
from infercast.router.key_changes import CREDENTIALS, issue_key, read_credentials, revoke_key, rotate_key
from infercast.router.key_file import KEYS, load_keys, save_keys
from infercast.router.key_listing import listing
from infercast.router.keys import Holder, Key, Standing, issue

NOW_S = 1_800_000_000
DAY_S = 86_400


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in the one place of a list."""
    now = [float(NOW_S)]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


@pytest.fixture
def state(tmp_path: Path, clock: list[float]) -> Path:
    save_keys(tmp_path / KEYS, [])
    return tmp_path


def key_of(state: Path, secret: str) -> Key:
    key = load_keys(state / KEYS).find(secret)
    assert key is not None
    return key


def test_an_issued_key_is_what_was_asked_for(state: Path) -> None:
    secret = issue_key(state, "k", "clinic", "berlin", ["open", "personal", "open"], lifetime_s=DAY_S)
    key = key_of(state, secret)
    assert (key.id, key.tenant, key.origin, key.classes) == ("k", "clinic", "berlin", ("open", "personal"))
    assert (key.holder, key.issued_at_s, key.expires_at_s) == (Holder.TENANT, NOW_S, NOW_S + DAY_S)
    admin = key_of(state, issue_key(state, "root", "", holder=Holder.ADMIN))
    assert (admin.holder, admin.tenant, admin.expires_at_s) == (Holder.ADMIN, "", None)


def test_an_id_is_never_anothers(state: Path) -> None:
    issue_key(state, "k", "clinic")
    revoke_key(state, "k")
    with pytest.raises(BadInput, match="a key 'k' is, or was, there already"):
        issue_key(state, "k", "bank")


def test_the_old_secret_of_a_rotated_key_is_good_for_its_grace_and_no_longer(state: Path, clock: list[float]) -> None:
    old = issue_key(state, "k", "clinic", "berlin", ["open"])
    clock[0] += DAY_S
    new = rotate_key(state, "k", grace_s=600)
    before, after = key_of(state, old), key_of(state, new)
    assert before.standing(clock[0] + 599) is Standing.VALID
    assert before.standing(clock[0] + 600) is Standing.EXPIRED
    assert after.standing(clock[0] + 100 * DAY_S) is Standing.VALID
    assert (after.id, after.tenant, after.origin, after.classes) == ("k", "clinic", "berlin", ("open",))


def test_no_grace_lengthens_a_life_and_a_rotated_key_lives_as_long_as_before(state: Path, clock: list[float]) -> None:
    old = issue_key(state, "k", "clinic", lifetime_s=DAY_S)
    clock[0] += DAY_S - 60
    first = rotate_key(state, "k", grace_s=600)
    assert key_of(state, old).expires_at_s == NOW_S + DAY_S
    assert key_of(state, first).expires_at_s == int(clock[0]) + DAY_S
    clock[0] += 60
    second = rotate_key(state, "k", grace_s=600)
    assert key_of(state, second).expires_at_s == int(clock[0]) + DAY_S
    assert key_of(state, old).standing(clock[0]) is Standing.EXPIRED
    assert key_of(state, first).standing(clock[0]) is Standing.VALID


def test_an_expired_key_may_be_rotated_and_a_revoked_one_may_not(state: Path, clock: list[float]) -> None:
    issue_key(state, "k", "clinic", lifetime_s=60)
    clock[0] += 3600
    assert key_of(state, rotate_key(state, "k")).standing(clock[0]) is Standing.VALID
    revoke_key(state, "k")
    with pytest.raises(BadInput, match="'k' was revoked"):
        rotate_key(state, "k")


def test_revoking_ends_every_secret_of_a_key_and_of_no_other(state: Path) -> None:
    old, other = issue_key(state, "k", "clinic"), issue_key(state, "other", "clinic")
    new = rotate_key(state, "k")
    revoke_key(state, "k")
    assert [key_of(state, secret).standing(NOW_S) for secret in (old, new, other)] == ["revoked", "revoked", "valid"]


@pytest.mark.parametrize("change", [rotate_key, revoke_key])
def test_a_key_that_is_not_there_is_named_with_its_nearest(state: Path, change: object) -> None:
    issue_key(state, "clinic.berlin", "clinic")
    before = (state / KEYS).read_text()
    with pytest.raises(BadInput, match=r"no key is called 'clinic.berln' \(did you mean 'clinic.berlin'"):
        change(state, "clinic.berln")  # type: ignore[operator]
    assert (state / KEYS).read_text() == before


def test_without_keys_there_is_nothing_to_change(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no keys are here"):
        issue_key(tmp_path, "k", "clinic")


def test_a_bad_file_is_left_as_it_is(state: Path) -> None:
    (state / KEYS).write_text("[{}]")
    with pytest.raises(BadInput, match="is missing"):
        issue_key(state, "k", "clinic")
    assert (state / KEYS).read_text() == "[{}]"


def test_long_after_its_end_a_key_is_forgotten(state: Path, clock: list[float]) -> None:
    old = issue_key(state, "k", "clinic", lifetime_s=60)
    clock[0] += 30 * DAY_S
    issue_key(state, "one", "clinic")
    assert key_of(state, old).id == "k"
    clock[0] += 61
    issue_key(state, "two", "clinic")
    assert load_keys(state / KEYS).find(old) is None


def test_secrets_are_kept_nowhere_but_where_this_machines_programs_need_them(state: Path) -> None:
    (state / "devices").mkdir()
    camera, secret = issue("clinic.cam", "clinic", "cam")
    ward, _ = issue("clinic.ward", "clinic", "ward")
    save_keys(state / KEYS, [camera, ward])
    (state / CREDENTIALS).write_text(json.dumps({"clinic.cam": secret}))
    write_bundle(bundle_path(state, "cam"), secret, [camera])
    rotated, elsewhere = rotate_key(state, "clinic.cam"), rotate_key(state, "clinic.ward")
    assert read_credentials(state) == {"clinic.cam": rotated}
    bundle = read_bundle(bundle_path(state, "cam"))
    assert (bundle.tenant, bundle.secret) == ("clinic", rotated)
    assert {key.sha256 for key in bundle.keys} == {key_of(state, s).sha256 for s in (secret, rotated)}
    revoke_key(state, "clinic.cam")
    bundle = read_bundle(bundle_path(state, "cam"))
    assert {key.standing(NOW_S) for key in bundle.keys} == {Standing.REVOKED}
    assert bundle.secret == rotated
    everything = "".join(path.read_text() for path in state.rglob("*") if path.is_file())
    assert elsewhere not in everything


def test_a_device_follows_its_bundle(tmp_path: Path) -> None:
    path = tmp_path / "cam.json"
    key, secret = issue("clinic.cam", "clinic", "cam")
    write_bundle(path, secret, [key])
    file = BundleFile(path)
    other, new = issue("clinic.cam", "clinic", "cam")
    write_bundle(path, new, [key, other])
    assert file.look()
    assert file.current.secret == new
    path.write_text("{}")
    assert not file.look()
    assert "no device's bundle" in str(file.refused)
    write_bundle(path, new, [key, issue("bank.cam", "bank", "cam")[0]])
    assert not file.look()
    assert "keys of 2 tenants" in str(file.refused)
    assert file.current.secret == new


def test_writers_wait_for_each_other_and_none_is_lost(tmp_path: Path) -> None:
    save_keys(tmp_path / KEYS, [])
    program = (
        "import sys; from pathlib import Path; from infercast.router.key_changes import issue_key\n"
        "for number in range(20): issue_key(Path(sys.argv[1]), f'{sys.argv[2]}-{number}', 'clinic')"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(name)]) for name in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert len(list(load_keys(tmp_path / KEYS))) == 60
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}, "others cannot even hold the lock"


def test_what_is_told_of_keys_opens_nothing(state: Path, clock: list[float]) -> None:
    old = issue_key(state, "k", "clinic", "berlin", ["open"], lifetime_s=DAY_S)
    clock[0] += 60
    new = rotate_key(state, "k", grace_s=600)
    issue_key(state, "admin", "", holder=Holder.ADMIN)
    keys = load_keys(state / KEYS)
    admin, mine = listing(keys, clock[0])
    assert mine == {
        "id": "k", "holder": "tenant", "tenant": "clinic", "origin": "berlin", "classes": ["open"], "standing": "valid",
        "issued_at": "2027-01-15T08:01:00Z", "expires_at": "2027-01-16T08:01:00Z", "revoked_at": None,
        "old_until": "2027-01-15T08:11:00Z",
    }  # fmt: skip
    assert (admin["holder"], admin["tenant"]) == ("admin", None)
    text = json.dumps(listing(keys, clock[0]))
    assert not any(word in text for word in (old, new, *(key.sha256 for key in keys)))
    assert listing(keys, clock[0] + 601)[1]["old_until"] is None
    assert time.time() == clock[0]
