"""`infercast sim …`: what it says, with which exit code, and that it writes nothing where something is wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from infercast.cli import app
from tests.sim.scenarios import ROOT, write_scenario

DOWN = {"fail": {"site": "fra", "from": "1s"}}


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["sim", *map(str, words)], env={"COLUMNS": "250"})


def listed(*words: object) -> dict[str, Any]:
    told = run(*words, "--json")
    assert told.exit_code == 0, told.output
    value: dict[str, Any] = json.loads(told.stdout)
    return value


def test_help_teaches_each_command() -> None:
    told = run("--help")
    assert told.exit_code == 0
    for word in ("run", "compare", "sweep", "check", "schema"):
        assert word in told.output
        assert run(word, "--help").exit_code == 0
    assert "docs/what-if.md" in told.output


def test_run_says_what_became_of_each_tenants_calls(tmp_path: Path) -> None:
    told = run("run", write_scenario(tmp_path))
    assert told.exit_code == 0
    for word in ("hospital", "fra", "p95", "per 1,000 calls", "utilisation", "seeds 1"):
        assert word in told.stdout


def test_run_as_json_is_the_same_each_time_and_on_any_number_of_processes(tmp_path: Path) -> None:
    path = write_scenario(tmp_path, DOWN)
    once = run("run", path, "--json", "-n", 2, "--seed", 5, "--processes", 1)
    again = run("run", path, "--json", "-n", 2, "--seed", 5, "--processes", 2)
    assert once.exit_code == again.exit_code == 0
    assert once.stdout == again.stdout
    said = json.loads(once.stdout)
    assert said["seeds"] == [5, 6]
    assert said["stopped_early"] is False
    assert [each["seed"] for each in said["runs"]] == [5, 6]
    for each in said["runs"]:
        assert sum(each["overall"]["ended"].values()) == each["overall"]["calls"] > 0


def test_run_refuses_what_is_wrong_before_anything_runs(tmp_path: Path) -> None:
    path = write_scenario(tmp_path, {"fail": {"site": "dab"}}, {"slow": {"site": "fra"}})
    html = tmp_path / "r.html"
    told = run("run", path, "--html", html)
    assert told.exit_code == 2
    assert told.stdout == ""
    assert f"{path}:" in told.stderr
    assert not html.exists()
    assert run("run", tmp_path / "none.yaml").exit_code == 2
    assert (
        "command line: --replications=99999999: must be"
        in run("run", write_scenario(tmp_path), "-n", 99_999_999).stderr
    )


def test_compare_pairs_the_runs_and_says_what_differs(tmp_path: Path) -> None:
    base, other = write_scenario(tmp_path, name="b.yaml"), write_scenario(tmp_path, DOWN)
    said = listed("compare", base, other, "-n", 2)
    assert (said["base"], said["scenario"]) == (str(base), str(other))
    assert said["comparison"]["pairs"] == 2
    assert said["seeds"] == [1, 2]
    told = run("compare", base, other, "-n", 2)
    assert told.exit_code == 0
    assert "2 pairs of runs with the same seeds" in told.stdout
    assert "hospital" in told.stdout


def test_reports_are_written_where_asked_and_say_what_was_changed(tmp_path: Path) -> None:
    base, other = (
        write_scenario(tmp_path, name="b.yaml"),
        write_scenario(tmp_path, DOWN, description="Frankfurt <is> down"),
    )
    for words in (("run", other), ("compare", base, other)):
        page = tmp_path / f"{words[0]}.html"
        assert run(*words, "--html", page).exit_code == 0
        text = page.read_text(encoding="utf-8")
        assert "Frankfurt &lt;is&gt; down" in text
        assert "fail: {site: fra, from: 1s}" in text


@pytest.mark.parametrize(("name", "said"), [("none/r.html", "no folder is at "), ("", "is a folder")])
def test_a_report_that_cannot_be_written_is_refused_before_anything_runs(tmp_path: Path, name: str, said: str) -> None:
    path = write_scenario(tmp_path)
    for words in (("run", path), ("compare", path, path), ("sweep", path, "--over", "seed=1,2")):
        told = run(*words, "--html", tmp_path / name)
        assert told.exit_code == 2
        assert told.stdout == ""
        assert told.stderr.count("✗") == 1
        assert said in told.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_report_in_a_folder_that_is_only_read_is_refused(tmp_path: Path) -> None:
    path, folder = write_scenario(tmp_path), tmp_path / "closed"
    folder.mkdir(mode=0o555)
    told = run("run", path, "--html", folder / "r.html")
    assert (told.exit_code, told.stdout) == (2, "")
    assert "permission denied" in told.stderr


def test_the_page_of_a_comparison_lists_what_the_two_sides_do_not_share(tmp_path: Path) -> None:
    shared, own = {"slow": {"site": "dub", "factor": 2}}, {"traffic": {"scale": 2}}
    base, other = write_scenario(tmp_path, shared, own, name="b.yaml"), write_scenario(tmp_path, DOWN, shared)
    page = tmp_path / "page.html"
    assert run("compare", base, other, "--html", page).exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert "fail: {site: fra, from: 1s}" in text
    assert "without traffic: {scale: 2}" in text
    assert "slow:" not in text


def test_check_counts_one_run_as_one(tmp_path: Path) -> None:
    once, twice = write_scenario(tmp_path), write_scenario(tmp_path, name="t.yaml", replications=2)
    assert run("check", once).stdout.endswith(", 1 run\n")
    assert run("check", twice).stdout.endswith(", 2 runs\n")


def test_a_scenario_does_not_differ_from_itself(tmp_path: Path) -> None:
    path = write_scenario(tmp_path)
    told = run("compare", path, path)
    assert told.exit_code == 0
    assert "no difference to speak of" in told.stdout
    assert "+" not in told.stdout.replace("+0", "")


def test_compare_takes_seeds_and_replications_of_the_base(tmp_path: Path) -> None:
    base = write_scenario(tmp_path, name="b.yaml", seed=4, replications=2)
    other = write_scenario(tmp_path, seed=9)
    assert listed("compare", base, other)["seeds"] == [4, 5]


def test_compare_says_faults_of_both(tmp_path: Path) -> None:
    wrong = {"fail": {"site": "dab"}}
    told = run("compare", write_scenario(tmp_path, wrong, name="b.yaml"), write_scenario(tmp_path, wrong))
    assert told.exit_code == 2
    assert "b.yaml:" in told.stderr
    assert "s.yaml:" in told.stderr


def test_a_path_is_shown_as_it_is_and_is_no_markup(tmp_path: Path) -> None:
    folder = tmp_path / "a[red]["
    folder.mkdir()
    path = folder / "b].yaml"
    path.write_text(write_scenario(tmp_path).read_text())
    told = run("check", path)
    assert told.exit_code == 0, told.exception
    assert str(path) in told.output.replace("\n", "")


def test_sweep_goes_over_a_grid_and_marks_the_frontier(tmp_path: Path) -> None:
    path = write_scenario(tmp_path)
    scale, price = "traffic.scale=1,2", "fleet.sites.fra.accelerators.cpu.usd_per_hour=0.1:0.3:2"
    said = listed("sweep", path, "--over", scale, "--over", price)
    points = said["points"]
    assert [list(point["set"].values()) for point in points] == [[1, 0.1], [1, 0.3], [2, 0.1], [2, 0.3]]
    assert points[2]["calls"] > points[0]["calls"]
    assert points[1]["cost_usd_per_day"] > points[0]["cost_usd_per_day"]
    assert any(point["on_frontier"] for point in points)
    best = [(p["cost_usd_per_day"], p["p95_ms"]) for p in points if p["on_frontier"]]
    for point in points:
        pair = (point["cost_usd_per_day"], point["p95_ms"])
        beaten = any(a <= pair[0] and b <= pair[1] and (a, b) != pair for a, b in best)
        assert beaten is not point["on_frontier"]
    page = tmp_path / "sweep.html"
    told = run("sweep", path, "--over", scale, "--html", page)
    assert "★" in told.stdout
    assert "traffic.scale" in told.stdout
    assert "traffic.scale = 2" in page.read_text(encoding="utf-8")


def test_sweep_refuses_points_that_cannot_be(tmp_path: Path) -> None:
    path = write_scenario(tmp_path)
    told = run("sweep", path, "--over", "fleet.deployments[squeezenet@dub].replicas=1,5,9")
    assert told.exit_code == 2
    assert "has 4 cpu slots" in told.stderr
    told = run("sweep", path, "--over", "fleet.deployments[squeezenet@dub].replicas=0,1")
    assert told.exit_code == 2
    assert "command line: fleet.deployments[squeezenet@dub].replicas=0: must be at least 1, is 0" in told.stderr
    assert "replicas=1" not in told.stderr
    assert run("sweep", path, "--over", "seed").exit_code == 2
    assert run("sweep", path, "--over", "seed=1,2", "--latency", "p96").exit_code == 2
    twice = run("sweep", path, "--over", "seed=1,2", "--over", "seed=3")
    assert twice.exit_code == 2
    assert "seed stands twice" in twice.stderr


def test_check_counts_the_calls_and_runs_nothing(tmp_path: Path) -> None:
    good, other = write_scenario(tmp_path), write_scenario(tmp_path, {"traffic": {"scale": 0}}, name="o.yaml")
    rows = listed("check", good, other)["scenarios"]
    assert rows[0]["calls"] > 0
    assert rows[1]["calls"] == 0
    wrong = write_scenario(tmp_path, {"fail": {"site": "dab"}}, name="w.yaml")
    told = run("check", good, wrong)
    assert told.exit_code == 2
    assert "did you mean 'dub'?" in told.stderr


def test_a_time_limit_keeps_what_is_done_and_says_so(tmp_path: Path) -> None:
    told = run("run", write_scenario(tmp_path), "-n", 3, "--processes", 1, "--time-limit", 0, "--json")
    assert told.exit_code == 130
    assert json.loads(told.stdout)["stopped_early"] is True
    assert "0 of 3 runs are whole" in told.stderr


def test_a_time_limit_reaches_the_processes_too(tmp_path: Path) -> None:
    told = run("run", write_scenario(tmp_path), "-n", 3000, "--processes", 2, "--time-limit", 2, "--json")
    assert told.exit_code == 130
    value = json.loads(told.stdout)
    assert value["stopped_early"] is True
    assert value["seeds"] == [each["seed"] for each in value["runs"]]
    assert len(value["runs"]) < 3000


def test_an_interrupt_keeps_what_is_done_and_says_so(tmp_path: Path) -> None:
    path = write_scenario(tmp_path, replications=2000, duration="2s")
    command = [sys.executable, "-m", "infercast.cli", "sim", "run", str(path), "--json", "--processes", "1"]
    begun = tmp_path / "begun"
    code = (
        "import sys, pathlib, infercast.sim.replications as r\n"
        "first = r.run_job\n"
        f"def noted(*a): found = first(*a); pathlib.Path({str(begun)!r}).touch(); return found\n"
        "r.run_job = noted\n"
        f"sys.argv = {['infercast', *command[3:]]!r}\n"
        "from infercast.cli import main\n"
        "main()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ}
    ) as process:
        while not begun.exists() and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        told, said = process.communicate()
    assert process.returncode == 130, said
    value = json.loads(told)
    assert value["stopped_early"] is True
    assert 1 <= len(value["runs"]) < 2000
    assert b"never began" in said


def interrupted(folder: Path, worker: str) -> tuple[int, bytes, bytes]:
    """Run `sim run` on two processes, each of which begins with `worker`. Return exit code, output and messages."""
    script = folder / "main.py"
    words = ["infercast", "sim", "run", str(write_scenario(folder, replications=4)), "--json", "--processes", "2"]
    script.write_text(
        "import os, signal, sys, time\n"
        f"if __name__ == '__mp_main__':\n{worker}"
        "if __name__ == '__main__':\n"
        f"    sys.argv = {words!r}\n"
        "    from infercast.cli import main\n"
        "    main()\n"
    )
    command = [sys.executable, str(script)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, start_new_session=True
    ) as process:
        try:
            told, said = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, told, said


def test_an_interrupt_while_processes_begin_stops_as_any_other(tmp_path: Path) -> None:
    code, _, said = interrupted(
        tmp_path,
        "    try:\n"
        f"        os.mkdir({str(tmp_path / 'once')!r})\n"
        "        os.kill(os.getppid(), signal.SIGINT)\n"
        "    except FileExistsError:\n"
        "        pass\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n",
    )
    assert code == 130, said
    assert b"0 of 4 runs are whole" in said
    assert said.count("stopping… (Ctrl-C again: at once)".encode()) == 1
    assert b"Traceback" not in said


def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    code, told, said = interrupted(
        tmp_path,
        "    import infercast.sim.replications as r\n"
        "    def forever(*a):\n"
        "        while True:\n"
        "            os.kill(os.getppid(), signal.SIGINT)\n"
        "            time.sleep(0.2)\n"
        "    r.run_job = forever\n",
    )
    assert code in (1, 130), said
    assert told == b""
    assert "stopping… (Ctrl-C again: at once)".encode() in said
    assert b"Traceback" not in said


def test_schema_is_printed_as_it_is_committed(tmp_path: Path) -> None:
    told = run("schema")
    committed = (ROOT / "examples" / "what-if" / "scenario.schema.json").read_text(encoding="utf-8")
    assert told.exit_code == 0
    assert told.stdout == committed
    assert run("schema", "--write", tmp_path).exit_code == 0
    assert (tmp_path / "scenario.schema.json").read_text(encoding="utf-8") == committed
