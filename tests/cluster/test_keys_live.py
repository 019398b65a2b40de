"""Keys that change while calls are under way: at the sites, on the device, by command and over HTTP."""

import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from infercast import system
from infercast.cli import app
from infercast.router.telemetry.journal import read_journal
from tests.cluster.live import CAMERA, ONE_IMAGE, SERVED, Live, until

GAMEPLAY = {"infercast-class": "gameplay"}


def keys(live: Live, *words: str) -> dict[str, Any]:
    """Run `infercast keys`."""
    done = CliRunner().invoke(app, ["keys", *words, "--state", str(live.state), "--json"])
    assert done.exit_code == 0, done.output
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def issued(live: Live, key_id: str, *words: str) -> str:
    """Issue a key of the studio's, and wait until every site takes it."""
    secret = str(keys(live, "issue", "--tenant", "studio", "--from", "zurich", "--id", key_id, *words)["secret"])
    until(lambda: all(called(live, site, secret).status_code != 401 for site in SERVED), f"{key_id} is known")
    return secret


def called(live: Live, entry: str, secret: str) -> httpx.Response:
    """One call by a secret."""
    return live.infer(entry, {"authorization": f"Bearer {secret}", **GAMEPLAY})


def test_a_key_is_rotated_and_no_call_is_lost(live: Live) -> None:
    old = issued(live, "rotating")
    seen: list[int] = []
    done = threading.Event()

    def calls() -> None:
        while not done.is_set():
            seen.append(called(live, "fra", old).status_code)

    caller = threading.Thread(target=calls)
    caller.start()
    try:
        new = str(keys(live, "rotate", "rotating", "--grace", "1h")["secret"])
        until(lambda: called(live, "fra", new).status_code == 200, "the new secret opens Frankfurt")
        before = len(seen)
        until(lambda: len(seen) > before + 3, "calls go on with the old one")
    finally:
        done.set()
        caller.join()
    assert set(seen) == {200}


def test_a_revoked_or_expired_key_is_refused_at_every_site_in_words(live: Live) -> None:
    revoked, short = issued(live, "leaving"), issued(live, "passing", "--expires", "10m")
    keys(live, "revoke", "leaving")
    keys(live, "rotate", "passing", "--grace", "0s")
    for secret, said in ((revoked, "the key 'leaving' was revoked"), (short, "the key 'passing' has expired")):
        until(lambda secret=secret: all(called(live, site, secret).status_code == 401 for site in SERVED), said)  # type: ignore[misc]
        assert called(live, "gru", secret).json()["error"] == f"{said} (ask for a new one)"
    assert called(live, "gru", "ic-unknown").json()["error"] == "no valid key (send `Authorization: Bearer KEY`)"


def test_a_bad_file_of_keys_changes_nothing_and_is_told_of(live: Live) -> None:
    secret = issued(live, "staying")
    path = live.state / "keys.json"
    text = path.read_text(encoding="utf-8")

    def refused() -> list[str]:
        done = CliRunner().invoke(app, ["status", "--state", str(live.state), "--json"])
        return list(json.loads(done.stdout)["keys"]["refused"])

    try:
        path.write_text(text.replace('"holder"', '"hodler"', 1), encoding="utf-8")
        until(lambda: bool(refused()), "the bad file is told of")
        assert any("unknown key 'hodler'" in fault for fault in refused())
        assert called(live, "fra", secret).status_code == 200
    finally:
        path.write_text(text, encoding="utf-8")
    until(lambda: not refused(), "the file is good again")


