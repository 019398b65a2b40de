"""Write the HAProxy configuration that Serve would write for one site, by Serve's own code. Run as a program.

Serve reads its settings from the environment when it is imported, so this is a process of its own.
"""

import sys

from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions


def main(config: str, port: int, site_port: int) -> None:
    """Write `config` for an ingress on `port` with the replica of site fra on `site_port`."""
    options = HTTPOptions(host="127.0.0.1", port=port)
    servers = [ServerConfig(name="worker", host="127.0.0.1", port=site_port)]
    fra = BackendConfig(
        name="fra",
        app_name="fra",
        path_prefix="/fra",
        servers=servers,
        timeout_http_keep_alive_s=options.keep_alive_timeout_s,
    )
    told = HAProxyConfig(http_options=options, has_received_routes=True, has_received_servers=True, is_head=True)
    api = HAProxyApi(told, {"fra": fra}, config)
    api._generate_config_file_internal()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
