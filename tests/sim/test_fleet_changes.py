"""Changes of the fleet: each does what it says and nothing else, and the loader has the last word."""

from pathlib import Path
from typing import Any

import pytest

from infercast.policies.fleet import Deployment, Fleet, Link, Site
from infercast.policies.fleet_file import load_fleet
from infercast.sim.fleet_changes import FLEET_KINDS
from tests.sim.scenarios import ROOT, faults, line_of, load

WAW: dict[str, Any] = {
    "site": {"id": "waw", "tier": "edge", "country": "PL", "lat": 52.2, "lon": 21.0, "operator": "metro-edge",
             "accelerators": {"cpu": {"slots": 2, "usd_per_hour": 0.115}}},
    "links": [{"from": "waw", "to": "fra", "rtt_ms": 22, "bandwidth_mbps": 1000, "countries": ["PL", "DE"]}],
    "deployments": [{"site": "waw", "variant": "digits-large"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def before() -> Fleet:
    return load_fleet(ROOT / "cluster.yaml")


def without(fleet: Fleet, *parts: str) -> dict[str, Any]:
    """The fleet but for some of its lists."""
    return fleet.model_dump(mode="json", exclude={"artefacts", *parts})


def links(fleet: Fleet) -> dict[str, Link]:
    return {f"{link.from_}~{link.to}": link for link in fleet.links}


def test_no_change_is_the_fleet_as_its_file_has_it(tmp_path: Path, before: Fleet) -> None:
    assert load(tmp_path).fleet.digest == before.digest


def test_a_site_comes_with_its_links_and_deployments(tmp_path: Path, before: Fleet) -> None:
    after = load(tmp_path, {"add_site": WAW}).fleet
    assert after.sites[:-1] == before.sites
    assert after.sites[-1] == Site.model_validate(WAW["site"])
    assert after.links == (*before.links, Link.model_validate(WAW["links"][0]))
    assert after.deployments == (*before.deployments, Deployment(site="waw", variant="digits-large"))
    assert without(after, "sites", "links", "deployments", "cards") == without(
        before, "sites", "links", "deployments", "cards"
    )


def test_a_site_that_comes_and_goes_leaves_the_fleet_as_it_was(tmp_path: Path, before: Fleet) -> None:
    assert load(tmp_path, {"add_site": WAW}, {"remove_site": {"site": "waw"}}).fleet.digest == before.digest


def test_a_site_goes_with_its_links_and_deployments(tmp_path: Path, before: Fleet) -> None:
    after = load(tmp_path, {"remove_site": {"site": "gru"}}).fleet
    assert after.sites == tuple(site for site in before.sites if site.id != "gru")
    assert after.links == tuple(link for link in before.links if "gru" not in (link.from_, link.to))
    assert after.deployments == tuple(each for each in before.deployments if each.site != "gru")
    assert after.network.path("berlin", "fra") == before.network.path("berlin", "fra")


def test_a_site_moves_and_its_links_are_new(tmp_path: Path, before: Fleet) -> None:
    to = {"country": "ES", "place": "Madrid", "lat": 40.5, "lon": -3.6}
    new = {"from": "fra", "to": "dub", "rtt_ms": 30, "bandwidth_mbps": 100, "countries": ["DE", "FR", "ES"]}
    after = load(tmp_path, {"move_site": {"site": "dub", "to": to, "links": [new]}}).fleet
    site = after.site_by_id["dub"]
    assert (site.country, site.place, site.lat, site.operator) == ("ES", "Madrid", 40.5, "aws")
    assert [name for name in links(after) if "dub" in name] == ["fra~dub"]
    assert links(after)["fra~dub"].rtt_ms == 30
    assert after.deployments == before.deployments


def test_a_site_is_resized_and_what_is_not_said_stays(tmp_path: Path, before: Fleet) -> None:
    more = {"cpu": {"slots": 9}, "gpu": {"slots": 1, "usd_per_hour": 2.5}}
    after = load(tmp_path, {"resize_site": {"site": "fra", "accelerators": more}}).fleet.site_by_id["fra"]
    assert (after.accelerators["cpu"].slots, after.accelerators["cpu"].usd_per_hour) == (9, 0.115)
    assert (after.accelerators["gpu"].slots, after.accelerators["gpu"].usd_per_hour) == (1, 2.5)
    device = load(tmp_path, {"resize_site": {"site": "berlin-cam", "instances": 7}}).fleet.site_by_id["berlin-cam"]
    assert device == before.site_by_id["berlin-cam"].model_copy(update={"instances": 7})


def test_a_zone_comes_with_its_links(tmp_path: Path, before: Fleet) -> None:
    zone = {"id": "warsaw", "country": "PL", "lat": 52.2, "lon": 21.0}
    way = {"from": "warsaw", "to": "fra", "rtt_ms": 22, "bandwidth_mbps": 100, "countries": ["PL", "DE"]}
    after = load(tmp_path, {"add_zone": {"zone": zone, "links": [way]}}).fleet
    path = after.network.path("warsaw", "dub")
    assert path is not None
    assert path.via == ("warsaw", "fra", "dub")


def test_links_come_change_and_go(tmp_path: Path, before: Fleet) -> None:
    new = {"from": "gru", "to": "dub", "rtt_ms": 180, "bandwidth_mbps": 1000, "countries": ["BR", "IE"]}
    assert len(load(tmp_path, {"add_link": new}).fleet.links) == len(before.links) + 1
    after = links(load(tmp_path, {"change_link": {"link": "dub~fra", "rtt_ms": 52}}).fleet)["fra~dub"]
    assert (after.rtt_ms, after.rtt_p95_ms) == (52, 65.0)  # the p95 is scaled alike
    assert after.bandwidth_mbps == links(before)["fra~dub"].bandwidth_mbps
    both = {"link": "fra~dub", "rtt_ms": 52, "rtt_p95_ms": 53}
    assert links(load(tmp_path, {"change_link": both}).fleet)["fra~dub"].rtt_p95_ms == 53
    assert "fra~dub" not in links(load(tmp_path, {"remove_link": {"link": "dub~fra"}}).fleet)


def test_deployments_come_change_and_go(tmp_path: Path, before: Fleet) -> None:
    new = {"site": "dub", "variant": "resnet50", "hosted": "own", "replicas": 2}
    assert load(tmp_path, {"add_deployment": new}).fleet.deployments[-1].id == "resnet50@dub"
    change = {"deployment": "squeezenet@dub", "replicas": 3, "queue_max": 32}
    after = load(tmp_path, {"change_deployment": change}).fleet
    number = before.deployment_index["squeezenet@dub"]
    assert after.deployments[number] == before.deployments[number].model_copy(update={"replicas": 3, "queue_max": 32})
    gone = load(tmp_path, {"remove_deployment": {"deployment": "squeezenet@dub"}}).fleet
    assert gone.deployments == tuple(each for each in before.deployments if each.id != "squeezenet@dub")


def prices(fleet: Fleet) -> dict[str, float]:
    return {site.id: site.accelerators["cpu"].usd_per_hour for site in fleet.sites}


@pytest.mark.parametrize(
    ("who", "moved"),
    [({"site": "fra"}, {"fra"}), ({"operator": "aws"}, {"iad", "dub"}), ({"tier": "edge"}, {"fra", "sin", "gru"})],
)
def test_prices_of_sites_change_by_scale_or_to_a_value(
    tmp_path: Path, before: Fleet, who: dict[str, str], moved: set[str]
) -> None:
    scaled = prices(load(tmp_path, {"change_price": {**who, "scale": 1.5}}).fleet)
    assert scaled == pytest.approx({s: p * (1.5 if s in moved else 1) for s, p in prices(before).items()})
    fixed = prices(load(tmp_path, {"change_price": {**who, "usd_per_hour": 7}}).fleet)
    assert fixed == {site: 7 if site in moved else price for site, price in prices(before).items()}


def test_prices_of_links_change(tmp_path: Path, before: Fleet) -> None:
    link = links(load(tmp_path, {"change_price": {"link": "fra~sin", "scale": 2}}).fleet)["fra~sin"]
    assert (link.egress_usd_per_gb, link.egress_back_usd_per_gb) == (0.04, 0.18)
    one = {"link": "fra~sin", "egress_back_usd_per_gb": 1}
    link = links(load(tmp_path, {"change_price": one}).fleet)["fra~sin"]
    assert (link.egress_usd_per_gb, link.egress_back_usd_per_gb) == (0.02, 1)


def test_a_models_variants_come_and_go_with_their_deployments(tmp_path: Path, before: Fleet) -> None:
    card = (ROOT / "examples" / "models" / "digits-large.card.json").read_text(encoding="utf-8")
    (tmp_path / "mine.card.json").write_text(card.replace('"digits-large"', '"mine"'), encoding="utf-8")
    change = {"model": "digits", "add": [{"id": "mine", "card": "mine.card.json"}], "remove": ["digits-medium"]}
    after = load(tmp_path, {"change_model": change}, {"add_deployment": {"site": "fra", "variant": "mine"}}).fleet
    assert [variant.id for variant in after.model_by_id["digits"].variants] == ["digits-small", "digits-large", "mine"]
    assert {each.id for each in after.deployments} == {
        *(each.id for each in before.deployments if each.variant != "digits-medium"),
        "mine@fra",
    }
    assert after.cards["mine"].accuracy == before.cards["digits-large"].accuracy


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"remove_site": {"site": "duh"}}, "duh", "no site is called 'duh' (did you mean 'dub'?)"),
    ({"move_site": {"site": "x", "to": {"lat": 1, "lon": 1}, "links": []}}, "links", "at least 1"),
    ({"resize_site": {"site": "fro", "instances": 2}}, "fro", "did you mean 'fra'"),
    ({"resize_site": {"site": "fra", "instances": 2}}, "instances", "only device sites are templates"),
    ({"resize_site": {"site": "fra", "accelerators": {"gpu": {"slots": 2}}}}, "gpu", "'usd_per_hour' is missing"),
    ({"add_site": {**WAW, "site": {**WAW["site"], "country": "XX"}}}, "country", "'XX' is no ISO 3166 country"),
    ({"add_site": {"site": {**WAW["site"], "id": "fra"}}}, " site:", "'fra' stands twice"),
    ({"add_site": {**WAW, "links": [{**WAW["links"][0], "from": "dub"}]}}, "from", "leads not to 'waw'"),
    ({"add_site": {**WAW, "deployments": [{"site": "waw", "variant": "y"}]}}, "variant", "no variant is called 'y'"),
    ({"add_link": {"from": "dub", "to": "fra", "rtt_ms": 1, "bandwidth_mbps": 1}}, "add_link", "write change_link"),
    ({"add_link": {"from": "dub", "to": "nowhere", "rtt_ms": 1, "bandwidth_mbps": 1}}, "nowhere", "no place is called"),
    ({"remove_link": {"link": "dub~sin"}}, "dub~sin", "no link is called 'dub~sin'"),
    ({"change_link": {"link": "fra~dub", "rtt_ms": -1}}, "rtt_ms", "must be at least 0"),
    ({"change_link": {"link": "fra~dub", "rtt_ms": 90, "rtt_p95_ms": 9}}, "rtt_p95_ms", "p95 9.0 is below rtt_ms"),
    ({"add_deployment": {"site": "fra", "variant": "digits-large"}}, "add_deployment", "stands twice"),
    ({"remove_deployment": {"deployment": "resnet50@fra"}}, "resnet50@fra", "did you mean 'resnet50@iad'"),
    ({"change_deployment": {"deployment": "squeezenet@fra", "replicas": 3}}, "replicas", "has 2 cpu slots"),
    ({"change_price": {"site": "fra"}}, "change_price", "say the new price or scale"),
    ({"change_price": {"site": "fra", "tier": "edge", "scale": 2}}, "change_price", "not site and tier"),
    ({"change_price": {"operator": "asw", "scale": 2}}, "asw", "did you mean 'aws'"),
    ({"change_price": {"site": "fra", "accelerator": "gpu", "scale": 2}}, "accelerator", "none of these sites has 'gpu'"),
    ({"change_price": {"link": "fra~dub", "usd_per_hour": 2}}, "change_price", "a link egress_usd_per_gb"),
    ({"change_model": {"model": "digits", "remove": ["digits-smal"]}}, "digits-smal", "did you mean 'digits-small'"),
    ({"change_model": {"model": "digits", "add": [{"id": "y", "card": "y.json"}]}}, "card", "cannot be read"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "word", "said"), WRONG, ids=[f"{i}-{next(iter(w[0]))}" for i, w in enumerate(WRONG)]
)
def test_what_is_wrong_is_said_where_it_stands_in_the_scenario(
    tmp_path: Path, change: dict[str, Any], word: str, said: str
) -> None:
    found = faults(tmp_path, change)
    assert len(found) == 1, found
    text = (tmp_path / "s.yaml").read_text()
    after = text[: text.index(word, text.index("changes:"))].count("\n") + 1
    assert said in found[0]
    assert found[0].startswith(f"s.yaml:{after}: ")


def test_each_kind_is_tried_here() -> None:
    tried = {next(iter(change)) for change, _, _ in WRONG}
    assert tried >= FLEET_KINDS - {"add_zone"}


def test_a_fault_of_the_fleet_file_is_said_with_its_own_line(tmp_path: Path) -> None:
    spoilt = tmp_path / "cluster.yaml"
    spoilt.write_text((ROOT / "cluster.yaml").read_text().replace("country: SG", "country: SGP", 1))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    found = faults(tmp_path, {"add_site": WAW}, fleet="cluster.yaml")
    assert [fault.split(": ")[0] for fault in found] == [f"cluster.yaml:{line_of(spoilt, 'country: SGP')}"]


def test_faults_of_all_changes_come_at_once(tmp_path: Path) -> None:
    found = faults(tmp_path, {"remove_site": {"site": "x"}}, {"remove_link": {"link": "a~b"}}, {"add_site": WAW})
    assert len(found) == 2
