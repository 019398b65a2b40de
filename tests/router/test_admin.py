"""`/admin/v1` at an entry: who gets in, what is told, what is done to keys, and that no secret stands elsewhere."""

from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.router.errors import Kind, Trouble
from infercast.router.ingress.admin import NewKey
from infercast.router.ingress.app import Ingress
from infercast.router.keys import Holder, Key, Keys, issue
from infercast.router.ledger.asking import Wanted
from tests.router.fakes import Door, Exchange, scene

CALLS = [
    ("GET", "/admin/v1/status"), ("GET", "/admin/v1/keys"), ("POST", "/admin/v1/keys"),
    ("POST", "/admin/v1/usage"),
    ("POST", "/admin/v1/keys/clinic/rotate"), ("POST", "/admin/v1/keys/clinic/revoke"),
    ("POST", "/admin/v1/sites/fra/drain"), ("POST", "/admin/v1/sites/fra/undrain"),
]  # fmt: skip
INFER = "/v2/models/digits/infer"


@dataclass
class FakeOffice:
    """Keeps what it was asked for, and answers with a secret, or with what went wrong."""

    done: list[Any] = field(default_factory=list)
    trouble: Trouble | None = None

    async def told(self) -> dict[str, Any]:
        """What the board tells."""
        return {"policies": {"version": 3, "digest": "p3", "refused": ["studio.yaml:4: no"]}, "keys": {"digest": "k"}}

    def here(self) -> dict[str, Any]:
        """What the site knows."""
        return {"policies": "p2", "keys": "k", "heard_ago_us": 7, "signals": [{"in_flight": 4}]}

    async def usage(self, by: list[str], wanted: Wanted) -> list[dict[str, Any]]:
        """Note it."""
        self._do((by, wanted))
        return [{"tenant": "studio", "cost_nusd": 7}]

    async def issue(self, new: NewKey) -> str:
        """Note it."""
        return self._do(new)

    async def rotate(self, key_id: str, grace_s: int) -> str:
        """Note it."""
        return self._do(("rotate", key_id, grace_s))

    async def revoke(self, key_id: str) -> None:
        """Note it."""
        self._do(("revoke", key_id))

    async def drain(self, site: str, *, on: bool) -> None:
        """Note it."""
        self._do(("drain" if on else "undrain", site))

    def _do(self, what: Any) -> str:
        if self.trouble is not None:
            raise self.trouble
        self.done.append(what)
        return "ic-new-secret"


@dataclass
class Staffed:
    """An entry with an office, a tenant's key and two of the platform team's."""

    door: Door
    office: FakeOffice
    keys: list[Key]

    def say(self, method: str, path: str, asked: Any = None, key: str | None = "ops") -> Exchange:
        """Make one exchange."""
        body = asked if isinstance(asked, bytes) else b"" if asked is None else orjson.dumps(asked)
        return self.door.say(method, path, body, key)


def staffed() -> Staffed:
    at = scene()
    issued = [issue("studio", "studio", "paris"), *(issue(name, "", holder=Holder.ADMIN) for name in ("ops", "night"))]
    office = FakeOffice()
    keys = [key for key, _ in issued]
    ingress = Ingress(at.caller, Keys(keys), at.journal, list, emulated=True, office=office)
    return Staffed(Door(ingress, at, {key.id: secret for key, secret in issued}), office, keys)


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize(("key", "status"), [(None, 401), ("nonsense", 401), ("studio", 403)])
def test_only_the_platform_teams_keys_open_it(method: str, path: str, key: str | None, status: int) -> None:
    at = staffed()
    found = at.say(method, path, {"tenant": "studio"}, key)
    assert found.status == status
    assert found.value["infercast"]["kind"] == ("forbidden" if status == 403 else "unauthenticated")
    assert found.receives == 0, "its body is not read"
    assert at.office.done == at.door.scene.journal.lines == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", INFER), ("POST", "/v1/decide"), ("GET", "/v1/signals"), ("GET", "/v2/models/digits")],
)
def test_the_platform_teams_keys_open_nothing_else(method: str, path: str) -> None:
    at = staffed()
    found = at.say(method, path, {"model": "digits"})
    assert (found.status, found.value["infercast"]["kind"]) == (403, "forbidden")
    assert found.receives == 0


