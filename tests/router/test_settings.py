import os
import subprocess
import sys
from inspect import getsource
from pathlib import Path

import pytest
from ray.serve._private import default_impl, grpc_util, haproxy_templates, replica

from infercast.router.serving import settings

CONFIG = """frontend prometheus
    bind :9101
frontend http_frontend
    bind 127.0.0.1:8000
backend fra
    server one 127.0.0.1:30000 check observe layer4
    server fallback 127.0.0.1:8500 check backup
frontend grpc_frontend
    bind 127.0.0.1:9000 proto h2
listen stats
  bind *:8404
"""


def narrowed(tmp_path: Path, text: str, certificate: Path | None = None) -> str:
    config = tmp_path / "haproxy.cfg"
    config.write_text(text)
    program = settings.write_haproxy(settings.haproxy_folder(tmp_path), "/bin/echo", certificate)
    ran = subprocess.run([program, "-db", "-f", str(config)], capture_output=True, text=True, check=True)
    assert ran.stdout == f"-db -f {config}\n", "HAProxy itself gets every word"
    return config.read_text()


def test_side_listeners_go_to_loopback_and_no_call_to_the_head(tmp_path: Path) -> None:
    lines = narrowed(tmp_path, CONFIG).splitlines()
    binds = [line.split()[1] for line in lines if "bind" in line]
    assert binds == ["127.0.0.1:9101", "127.0.0.1:8000", "127.0.0.1:9000", "127.0.0.1:8404"]
    assert "    server fallback 127.0.0.1:8500 check backup disabled" in lines
    assert "    server one 127.0.0.1:30000 check observe layer4" in lines


def test_with_a_certificate_clients_come_by_tls_only_and_side_listeners_stay(tmp_path: Path) -> None:
    lines = narrowed(tmp_path, CONFIG, tmp_path / "tls.pem").splitlines()
    tls = f"ssl crt {tmp_path}/tls.pem ssl-min-ver TLSv1.2 alpn"
    assert [line.split(maxsplit=1)[1] for line in lines if "bind" in line] == [
        "127.0.0.1:9101", f"127.0.0.1:8000 {tls} h2,http/1.1", f"127.0.0.1:9000 {tls} h2", "127.0.0.1:8404"
    ]  # fmt: skip


@pytest.mark.parametrize("certificate", [None, "tls.pem"])
def test_a_second_reading_changes_nothing(tmp_path: Path, certificate: str | None) -> None:
    path = tmp_path / certificate if certificate else None
    once = narrowed(tmp_path, CONFIG, path)
    assert narrowed(tmp_path, once, path) == once


def test_serves_template_still_has_what_is_narrowed() -> None:
    """The wrapper's words are read off Ray 2.60: if another Ray writes others, this fails before a port is open."""
    template = haproxy_templates.HAPROXY_CONFIG_TEMPLATE
    assert "bind :{{ config.metrics_port }}" in template
    assert "bind *:{{ config.stats_port }}" in template
    assert "{{ backend.fallback_server.port }} check backup\n" in template
    assert "{{ backend.fallback_server.port }} proto h2 check backup\n" in template


def test_a_gRPC_call_finds_its_site_by_its_metadata_and_is_not_held_on_the_way() -> None:  # noqa: N802
    template = haproxy_templates.HAPROXY_CONFIG_TEMPLATE
    frontend = template[template.index("frontend grpc_frontend") :]
    assert "bind {{ config.grpc_frontend_host }}:{{ config.grpc_frontend_port }} proto h2" in frontend
    assert "req.hdr(application) -m str {{ backend.app_name }}" in frontend
    assert "wait-for-body" not in frontend
    assert "frontend http_frontend\n    bind {{ config.frontend_host }}:{{ config.frontend_port }}\n" in template
    assert "    bind {{ config.grpc_frontend_host }}:{{ config.grpc_frontend_port }} proto h2\n" in template


def test_the_private_names_are_still_there() -> None:
    assert callable(replica.parse_disconnect_disabled_header)
    assert callable(replica.add_port_to_grpc_server)
    assert callable(default_impl.add_grpc_address)
    assert "from ray.serve._private.default_impl import add_grpc_address" in getsource(grpc_util.start_grpc_server)
    assert callable(grpc_util.gRPCGenericServer.add_passthrough_service)
    settings.check()


def test_two_replicas_never_share_a_port() -> None:
    """The first listens; the second is told no, and asks Serve for another port."""
    program = """
import asyncio
from infercast.router.serving import settings
from ray.serve._private import grpc_util
settings.narrow_grpc()
settings.narrow_grpc()

async def main():
    servers = [grpc_util.gRPCGenericServer(None, extra_options=[("grpc.so_reuseport", "0")]) for _ in range(2)]
    port = servers[0].add_insecure_port("127.0.0.1:0")
    await servers[0].start()
    try:
        servers[1].add_insecure_port(f"127.0.0.1:{port}")
    except RuntimeError:
        print("taken")
    await servers[0].stop(None)

asyncio.run(main())
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "taken\n"


def test_another_ray_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.__version__", "2.61.0")
    with pytest.raises(RuntimeError, match=r"Ray 2\.60\.0, this is 2\.61\.0"):
        settings.check()


def test_every_process_of_a_run_carries_its_mark(tmp_path: Path) -> None:
    said = settings.environment("abc", tmp_path / "haproxy", (1, 2, 3, 4), tmp_path / "token")
    assert said["INFERCAST_RUN"] == "abc"
    assert {said[f"RAY_SERVE_HAPROXY_{name}_PORT"] for name in ("STATS", "METRICS")} == {"1", "2"}
    assert [said[f"RAY_SERVE_FALLBACK_PROXY_{kind}_PORT"] for kind in ("HTTP", "GRPC")] == ["3", "4"]
    assert said["RAY_SERVE_ENABLE_HA_PROXY"] == said["RAY_SERVE_THROUGHPUT_OPTIMIZED"] == "1"
    assert (said["RAY_AUTH_MODE"], said["RAY_AUTH_TOKEN_PATH"]) == ("token", str(tmp_path / "token"))
    assert os.environ.get("INFERCAST_RUN") != "abc", "asking for it sets nothing"
