"""Policies as a caller meets them on the wire: refused from the headers, before the body; no port with a way round."""

import json

import httpx
import pytest

from infercast.policies.model import Rule
from tests.cluster.live import CAMERA, ONE_IMAGE, SERVED, Live

MANY_BYTES = 5_000_000
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
INFER = "v2/models/digits/infer"
SILENT_S, OURS_S = 2.0, 30.0
"""How long a port is waited for that may speak no HTTP at all, and one that does."""


def test_a_call_that_may_not_enter_is_refused_before_its_body_is_read(live: Live) -> None:
    headers = {**live.headers("hospital", "paris", "personal"), "infercast-id": "kept-out"}
    with live.raw(f"/iad/{INFER}", headers, MANY_BYTES) as wire:
        head = wire.head()
        assert head.startswith("HTTP/1.1 421")
        assert wire.silent_for(0.5)
    assert [line["payload_bytes"] for line in live.journal("received", "kept-out")] == [0]
    (call,) = live.journal("call", "kept-out")
    assert (call["reason"], call["received_bytes"], call["attempts"]) == ("wrong_entry", 0, [])


def test_a_call_that_may_enter_is_asked_for_its_body(live: Live) -> None:
    body = json.dumps(ONE_IMAGE).encode()
    headers = {**live.headers("hospital", "paris", "open"), "infercast-id": "let-in"}
    with live.raw(f"/fra/{INFER}", headers, len(body)) as wire:
        assert wire.head().startswith("HTTP/1.1 100")
        wire.socket.sendall(body)
        assert wire.head().startswith("HTTP/1.1 200")
    taken_in = [line for line in live.journal("received", "let-in") if line["role"] == "ingress"]
    assert [(line["place"], line["payload_bytes"]) for line in taken_in] == [("fra", len(body))]


def test_a_refused_caller_that_sends_anyway_is_not_read(live: Live) -> None:
    headers = {**live.headers("hospital", "paris", "personal"), "infercast-id": "pushed"}
    response = live.infer("iad", headers, body=b"x" * MANY_BYTES)
    assert response.status_code == 421
    assert [line["payload_bytes"] for line in live.journal("received", "pushed")] == [0]


@pytest.mark.parametrize("entry", SERVED)
def test_biometric_data_may_enter_at_no_site(live: Live, entry: str) -> None:
    response = live.infer(entry, live.headers("hospital", CAMERA, "biometric"))
    assert response.status_code == 421
    told = response.json()["infercast"]
    assert told["entries"] == [CAMERA]
    # Where the way from the camera does not exist, or residency says no first, another rule of the entry may be named.
    assert told["rule"] in {"entry.privacy", "entry.residency", "entry.transit"}


def test_the_refusal_says_where_the_call_may_enter(live: Live) -> None:
    response = live.infer("iad", live.headers("hospital", "paris", "personal"))
    assert response.status_code == 421
    assert response.json()["infercast"]["entries"] == ["fra", "dub"]
    assert "entry in US, allowed: EEA" in response.json()["error"]
    assert "enter at fra, dub" in response.json()["error"]


@pytest.mark.parametrize(
    ("tenant", "entry", "named"),
    [("hospital", "fra", "open"), ("studio", "iad", "replays"), ("annotator", "sin", "images")],
)
def test_a_missing_class_is_the_strictest(live: Live, tenant: str, entry: str, named: str) -> None:
    assert live.infer(entry, live.headers(tenant, None, named)).status_code == 200
    unnamed = live.infer(entry, live.headers(tenant))
    assert unnamed.status_code == 421
    assert unnamed.json()["infercast"]["rule"] == "entry.privacy"


def test_a_deadline_header_only_tightens(live: Live) -> None:
    headers = live.headers("hospital", "paris")
    asked = {"class": "personal", "payload_bytes": 256}
    assert live.decide("fra", headers, **asked).json()["deadline_us"] == 200_000
    assert live.decide("fra", headers, **asked, deadline_ms=600_000).json()["deadline_us"] == 200_000
    assert live.decide("fra", headers, **asked, deadline_ms=50).json()["deadline_us"] == 50_000
    late = live.infer("fra", {**live.headers("hospital", "paris", "personal"), "infercast-deadline-ms": "1"})
    assert late.status_code == 403
    assert late.json()["infercast"]["rule"] == "deadline"


