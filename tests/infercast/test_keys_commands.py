"""`infercast keys` and the keys that `up` issues, with no cluster running."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from infercast import system
from infercast.cli import app
from infercast.first_keys import issue_missing
from infercast.policies.faults import BadInput
from infercast.policies.fleet_file import load_fleet
from infercast.policies.policy_file import load_policies
from infercast.router.bundle import bundle_path, read_bundle
from infercast.router.key_changes import read_credentials, revoke_key, rotate_key
from infercast.router.key_file import KEYS, load_keys
from infercast.router.keys import Holder, Standing

ROOT = Path(__file__).resolve().parents[2]
FLEET = load_fleet(ROOT / "cluster.yaml")
TENANTS = load_policies(ROOT / "policies" / "tenants", FLEET)
CAMERA = "berlin-cam"
CAMERA_KEY = f"hospital.{CAMERA}"


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for name in ("INFERCAST_FLEET", "INFERCAST_POLICIES", "INFERCAST_STATE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder as `up` lays it out."""
    system.prepare(tmp_path / "state", FLEET, TENANTS)
    return tmp_path / "state"


def keys(state: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["keys", *words, "--state", str(state)], env={"COLUMNS": "250"})


def listed(state: Path) -> dict[str, dict[str, Any]]:
    done = keys(state, "list", "--json")
    assert done.exit_code == 0
    return {row["id"]: row for row in json.loads(done.stdout)["keys"]}


def snapshot(state: Path) -> dict[str, str]:
    return {str(path.relative_to(state)): path.read_text() for path in state.rglob("*.json")}


def test_up_issues_a_key_for_each_tenant_zone_and_device_and_one_for_the_platform_team(state: Path) -> None:
    rows = listed(state)
    zones = [f"{tenant}.{zone}" for tenant in TENANTS for zone in FLEET.zone_by_id]
    assert set(rows) == {"admin", *TENANTS, *zones, CAMERA_KEY}
    assert {row["standing"] for row in rows.values()} == {"valid"}
    assert [row["id"] for row in rows.values() if row["holder"] == "admin"] == ["admin"]
    assert rows["hospital.paris"]["origin"] == "paris"
    found = load_keys(state / KEYS)
    for key_id, secret in read_credentials(state).items():
        key = found.find(secret)
        assert key is not None
        assert key.id == key_id
    assert read_bundle(bundle_path(state, CAMERA)).secret == read_credentials(state)[CAMERA_KEY]


def test_up_again_changes_no_key(state: Path) -> None:
    rotate_key(state, "bank")
    rotate_key(state, CAMERA_KEY)
    revoke_key(state, "studio")
    before = snapshot(state)
    system.prepare(state, FLEET, TENANTS)
    assert snapshot(state) == before


def test_a_new_tenant_gets_keys_and_one_that_left_keeps_its_own(state: Path) -> None:
    before = read_credentials(state)
    issue_missing(state, FLEET, ["newcomer"])
    after = read_credentials(state)
    assert before.items() <= after.items()
    assert {name for name in after if name not in before} == {
        "newcomer", *(f"newcomer.{zone}" for zone in FLEET.zone_by_id)
    }  # fmt: skip


def test_keys_go_on_where_their_secrets_are_known_elsewhere_only(state: Path) -> None:
    """Who hands secrets out and erases them here keeps their holders' access; a device gets a secret it can use."""
    secrets = read_credentials(state)
    (state / "credentials.json").unlink()
    bundle_path(state, CAMERA).unlink()
    system.prepare(state, FLEET, TENANTS)
    found = load_keys(state / KEYS)
    for secret in secrets.values():
        assert found.find(secret) is not None
    assert read_credentials(state) == {}
    bundle = read_bundle(bundle_path(state, CAMERA))
    assert bundle.secret != secrets[CAMERA_KEY]
    key = found.find(bundle.secret)
    assert key is not None
    assert (key.id, key.standing(0)) == (CAMERA_KEY, Standing.VALID)
    with pytest.raises(BadInput, match="no key 'bank'"):
        system.secret_of(state, "bank")


