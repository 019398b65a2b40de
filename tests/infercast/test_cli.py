"""The command line without a cluster: what it teaches, what it says of faults, and its exit codes."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from infercast.cli import app
from infercast.policies.fleet_file import load_fleet
from tests.router.certificates import made

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {
    "up": ["--fleet", "--policies", "--state", "--port", "--tls-cert", "--tls-key", "half a minute"],
    "keys": ["list", "issue", "rotate", "revoke"],
    "down": ["--state", "whatever a crash left"],
    "drain": ["--state", "--wait", "no new calls", "Exit code 1"],
    "undrain": ["--state", "take calls again"],
    "status": ["--state", "--json", "whether it answers"],
    "call": ["--tenant", "--class", "--from", "--deadline-ms", "Exit code 1"],
    "explain": ["--tenant", "--class", "--down", "--json", "no cluster running", "Exit code 1"],
    "check": ["--fleet", "--policies", "exit 2", "exits 1"],
    "demo": ["--traffic", "Leaves nothing running"],
}


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for name in ("INFERCAST_FLEET", "INFERCAST_POLICIES", "INFERCAST_STATE", "INFERCAST_TLS_CERT", "INFERCAST_TLS_KEY"):
        monkeypatch.delenv(name, raising=False)


def run(*words: str) -> Result:
    """Run a command."""
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "250"})


def plain(text: str) -> str:
    """Words in one line."""
    return " ".join(text.replace("│", " ").split())


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A copy of the example's files, to be spoilt."""
    shutil.copytree(ROOT / "policies" / "tenants", tmp_path / "tenants")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / ".infercast").symlink_to(ROOT / ".infercast")
    shutil.copy(ROOT / "cluster.yaml", tmp_path / "cluster.yaml")
    return tmp_path