def test_no_header_moves_a_call_to_another_place_or_tenant(live: Live) -> None:
    claims = {
        "infercast-origin": "paris",
        "infercast-entry": "fra",
        "infercast-tenant": "studio",
        "x-forwarded-for": "1.2.3.4",
    }
    headers = {**live.headers("hospital", "newyork", "personal"), **claims, "infercast-id": "claims"}
    assert live.infer("iad", headers).status_code == 421
    (call,) = live.journal("call", "claims")
    assert (call["tenant"], call["origin"], call["entry"]) == ("hospital", "newyork", "iad")


def test_a_second_class_header_never_loosens_the_first(live: Live) -> None:
    body = json.dumps(ONE_IMAGE).encode()
    for first, second in (("biometric", "open"), ("open", "biometric")):
        pairs = [("authorization", live.headers("hospital")["authorization"])]
        pairs += [("infercast-class", first), ("infercast-class", second)]
        response = live.client.post(f"{live.url('iad')}/{INFER}", content=body, headers=pairs)
        assert response.status_code in (400, 421), (first, second, response.status_code)


@pytest.mark.parametrize("entry", SERVED)
@pytest.mark.parametrize(
    ("tenant", "data_class"),
    [("hospital", "personal"), ("studio", "minors"), ("annotator", "sealed"), ("bank", "ledger")],
)
def test_decide_tells_all_of_the_decision_and_nothing_of_others(
    live: Live, tenant: str, data_class: str, entry: str
) -> None:
    response = live.decide(entry, live.headers(tenant), **{"class": data_class, "payload_bytes": 256})
    assert response.status_code == 200
    told = response.json()
    candidates = {d.id for d in live.fleet.deployments if live.fleet.model_of[d.variant] == "digits"}
    assert {verdict["deployment"] for verdict in told["verdicts"]} == candidates
    words = {rule.word for rule in Rule}
    for verdict in told["verdicts"]:
        assert verdict["rule"] in words
        assert verdict["rule"] == "none" or verdict["detail"]
        if verdict["rule"] == "none":
            assert sum(verdict["shares"].values()) == verdict["score"]
    assert (told["chosen"] is not None) == (told["outcome"] == "chosen")
    others = set(live.policies) - {tenant}
    assert not [name for name in others if name in response.text]


def test_decide_takes_no_payload(live: Live) -> None:
    response = live.decide("fra", live.headers("hospital"), **ONE_IMAGE)
    assert response.status_code == 400
    assert "unknown key 'inputs'" in response.json()["error"]
    assert live.client.post(f"{live.url('fra')}/v1/decide", json={"model": "digits"}).status_code == 401


def test_nothing_listens_beyond_this_machine(live: Live) -> None:
    ports = live.listening()
    assert live.running.port in ports
    assert set(live.running.devices.values()) <= set(ports)
    wide = {port: addresses for port, addresses in ports.items() if not addresses <= LOOPBACK}
    assert wide == {}


def test_no_port_offers_a_way_round_the_policy(live: Live) -> None:
    body = json.dumps(ONE_IMAGE).encode()
    paths = [INFER, *(f"{site}/{INFER}" for site in SERVED), f"{CAMERA}/{INFER}", ""]
    keys = [live.headers("hospital", None, "biometric"), live.headers("hospital"), {"infercast-class": "open"}]
    answered, spoke = [], set()
    ours = {live.running.port, *live.running.devices.values()}
    with httpx.Client() as client:
        for port in sorted(live.listening()):
            client.timeout = httpx.Timeout(OURS_S if port in ours else SILENT_S)
            for path in paths:
                for headers in keys:
                    try:
                        response = client.post(f"http://127.0.0.1:{port}/{path}", content=body, headers=headers)
                    except httpx.HTTPError:
                        break
                    spoke.add(port)
                    if response.status_code == 200:
                        answered.append((port, path, response.text[:80]))
    assert ours <= spoke
    assert answered == []


def test_no_port_takes_in_a_body_that_may_not_enter(live: Live) -> None:
    headers = live.headers("hospital", None, "personal")
    with httpx.Client() as client:
        ports = [
            port
            for port in live.listening()
            if _serves(client, port, OURS_S if port == live.running.port else SILENT_S)
        ]
    assert live.running.port in ports
    took = []
    for port in ports:
        with live.raw(f"/iad/{INFER}", headers, MANY_BYTES, port) as wire:
            if not wire.head().startswith("HTTP/1.1 4"):
                took.append(port)
    assert took == []


def _serves(client: httpx.Client, port: int, patience_s: float) -> bool:
    """Whether a port leads to a site's ingress."""
    try:
        response = client.get(f"http://127.0.0.1:{port}/iad/v2", timeout=patience_s)
        return response.status_code == 200 and response.json()["name"] == "infercast"
    except (httpx.HTTPError, ValueError):
        return False
