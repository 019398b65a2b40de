"""How Ray and Ray Serve are started: the fast ingress, everything on loopback where the cluster is one machine.

Read off Ray 2.60's source; `check` refuses to start on another version, since the two changes in `narrow_replica` are
to private names.
"""

import gc
import os
import stat
import sys
from pathlib import Path
from typing import Any

from ..ingress.http import BODY_BYTES_MAX
from .certificate import CONTROL
from .front import Limits, connections_max, write_changes

RAY_VERSION = "2.60.0"
HTTP_ANSWER_MAX_S = 35
"""HAProxy gives up on a silent replica after this: no call waits for ever, even at a site that is gone."""
SWITCH_S = 0.0005
"""How long a thread may keep Python's interpreter from one that waits: a tenth of Python's own. Calls wait behind the log's."""
GC_THRESHOLDS = (20_000, 20, 50)
LABEL = "infercast.io"
LIMITS = Limits()
GRPC_DOOR = "infercast.router.serving.door.open_door"
"""What Serve calls for each gRPC server that it starts, to have our service on it."""
GRPC_MESSAGE_BYTES_MAX = BODY_BYTES_MAX + 1024 * 1024
"""What gRPC takes and gives in one message. A little more than a body may have, so that it is the site that says no."""


def environment(run_id: str, haproxy: Path, ports: tuple[int, int, int, int], token: Path) -> dict[str, str]:
    """Return the environment of every process of a run.

    `ports` are those of HAProxy's statistics and metrics, and of Serve's fallback proxy for HTTP and for gRPC;
    INFERCAST_RUN marks each process as ours, for `down`. `token` is the file with the cluster's token.
    """
    stats_port, metrics_port, fallback_port, fallback_grpc_port = ports
    return {
        **token_environment(token),
        "INFERCAST_RUN": run_id,
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(haproxy),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats_port),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics_port),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback_port),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(fallback_grpc_port),
        "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(GRPC_MESSAGE_BYTES_MAX),
        "RAY_SERVE_HAPROXY_NBTHREAD": "2",
        "RAY_SERVE_HAPROXY_MAXCONN": str(connections_max()),
        # Ray starts workers, and what these start, at niceness 15: anything else on the machine then makes calls wait.
        "RAY_worker_niceness": "0",
        "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": str(HTTP_ANSWER_MAX_S),
        "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "1s",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(haproxy.parent / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(haproxy.parent / CONTROL),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(haproxy.parent),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(haproxy.parent / "server-state"),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0.5",
        # Makes Ray take 127.0.0.1 for this machine's address, so that none of its ports leaves it.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "infercast.router.serving.settings.close_proxy",
        "RAY_USAGE_STATS_ENABLED": "0",
        "ORT_DISABLE_TELEMETRY": "1",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_DISABLE_IMPORT_WARNING": "1",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_DEDUP_LOGS": "0",
        # Every exchange of signals is a task to Ray, and its head would keep a record of each of the last hundred thousand.
        "RAY_task_events_report_interval_ms": "0",
        "OMP_NUM_THREADS": "1",
    }


def token_environment(token: Path) -> dict[str, str]:
    """Return what makes a Ray process ask for the cluster's token, and show its own: the same on every machine.

    Whoever reaches a Ray port without one may run any program there. The token goes by a file, which others on the
    machine cannot read; RAY_AUTH_TOKEN, which would win over the file, is emptied.
    """
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_AUTH_TOKEN": ""}


