"""Two real Ray clusters on one machine: a call enters at one and, by policy, runs at the other; no loop, nothing paid for twice.

Early in the folder, as the other tests' system is not up yet: these two are small, and end before it starts.
"""

import json
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from infercast import system
from infercast.audit import audit
from infercast.policies.engine import Engine
from infercast.policies.fleet_file import load_fleet
from infercast.policies.policy_file import load_policies
from infercast.router.processes import processes_of
from infercast.router.telemetry.journal import read_journal
from infercast.router.upstream.hops import HEADER, cluster_id
from tests.cluster.live import ONE_IMAGE, ROOT
from tests.support import TRUSTED, link, site

Raw = dict[str, Any]
START_S, WAIT_S = 300, 60.0
OURS_USD = 0.002
"""What the first cluster takes for a call at the second: its own fleet file's price."""
pytestmark = pytest.mark.timeout(START_S)


def fleet_of(own: str, country: str, other: str, other_country: str, url: str, key_file: Path, **model_at: str) -> Raw:
    """A cluster of one site, with the other cluster as an upstream and as a place that calls come from."""
    cards = ROOT / "examples" / "models"
    models = {"digits": ("digits-small", "digits-large"), "round": ("digits-medium",)}
    upstream = {"url": url, "api": "infercast", "private": True, "key_file": str(key_file)}
    edge = site(own, "edge", country, operator="acme", trust=TRUSTED)
    edge["accelerators"]["cpu"]["slots"] = 1
    there = site(f"{other}-far", "edge", other_country, operator="acme", trust=TRUSTED)
    del there["accelerators"]
    return {
        "version": 1,
        "name": own,
        "sites": [edge, {**there, "upstream": upstream}],
        "zones": [
            {"id": "home", "country": country, "lat": 0, "lon": 0},
            {"id": f"{other}-cluster", "country": other_country, "lat": 0, "lon": 0, "peer": True, "onward": True},
        ],
        "links": [
            link("home", own, 1, country),
            link(f"{other}-cluster", own, 1, country, other_country),
            link(own, f"{other}-far", 1, country, other_country),
        ],
        "models": [
            {"id": model, "variants": [{"id": name, "card": str(cards / f"{name}.card.json")} for name in names]}
            for model, names in models.items()
        ],
        "deployments": [
            {"site": own, "variant": variant}
            if where == "own"
            else {
                "site": f"{other}-far",
                "variant": variant,
                "hosted": "upstream",
                "concurrency": 16,
                "usd_per_call": OURS_USD,
            }
            for variant, where in model_at.items()
        ],
    }


def policy_of(tenant: str) -> Raw:
    """Class `exact` asks for an accuracy that only the largest variant has; `plain` for nothing."""
    return {
        "version": 1,
        "tenant": tenant,
        "always": {"deadline_ms": 8000},
        "classes": {"plain": {}, "exact": {"accuracy_min": {"digits": 0.99}}},
        "objective": {"preference": "cheapest"},
    }


@dataclass(frozen=True)
class Cluster:
    """One of the two, running."""

    name: str
    state: Path
    running: system.Running

    @property
    def id(self) -> str:
        """Its cluster id."""
        return cluster_id(self.state)

    def key(self, name: str) -> str:
        """A key that `up` issued."""
        return system.secret_of(self.state, name)

    def call(self, key: str, model: str, data_class: str, **headers: str) -> httpx.Response:
        """Send one call; header names with `_` for `-`."""
        url = f"{self.running.url}/{self.name}/v2/models/{model}/infer"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        told = {"authorization": f"Bearer {self.key(key)}", "infercast-class": data_class, **named}
        return httpx.post(url, json=ONE_IMAGE, headers=told, timeout=WAIT_S)

    def lines(self, request: str | None = None) -> list[Raw]:
        """Its journal's `call` lines."""
        lines = [line for line in read_journal(self.state / "journal") if line["kind"] == "call"]
        return [line for line in lines if request is None or line["request"] == request]


def written(path: Path, value: Raw) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def started(folder: Path, name: str, fleet: Raw, tenant: str, port: int, into: dict[str, Cluster]) -> None:
    """Start a cluster."""
    policies = written(folder / name / "tenants" / f"{tenant}.yaml", policy_of(tenant)).parent
    path, state = written(folder / name / "cluster.yaml", fleet), folder / name / "state"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the supervisor outlives the call that started it
        into[name] = Cluster(name, state, system.start(path, policies, state, port, lambda _: None))


@pytest.fixture(scope="module")
def two(artefacts: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Cluster]]:
    """Berlin's cluster, and that of Paris; each knows the other as an upstream, and has a key for it in a file."""
    from infercast.router.serving.cluster import free_ports

    folder = tmp_path_factory.mktemp("two")
    ports = dict(zip(("ber", "par"), free_ports(2), strict=True))
    keys = {name: folder / f"{name}.key" for name in ports}
    for path in keys.values():
        path.write_text("not-issued-yet\n")
    far = {name: f"http://127.0.0.1:{port}/{name}" for name, port in ports.items()}
    at_ber = {"digits-small": "own", "digits-large": "far", "digits-medium": "far"}
    at_par = {"digits-small": "own", "digits-large": "own", "digits-medium": "far"}
    berlin = fleet_of("ber", "DE", "par", "FR", far["par"], keys["par"], **at_ber)
    paris = fleet_of("par", "FR", "ber", "DE", far["ber"], keys["ber"], **at_par)
    running: dict[str, Cluster] = {}
    each = [("ber", berlin, "clinic"), ("par", paris, "partner")]
    try:
        for name, fleet, tenant in each:
            started(folder, name, fleet, tenant, ports[name], running)
        keys["par"].write_text(running["par"].key("partner.ber-cluster") + "\n")
        keys["ber"].write_text(running["ber"].key("clinic.par-cluster") + "\n")
        yield running["ber"], running["par"]
    finally:
        for name, _, _ in each:
            system.stop(folder / name / "state")
    for cluster in running.values():
        assert processes_of(cluster.running.run, cluster.running.temp) == []


