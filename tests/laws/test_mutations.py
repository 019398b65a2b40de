"""The laws have teeth: a fault planted into a copy of the engine's source makes one of them fail."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAWS = Path(__file__).resolve().parent
pytestmark = pytest.mark.slow

# name: (file, the text as it stands, the planted fault, the law's test that must see it)
MUTATIONS = {
    "one call too many in the queue": (
        "kernel.py",
        "in_flight >= live[d, L_QUEUE_MAX]",
        "in_flight > live[d, L_QUEUE_MAX]",
        "test_law_6_honest_reasons.py::test_a_verdict_by_the_moment_is_true",
    ),
    "the dearest first": (
        "kernel.py",
        "out[left, O_PRIMARY] < out[right, O_PRIMARY]",
        "out[left, O_PRIMARY] > out[right, O_PRIMARY]",
        "test_law_6_honest_reasons.py::test_choice_and_alternatives_are_the_eligible_best_first",
    ),
    "fallbacks without a veto": (
        "kernel.py",
        "        if out[at, O_RULE] != 0:\n            continue",
        "        if out[at, O_RULE] != 0 and found == 0:\n            continue",
        "test_law_2_no_purchase.py::test_no_preference_buys_a_vetoed_candidate",
    ),
    "a share that is left out": (
        "kernel.py",
        "out[row, O_ERROR] + out[row, O_EXPOSURE]\n",
        "out[row, O_ERROR]\n",
        "test_law_6_honest_reasons.py::test_shares_sum_to_the_score",
    ),
    "a price that is a bargain when it leaves the country": (
        "kernel.py",
        "        out[at, O_PRICE] = price\n",
        "        out[at, O_PRICE] = price - static[at, S_EGRESS] // 1_000_000\n",
        "test_law_6_honest_reasons.py::test_shares_sum_to_the_score",
    ),
    "a stale signal taken as it is": (
        "snapshot.py",
        "if age_us > FRESH_US:",
        "if age_us > 2 * DEAD_US:",
        "test_law_7_ignorance.py::test_a_stale_signal_is_never_the_best_value",
    ),
    "silence taken for health": (
        "snapshot.py",
        "int(report.healthy and age_us <= DEAD_US)",
        "int(report.healthy)",
        "test_law_7_ignorance.py::test_what_was_not_heard_of_for_long_is_never_chosen",
    ),
    "an unknown country that is at home everywhere": (
        "constraints.py",
        "if country == UNKNOWN or country in denied",
        "if country in denied",
        "test_law_1_fail_closed.py::test_every_unknown_is_vetoed_by_the_rule_that_asks_for_it",
    ),
    "no class named means the first": (
        "policy.py",
        "named = sorted(self.classes)",
        "named = sorted(self.classes)[:1]",
        "test_law_9_metadata_first.py::test_a_missing_class_is_at_least_as_strict_as_each",
    ),
}


def run_laws(folder: Path, tests: list[str]) -> int:
    """Run some laws on the policies under a folder, interpreted; pytest's exit status."""
    as_always = {"CI": "1", "INFERCAST_EXAMPLES": "100", "INFERCAST_SHRINK": "no"}
    around = {**os.environ, **as_always, "PYTHONPATH": str(folder), "NUMBA_DISABLE_JIT": "1"}
    chosen = [str(LAWS / test) for test in tests]
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)]
    command += ["-o", f"pythonpath={folder} {ROOT}"]
    done = subprocess.run(
        [*command, "-x", "-p", "no:cacheprovider", *chosen],
        cwd=folder,
        env=around,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.returncode


def copy_of_policies(folder: Path) -> Path:
    """A copy of the ground floor that PYTHONPATH can put in front of the installed one."""
    target = folder / "infercast" / "policies"
    shutil.copytree(ROOT / "policies", target, ignore=shutil.ignore_patterns("__pycache__", "tenants"))
    shutil.copy(ROOT / "infercast" / "__init__.py", target.parent)
    return target


def test_the_laws_hold_without_a_fault(tmp_path: Path) -> None:
    copy_of_policies(tmp_path)
    probe = "import infercast.policies.kernel as k; print(k.__file__)"
    where = subprocess.run(
        [sys.executable, "-c", probe],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_DISABLE_JIT": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert where.stdout.startswith(str(tmp_path))
    assert run_laws(tmp_path, sorted({test for *_, test in MUTATIONS.values()})) == 0


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_planted_fault_breaks_a_law(tmp_path: Path, name: str) -> None:
    file, before, after, test = MUTATIONS[name]
    path = copy_of_policies(tmp_path) / file
    source = path.read_text(encoding="utf-8")
    assert source.count(before) == 1, f"{file} no longer says {before!r}: plant this fault elsewhere"
    path.write_text(source.replace(before, after), encoding="utf-8")
    assert run_laws(tmp_path, [test]) == 1
