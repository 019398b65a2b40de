"""`sim calibrate` from end to end, with few calls. Early in the folder: it starts and ends a system of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infercast.commands.sim_calibrate import BEGIN, END
from infercast.router.serving.cluster import free_ports
from tests.cluster.live import ROOT

CLI = "from infercast.cli import main; main()"
END_S = 300.0
TRAFFIC = """version: 1
streams:
  - {name: wards, tenant: hospital, class: personal, model: digits, from: paris, calls: 24}
  - {name: nowhere, tenant: hospital, class: personal, model: digits, from: newyork, calls: 3}
  - {name: camera, tenant: hospital, class: biometric, model: digits, from: berlin-cam, calls: 8}
"""
Raw = dict[str, Any]


@pytest.fixture(scope="module")
def ran(artefacts: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Raw, Path]:
    """Two reruns of little traffic: the exit code, what was said, and the folder."""
    folder = tmp_path_factory.mktemp("calibrate")
    (folder / "traffic.yaml").write_text(TRAFFIC, encoding="utf-8")
    (folder / "page.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    words = [
        sys.executable, "-c", CLI, "sim", "calibrate", "--reruns", "2", "--json", "--traffic", str(folder / "traffic.yaml"),
        "--state", str(folder / "state"), "--port", str(free_ports(1)[0]), "--write-docs", str(folder / "page.md"),
    ]  # fmt: skip
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=END_S, check=False)
    assert done.returncode in (0, 1), done.stderr
    said: Raw = json.loads(done.stdout)
    return done.returncode, said, folder


def test_shares_and_refusals_come_out_as_they_were(ran: tuple[int, Raw, Path]) -> None:
    lines = {(line["place"], line["measure"]): line for line in ran[1]["lines"]}
    assert lines[("fra", "share")]["live"] == pytest.approx(24 / 35, abs=0.1)
    assert lines[("berlin-cam", "share")]["simulated"] == pytest.approx(8 / 35)
    assert (lines[("entry.residency", "refused")]["live"], lines[("entry.residency", "refused")]["simulated"]) == (3, 3)


def test_the_profile_names_every_place_that_was_called(ran: tuple[int, Raw, Path]) -> None:
    rows = {(row["what"], row["name"]): row for row in ran[1]["profile"]}
    assert {name for what, name in rows if what == "around"} == {"fra", "berlin-cam"}
    assert {name.rpartition("@")[2] for what, name in rows if what == "at"} == {"fra", "berlin-cam"}
    assert all(row["p95_us"] >= row["p50_us"] > 0 for row in rows.values())
    assert all("alone_p50_us" in row for (what, _), row in rows.items() if what == "around")


def test_the_exit_code_and_the_page_say_the_same(ran: tuple[int, Raw, Path]) -> None:
    code, said, folder = ran
    assert code == (0 if said["passes"] else 1)
    page = (folder / "page.md").read_text(encoding="utf-8")
    assert page.startswith("before\n")
    assert page.endswith(f"{END}\nafter\n")
    assert "2 reruns of 35 calls" in page
    assert "old" not in page.partition(BEGIN)[2].partition(END)[0].split("\n")


def test_nothing_is_left_running(ran: tuple[int, Raw, Path]) -> None:
    assert not (ran[2] / "state" / "run.json").exists()
