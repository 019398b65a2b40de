"""Starting, finding and ending a running system from the command line."""

import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from infercast.first_keys import issue_missing
from infercast.policies.faults import BadInput, Fault
from infercast.policies.fleet import Fleet
from infercast.policies.fleet_file import load_fleet
from infercast.policies.model import Hosting
from infercast.policies.policy import Policy
from infercast.policies.policy_file import load_policies, load_shadows
from infercast.router.drains import DRAINED, load_drained
from infercast.router.key_changes import CREDENTIALS, read_credentials
from infercast.router.keys import write_private
from infercast.router.processes import alive, end_run, is_of, processes_of, wait_gone
from infercast.router.serving.certificate import TlsFiles, read_certificate
from infercast.router.serving.cluster import free_ports
from infercast.router.sight.settings import trace_settings
from infercast.router.upstream.hops import cluster_id
from infercast.router.upstream.tls import trusting

START_S = 240.0
END_S = 110
"""How long a system may take to end: calls under way on devices end first, then those at the sites."""


class NotRunning(Exception):  # noqa: N818 - a state, not an error
    """No system runs in this state folder."""


@dataclass(frozen=True, slots=True)
class Running:
    """The facts of a running system."""

    run: str
    pid: int
    port: int
    temp: str
    control: str
    fleet: str
    policies: str
    devices: dict[str, int]
    grpc_port: int = 0
    metrics: dict[str, int] = field(default_factory=dict)
    """Where Prometheus finds each node's metrics: ports on loopback; STATE/prometheus.json says the same to it."""
    ray: str = ""
    """Where Ray's own tools find the cluster; they need its token, too (docs/security.md)."""
    certificate: str = ""
    """The file with what its ingress shows to clients; empty where it speaks plain HTTP."""

    @property
    def url(self) -> str:
        """Where its ingresses are: `{url}/{site}`."""
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}"

    def verify(self) -> ssl.SSLContext | bool:
        """Return what httpx is to verify calls from this machine by: that very certificate; nothing on plain HTTP."""
        return trusting(Path(self.certificate)) if self.certificate else False


