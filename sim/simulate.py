"""Runs a world to its end, fast."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt

from infercast.policies.estimator import Times

from .building.state import build, free
from .kernel import layout as at
from .kernel.loop import advance
from .model import Calls, Ended, Ints, Run, World

STEP_CALLS = 50_000
"""How many calls enter between two looks at whether to go on."""


def simulate(
    world: World, progress: Callable[[int, int], None] | None = None, stop: Callable[[], bool] | None = None
) -> Run:
    """Run a world. `progress` hears (calls entered, calls in all); `stop` is asked now and then whether to end early.

    Stopped early, no more calls enter, those on their way come to their end, and the run holds them only. Raises
    ValueError or policies.engine.Unknown for a world that names what nobody declared.
    """
    _compile_first()
    state = build(world)
    total = int(state.clock[at.N_CALLS])
    entered = 0
    stopped = False
    while True:
        entered = min(total, entered + STEP_CALLS)
        state = _run_to(state, entered)
        if progress is not None:
            progress(entered, total)
        if entered < total and stop is not None and stop():
            total, stopped = entered, True
            state.clock[at.N_CALLS] = entered
            state.clock[at.N_LAST_SENT_US] = state.clock[at.N_NOW_US]
        if entered == total:
            return _run_of(world, _run_to(state, total + 1), stopped)


@cache
def _compile_first() -> None:
    """Have the estimator compiled before the kernel: it allocates, and what the kernel compiles along may not."""
    times = Times([(1000, 2000)])
    times.hear(0, 1000)
    times.quantiles_us(0)


def _run_to(state: at.State, until_call: int) -> at.State:
    while advance(state, until_call) == at.FULL:
        state = _roomier(state)
    return state


def _roomier(state: at.State) -> at.State:
    """Return the state with twice the room for tries and for what is scheduled."""
    count = len(state.tries)
    tries = np.zeros((2 * count, at.T_COLS), dtype=np.int64)
    tries[:count] = state.tries
    free(tries, count)
    tries[-1, at.T_NEXT] = state.clock[at.N_FREE]
    state.clock[at.N_FREE] = count
    heap = np.zeros((2 * len(state.heap), 2), dtype=np.int64)
    heap[: len(state.heap)] = state.heap
    return state._replace(tries=tries, heap=heap)


def _run_of(world: World, state: at.State, stopped: bool) -> Run:
    outside = state.call_kind < 0
    if stopped:
        outside &= state.at_us <= state.clock[at.N_NOW_US]
    state.ended[outside] = Ended.LOST
    came = state.ended != Ended.RUNNING if stopped else np.ones(len(world.calls), dtype=np.bool_)
    if stopped:
        world = replace(world, calls=_some(world.calls, came))
    ended = state.ended[came]
    if (ended == Ended.RUNNING).any() or state.clock[at.N_GOING] != 0 or state.clock[at.N_TRIES] != 0:
        raise AssertionError(f"{int((ended == Ended.RUNNING).sum())} calls never ended: a fault of the simulator")
    span_us = int((state.at_us[came] + state.latency_us[came]).max(initial=0))
    return Run(
        world=world,
        ended=ended,
        rule=state.rule[came],
        deployment=state.deployment[came],
        entry=state.entry[came],
        latency_us=state.latency_us[came],
        wait_us=state.wait_us[came],
        cost_nusd=state.cost_nusd[came],
        egress_nusd=state.egress_nusd[came],
        attempts=state.attempts[came],
        hedged=state.hedged[came],
        span_us=span_us,
        busy_us=state.busy_us,
        bin_us=int(state.clock[at.N_BIN_US]),
        replica_us=_stood(state, span_us),
        joules=_joules(world, state),
        stopped_early=stopped,
    )


def _stood(state: at.State, span_us: int) -> Ints:
    """Return the time that servers stood ready: what the kernel has counted, and what stands since."""
    bins = np.arange(state.replica_us.shape[1], dtype=np.int64)
    begins_us = bins * state.clock[at.N_BIN_US]
    ends_us = np.append(begins_us[1:], max(span_us, int(begins_us[-1])))
    since_us = state.dep[:, at.D_STOOD_US, None]
    inside_us = np.maximum(0, np.minimum(ends_us, span_us) - np.maximum(begins_us, since_us))
    stood: Ints = state.replica_us + state.dep[:, at.D_STOOD, None] * inside_us
    return stood


def _joules(world: World, state: at.State) -> float:
    """Return the energy of all services: a site's power per replica, times its share of a replica's concurrent calls."""
    used = 0.0
    for d, deployment in enumerate(world.fleet.deployments):
        busy_us = int(state.busy_us[d].sum())
        used += world.watts.get(deployment.site, 0.0) * busy_us / deployment.concurrency / 1e6
    return used


def _some(calls: Calls, some: npt.NDArray[np.bool_]) -> Calls:
    return Calls(
        calls.kinds,
        calls.at_us[some],
        calls.kind[some],
        calls.payload_bytes[some],
        calls.work_ppm[some],
        calls.content[some],
        calls.luck[some],
    )