def haproxy_folder(temp: Path) -> Path:
    """Make a folder for HAProxy's files that others on the machine do not enter: it lets all of them control it."""
    folder = temp / "haproxy"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def write_haproxy(folder: Path, binary: str, certificate: Path | None = None, limits: Limits = LIMITS) -> Path:
    """Write a small program that starts HAProxy with a few changes to the configuration that Serve writes.

    Its statistics and metrics listeners go to loopback; the template binds them to every interface whatever
    `http_options` says. A site without replicas is answered at once: the template hands its calls, bodies and all,
    to a proxy on the head that waits for a replica to come back. And with a `certificate` (chain and key in one PEM
    file) clients are answered over TLS only: Serve's own settings for it are not taken to HAProxy. `limits` are what a
    client may take.
    """
    program = folder / "haproxy"
    changes = [
        "s/ backup$/ backup disabled/",
        # A line for each call to a port where nobody listens.
        "s/^    log global$/    no log/",
        r"s/bind \*:\([0-9]\)/bind 127.0.0.1:\1/",
        r"s/bind :\([0-9]\)/bind 127.0.0.1:\1/",
    ]
    if certificate is not None:
        tls = f"ssl crt {certificate} ssl-min-ver TLSv1.2 alpn"
        changes.append(rf"/^frontend http_frontend/,/^ *bind / s#\(bind [^ ]*\)$#\1 {tls} h2,http/1.1#")
        changes.append(rf"/^frontend grpc_frontend/,/^ *bind / s#\(bind [^ ]*\) proto h2$#\1 {tls} h2#")
    script = folder / "changes.sed"
    script.write_text("\n".join([*write_changes(folder, limits), *changes, ""]), encoding="utf-8")
    program.write_text(
        "#!/bin/sh\n"
        "# Change what Serve wrote, then become HAProxy.\n"
        'previous=""\n'
        'for word in "$@"; do\n'
        '  if [ "$previous" = "-f" ]; then\n'
        f'    sed -i -f "{script}" "$word"\n'
        "  fi\n"
        '  previous="$word"\n'
        "done\n"
        f'exec "{binary}" "$@"\n',
        encoding="utf-8",
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def check() -> None:
    """Raise RuntimeError unless this is the Ray that the private names were read from."""
    import ray

    if ray.__version__ != RAY_VERSION:
        raise RuntimeError(f"infercast serves on Ray {RAY_VERSION}, this is {ray.__version__}; install the lock file")


def narrow_replica() -> None:
    """Change three things in this replica's process, before it listens.

    Serve drains every request body as soon as the headers are in, to watch for a caller that hangs up. A call that may
    not enter here must be refused before its body is read, so bodies are left to the application (which is also faster:
    one task less per call). And the replica's port for calls from other replicas goes to loopback on a one-machine
    cluster; Serve binds it to every interface, as it does with the port for gRPC.
    """
    import uvicorn.config
    from ray.serve._private import replica

    check()
    sys.setswitchinterval(SWITCH_S)
    uvicorn.config.HTTP_PROTOCOLS["auto"] = "infercast.router.serving.one_write:OneWrite"
    narrow_grpc()
    replica.parse_disconnect_disabled_header = lambda _headers: True
    if os.environ.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER") == "0":
        add_port = replica.add_port_to_grpc_server
        replica.add_port_to_grpc_server = lambda server, address: add_port(server, address.replace("[::]", "127.0.0.1"))


def settle() -> None:
    """Take what has been built until now out of Python's hunt for cycles, and have it hunt more rarely.

    A worker is some hundred thousand objects that stay: going through them takes longer than a hundred calls. What a call
    leaves is freed by its counts, without any hunt.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def narrow_grpc() -> None:
    """Give this process's gRPC server a port of its own, for callers on loopback on a one-machine cluster.

    Serve means to forbid that two replicas share a port, but tells gRPC so in a string, which that does not read as
    no. Replicas of several sites on one machine then all listen on the first port of the range, and the kernel deals
    their callers out among them.
    """
    from ray.serve._private import default_impl, grpc_util

    class Alone(grpc_util.gRPCGenericServer):  # type: ignore[misc]
        def __init__(self, factory: Any, *, extra_options: list[tuple[str, str]]) -> None:
            super().__init__(factory, extra_options=[(name, int(value)) for name, value in extra_options])

    if grpc_util.gRPCGenericServer.__name__ != Alone.__name__:
        grpc_util.gRPCGenericServer = Alone
    if os.environ.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER") == "0":
        default_impl.add_grpc_address = _on_loopback


def _on_loopback(server: Any, address: str) -> None:
    server.add_insecure_port(address.replace("[::]", "127.0.0.1"))


class Closed:
    """Refuses every call unread: what answers in place of a site that has no ingress."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Refuse one call; Serve's own paths go through."""
        if scope["type"] != "http" or scope["path"].startswith("/-/"):
            await self._app(scope, receive, send)
            return
        body = b'{"error":"no site receives calls here"}'
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 421, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def close_proxy() -> list[Any]:
    """Return what Serve puts before its applications: nothing in a replica, and in the proxy on the head a closed door.

    That proxy would read a call's body before any site has decided on it. Serve asks in every process that listens,
    before it does.
    """
    import ray
    from starlette.middleware import Middleware

    narrow_grpc()
    name = ray.get_runtime_context().get_actor_name() or ""
    return [Middleware(Closed)] if name.startswith("SERVE_PROXY_ACTOR") else []