def find(state: Path) -> Running:
    """Return the running system of a state folder. Raises NotRunning."""
    try:
        running = Running(**json.loads((state / "run.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise NotRunning(f"nothing runs in {state}; `infercast up` starts it") from error
    if not alive(running.pid):
        raise NotRunning(f"the system of {state} has died; `infercast down` clears it away")
    return running


def start(
    fleet_path: Path,
    policies_path: Path,
    state: Path,
    port: int,
    step: Callable[[str], None],
    grpc_port: int = 0,
    tls: TlsFiles | None = None,
    ledger: str = "",
) -> Running:
    """Start a system and wait until it answers. Raises BadInput, with nothing left running, when it cannot.

    `grpc_port` 0 means any that is free; `ledger` is the URL of what its calls are booked in, its own file if empty.
    """
    from infercast.router.ledger import opening  # a database's library is loaded when a system is started, not before
    from infercast.router.ledger.retiring import move_in

    if tls is not None:
        read_certificate(tls)
    fleet = load_fleet(fleet_path)
    policies = load_policies(policies_path, fleet)
    load_shadows(policies_path, fleet)
    load_drained(state / DRAINED)
    trace_settings(os.environ)
    ledger = opening.absolute(ledger)
    if ledger:
        opening.open_store(ledger).close()
    _check_artefacts(fleet_path, fleet)
    _check_upstreams(fleet_path, fleet)
    if (state / "run.json").exists() or _is_starting(state):
        raise BadInput([Fault(str(state), 0, "", "a system runs here already", "`infercast down` ends it")])
    _check_port(port, "--port")
    if grpc_port:
        _check_port(grpc_port, "--grpc-port")
    prepare(state, fleet, policies)
    ledger = ledger or opening.ledger_url(state)
    move_in(state, ledger)
    run_id = secrets.token_hex(6)
    (state / "logs").mkdir(exist_ok=True)
    (state / "progress.jsonl").unlink(missing_ok=True)
    temp = tempfile.mkdtemp(prefix="ic-", dir="/tmp")
    write_private(state / "starting.json", json.dumps({"run": run_id, "temp": temp}))
    command = [
        sys.executable, "-m", "infercast.router.serving.supervisor",
        "--fleet", str(fleet_path.resolve()), "--policies", str(policies_path.resolve()),
        "--state", str(state.resolve()), "--port", str(port), "--grpc-port", str(grpc_port or free_ports(1)[0]),
        "--run", run_id, "--temp", temp,
        *(["--tls-cert", str(tls.certificate.resolve()), "--tls-key", str(tls.key.resolve())] if tls else []),
    ]  # fmt: skip
    with (state / "logs" / "supervisor.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=state,
            env={**os.environ, "INFERCAST_RUN": run_id, opening.ENVIRONMENT: ledger},
        )
    try:
        _wait_ready(state, process, step)
    except BaseException:
        # Ctrl-C too: whoever gives up a start leaves nothing of it.
        process.terminate()
        wait_gone(process.pid, 5)
        stop(state)
        raise
    (state / "starting.json").unlink(missing_ok=True)
    return find(state)


def _is_starting(state: Path) -> bool:
    """Return whether somebody else is just starting a system here; what was given up has no processes any more."""
    try:
        facts: dict[str, str] = json.loads((state / "starting.json").read_text(encoding="utf-8"))
        return bool(processes_of(facts["run"], facts["temp"]))
    except (OSError, ValueError, KeyError):
        return False


def _wait_ready(state: Path, process: subprocess.Popen[bytes], step: Callable[[str], None]) -> None:
    until = time.monotonic() + START_S
    failure = ""
    for line in _follow(state / "progress.jsonl", process, until):
        if line["step"] == "ready":
            return
        if line["step"] == "failed":
            failure = line["detail"]
        elif line["step"] == "start":
            step(line["detail"])
    process.terminate()
    wait_gone(process.pid, 20)
    stop(state)
    why = failure or f"it did not answer within {START_S:.0f} s"
    raise BadInput(
        [Fault(str(state / "logs" / "supervisor.log"), 0, "", f"the system did not start: {why}", "see the log")]
    )


def _follow(path: Path, process: subprocess.Popen[bytes], until: float) -> Iterator[dict[str, str]]:
    seen = 0
    while time.monotonic() < until:
        ended = process.poll() is not None
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        for line in lines[seen:]:
            yield json.loads(line)
        seen = len(lines)
        if ended:
            return
        time.sleep(0.05)


def stop(state: Path) -> int:
    """End the system of a state folder, also one that died or never came up. Returns how many processes it had left."""
    left = 0
    for name in ("run.json", "starting.json"):
        try:
            facts: dict[str, Any] = json.loads((state / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        pid = facts.get("pid", 0)
        if pid and is_of(pid, facts["run"]):
            os.kill(pid, 15)
            left += 1
            wait_gone(pid, END_S)
        left += end_run(facts["run"], facts.get("temp", ""))
        if facts.get("temp", "").startswith("/tmp/ic-"):  # noqa: S108 - the supervisor's own folder
            shutil.rmtree(facts["temp"], ignore_errors=True)
        (state / name).unlink(missing_ok=True)
    return left


def kill_site(running: Running, site: str) -> str:
    """Cut a site's power: its raylet is killed at once. Returns what the supervisor says."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
        control.settimeout(30)
        control.connect(running.control)
        control.sendall(f"kill-site {site}".encode())
        return control.recv(4096).decode().strip()


def prepare(state: Path, fleet: Fleet, policies: dict[str, Policy]) -> None:
    """Lay out the state folder, and issue the keys that are missing in it."""
    for folder in (state, state / "journal", state / "devices"):
        folder.mkdir(parents=True, exist_ok=True)
    cluster_id(state)
    issue_missing(state, fleet, policies)


def secret_of(state: Path, key_id: str) -> str:
    """Return a key that `up` issued for the caller on this machine. Raises BadInput for one it did not."""
    path = state / CREDENTIALS
    if not path.exists():
        raise BadInput([Fault(str(state), 0, "", "no keys are here", "`infercast up` issues them")])
    known = read_credentials(state)
    if key_id not in known:
        raise BadInput(
            [
                Fault(
                    str(path),
                    0,
                    "",
                    f"no key {key_id!r}",
                    f"`up` issues one for each tenant and place, for others there is `infercast keys issue`; known: {', '.join(known)}",
                )
            ]
        )
    return known[key_id]


def _check_artefacts(path: Path, fleet: Fleet) -> None:
    ours = [deployment for deployment in fleet.deployments if deployment.hosted is not Hosting.UPSTREAM]
    deployed = {deployment.variant for deployment in ours}
    missing = [variant for variant in sorted(deployed) if not Path(fleet.artefacts[variant]).is_file()]
    if missing:
        faults = [Fault(str(path), 0, variant, f"{fleet.artefacts[variant]} is not there") for variant in missing]
        raise BadInput([*faults, Fault(str(path), 0, "", "artefacts are missing", "`make models` builds them")])


def _check_upstreams(path: Path, fleet: Fleet) -> None:
    """Make what it takes to call each upstream, keys and certificates included, and throw it away."""
    faults: list[Fault] = []
    for site in fleet.sites:
        if site.upstream is not None:
            from infercast.router.upstream.target import target_of

            try:
                target_of(fleet, site, site.upstream)
            except BadInput as error:
                faults += [fault if fault.file else replace(fault, file=str(path)) for fault in error.faults]
    if faults:
        raise BadInput(faults)


def _check_port(port: int, option: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            fault = Fault(f"127.0.0.1:{port}", 0, "", "the port is taken", f"end what listens there, or give {option}")
            raise BadInput([fault]) from error
