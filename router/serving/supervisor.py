"""The process that owns a running system: it starts the cluster and the device agents, waits, and ends them all.

Commands come as lines on its control socket (`kill-site fra`, `stop`); progress goes to a file that the command line
follows.
"""

import argparse
import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from infercast.policies.engine import Engine
from infercast.policies.faults import BadInput
from infercast.policies.fleet import Fleet
from infercast.policies.fleet_file import load_fleet
from infercast.policies.model import Tier
from infercast.policies.policy_file import load_policies

from ..drains import DRAIN_S
from ..followed import CERTIFICATE_TOLD, WATCH_S
from ..keys import write_private
from ..ledger.opening import ENVIRONMENT, ledger_url
from ..ledger.retiring import settle_left
from ..processes import end_run
from ..sight.targets import TARGETS, write_targets
from .certificate import KeptCertificate, TlsFiles
from .cluster import Cluster, free_ports

AGENT_START_S = 60
AGENT_END_S = DRAIN_S + 5
"""How long a device agent may take to end: its calls first, then it signs its log."""
COMMAND_S = 5.0
"""Who has a connection to the control socket says what he wants in this time."""

log = logging.getLogger("infercast.supervisor")


class Stop(Exception):  # noqa: N818 - a signal, not an error
    """Somebody asked us to end."""


def main() -> None:
    """Run until stopped. The run's facts stand in STATE/run.json once everything answers."""
    words = argparse.ArgumentParser(prog="infercast-supervisor")
    words.add_argument("--fleet", type=Path, required=True)
    words.add_argument("--policies", type=Path, required=True)
    words.add_argument("--state", type=Path, required=True)
    words.add_argument("--port", type=int, required=True)
    words.add_argument("--grpc-port", type=int, required=True)
    words.add_argument("--run", required=True)
    words.add_argument("--temp", type=Path, required=True)
    words.add_argument("--tls-cert", type=Path)
    words.add_argument("--tls-key", type=Path)
    given = words.parse_args()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, _stop)
    tls = TlsFiles(given.tls_cert, given.tls_key) if given.tls_cert else None
    ports = (given.port, given.grpc_port)
    ledger = os.environ.get(ENVIRONMENT) or ledger_url(given.state)
    run = Run(given.fleet, given.policies, given.state, ports, given.run, given.temp, tls, ledger)
    code = 0
    try:
        run.start()
        run.obey()
    except Stop:
        pass
    except BadInput as error:
        run.say("failed", str(error))
        code = 2
    except Exception as error:
        run.say("failed", f"{type(error).__name__}: {error}")
        raise
    finally:
        run.stop()
    sys.exit(code)


def _told(trouble: str) -> str:
    """Return what went wrong for who asked, who may be gone: it stands in the log, too."""
    log.warning("%s", trouble)
    return trouble


def _stop(_number: int, _frame: FrameType | None) -> None:
    for name in (signal.SIGTERM, signal.SIGINT):  # asked again while it ends, it would leave half of itself
        signal.signal(name, signal.SIG_IGN)
    raise Stop