def until(condition: Any, seconds: float = WAIT_S) -> Any:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.2)
    return found


def test_a_call_enters_at_one_and_runs_at_the_other_by_policy(two: tuple[Cluster, Cluster]) -> None:
    ber, par = two
    # The key in the file was no good when the workers started: it is read again when it is refused.
    until(lambda: ber.call("clinic.home", "digits", "exact").status_code == 200)
    away = ber.call("clinic.home", "digits", "exact", infercast_id="away")
    assert away.status_code == 200, away.text
    assert away.headers["infercast-site"] == "par-far"
    assert away.json()["model_version"] == "digits-large"
    assert away.json()["outputs"]
    home = ber.call("clinic.home", "digits", "plain", infercast_id="home")
    assert (home.status_code, home.headers["infercast-site"]) == (200, "ber")
    [first], [second] = ber.lines("away"), par.lines("away")
    assert (first["tenant"], second["tenant"]) == ("clinic", "partner")
    assert (second["origin"], second["entry"], second["deployment"]) == ("ber-cluster", "par", "digits-large@par")
    assert par.lines("home") == []


def test_it_is_settled_once_where_it_entered(two: tuple[Cluster, Cluster]) -> None:
    ber, par = two
    for number in range(5):
        assert ber.call("clinic.home", "digits", "exact", infercast_id=f"sum-{number}").status_code == 200
    mine, theirs = ({line["number"]: line for line in each.lines()} for each in two)
    forwarded = [line for line in par.lines() if line["hops"]]
    assert len(forwarded) >= 5
    for line in forwarded:
        assert line["settled"] is False
        cluster, number = line["hops"][-1].split("/")
        assert cluster == ber.id
        assert mine[number]["request"] == line["request"]
    came_from = [line["hops"][-1] for line in forwarded]
    assert len(set(came_from)) == len(came_from)  # no call of ours stands there twice
    settled = [line for line in (*mine.values(), *theirs.values()) if line["settled"]]
    paid = [line for line in settled if line["request"].startswith("sum-")]
    assert len(paid) == 5
    assert sum(line["cost_usd"] for line in paid) == pytest.approx(5 * OURS_USD, rel=0.01)


def test_law_8_holds_in_each_and_over_both(two: tuple[Cluster, Cluster]) -> None:
    for cluster in two:
        fleet = load_fleet(Path(cluster.running.fleet))
        found = audit(cluster.state / "journal", Engine(fleet, load_policies(Path(cluster.running.policies), fleet)))
        assert found.clean, found
        assert found.calls == len(cluster.lines())


def test_a_call_that_comes_round_is_refused(two: tuple[Cluster, Cluster]) -> None:
    ber, par = two

    def round_trip() -> list[Raw]:
        answer = ber.call("clinic.home", "round", "plain")
        assert answer.status_code in (503, 504)
        return [line for line in par.lines() if line["model"] == "round" and line["attempts"]]

    came = until(round_trip)
    assert all(line["hops"] and not line["settled"] for line in came)
    # Sent back from Paris it is refused before it is carried: Berlin has lines of its own callers only.
    assert all(line["hops"] == [] for line in ber.lines())
    assert sum(line["cost_usd"] for line in [*ber.lines(), *par.lines()] if line["model"] == "round") == 0


def test_only_a_peer_may_say_where_a_call_has_been(two: tuple[Cluster, Cluster]) -> None:
    ber, par = two
    record = f"{ber.id}/ber-1-1"
    assert par.call("partner.home", "digits", "plain", **{HEADER: record}).status_code == 400
    assert par.call("partner.ber-cluster", "digits", "plain").status_code == 400
    assert par.call("partner.ber-cluster", "digits", "plain", **{HEADER: record}).status_code == 200
    assert (
        par.call("partner.ber-cluster", "digits", "plain", **{HEADER: f"{record}, {par.id}/x-1-1"}).status_code == 508
    )
    many = ", ".join(f"{number:016x}/x-1-1" for number in range(9))
    assert par.call("partner.ber-cluster", "digits", "plain", **{HEADER: many}).status_code == 508


def test_many_at_once_all_end_once(two: tuple[Cluster, Cluster]) -> None:
    ber, _ = two
    found: list[int] = []

    def work(name: str) -> None:
        found.extend(
            ber.call("clinic.home", "digits", "exact", infercast_id=f"{name}-{n}").status_code for n in range(5)
        )

    threads = [threading.Thread(target=work, args=(f"crowd-{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [200] * 30
    assert len([line for line in ber.lines() if line["request"].startswith("crowd-")]) == 30


def test_the_other_cluster_gone_is_no_candidate_and_what_is_ones_own_still_runs(two: tuple[Cluster, Cluster]) -> None:
    ber, par = two
    system.stop(par.state)
    until(lambda: ber.call("clinic.home", "digits", "exact").status_code == 503)
    assert ber.call("clinic.home", "digits", "plain").status_code == 200
