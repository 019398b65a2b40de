"""The fleet on real Ray: one labelled raylet per edge and cloud site, each replica on the raylet of its site."""

import json
import os
import subprocess
import sys
from typing import Any

import psutil
import pytest

from infercast import system
from infercast.policies.faults import BadInput
from infercast.policies.model import Hosting, Tier
from infercast.router.serving.cluster import TOKEN_FILE
from infercast.router.serving.settings import token_environment
from tests.cluster.live import FLEET, POLICIES, SERVED, Live

# Another program that joins the cluster. Ray reads its environment when it is first imported.
PROGRAM = """
import json, os, sys
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
import ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="error")
from ray._private import state
print(json.dumps({"nodes": ray.nodes(), "actors": list(state.actors().values())}, default=str))
"""
Raw = dict[str, Any]


@pytest.fixture(scope="module")
def seen(live: Live) -> Raw:
    """What Ray itself says of its nodes and actors."""
    command = [sys.executable, "-c", PROGRAM, live.running.ray]
    known = {**os.environ, **token_environment(live.state / TOKEN_FILE)}
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200, env=known)
    found: Raw = json.loads(told.stdout)
    return found


def site_of(node: Raw) -> str | None:
    """The site that a node is labelled with."""
    label: str | None = node["Labels"].get("infercast.io/site")
    return label


def test_every_edge_and_cloud_site_has_one_raylet_with_its_labels(live: Live, seen: Raw) -> None:
    alive = [node for node in seen["nodes"] if node["Alive"]]
    assert sorted(name for node in alive if (name := site_of(node))) == sorted(SERVED)
    for node in alive:
        if (name := site_of(node)) is not None:
            site = live.fleet.site_by_id[name]
            labels = {key: value for key, value in node["Labels"].items() if key.startswith("infercast.io/")}
            assert labels == {
                "infercast.io/site": name,
                "infercast.io/tier": str(site.tier),
                "infercast.io/country": site.country,
                "infercast.io/operator": site.operator,
                "infercast.io/accelerator": "cpu",
            }


def test_the_head_hosts_no_site_and_devices_have_no_raylet(live: Live, seen: Raw) -> None:
    heads = [node for node in seen["nodes"] if site_of(node) is None]
    assert len(heads) == 1
    assert "node:__internal_head__" in heads[0]["Resources"]
    assert "CPU" not in heads[0]["Resources"]
    devices = {site.id for site in live.fleet.sites if site.tier is Tier.DEVICE}
    assert devices
    assert not devices & {site_of(node) for node in seen["nodes"]}
    on_head = [
        a["Name"] for a in seen["actors"] if a["Address"]["NodeID"] == heads[0]["NodeID"] and a["State"] == "ALIVE"
    ]
    assert on_head
    assert not [name for name in on_head if name.startswith("SERVE_REPLICA")]


def test_each_replica_runs_on_the_raylet_of_its_site(live: Live, seen: Raw) -> None:
    site_by_node = {node["NodeID"]: site_of(node) for node in seen["nodes"]}
    replicas = [a for a in seen["actors"] if a["Name"].startswith("SERVE_REPLICA") and a["State"] == "ALIVE"]
    ran = set()
    for actor in replicas:
        site, deployment = actor["ActorClassName"].split(":")[1:]
        assert site_by_node[actor["Address"]["NodeID"]] == site
        assert f"ray::ServeReplica:{site}:{deployment}" in psutil.Process(actor["Pid"]).cmdline()[0]
        ran.add((site, deployment))
    own = {(d.site, d.variant) for d in live.fleet.deployments if d.hosted is Hosting.OWN}
    assert own == {("fra", "squeezenet"), ("iad", "resnet50"), ("dub", "squeezenet")}
    assert ran == own | {(site, "worker") for site in SERVED}


def test_a_second_start_in_the_same_folder_is_refused_and_disturbs_nothing(live: Live) -> None:
    with pytest.raises(BadInput, match="a system runs here already"):
        system.start(FLEET, POLICIES, live.state, live.running.port, lambda _: None)
    assert system.find(live.state) == live.running
    assert live.client.get(f"{live.url('fra')}/v2/health/ready").status_code == 200


def test_each_site_says_that_distances_are_emulated(live: Live) -> None:
    for site in SERVED:
        told = live.client.get(f"{live.url(site)}/v2/health/live").json()
        assert told == {"live": True, "ready": True, "site": site, "emulated_distances": True}