def test_status_tells_what_is_in_force_and_what_this_site_knows() -> None:
    at = staffed()
    told = at.say("GET", "/admin/v1/status").value
    assert (told["site"], told["emulated_distances"]) == ("fra", True)
    assert told["policies"]["refused"] == ["studio.yaml:4: no"]
    assert told["here"] == at.office.here()
    assert told["keys"] == {"digest": "k", "ids": ["night", "ops", "studio"]}


def test_keys_are_listed_without_anything_that_opens_them() -> None:
    at = staffed()
    for path in ("/admin/v1/keys", "/admin/v1/status"):
        text = at.say("GET", path).body.decode()
        assert not any(word in text for word in (*at.door.secrets.values(), *(key.sha256 for key in at.keys)))
    rows = at.say("GET", "/admin/v1/keys").value["keys"]
    assert [(row["id"], row["holder"], row["standing"]) for row in rows] == [
        ("night", "admin", "valid"), ("ops", "admin", "valid"), ("studio", "tenant", "valid")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "new"),
    [
        ({"tenant": "bank"}, NewKey("bank", "bank", Holder.TENANT, None, (), None)),
        (
            {"tenant": "bank", "origin": "zurich", "classes": ["ledger"], "lifetime_s": 60},
            NewKey("bank.zurich", "bank", Holder.TENANT, "zurich", ("ledger",), 60),
        ),
        ({"id": "b7", "tenant": "bank"}, NewKey("b7", "bank", Holder.TENANT, None, (), None)),
        ({"admin": True, "id": "audit"}, NewKey("audit", "", Holder.ADMIN, None, (), None)),
    ],
)
def test_a_key_is_issued_as_asked(asked: dict[str, Any], new: NewKey) -> None:
    at = staffed()
    found = at.say("POST", "/admin/v1/keys", asked)
    assert at.office.done == [new]
    assert found.value == {"id": new.id, "secret": "ic-new-secret"}
    assert found.headers["cache-control"] == "no-store"


def test_a_key_is_rotated_with_the_grace_that_is_asked_for() -> None:
    at = staffed()
    assert at.say("POST", "/admin/v1/keys/studio/rotate").value == {"id": "studio", "secret": "ic-new-secret"}
    assert at.say("POST", "/admin/v1/keys/studio/rotate", {"grace_s": 0}).status == 200
    assert at.office.done == [("rotate", "studio", 600), ("rotate", "studio", 0)]


def test_a_key_is_revoked_though_not_the_one_that_asks() -> None:
    at = staffed()
    assert at.say("POST", "/admin/v1/keys/night/revoke").value == {"id": "night", "standing": "revoked"}
    refused = at.say("POST", "/admin/v1/keys/ops/revoke")
    assert (refused.status, "the key of this very call" in refused.error) == (400, True)
    assert at.office.done == [("revoke", "night")]


def test_a_site_is_drained_and_taken_back_and_it_is_written_down_who_did() -> None:
    at = staffed()
    assert at.say("POST", "/admin/v1/sites/iad/drain").value == {"site": "iad", "drained": True}
    assert at.say("POST", "/admin/v1/sites/iad/undrain", key="night").value == {"site": "iad", "drained": False}
    assert at.office.done == [("drain", "iad"), ("undrain", "iad")]
    lines = [(line["by"], line["what"], line["site"]) for line in at.door.scene.journal.of("admin")]
    assert lines == [("ops", "drained", "iad"), ("night", "undrained", "iad")]


def test_who_changed_which_key_is_written_down_and_no_secret() -> None:
    at = staffed()
    at.say("POST", "/admin/v1/keys", {"tenant": "bank"})
    at.say("POST", "/admin/v1/keys/bank/rotate", key="night")
    at.say("POST", "/admin/v1/keys/bank/revoke")
    lines = at.door.scene.journal.lines
    assert [(line["kind"], line["by"], line["what"], line["key"]) for line in lines] == [
        ("admin", "ops", "issued", "bank"), ("admin", "night", "rotated", "bank"), ("admin", "ops", "revoked", "bank")
    ]  # fmt: skip
    assert "secret" not in str(lines)


