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
        "if rule == 0 and view[V_IN_FLIGHT, at] >= view[V_QUEUE_MAX, at]:",
        "if rule == 0 and view[V_IN_FLIGHT, at] > view[V_QUEUE_MAX, at]:",
        "test_law_6_honest_reasons.py::test_a_verdict_by_the_moment_is_true",
    ),
    "one call too many in the queue, fast": (
        "kernel.py",
        "shut[at] != 0 or busy[at] >= room[at]",
        "shut[at] != 0 or busy[at] > room[at]",
        "test_law_6_honest_reasons.py::test_the_fast_answer_is_the_explained_one",
    ),
    "the dearest first": (
        "kernel.py",
        "        return primary < other_primary",
        "        return primary > other_primary",
        "test_law_6_honest_reasons.py::test_choice_and_alternatives_are_the_eligible_best_first",
    ),
    "a ceiling that is one too high, fast": (
        "kernel.py",
        "        if price_max >= 0 and price > price_max:",
        "        if price_max >= 0 and price > price_max + 1_000_000:",
        "test_law_6_honest_reasons.py::test_the_fast_answer_is_the_explained_one",
    ),
    "fallbacks without a veto": (
        "kernel.py",
        "        if out[at, O_RULE] != 0:\n            continue",
        "        if out[at, O_RULE] != 0 and found == 0:\n            continue",
        "test_law_2_no_purchase.py::test_no_preference_buys_a_vetoed_candidate",
    ),
    "files' vetoes skipped in the fast path": (
        "kernel.py",
        "        if rules[at] != 0 or shut[at] != 0",
        "        if shut[at] != 0",
        "test_law_6_honest_reasons.py::test_the_fast_answer_is_the_explained_one",
    ),
    "a share that is left out": (
        "kernel.py",
        "out[at, O_ERROR] + out[at, O_EXPOSURE]\n",
        "out[at, O_ERROR]\n",
        "test_law_6_honest_reasons.py::test_shares_sum_to_the_score",
    ),
    "a price that is a bargain when it leaves the country": (
        "kernel.py",
        "        out[at, O_PRICE] = price\n",
        "        out[at, O_PRICE] = price - view[V_EGRESS, at] // 1_000_000\n",
        "test_law_6_honest_reasons.py::test_shares_sum_to_the_score",
    ),
    "the way in forgotten by the fast path": (
        "kernel.py",
        "        all_us = access_us + median_us\n        fixed",
        "        all_us = median_us\n        fixed",
        "test_law_6_honest_reasons.py::test_the_fast_answer_is_the_explained_one",
    ),
    "health not asked for": (
        "kernel.py",
        "0 if live[d, L_HEALTHY] != 0 else SHUT_HEALTH",
        "0",
        "test_law_7_ignorance.py::test_what_was_never_heard_of_is_never_chosen",
    ),
    "a stale signal taken as it is": (
        "snapshot.py",
        "old = self.age_us > FRESH_US",
        "old = self.age_us > 2 * DEAD_US",
        "test_law_7_ignorance.py::test_a_stale_signal_is_never_the_best_value",
    ),
    "silence taken for health": (
        "snapshot.py",
        "~self._drained & fresh &",
        "~self._drained &",
        "test_law_7_ignorance.py::test_what_was_not_heard_of_for_long_is_never_chosen",
    ),
    "who denies nobody knows what, denies nothing": (
        "jurisdictions.py",
        "if known else frozenset()",
        "if known else world",
        "test_law_1_fail_closed.py::test_denying_a_place_that_nobody_knows_permits_nothing",
    ),
    "what is passed on the way may see all": (
        "constraints.py",
        "    return _seen_veto(blocks, path.via[1:-1], fleet)",
        "    return None",
        "test_law_1_fail_closed.py::test_what_may_not_store_the_data_may_not_pass_it",
    ),
    "an entry that lets everything in": (
        "compiled.py",
        "no_ingress(fleet, policy, entry) or ground.gate(origin)",
        "no_ingress(fleet, policy, entry)",
        "test_law_1_fail_closed.py::test_a_call_that_may_not_enter_is_not_placed_anywhere",
    ),
    "a peer's calls sent on": (
        "compiled.py",
        "if zone is None or not zone.peer or zone.onward:",
        "if zone is None or not zone.peer or not zone.onward:",
        "test_law_1_fail_closed.py::test_a_peers_call_goes_to_no_upstream",
    ),
    "an upstream that calls enter at": (
        "compiled.py",
        "if fleet.site_by_id[entry].upstream is not None:",
        "if False:",
        "test_law_1_fail_closed.py::test_a_call_that_may_not_enter_is_not_placed_anywhere",
    ),
    "a call that costs only its time": (
        "kernel.py",
        "* p50_us // 1_000_000 + fixed[F_CALL_NUSD, at]",
        "* p50_us // 1_000_000",
        "test_arithmetic.py::test_the_kernel_says_what_big_integers_say",
    ),
    "an accuracy floor for nobody": (
        "compiled.py",
        "codes[row] = Rule.ACCURACY",
        "codes[row] = 0",
        "test_law_1_fail_closed.py::test_the_files_veto_exactly_what_they_forbid",
    ),
    "a deadline of the caller that loosens": (
        "engine.py",
        "return min(deadline_us, asked_us) if deadline_us and asked_us",
        "return max(deadline_us, asked_us) if deadline_us and asked_us",
        "test_law_9_metadata_first.py::test_a_callers_deadline_only_tightens",
    ),
    "no class named means the first": (
        "policy.py",
        "            named = sorted(self.classes)",
        "            named = sorted(self.classes)[:1]",
        "test_law_9_metadata_first.py::test_a_missing_class_is_at_least_as_strict_as_each",
    ),
}


def run_laws(folder: Path, tests: list[str], examples: int = 100) -> int:
    """Run some laws on the floors under a folder, interpreted; pytest's exit status."""
    as_always = {"CI": "1", "INFERCAST_EXAMPLES": str(examples), "INFERCAST_SHRINK": "no"}
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
        timeout=250,
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
        timeout=200,
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