def test_a_device_takes_up_its_new_secret(live: Live) -> None:
    """Its callers go on with the old one; what it sends on goes by the new one, which alone is good in the end."""
    key_id = f"hospital.{CAMERA}"
    old = live.headers("hospital", CAMERA, "personal")
    keys(live, "rotate", key_id, "--grace", "0s")
    new = live.headers("hospital", CAMERA, "personal")
    assert new != old
    until(lambda: live.infer(CAMERA, new).status_code == 200, "the camera knows its callers' new secret")
    until(lambda: live.infer(CAMERA, old).status_code == 401, "and not the old one")
    until(lambda: live.infer("fra", old).status_code == 401, "nor does Frankfurt")

    def sent_on() -> bool:
        body = json.dumps(ONE_IMAGE).encode()
        url = f"{live.url(CAMERA)}/v1/decide"
        told = live.client.post(
            url, json={"model": "digits", "class": "personal", "payload_bytes": len(body)}, headers=new
        )
        by_name = {verdict["deployment"]: verdict["rule"] for verdict in told.json()["verdicts"]}
        return str(by_name["digits-large@fra"]) == "none"

    until(sent_on, "the camera hears of Frankfurt by its new secret")


def test_the_platform_team_manages_keys_over_http(live: Live) -> None:
    ops = {"authorization": f"Bearer {system.secret_of(live.state, 'admin')}"}
    at = f"{live.url('sin')}/admin/v1"

    def post(path: str, **asked: Any) -> Any:
        done = live.client.post(f"{at}/keys{path}", json=asked, headers=ops)
        assert done.status_code == 200, done.text
        return done.json()

    secret = post("", tenant="studio", origin="zurich", classes=["gameplay"], id="by-http")["secret"]
    until(lambda: called(live, "fra", secret).status_code == 200, "the key opens another site")
    newer = post("/by-http/rotate", grace_s=0)["secret"]
    until(lambda: called(live, "fra", secret).status_code == 401, "the old secret has ended")
    assert called(live, "fra", newer).status_code == 200
    post("/by-http/revoke")
    until(lambda: called(live, "fra", newer).status_code == 401, "the key was revoked")

    status = live.client.get(f"{at}/status", headers=ops).json()
    assert (status["site"], status["policies"]["tenants"]) == ("sin", sorted(live.policies))
    assert {"admin", "by-http"} <= set(status["keys"]["ids"])
    assert status["here"]["signals"]

    def standing() -> str:
        rows = live.client.get(f"{at}/keys", headers=ops).json()["keys"]
        return str(next(row for row in rows if row["id"] == "by-http")["standing"])

    until(lambda: standing() == "revoked", "the entry that is asked has heard of it, too")
    rows = live.client.get(f"{at}/keys", headers=ops)
    assert not any(word in rows.text for word in (secret, newer))
    done = [line["what"] for line in read_journal(live.state / "journal") if line["kind"] == "admin"]
    assert done[-3:] == ["issued", "rotated", "revoked"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"tenant": "nobody"}, "no tenant is called 'nobody'"),
        ({"tenant": "studio", "origin": "moon"}, "no zone or site is called 'moon'"),
        ({"tenant": "studio", "classes": ["personal"]}, "studio has no class 'personal'"),
        ({"tenant": "studio"}, "a key 'studio' is, or was, there already"),
    ],
)
def test_what_the_board_refuses_is_said_without_its_folders(live: Live, asked: dict[str, Any], said: str) -> None:
    ops = {"authorization": f"Bearer {system.secret_of(live.state, 'admin')}"}
    refused = live.client.post(f"{live.url('dub')}/admin/v1/keys", json=asked, headers=ops)
    assert refused.status_code == 400
    assert said in refused.json()["error"]
    assert str(Path(live.state)) not in refused.text


def test_the_platform_teams_key_runs_nothing_and_a_tenants_manages_nothing(live: Live) -> None:
    ops = system.secret_of(live.state, "admin")
    assert called(live, "fra", ops).status_code == 403
    tenant = {"authorization": f"Bearer {live.secret('studio')}"}
    for path in ("status", "keys"):
        assert live.client.get(f"{live.url('fra')}/admin/v1/{path}", headers=tenant).status_code == 403
        assert live.client.get(f"{live.url('fra')}/admin/v1/{path}").status_code == 401
        assert live.client.get(f"{live.url(CAMERA)}/admin/v1/{path}", headers=tenant).status_code == 404
