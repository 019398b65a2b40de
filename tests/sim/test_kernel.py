"""The compiled kernel, held to the oracle call by call: same engine, other code, same world, same bytes."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import infercast.sim.simulate as kernel_module
from infercast.sim.building.state import build
from infercast.sim.kernel import layout
from infercast.sim.model import Ended, Run, World
from infercast.sim.oracle import simulate as oracle
from infercast.sim.simulate import simulate
from tests.router.fakes import ROOT
from tests.sim.worlds import ARRAYS, world_of

SEEDS = st.integers(0, 2**32)


def differing(one: Run, other: Run) -> list[str]:
    """Name what differs between two runs, with the first place where it does."""
    found = []
    for name in ARRAYS:
        a, b = getattr(one, name), getattr(other, name)
        if a.shape != b.shape or (a != b).any():
            place = np.argwhere(a != b)[0].tolist() if a.shape == b.shape else "shape"
            found.append(f"{name}{place}")
    numbers = ("span_us", "bin_us", "joules", "stopped_early")
    return found + [name for name in numbers if getattr(one, name) != getattr(other, name)]


def digest(run: Run) -> str:
    """A digest of all that a run says."""
    hashed = hashlib.blake2b(digest_size=16)
    for name in ARRAYS:
        hashed.update(np.ascontiguousarray(getattr(run, name)).tobytes())
    hashed.update(repr((run.span_us, run.bin_us, run.joules)).encode())
    return hashed.hexdigest()


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_the_kernel_is_the_oracle_call_by_call(seed: int) -> None:
    world = world_of(seed)
    assert differing(simulate(world), oracle(world)) == []


def test_the_random_worlds_reach_every_end_and_every_feature() -> None:
    """Else the test above would hold little."""
    runs = [simulate(world_of(seed)) for seed in range(120)]
    assert {Ended(code) for run in runs for code in np.unique(run.ended)} == set(Ended) - {Ended.RUNNING}
    assert any(run.hedged.any() for run in runs)
    assert any((run.attempts > 2).any() for run in runs)
    assert any(run.wait_us.any() for run in runs)
    assert any(run.joules for run in runs)
    assert any(len(np.unique(run.replica_us[d, :-1])) > 1 for run in runs for d in range(len(run.replica_us)))
    assert {int(code) for run in runs for code in np.unique(run.rule)} >= {101, 102, 103, 104}


@given(SEEDS)
@settings(max_examples=10, deadline=None)
def test_equal_worlds_give_equal_bytes(seed: int) -> None:
    assert digest(simulate(world_of(seed))) == digest(simulate(world_of(seed)))


def test_compiled_and_interpreted_kernels_give_equal_bytes() -> None:
    program = (
        "from tests.sim.test_kernel import digest, simulate, world_of\n"
        "print(*(digest(simulate(world_of(seed))) for seed in range(12)))"
    )
    told = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=told, capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == [digest(simulate(world_of(seed))) for seed in range(12)]


def test_tables_grow_when_they_are_full(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(3)
    whole = digest(simulate(world))
    grown: list[int] = []
    roomier = kernel_module._roomier

    def counted(state: layout.State) -> layout.State:
        grown.append(len(state.tries))
        return roomier(state)

    room = int(build(world).clock[layout.N_ROOM])
    monkeypatch.setattr("infercast.sim.building.state.TRIES_AT_FIRST", 1 - room)
    monkeypatch.setattr(kernel_module, "_roomier", counted)
    assert digest(simulate(world)) == whole
    assert grown


def test_a_run_that_is_stopped_keeps_the_calls_that_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_module, "STEP_CALLS", 20)
    world = world_of(5)
    heard: list[tuple[int, int]] = []
    run = simulate(world, progress=lambda done, total: heard.append((done, total)), stop=lambda: len(heard) == 2)
    assert run.stopped_early
    assert 20 <= len(run) < len(world.calls)
    assert len(run.world.calls) == len(run)
    assert (run.ended != Ended.RUNNING).all()
    assert heard == sorted(heard)
    first = simulate(replace(world, calls=run.world.calls))
    assert differing(replace(first, bin_us=run.bin_us, busy_us=run.busy_us, replica_us=run.replica_us), run) == [
        "stopped_early"
    ]


def test_a_world_that_names_what_nobody_declared_is_refused() -> None:
    world = world_of(1)
    broken: World = replace(world, scaling={"nothing@nowhere": next(iter(world_of(0).scaling.values()), None)})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="nothing@nowhere"):
        simulate(broken)


def test_no_column_of_a_table_stands_for_two_things() -> None:
    for prefix in "DSWCKMTNXUG":
        columns = {
            name: value
            for name, value in vars(layout).items()
            if name.startswith(f"{prefix}_") and isinstance(value, int) and not name.endswith(("_COLS", "_OLD"))
        }
        assert len(set(columns.values())) == len(columns), prefix
