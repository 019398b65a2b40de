"""M/M/c in other simulators, for calls a second beside ours: SimPy and Ciw, as their documentation says to write it.

Each runs in a process of its own. Ciw lies in a folder of its own, too: it installs a package called `tests`, which would
hide ours. YAFS, the third that is often named for edge and fog, is on no package index; there is no figure of it.
"""

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
PEERS = ROOT / ".venv" / "peers"
"""Where `make bench-sim` puts what may not lie beside our own packages."""

from bench.timing import Took  # noqa: E402 - the root had to come first

MEAN_S = 0.004
US_PER_S = 1_000_000
Made = tuple[Callable[[], Any], Callable[[], float]]
"""What is timed, and what says the mean wait in microseconds afterwards."""


@dataclass(frozen=True)
class Peer:
    """What one simulator gave for a queue."""

    name: str
    calls: int
    cpu_s: float
    wall_s: float
    mean_wait_us: float

    @property
    def per_s(self) -> float:
        """Calls a second of the process's own time."""
        return self.calls / self.cpu_s


def main() -> None:
    """Time one simulator in this process and print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(WAYS))
    parser.add_argument("--servers", type=int, default=4)
    parser.add_argument("--load", type=float, default=0.7)
    parser.add_argument("--calls", type=int, default=100_000)
    options = parser.parse_args()
    run, mean_wait_us = WAYS[options.name](options.servers, options.load, options.calls)
    took = Took.of(run)
    shown = options.name if options.name == "infercast" else f"{options.name} {version(options.name)}"
    print(json.dumps(asdict(Peer(shown, options.calls, took.cpu_s, took.wall_s, mean_wait_us()))))


def measure(name: str, servers: int, load: float, calls: int) -> Peer | str:
    """Time one simulator on M/M/c in a fresh process; making the queue up is not counted. Returns why, where it is not there."""
    words = [sys.executable, __file__, name, "--servers", str(servers), "--load", str(load), "--calls", str(calls)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        return f"{name}: {done.stderr.strip().splitlines()[-1]}"
    return Peer(**json.loads(done.stdout))


def with_simpy(servers: int, load: float, calls: int) -> Made:
    """A process for each call and a resource, as SimPy's bank example has it."""
    import simpy

    dice, env, waits = random.Random(1), simpy.Environment(), [0.0]
    counter = simpy.Resource(env, capacity=servers)

    def call() -> Generator[Any, Any, None]:
        came_s = env.now
        with counter.request() as server:
            yield server
            waits[0] += env.now - came_s
            yield env.timeout(dice.expovariate(1 / MEAN_S))

    def source() -> Generator[Any, Any, None]:
        for _ in range(calls):
            yield env.timeout(dice.expovariate(servers * load / MEAN_S))
            env.process(call())

    env.process(source())
    return env.run, lambda: waits[0] / calls * US_PER_S


def with_ciw(servers: int, load: float, calls: int) -> Made:
    """One node of a network, until so many calls have left it."""
    sys.path.append(str(PEERS))
    import ciw

    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(rate=servers * load / MEAN_S)],
        service_distributions=[ciw.dists.Exponential(rate=1 / MEAN_S)],
        number_of_servers=[servers],
    )
    ciw.seed(1)
    made = ciw.Simulation(network)

    def mean_us() -> float:
        waits: list[float] = [record.waiting_time for record in made.get_all_records()]
        return sum(waits) / len(waits) * US_PER_S

    return lambda: made.simulate_until_max_customers(calls), mean_us


def with_ours(servers: int, load: float, calls: int) -> Made:
    """The whole simulator, with its decision, its access ways and its building of tables, from a world to its run."""
    from infercast.sim.model import Truth
    from infercast.sim.simulate import simulate
    from tests.sim.queueing import queue

    mean_us = round(MEAN_S * US_PER_S)
    truth = Truth(mean_us, mean_us, "exponential")
    simulate(queue(truth, servers, load, 100))  # the kernel is loaded here
    world, runs = queue(truth, servers, load, calls), [simulate(queue(truth, servers, load, 1))]

    def run() -> None:
        runs[0] = simulate(world)

    return run, lambda: float(runs[0].wait_us.mean())


WAYS = {"infercast": with_ours, "simpy": with_simpy, "ciw": with_ciw}


if __name__ == "__main__":
    main()