@pytest.mark.parametrize(
    ("path", "asked", "said"),
    [
        ("", b"{", "the body is not JSON"),
        ("", [], "the body is not a JSON object"),
        ("", {"tennant": "bank"}, "unknown key 'tennant' (did you mean 'tenant'?)"),
        ("", {"tenant": 7}, "tenant is not text"),
        ("", {"tenant": "bank", "classes": "open"}, "classes is not a list"),
        ("", {"tenant": "bank", "classes": [7]}, "classes are not all text"),
        ("", {"tenant": "bank", "lifetime_s": 0}, "lifetime_s is 0"),
        ("", {"tenant": "bank", "lifetime_s": True}, "lifetime_s is not a whole number"),
        ("", {"tenant": "bank", "lifetime_s": 10**12}, "lifetime_s is 1000000000000"),
        ("", {"admin": True, "tenant": "bank"}, "bound to no tenant"),
        ("/bank/rotate", {"grace_s": -1}, "grace_s is -1"),
        ("/bank/rotate", {"grace": 1}, "unknown key 'grace' (did you mean 'grace_s'?)"),
    ],
)
def test_what_is_wrong_is_named(path: str, asked: Any, said: str) -> None:
    at = staffed()
    found = at.say("POST", f"/admin/v1/keys{path}", asked)
    assert found.status == 400
    assert said in found.error
    assert at.office.done == []


@given(st.binary(max_size=60) | st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
       lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "tenant", "admin", "classes",
       "lifetime_s", "origin"]), inner, max_size=4), max_leaves=6).map(orjson.dumps))  # fmt: skip
def test_no_body_is_our_fault(body: bytes) -> None:
    at = staffed()
    found = at.say("POST", "/admin/v1/keys", body)
    assert found.status in (200, 400)
    assert (found.status == 200) == bool(at.office.done)


def test_a_body_past_its_limit_is_not_taken() -> None:
    at = staffed()
    assert at.say("POST", "/admin/v1/keys", b" " * 20_000).status == 413


def test_when_the_board_is_away_that_is_said_and_nothing_is_written_down() -> None:
    at = staffed()
    at.office.trouble = Trouble(Kind.UNAVAILABLE, "the board does not answer")
    found = at.say("POST", "/admin/v1/keys/bank/rotate")
    assert (found.status, at.door.scene.journal.lines) == (503, [])


def test_a_device_has_no_office() -> None:
    at = scene()
    key, secret = issue("ops", "", holder=Holder.ADMIN)
    door = Door(Ingress(at.caller, Keys([key]), at.journal, list, emulated=True), at, {"ops": secret})
    for method, path in CALLS:
        assert door.say(method, path, b"", "ops").status == 404


def test_keys_that_come_into_force_count_from_the_next_call_on() -> None:
    at = staffed()
    key, secret = issue("late", "studio", "paris")
    assert at.say("GET", "/v1/signals", key=secret).status == 401
    at.door.ingress.take_keys(Keys([key]))
    assert at.say("GET", "/v1/signals", key=secret).status == 200
    assert at.say("GET", "/v1/signals", key="studio").status == 401


def test_usage_is_asked_of_the_board() -> None:
    at = staffed()
    told = at.say("POST", "/admin/v1/usage")
    assert (told.status, told.value) == (200, {"usage": [{"tenant": "studio", "cost_nusd": 7}]})
    at.say("POST", "/admin/v1/usage", {"by": ["day", "site", "day"], "since_s": 1, "until_s": 2, "tenant": "studio"})
    assert at.office.done == [(["tenant", "model"], Wanted()), (["day", "site"], Wanted(1, 2, "studio"))]


@pytest.mark.parametrize(
    ("asked", "said"),
    [({"by": ["tenat"]}, "did you mean 'tenant'"), ({"by": [7]}, "nothing to sum by"), ({"by": [["day"]]}, "nothing to sum by"),
     ({"since": 1}, "since_s"), ({"since_s": "x"}, "since_s"), ({"since_s": 2, "until_s": 2}, "since_s is 2, which is not before")],
)  # fmt: skip
def test_what_usage_cannot_be_told_by_is_refused(asked: Any, said: str) -> None:
    at = staffed()
    told = at.say("POST", "/admin/v1/usage", asked)
    assert told.status == 400
    assert said in told.error
    assert at.office.done == []
