"""Decisions of a log, made again by the simulator's compiled loop: the signals of the record in, one call, what it does with it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from infercast.policies import kernel
from infercast.policies.fleet import Fleet
from infercast.policies.model import Outcome, Rule
from infercast.policies.policy import Policy
from infercast.policies.record import request_from_json
from infercast.policies.snapshot import Snapshot
from infercast.policies.tables import draw_of
from infercast.sim.building.state import build
from infercast.sim.calibration_world import policy_as_carried
from infercast.sim.kernel import layout as at
from infercast.sim.model import Calls, Ended, Kind, World
from infercast.sim.simulate import _compile_first, _run_to

Raw = dict[str, Any]
ENDED = {Outcome.REFUSED: Ended.REFUSED, Outcome.SATURATED: Ended.SATURATED, Outcome.UNAVAILABLE: Ended.UNAVAILABLE}
NEVER_US = 10**15
"""When sites exchange signals here: what is believed is what the records say, and nothing else."""


def unlike(fleet: Fleet, policy: Policy, records: Sequence[tuple[Raw, Raw]]) -> list[str]:
    """The ids of the decisions for which the simulator sends the call elsewhere; records of one policy, with their signals.

    A call that had been tried elsewhere is decided as the simulator decides it: with those deployments shut;
    so are, of a call that names a variant, those of all others.
    """
    if not records:
        return []
    _compile_first()
    ordered = sorted(records, key=lambda pair: int(pair[0]["request"]["at_s"]))
    state = _laid_out(fleet, policy, [record for record, _ in ordered])
    found = []
    for number, (record, signals) in enumerate(ordered):
        snapshot = Snapshot.restored(fleet, signals)
        snapshot.apply(record["patch"])
        _put_view(state, fleet, snapshot, record)
        state = _run_to(state, number + 1)
        if _did(state, number) != _said(record):
            found.append(str(record["id"]))
    return found


def _laid_out(fleet: Fleet, policy: Policy, records: Sequence[Raw]) -> at.State:
    """A world with one call per record, each entering when it came; one more keeps the loop from winding up."""
    requests = [request_from_json(record["request"]) for record in records]
    requests.append(requests[-1])
    starts_at_s = requests[0].at_s
    n = len(requests)
    kinds = tuple(
        Kind(each.tenant, each.model, each.origin, (each.entry,), each.classes, deadline_us=each.deadline_us)
        for each in requests
    )
    zeros = np.zeros(n, dtype=np.int64)
    enter_us = np.array([(each.at_s - starts_at_s) * 1_000_000 for each in requests], dtype=np.int64)
    bytes_ = np.array([each.payload_bytes for each in requests], dtype=np.int64)
    calls = Calls(kinds, enter_us, np.arange(n, dtype=np.int32), bytes_, zeros + 1_000_000, zeros - 1, zeros)
    world = World(fleet, {policy.tenant: policy_as_carried(policy)}, calls, starts_at_s=starts_at_s)
    state = build(world)
    state.enter_us[:] = enter_us
    state.order[:] = np.arange(n)
    state.site[:, at.S_NEXT_US] = state.clock[at.N_TICK_US] = NEVER_US
    return state._replace(draw=np.array([draw_of(each.id) for each in requests], dtype=np.int64))


def _put_view(state: at.State, fleet: Fleet, snapshot: Snapshot, record: Raw) -> None:
    request = record["request"]
    with snapshot.only(request["entry"], request["model"], request.get("variant", "")):
        view = snapshot.view(request["entry"], request["model"]).copy()
    row_of = fleet.tables.row_of(request["model"])
    view[kernel.V_SHUT, [row_of[index] for index in record["tried"] if index in row_of]] |= kernel.SHUT_TRIED
    entry = state.site[fleet.tables.site_index[request["entry"]], at.S_ENTRY]
    model = [each.id for each in fleet.models].index(request["model"])
    state.views[state.view_of[entry, model], :, : view.shape[1]] = view


def _did(state: at.State, call: int) -> tuple[str, int]:
    """What became of a call that has just entered: where it was sent, or by which rule it ended."""
    slots = np.flatnonzero(state.tries[:, at.T_CALL] == call)
    if len(slots):
        return str(Outcome.CHOSEN), int(state.tries[slots[0], at.T_DEP])
    return Ended(int(state.ended[call])).name, int(state.rule[call])


def _said(record: Raw) -> tuple[str, int]:
    outcome = Outcome(record["outcome"])
    if outcome is Outcome.CHOSEN:
        return str(outcome), int(record["chosen"][0])
    return ENDED[outcome].name, int(Rule(record["rule"]))
