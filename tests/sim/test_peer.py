"""The same small world, written once more with SimPy by the words of docs/simulator.md: equal to the microsecond."""

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import numpy as np
import simpy

from infercast.sim.model import Calls, Disturbance, Ended, Kind, Truth, World
from infercast.sim.oracle import simulate
from infercast.sim.shapes import luck_of, shape_of
from tests.sim.tiny import tiny, tiny_fleet
from tests.support import card

CALLS = 1_500
SLOW_FROM_US, SLOW_UNTIL_US = 1_000_000, 2_000_000
EDGE, CLOUD = Truth(6_000, 15_000), Truth(3_000, 3_000, "exponential")


def world() -> World:
    """Two models, one at the edge with two servers, one in the cloud with one; every call has one place to go."""
    fleet = tiny_fleet({"concurrency": 2, "queue_max": 10_000}, {"variant": "w", "site": "cloud", "queue_max": 10_000})
    fleet["models"].append({"id": "n", "variants": [{"id": "w", "card": "w.json"}]})
    fleet["cards"]["w"] = card("w", 0.9, 4.0, 4.0)
    rng = np.random.default_rng(3)
    kinds = tuple(
        Kind("t", model, "zone", ("edge",), ("plain",), priority) for model in ("m", "n") for priority in (2, 0)
    )
    at_us = np.cumsum(rng.exponential(2_400, CALLS)).astype(np.int64)
    columns = {
        "kind": rng.integers(0, len(kinds), CALLS).tolist(),
        "payload_bytes": rng.integers(0, 200_000, CALLS).tolist(),
        "work_ppm": rng.integers(500_000, 1_500_000, CALLS).tolist(),
        "luck": luck_of(5, CALLS).tolist(),
    }
    made = tiny(*at_us.tolist(), fleet=fleet, kinds=kinds, columns=columns, jitter=True)
    slow = (Disturbance("site_slow", "edge", SLOW_FROM_US, SLOW_UNTIL_US, 1.3),)
    return replace(made, truth={"v@edge": EDGE, "w@cloud": CLOUD}, disturbances=slow)


class Peer:
    """The peer's run. Its places are SimPy's resources; its draws are those of the calls."""

    def __init__(self, calls: Calls) -> None:
        self.env = simpy.Environment()
        self.calls = calls
        self.latency_us = np.zeros(len(calls), dtype=np.int64)
        self.wait_us = np.zeros(len(calls), dtype=np.int64)
        self.edge = simpy.PriorityResource(self.env, capacity=2)
        self.cloud = simpy.PriorityResource(self.env, capacity=1)
        self.trips = shape_of(Truth(20_000, 25_000))
        for number in range(len(calls)):
            self.env.process(self.call(number))
        self.env.run()

    def call(self, number: int) -> Generator[Any, Any, None]:
        env, calls = self.env, self.calls
        kind, luck = calls.kinds[calls.kind[number]], int(calls.luck[number])
        payload_us, response_us = -(-8 * int(calls.payload_bytes[number]) // 1_000), 9  # at 8 ns a byte
        yield env.timeout(int(calls.at_us[number]))
        yield env.timeout(5_000 + payload_us)
        at_edge, truth = kind.model == "m", EDGE if kind.model == "m" else CLOUD
        trip_us = 0 if at_edge else (20_000 * int(self.trips[luck // 4096 % 4096])) // 2**20
        if not at_edge:
            yield env.timeout(trip_us // 2 + payload_us)
        came_us = env.now
        with (self.edge if at_edge else self.cloud).request(priority=kind.priority) as server:
            yield server
            self.wait_us[number] = env.now - came_us
            service_us = truth.p50_us * int(shape_of(truth)[luck % 4096]) // 2**20
            service_us = service_us * int(calls.work_ppm[number]) // 1_000_000
            if at_edge and SLOW_FROM_US <= env.now < SLOW_UNTIL_US:
                service_us = service_us * 1_300_000 // 1_000_000
            yield env.timeout(max(1, service_us))
        if not at_edge:
            yield env.timeout(trip_us - trip_us // 2 + response_us)
        yield env.timeout(5_000 + response_us)
        self.latency_us[number] = env.now - int(calls.at_us[number])


def test_a_peer_written_with_simpy_sees_the_same_latencies() -> None:
    whole = world()
    run, peer = simulate(whole), Peer(whole.calls)
    assert (run.ended == Ended.ANSWERED).all()
    assert (run.wait_us > 0).mean() > 0.3
    assert run.wait_us.tolist() == peer.wait_us.tolist()
    assert run.latency_us.tolist() == peer.latency_us.tolist()