def spoil(path: Path, old: str, new: str) -> int:
    """Change a file's first `old`, and return its line."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return text[: text.index(old)].count("\n") + 1


def check(files: Path, *words: str) -> Result:
    """Check the copy."""
    return run("check", "--fleet", str(files / "cluster.yaml"), "--policies", str(files / "tenants"), *words)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_each_command(command: str) -> None:
    told = run(command, "--help")
    assert told.exit_code == 0
    for words in COMMANDS[command]:
        assert words in plain(told.output), words


def test_help_names_every_command_and_says_what_it_is_for() -> None:
    told = run("--help")
    assert told.exit_code == 0
    assert "Anycast for inference" in told.output
    assert [name for name in COMMANDS if name not in told.output] == []
    bare = run()
    assert "Usage" in bare.output
    assert run("explode").exit_code == 2


def test_the_installed_command_runs(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", "from infercast.cli import main; main()", "down"],
                         cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)  # fmt: skip
    assert (ran.returncode, ran.stdout.strip()) == (0, "nothing was running")


def test_check_holds_on_the_example() -> None:
    told = run("check")
    assert told.exit_code == 0
    assert "0 do not" in told.output
    listed = json.loads(run("check", "--json").stdout)
    assert listed["failed"] == 0
    assert {row["tenant"] for row in listed["cases"]} == {"hospital", "studio", "annotator", "bank"}
    assert all(row["holds"] and row["failures"] == [] for row in listed["cases"])


def test_check_exits_1_on_a_case_that_does_not_hold(files: Path) -> None:
    spoil(files / "tenants" / "bank.cases.yaml", "site: fra", "site: dub")
    told = check(files)
    assert told.exit_code == 1
    assert "site is fra, expected dub" in told.output
    assert "1 do not" in told.output
    listed = json.loads(check(files, "--json").stdout)
    assert listed["failed"] == 1
    assert [row["tenant"] for row in listed["cases"] if not row["holds"]] == ["bank"]


def test_what_people_write_is_shown_as_it_stands_and_is_no_markup(files: Path) -> None:
    spoil(files / "tenants" / "bank.cases.yaml", "an allowed site with", "an [red] site [/b] with")
    told = check(files)
    assert told.exit_code == 0, told.exception
    assert "an [red] site [/b] with" in plain(told.output)


def test_check_exits_2_with_every_fault_of_a_fleet_and_its_line(files: Path) -> None:
    fleet = files / "cluster.yaml"
    one = spoil(fleet, "country: DE", "country: DEU")
    two = spoil(fleet, "variant: squeezenet", "variant: squeezenett")
    three = spoil(fleet, "trust: {retention_days: 0", "trsut: {retention_days: 0")
    told = check(files)
    assert told.exit_code == 2
    for line in (one, two, three):
        assert f"{fleet}:{line}: " in told.stderr
    assert "'DEU'" in told.stderr
    assert "did you mean 'trust'?" in told.stderr
    assert told.stdout == ""


def test_check_names_faults_of_shape_and_of_meaning_together(files: Path) -> None:
    fleet = files / "cluster.yaml"
    lines = [spoil(fleet, "country: DE", "country: DEU"), spoil(fleet, "tier: cloud", "tier: clowd")]
    told = check(files)
    assert [line for line in lines if f"{fleet}:{line}: " not in told.stderr] == []


def test_check_exits_2_with_the_faults_of_all_policies(files: Path) -> None:
    hospital, bank = files / "tenants" / "hospital.yaml", files / "tenants" / "bank.yaml"
    one = spoil(hospital, "processing: [EEA]", "processing: [EEAA]")
    two = spoil(bank, "models: [digits]", "models: [digit]")
    three = spoil(bank, "no_training:", "no_trainin:")
    told = check(files)
    assert told.exit_code == 2
    assert f"{hospital}:{one}: " in told.stderr
    assert "did you mean 'EEA'?" in told.stderr
    assert f"{bank}:{two}: " in told.stderr or f"{bank}:{three}: " in told.stderr
    assert "did you mean 'no_training'?" in told.stderr


def test_check_exits_2_on_cases_that_name_what_is_not_there(files: Path) -> None:
    line = spoil(files / "tenants" / "bank.cases.yaml", "model: digits", "model: digit")
    told = check(files)
    assert told.exit_code == 2
    assert f"bank.cases.yaml:{line}: " in told.stderr
    assert "did you mean 'digits'?" in told.stderr


def test_check_exits_2_where_there_is_nothing_to_check(tmp_path: Path) -> None:
    told = run("check", "--fleet", str(tmp_path / "none.yaml"))
    assert told.exit_code == 2
    assert "none.yaml" in told.stderr
    assert run("check", "--policies", str(tmp_path)).exit_code == 2


EXPLAIN = ["explain", "--tenant", "hospital", "--class", "personal", "--from", "paris"]


def test_explain_shows_each_candidate_without_a_cluster() -> None:
    program = [sys.executable, "-c", "from infercast.cli import main; main()", *EXPLAIN]
    wide = {**os.environ, "COLUMNS": "400"}
    told = subprocess.run(program, capture_output=True, text=True, check=True, timeout=200, env=wide).stdout
    for word in ("chosen", "residency.transit", "to win", "µ$"):
        assert word in told
    fleet = load_fleet(ROOT / "cluster.yaml")
    digits = [d.id for d in fleet.deployments if fleet.model_of[d.variant] == "digits"]
    assert [name for name in digits if told.count(name) < 1] == []
    assert "only if residency.processing allowed it" in plain(told)
    assert "would win if" in plain(told)


def test_explain_speaks_json_to_programs() -> None:
    record = json.loads(run(*EXPLAIN, "--json").stdout)
    assert record["chosen"] == "digits-large@fra"
    told: dict[str, dict[str, Any]] = {verdict["deployment"]: verdict for verdict in record["verdicts"]}
    assert told["digits-large@fra"]["counterfactual"] == ""
    assert told["digits-large@dub"]["counterfactual"] == "only if residency.transit allowed it"
    assert told["digits-medium@fra"]["counterfactual"].startswith("would win if ")
    assert record["request"]["entry"] == "fra"
    assert record["summary"].startswith("digits-large@fra: balanced of 2 eligible")
    assert sum(told["digits-large@fra"]["shares"].values()) == told["digits-large@fra"]["score"]


def test_explain_exits_1_when_refused_and_says_where_the_call_may_enter() -> None:
    told = run(*EXPLAIN, "--entry", "iad")
    assert told.exit_code == 1
    assert "refused" in told.output
    assert "may enter at: fra, dub" in told.output
    record = json.loads(run(*EXPLAIN, "--entry", "iad", "--json").stdout)
    assert (record["outcome"], record["chosen"], record["entries"]) == ("refused", None, ["fra", "dub"])
    down = run(*EXPLAIN, "--down", "fra")
    assert down.exit_code == 1
    assert "unavailable" in down.output


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["--tenant", "hospitl", "--from", "paris"], "did you mean 'hospital'?"),
        (["--tenant", "hospital", "--from", "paris", "--model", "digit"], "did you mean 'digits'?"),
        (["--tenant", "hospital", "--entry", "fraa"], "did you mean 'fra'?"),
        (["--tenant", "hospital", "--from", "pariss"], "did you mean 'paris'?"),
        (["--tenant", "hospital", "--from", "paris", "--class", "persnal"], "did you mean 'personal'?"),
        (["--tenant", "hospital", "--from", "paris", "--down", "dubb"], "did you mean 'dub'?"),
        (["--tenant", "hospital"], "give --entry or --from"),
    ],
)
def test_explain_exits_2_on_a_name_that_is_not_there(words: list[str], remedy: str) -> None:
    told = run("explain", *words)
    assert told.exit_code == 2
    assert remedy in told.stderr
    assert len(told.stderr.strip().splitlines()) == 1
    assert told.stdout == ""


@pytest.mark.parametrize(
    ("option", "value", "most"),
    [("--deadline-ms", "inf", "600000"), ("--deadline-ms", "nan", ""), ("--bytes", "99999999999", "10000000000")],
)
def test_explain_takes_no_number_beyond_its_end(option: str, value: str, most: str) -> None:
    told = run("explain", "--tenant", "hospital", "--from", "paris", option, value)
    assert told.exit_code == 2
    assert most in plain(told.stderr)


def test_explain_says_that_no_link_leads_from_a_place(files: Path) -> None:
    spoil(files / "cluster.yaml", "zones:\n", "zones:\n  - {id: moon, lat: 0, lon: 0}\n")
    told = run("explain", "--tenant", "studio", "--from", "moon", "--fleet", str(files / "cluster.yaml"))
    assert told.exit_code == 2
    assert "no link leads from moon to any site" in told.stderr


@pytest.mark.parametrize("words", [["status"], ["call", "--tenant", "hospital", "--from", "paris"]])
def test_what_needs_a_running_system_says_so_in_one_line(tmp_path: Path, words: list[str]) -> None:
    told = run(*words, "--state", str(tmp_path))
    assert told.exit_code == 2
    assert told.stderr.strip() == f"✗ nothing runs in {tmp_path}; `infercast up` starts it"
    assert told.stdout == ""


def write_facts(state: Path, pid: int) -> None:
    """Write down a running system, as its supervisor would."""
    facts = {
        "run": "none",
        "pid": pid,
        "port": 1,
        "temp": "",
        "control": "",
        "fleet": "",
        "policies": "",
        "devices": {},
    }
    (state / "run.json").write_text(json.dumps(facts))


@pytest.mark.parametrize("words", [["status"], ["call", "--tenant", "hospital", "--from", "paris"]])
def test_a_system_that_died_is_told_apart(tmp_path: Path, words: list[str]) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    write_facts(tmp_path, gone.pid)
    told = run(*words, "--state", str(tmp_path))
    assert told.exit_code == 2
    assert "has died; `infercast down` clears it away" in told.stderr
    assert run("down", "--state", str(tmp_path)).exit_code == 0
    assert not (tmp_path / "run.json").exists()


def test_down_leaves_alone_who_has_the_number_of_a_system_that_died(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        write_facts(tmp_path, other.pid)
        assert run("down", "--state", str(tmp_path)).exit_code == 0
        assert not (tmp_path / "run.json").exists()
        other.communicate(b"\n")
    assert other.returncode == 0


def test_up_on_a_taken_port_exits_2_and_leaves_nothing(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = run("up", "--state", str(tmp_path / "state"), "--port", str(port))
    assert told.exit_code == 2
    assert f"127.0.0.1:{port}" in told.stderr
    assert "give --port" in told.stderr
    assert not (tmp_path / "state").exists()


def test_up_beside_another_that_is_starting_there_exits_2_and_leaves_that_alone(files: Path) -> None:
    (files / "state").mkdir()
    run_id = secrets.token_hex(6)
    (files / "state" / "starting.json").write_text(json.dumps({"run": run_id, "temp": ""}))
    words = ("up", "--fleet", str(files / "cluster.yaml"), "--policies", str(files / "tenants"))
    marked = {**os.environ, "INFERCAST_RUN": run_id}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=marked) as other:
        told = run(*words, "--state", str(files / "state"))
        assert told.exit_code == 2
        assert "a system runs here already" in told.stderr
        assert sorted(path.name for path in (files / "state").iterdir()) == ["starting.json"]
        other.communicate(b"\n")
    assert other.returncode == 0


@pytest.mark.parametrize("bad", ["state/drained.json", "tenants/shadow/studio.yaml"])
def test_up_says_what_else_it_cannot_read_before_it_starts_anything(files: Path, bad: str) -> None:
    (files / ".infercast").unlink()  # whoever gets so far as to look for artefacts has read the rest
    (files / bad).parent.mkdir(exist_ok=True)
    (files / bad).write_text("{")
    told = run("up", "--fleet", str(files / "cluster.yaml"), "--policies", str(files / "tenants"),
               "--state", str(files / "state"))  # fmt: skip
    assert told.exit_code == 2
    assert bad in told.stderr, told.stderr
    assert "artefact" not in told.stderr


def test_up_without_its_artefacts_exits_2_and_says_how_to_make_them(files: Path) -> None:
    (files / ".infercast").unlink()
    told = run("up", "--fleet", str(files / "cluster.yaml"), "--state", str(files / "state"))
    assert told.exit_code == 2
    assert "squeezenet.onnx is not there" in told.stderr
    assert "`make models` builds them" in told.stderr
    assert not (files / "state").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tls-cert", "server.crt"], "--tls-key: is missing beside --tls-cert"),
        (["--tls-key", "server.key"], "--tls-cert: is missing beside --tls-key"),
        (["--tls-cert", "server.crt", "--tls-key", "other.key"], "other.key: is not the key of"),
        (["--tls-cert", "old.crt", "--tls-key", "old.key"], "old.crt: expired at"),
        (["--tls-cert", "no.crt", "--tls-key", "server.key"], "no.crt: cannot be read: No such file"),
    ],
)
def test_up_with_a_certificate_that_is_no_good_exits_2_and_starts_nothing(
    tmp_path: Path, words: list[str], said: str
) -> None:
    for name, pair in {"server": made(), "other": made(), "old": made(begins=-9, ends=-1)}.items():
        pair.write(tmp_path, name)
    paths = [str(tmp_path / word) if word.endswith(("crt", "key")) and word[0] != "-" else word for word in words]
    told = run("up", "--state", str(tmp_path / "state"), *paths)
    assert told.exit_code == 2
    assert said in told.stderr
    assert not (tmp_path / "state").exists()


def test_down_with_nothing_running_is_no_trouble(tmp_path: Path) -> None:
    told = run("down", "--state", str(tmp_path / "none"))
    assert told.exit_code == 0
    assert "nothing was running" in told.stdout


def test_demo_reads_its_traffic_before_it_starts_anything(tmp_path: Path) -> None:
    traffic = tmp_path / "traffic.yaml"
    traffic.write_text("version: 1\nstreams:\n  - {name: a, tenant: hospitl, model: digits, from: paris, calls: 1}\n")
    told = run("demo", "--traffic", str(traffic), "--state", str(tmp_path / "state"))
    assert told.exit_code == 2
    assert f"{traffic}:3: " in told.stderr
    assert not (tmp_path / "state").exists()


def test_no_command_writes_escape_codes_into_a_pipe() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "from infercast.cli import main; main()", *EXPLAIN], capture_output=True, check=False,
        timeout=200, env={name: text for name, text in os.environ.items() if name not in ("FORCE_COLOR", "COLUMNS")},
    )  # fmt: skip
    assert told.returncode == 0
    assert b"\x1b[" not in told.stdout
    assert b"digits-large@fra" in told.stdout
