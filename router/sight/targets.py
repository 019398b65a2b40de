"""Where Prometheus finds the metrics: a file for its `file_sd_configs`, kept in the state folder."""

import json
from collections.abc import Mapping
from pathlib import Path

from ..keys import write_private

TARGETS = "prometheus.json"


def write_targets(state: Path, ports: Mapping[str, int]) -> None:
    """Write down each node's port on loopback. Its name is the label `node`: `site` is where calls ran."""
    said = [{"targets": [f"127.0.0.1:{port}"], "labels": {"node": node}} for node, port in sorted(ports.items())]
    write_private(state / TARGETS, json.dumps(said, indent=1))