class Run:
    """One running system."""

    def __init__(
        self,
        fleet: Path,
        policies: Path,
        state: Path,
        ports: tuple[int, int],
        run_id: str,
        temp: Path,
        tls: TlsFiles | None,
        ledger: str,
    ) -> None:
        self._ledger = ledger
        self._fleet_path, self._policies_path = fleet, policies
        self._state = state
        self._port, self._grpc_port = ports
        self._run_id = run_id
        self._temp = temp
        self._tls = tls
        self._failed = False
        self._cluster: Cluster | None = None
        self._agents: dict[str, subprocess.Popen[bytes]] = {}
        self._control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def say(self, step: str, detail: str = "") -> None:
        """Append a line of progress. Where the disk takes none, what is told stands in the log alone."""
        self._failed = self._failed or step == "failed"
        try:
            with (self._state / "progress.jsonl").open("a", encoding="utf-8") as out:
                out.write(json.dumps({"step": step, "detail": detail}) + "\n")
        except OSError as error:
            log.warning("%s %s (%s)", step, detail, error)

    def start(self) -> None:
        """Start everything; raises what went wrong, with nothing left half-started once `stop` has run."""
        fleet = load_fleet(self._fleet_path)
        policies = load_policies(self._policies_path, fleet)
        self.say("start", "the engine's kernel")
        # Compiled here once, the first time on a machine, so that the workers find it in the cache.
        Engine(fleet, policies).warm(fleet.sites[0].id, [fleet.sites[0].id])
        places = (self._policies_path, self._state, self._temp)
        self._cluster = Cluster(fleet, *places, self._run_id, self._ledger, self._tls)
        self._cluster.start(self._port, self._grpc_port, emulate=True, progress=lambda step: self.say("start", step))
        if self._cluster.certificate is not None:
            threading.Thread(target=self._keep_certificate, args=[self._cluster.certificate], daemon=True).start()
        devices = self._start_agents(fleet)
        path = self._temp / "control"
        self._control.bind(str(path))
        self._control.listen(4)
        metrics = self._cluster.metrics()
        write_targets(self._state, metrics)
        facts = {
            "run": self._run_id,
            "pid": os.getpid(),
            "port": self._port,
            "grpc_port": self._grpc_port,
            "temp": str(self._temp),
            "control": str(path),
            "fleet": str(self._fleet_path.resolve()),
            "policies": str(self._policies_path.resolve()),
            "devices": devices,
            "ray": self._cluster.address,
            "metrics": metrics,
            "certificate": str(self._tls.certificate) if self._tls else "",
        }
        write_private(self._state / "run.json", json.dumps(facts, indent=1))
        self.say("ready")

    def _start_agents(self, fleet: Fleet) -> dict[str, int]:
        ports: dict[str, int] = {}
        for site in fleet.sites:
            if site.tier is not Tier.DEVICE:
                continue
            self.say("start", f"device agent {site.id}")
            ports[site.id] = free_ports(1)[0]
            command = [
                sys.executable, "-m", "infercast.router.device.agent",
                "--fleet", str(self._fleet_path), "--policies", str(self._policies_path),
                "--state", str(self._state), "--site", site.id, "--port", str(ports[site.id]),
                "--upstream", f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}",
                *(["--trust", str(self._tls.certificate)] if self._tls else []),
            ]  # fmt: skip
            self._agents[site.id] = subprocess.Popen(command)
            self._wait_agent(site.id, ports[site.id])
        return ports

    def _keep_certificate(self, certificate: KeptCertificate) -> None:
        """Follow certificate and key, and tell of them, until the process ends."""
        untold = True
        while True:
            try:
                if untold:
                    write_private(self._state / CERTIFICATE_TOLD, json.dumps(certificate.told(), indent=1))
                untold = False
                time.sleep(WATCH_S)
                untold = certificate.look()
            except OSError as error:  # a full disk must not end this: else no certificate is ever renewed again
                log.warning("the certificate could not be written down, which is tried again: %s", error)
                untold = True
                time.sleep(WATCH_S)

    def _wait_agent(self, site: str, port: int) -> None:
        until = time.monotonic() + AGENT_START_S
        while time.monotonic() < until and self._agents[site].poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise TimeoutError(f"the device agent of {site} did not answer within {AGENT_START_S} s")

    def obey(self) -> None:
        """Wait for commands, one a connection."""
        while True:
            connection, _ = self._control.accept()
            with connection:
                words = []
                with contextlib.suppress(OSError):  # whoever says nothing, or hangs up, ends nothing by that
                    connection.settimeout(COMMAND_S)
                    words = connection.recv(4096).decode(errors="replace").split()
                said = self._do(words)
                with contextlib.suppress(OSError):
                    connection.sendall(f"{said}\n".encode())

    def _do(self, words: list[str]) -> str:
        if words == ["stop"]:
            raise Stop
        if len(words) == 2 and words[0] == "kill-site" and self._cluster is not None:
            try:
                self._cluster.kill_site(words[1])
            except KeyError:
                return f"no raylet runs for site {words[1]!r}"
            except OSError as error:
                return _told(f"the raylet of {words[1]} may still run: {error}")
            try:
                write_targets(self._state, self._cluster.metrics())
            except OSError as error:
                return _told(f"killed, yet {TARGETS} still names it: {error}")
            return "killed"
        return f"unknown command {' '.join(words)!r}"

    def stop(self) -> None:
        """End the agents, the cluster and whatever of this run is left, and forget it."""
        self.say("stop")
        self._end_agents()  # before the sites: their calls may have to go to these
        try:
            if self._cluster is not None:
                self._cluster.stop()
        finally:  # also where Ray does not find what it wants to end
            end_run(self._run_id, str(self._temp), keep=os.getpid())
            self._clear()
        self.say("stopped")

    def _end_agents(self) -> None:
        """End the device agents, all at once: each ends its calls first."""
        for agent in self._agents.values():
            agent.terminate()
        until = time.monotonic() + AGENT_END_S
        for agent in self._agents.values():
            try:
                agent.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                agent.kill()
                agent.wait()

    def _clear(self) -> None:
        """Settle what the run has left, and forget it."""
        self._control.close()
        if self._cluster is not None:
            settle_left(self._state / "journal", self._ledger)
        for name in ("run.json", CERTIFICATE_TOLD, TARGETS):
            (self._state / name).unlink(missing_ok=True)
        logs = self._temp / "session_latest" / "logs"
        if self._failed and logs.is_dir():
            with contextlib.suppress(OSError):  # some of them is better than none, and no reason to leave the rest here
                shutil.copytree(logs, self._state / "logs" / "ray", dirs_exist_ok=True, ignore_dangling_symlinks=True)
        shutil.rmtree(self._temp, ignore_errors=True)


if __name__ == "__main__":
    main()