def test_up_refuses_a_bad_file_of_keys(state: Path) -> None:
    (state / KEYS).write_text('[{"id": "k"}]')
    with pytest.raises(BadInput, match="is missing"):
        system.prepare(state, FLEET, TENANTS)


def test_a_key_is_issued_and_its_secret_shown_once(state: Path) -> None:
    words = ["--tenant", "hospital", "--from", "paris", "--class", "personal", "--expires", "90d", "--id", "ward-7"]
    done = keys(state, "issue", *words)
    assert done.exit_code == 0
    secret = done.stdout.strip()
    key = load_keys(state / KEYS).find(secret)
    assert key is not None
    assert (key.id, key.tenant, key.origin, key.classes) == ("ward-7", "hospital", "paris", ("personal",))
    assert key.expires_at_s == key.issued_at_s + 90 * 86_400
    assert "ward-7 issued" in done.stderr
    assert secret not in keys(state, "list").output
    assert secret not in "".join(snapshot(state).values())


def test_an_admins_key_is_issued_without_a_tenant(state: Path) -> None:
    done = keys(state, "issue", "--admin", "--id", "night-shift", "--json")
    key = load_keys(state / KEYS).find(json.loads(done.stdout)["secret"])
    assert key is not None
    assert (key.holder, key.tenant) == (Holder.ADMIN, "")
    refused = keys(state, "issue", "--admin", "--tenant", "bank")
    assert refused.exit_code == 2
    assert "is bound to no tenant" in refused.output


def test_a_rotated_key_is_told_with_the_end_of_its_old_secret(state: Path) -> None:
    done = keys(state, "rotate", "bank", "--grace", "1h", "--json")
    assert done.exit_code == 0
    row = listed(state)["bank"]
    assert (row["standing"], row["old_until"] is None) == ("valid", False)
    assert read_credentials(state)["bank"] == json.loads(done.stdout)["secret"]
    plain = keys(state, "rotate", "bank")
    assert "the old secret is good for another 10m" in " ".join(plain.stderr.split())


def test_a_revoked_key_stands_as_revoked(state: Path) -> None:
    assert keys(state, "revoke", "bank").exit_code == 0
    assert listed(state)["bank"]["standing"] == "revoked"
    assert "revoked" in keys(state, "list").stdout
    again = json.loads(keys(state, "revoke", "bank", "--json").stdout)
    assert again == {"id": "bank", "standing": "revoked"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["issue"], "--tenant: nobody is named"),
        (["issue", "--tenant", "bnk"], "no tenant is called 'bnk' (did you mean 'bank'?)"),
        (["issue", "--tenant", "bank", "--from", "pari"], "no zone or site is called 'pari' (did you mean 'paris'?)"),
        (["issue", "--tenant", "bank", "--class", "legder"], "bank has no class 'legder' (did you mean 'ledger'?)"),
        (["issue", "--tenant", "bank", "--id", "a/b"], "'a/b' is no id"),
        (["issue", "--tenant", "bank", "--id", "b", "--expires", "soon"], "--expires: 'soon'"),
        (["issue", "--tenant", "bank", "--id", "bank"], "a key 'bank' is, or was, there already"),
        (["rotate", "bnk"], "no key is called 'bnk'"),
        (["rotate", "bank", "--grace", "10"], "--grace: '10'"),
        (["revoke", "bnk"], "no key is called 'bnk'"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_changes_nothing(state: Path, words: list[str], said: str) -> None:
    before = snapshot(state)
    done = keys(state, *words)
    assert done.exit_code == 2
    assert said in done.output
    assert snapshot(state) == before


def test_without_a_state_folder_there_are_no_keys(tmp_path: Path) -> None:
    for words in (["list"], ["rotate", "bank"], ["revoke", "bank"], ["issue", "--tenant", "bank"]):
        done = keys(tmp_path / "nothing", *words)
        assert done.exit_code == 2
        assert "infercast up" in done.output


def test_a_second_key_of_the_same_tenant_needs_no_id(state: Path) -> None:
    first, second = (json.loads(keys(state, "issue", "--tenant", "bank", "--json").stdout) for _ in range(2))
    assert (first["id"], second["id"]) == ("bank-2", "bank-3")
    assert first["secret"] != second["secret"]
