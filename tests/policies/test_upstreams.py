"""Upstreams in the fleet file: what it may not say of them, where calls can get at them, and what a call there is priced."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.policies import kernel
from infercast.policies.engine import Engine
from infercast.policies.faults import BadInput
from infercast.policies.fleet import Fleet
from infercast.policies.fleet_file import load_fleet
from infercast.policies.model import Outcome, Rule
from infercast.policies.snapshot import Report, Snapshot
from infercast.policies.tables import CALL_NUSD_MAX
from infercast.policies.upstream import is_private
from tests.support import TRUSTED, card, link, policy_of, raw_fleet, request_of, site, write

Raw = dict[str, Any]
CHAT = {"id": "talk", "task": "chat", "variants": [{"id": "llama", "card": "llama.json"}]}


def raw_with(upstream: Raw | None = None, deployment: Raw | None = None, **parts: Any) -> Raw:
    """The small fleet, with an upstream `far` behind Paris on which `llama` stands."""
    whole = raw_fleet()
    whole["sites"][0]["tenant"] = "t"
    whole["cards"]["large"] = card("large", 0.98, 2.0)
    far = {**site("far", "cloud", "FR", operator="them", trust=TRUSTED), **parts.pop("far", {})}
    del far["accelerators"]
    far["upstream"] = {"url": "https://api.example.com/v1", "api": "openai", **(upstream or {})}
    there = {"variant": "llama", "site": "far", "hosted": "upstream", **(deployment or {})}
    return {
        **whole,
        "sites": [*whole["sites"], far],
        "links": [*whole["links"], link("par", "far", 4, "FR"), link("berlin", "far", 1, "DE", "FR"), link("phone", "far", 1, "DE")],
        "models": [*whole["models"], CHAT],
        "deployments": [*whole["deployments"], there],
        "cards": {**whole["cards"], "llama": {**card("llama", 0.9, 300.0), "usual_tokens": {"prompt": 500, "completion": 200}}},
        **parts,
    }  # fmt: skip


def loaded(folder: Path, raw: Raw) -> Fleet:
    """The fleet, from files."""
    for name, text in raw["cards"].items():
        write(folder / f"{name}.json", text)
    return load_fleet(write(folder / "cluster.yaml", {key: value for key, value in raw.items() if key != "cards"}))


def faults_of(folder: Path, raw: Raw) -> list[str]:
    with pytest.raises(BadInput) as caught:
        loaded(folder, raw)
    assert all(fault.line for fault in caught.value.faults)
    return [f"{fault.field}: {fault.message} ({fault.remedy})" for fault in caught.value.faults]


def test_an_upstream_loads_and_has_no_hardware_to_pay_for(tmp_path: Path) -> None:
    fleet = loaded(tmp_path, raw_with({"key_file": "keys/openai", "models": {"llama": "meta/llama-3.1-8b"}}))
    assert fleet.site_by_id["far"].accelerators["cpu"].usd_per_hour == 0
    assert fleet.files == {"far.key_file": str(tmp_path / "keys" / "openai")}
    assert [site.id for site in fleet.served] == ["ber", "par", "iad"]
    assert [fleet.deployments[index].id for index in fleet.upstream_deployments] == ["llama@far"]


@pytest.mark.parametrize(
    ("upstream", "said"),
    [
        ({"url": "ftp://host/v1"}, "ftp:// is no way to an upstream"),
        ({"url": "api.example.com/v1"}, "no:// is no way to an upstream"),
        ({"url": "https://user:sk-secret@host/v1"}, "a credential stands in the URL"),
        ({"url": "https:///v1"}, "names no host"),
        ({"url": "https://host:99999/v1"}, "is no URL"),
        ({"url": "https://host/v1?key=abc"}, "the URL goes on after its path"),
        ({"url": "https://ho st/v1"}, "names no host"),
        ({"url": "http://127.0.0.1:8000/v1"}, "127.0.0.1 is a private address"),
        ({"url": "http://localhost:11434/v1"}, "localhost is a private address"),
        ({"url": "http://10.1.2.3/v1"}, "10.1.2.3 is a private address"),
        ({"url": "http://169.254.169.254/latest"}, "169.254.169.254 is a private address"),
        ({"url": "http://[::1]:8000/v1"}, "::1 is a private address"),
        ({"url": "http://[::ffff:10.0.0.1]/v1"}, "is a private address"),
        ({"url": "http://api.example.com/v1", "key_env": "KEY"}, "the key would travel unencrypted"),
        ({"key_env": "A", "key_file": "b"}, "the key lies in two places"),
        ({"key_env": "sk-live-0123456789"}, "key_env"),
        ({"models": {"lama": "x"}}, "no variant is called 'lama' (did you mean 'llama'?)"),
        ({"models": {"llama": "two words"}}, "models"),
        ({"api": "grpc"}, "api"),
        ({"api": "oip"}, "'talk' is for chat, which an oip upstream is not asked for"),
        ({"key": "sk-123"}, "unknown key 'key'"),
    ],
)
def test_what_an_upstream_may_not_say_is_told_with_its_place(tmp_path: Path, upstream: Raw, said: str) -> None:
    found = faults_of(tmp_path, raw_with(upstream))
    assert any(said in fault for fault in found), found
    assert not any("sk-" in fault for fault in found if "key_env" not in fault)


@pytest.mark.parametrize(
    ("deployment", "said"),
    [
        ({"hosted": "own"}, "site 'far' is an upstream: nothing else runs there (write `hosted: upstream`)"),
        ({"site": "par"}, "site 'par' has no upstream"),
        ({"site": "par", "hosted": "own", "usd_per_call": 0.1}, "only upstreams are paid by the call"),
        ({"site": "par", "hosted": "own", "usd_per_million_tokens": {"prompt": 1}}, "only upstreams are paid by the call"),
    ],
)  # fmt: skip
def test_deployments_and_upstreams_belong_together(tmp_path: Path, deployment: Raw, said: str) -> None:
    assert any(said in fault for fault in faults_of(tmp_path, raw_with(deployment=deployment)))


def test_tokens_are_priced_for_a_card_that_says_how_many(tmp_path: Path) -> None:
    raw = raw_with(deployment={"usd_per_million_tokens": {"prompt": 3, "completion": 15}})
    fleet = loaded(tmp_path, raw)
    assert fleet.tables.call_nusd[-1] == 3_000 * 500 + 15_000 * 200
    assert fleet.tables.call_nusd[:-1] == [0] * 4
    del raw["cards"]["llama"]["usual_tokens"]
    assert any("how many tokens the usual call has" in fault for fault in faults_of(tmp_path, raw))


def test_an_upstream_is_no_device(tmp_path: Path) -> None:
    assert any(
        "an upstream is no device" in f for f in faults_of(tmp_path, raw_with(far={"tier": "device", "tenant": "t"}))
    )


def test_onward_is_for_peers(tmp_path: Path) -> None:
    zones = [{"id": "berlin", "country": "DE", "lat": 0, "lon": 0, "onward": True}]
    assert any("only a peer's calls are sent on" in fault for fault in faults_of(tmp_path, raw_with(zones=zones)))


def decided(raw: Raw, **ask: Any) -> Any:
    fleet = Fleet.model_validate(raw)
    engine = Engine(fleet, {"t": policy_of()})
    asked = request_of(**{"model": "talk", "entry": "par", "origin": "par", **ask})
    return engine.explain(asked, Snapshot.declared(fleet))


def test_a_call_goes_to_an_upstream_from_where_a_link_leads_there() -> None:
    assert decided(raw_with()).chosen == "llama@far"
    assert decided(raw_with(), entry="ber", origin="berlin").chosen == "llama@far"  # by way of Paris


def test_nothing_enters_at_an_upstream_and_nothing_passes_through_it() -> None:
    entering = decided(raw_with(), entry="far")
    assert entering.outcome is Outcome.REFUSED
    assert {verdict.rule for verdict in entering.verdicts} == {Rule.PATH_NONE}
    assert "far" not in entering.entries
    raw = raw_with()
    raw["links"] += [link("far", "iad", 1, "FR", "US")]
    fleet = Fleet.model_validate(raw)
    path = fleet.network.path("par", "iad")
    assert path is not None
    assert path.via == ("par", "iad")
    assert fleet.network.path("far", "par") is None


def test_devices_and_zones_do_not_reach_an_upstream_by_themselves() -> None:
    fleet = Fleet.model_validate(raw_with())
    assert fleet.network.path("phone", "far") is None
    assert fleet.network.path("berlin", "far") is None
    [verdict] = decided(raw_with(), entry="phone", origin="phone").verdicts
    assert verdict.rule is Rule.PATH_NONE


@pytest.mark.parametrize("trust", [{}, {"retention_days": 0}, {"trains_on_inputs": False}])
def test_what_is_not_known_of_an_upstream_is_vetoed_as_anywhere(trust: Raw) -> None:
    fleet = Fleet.model_validate(raw_with(far={"trust": trust}))
    asks = {"privacy": {"retention_days_max": 0, "no_training": True}}
    engine = Engine(fleet, {"t": policy_of(asks)})
    decision = engine.explain(request_of(model="talk", entry="par", origin="par"), Snapshot.declared(fleet))
    assert decision.outcome is Outcome.REFUSED


def test_a_peers_calls_are_not_sent_on_unless_its_zone_says_so() -> None:
    for onward, outcome in ((False, Outcome.REFUSED), (True, Outcome.CHOSEN)):
        peer = {"id": "friend", "country": "DE", "lat": 0, "lon": 0, "peer": True, "onward": onward}
        raw = raw_with(zones=[peer])
        raw["links"] = [each for each in raw["links"] if "berlin" not in each.values()] + [
            link("friend", "par", 1, "DE", "FR")
        ]
        fleet = Fleet.model_validate(raw)
        engine = Engine(fleet, {"t": policy_of()})
        call = request_of(model="talk", entry="par", origin="friend")
        decision = engine.explain(call, Snapshot.declared(fleet))
        assert decision.outcome is outcome
        assert engine.choose(call, Snapshot.declared(fleet)).outcome is outcome
        assert (engine.compiled(call).veto(4) is None) is onward
        own = engine.explain(request_of(model="digits", entry="par", origin="friend"), Snapshot.declared(fleet))
        assert own.outcome is Outcome.CHOSEN


@given(st.floats(0, 1000), st.integers(0, 100), st.integers(1, 600_000_000))
def test_a_call_costs_what_the_upstream_takes_whatever_time_it_takes(usd: float, egress: int, p50_us: int) -> None:
    raw = raw_with(deployment={"usd_per_call": usd})
    raw["links"] = [link("par", "far", 4, "FR", egress_usd_per_gb=egress)]
    fleet = Fleet.model_validate(raw)
    snapshot = Snapshot.declared(fleet)
    snapshot.hear(4, Report(0, p50_us, p50_us), 1)
    snapshot.believe(1)
    engine = Engine(fleet, {"t": policy_of()})
    call = request_of(model="talk", entry="par", origin="par", payload_bytes=1000)
    choice, [verdict] = engine.choose(call, snapshot), engine.explain(call, snapshot).verdicts
    way = kernel.egress_nusd(egress * 10**9, egress * 10**9, 1000, 1024)
    assert choice.price_nusd == (verdict.price_nusd,)
    assert verdict.price_nusd == fleet.tables.call_nusd[4] + way
    assert 0 <= fleet.tables.call_nusd[4] - usd * 1e9 + 1 <= 2
    assert fleet.tables.call_nusd[4] <= CALL_NUSD_MAX


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "a.localhost", "10.0.0.1", "192.168.1.1", "172.16.0.9", "::1",
    "fe80::1%eth0", "fd00::1", "0.0.0.0", "169.254.169.254", "100.64.0.1", "::ffff:127.0.0.1", "224.0.0.1"])  # fmt: skip
def test_private_addresses_are_known(host: str) -> None:
    assert is_private(host)


@pytest.mark.parametrize("host", ["example.com", "1.1.1.1", "2606:4700::1111", "localhost.example.com"])
def test_public_ones_too(host: str) -> None:
    assert not is_private(host)
