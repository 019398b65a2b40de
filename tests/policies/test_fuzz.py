"""Loaders and hostile files: refused whole with BadInput, or loaded whole and fit to decide with. Never anything else."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from infercast.policies.cases import check_cases, load_cases
from infercast.policies.engine import Engine, Unknown
from infercast.policies.faults import BadInput
from infercast.policies.fleet import Fleet
from infercast.policies.fleet_file import load_fleet
from infercast.policies.model import Request
from infercast.policies.policy import Policy
from infercast.policies.policy_file import load_policies, load_policy
from infercast.policies.snapshot import Snapshot
from tests.support import TRUSTED, engine_of, fleet_of, raw_fleet, raw_policy, write

Raw = dict[str, Any]
SEEDS = st.integers(0, 2**62)
JUNK: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 10**30, -(10**30), 0.5, 1e308, float("nan"), float("inf"), "", " ", "x" * 3000, "\0",
    "\ud7ff\u202e", "DE", "ZZ", "eea", "small", "berlin", "ber", "t", "../t.yaml", "base.yaml", "/etc/passwd", "1e400",
    "25:00-26:00", "2026-02-30", "Europe/Nowhere", "..", [], {}, [[]], [None], ["DE", "DE"], {"allow": None}, {"": ""},
    {"allow": ["DE"], "deny": ["DE"]}, [{"when": {}}], {"x": {"y": {"z": []}}},
)  # fmt: skip


def whole_policy() -> Raw:
    """A policy that says a little of everything."""
    residency = {"processing": ["eea"], "transit": {"allow": None, "deny": ["US"]}, "storage": {"deny": ["CH"]}}
    privacy = {
        "tiers": ["edge", "cloud"],
        "operators": ["acme"],
        "retention_days_max": 3,
        "certifications": ["iso27001"],
    }
    strict = {"residency": residency, "privacy": privacy, "deadline_ms": 90, "accuracy_min": {"digits": 0.5}}
    when = {
        "models": ["digits"],
        "hours": "22:00-06:00",
        "days": ["mon"],
        "zone": "Europe/Berlin",
        "since": "2026-01-01",
    }
    return raw_policy(
        {"price_max_usd": 0.5, "log": {"keep_days": 3, "residency": ["DE"]}},
        classes={"plain": {}, "strict": strict},
        overrides=[
            {"when": when, "constraints": {"deadline_ms": 50}},
            {"when": {"origins": ["berlin"]}, "objective": {"preference": "fastest"}},
        ],
        objective={"waiting": {"usd_per_second": 0.1, "quantile": "p95"}, "usd_per_error": 0.1},
        behaviour={"fallbacks_max": 2, "spread_margin_usd": 0.001, "hedge": {"after_quantile": "p95"}},
        limits={
            "requests_per_minute": 3,
            "budget_usd_per_day": 1.5,
            "completion_tokens_max": 9,
            "budgets": [{"per": "day", "usd": 1, "models": ["digits"], "when_spent": "alert", "alert_at": [0.5]}],
            "per_model": {"digits": {"concurrent_max": 2}},
        },
    )


def whole_fleet() -> Raw:
    """The fleet of the tests as files say it: cards apart."""
    raw = raw_fleet()
    del raw["cards"]
    raw["sites"][0]["tenant"] = "t"
    for deployment in raw["deployments"]:
        deployment.update(hosted="own", batch_max=4)
    return raw


def whole_cases() -> Raw:
    request = {
        "model": "digits",
        "entry": "ber",
        "origin": "berlin",
        "class": "plain",
        "payload_bytes": 7,
        "deadline_ms": 60,
    }
    expect = {"outcome": "chosen", "site": "ber", "vetoes": {"phone": "path.none"}, "eligible": ["small@ber"]}
    world = {"down": ["par"], "in_flight": {"ber": 2, "large@iad": 64}}
    return {
        "version": 1,
        "tenant": "t",
        "cases": [{"name": "one", "request": request, "world": world, "expect": expect}],
    }


def places_of(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a value."""
    if at:
        yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, part in inner:
        yield from places_of(part, (*at, step))


def spoiled(raw: Raw, seed: int) -> Any:
    """A value of which some places hold junk, are missing, stand twice, or have changed places."""
    dice, raw = Random(seed), deepcopy(raw)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        *above, last = dice.choice(list(places_of(raw)))
        inside: Any = raw
        for step in above:
            inside = inside[step]
        way = dice.randrange(5)
        if way < 3:
            inside[last] = deepcopy(dice.choice(JUNK))
        elif way == 3:
            del inside[last]
        elif isinstance(inside, list):
            inside.append(deepcopy(inside[last]))
        else:
            inside[str(dice.choice(JUNK))[:50]] = inside[last]
        if not list(places_of(raw)):
            break
    return raw


def as_text(value: Any) -> str:
    return yaml.safe_dump(value, allow_unicode=True)


def loaded(load: Callable[[], Any]) -> Any:
    """What was loaded, None where it was refused; a refusal names at least one fault, with its file."""
    refused: list[BadInput] = []
    try:
        return load()
    except BadInput as error:
        refused.append(error)
    assert refused[0].faults
    assert all(fault.file and fault.message and str(fault) for fault in refused[0].faults)
    return None


def folder_of(files: dict[str, str | bytes]) -> TemporaryDirectory[str]:
    """A folder with files in it."""
    folder = TemporaryDirectory()
    for name, text in files.items():
        path = Path(folder.name) / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return folder


def cards() -> dict[str, str | bytes]:
    return {f"{name}.json": json.dumps(card) for name, card in raw_fleet()["cards"].items()}


def fits(fleet: Fleet, policy: Policy) -> bool:
    """Whether what was loaded decides, whatever is asked, and its digests can be worked out."""
    engine = Engine(fleet, {policy.tenant: policy})
    snapshot = Snapshot.declared(fleet)
    assert policy.digest
    assert fleet.digest
    for model in engine.models_of(policy.tenant):
        for site in fleet.sites:
            for at_s in (0, 1_780_000_000):
                request = Request("r", policy.tenant, model, site.id, site.id, payload_bytes=5_000, at_s=at_s)
                if engine.explain(request, snapshot).outcome is not engine.choose(request, snapshot).outcome:
                    return False
    return True


def check_every_loader(folder: str, text: str | bytes) -> None:
    """Offer the same text to every loader."""
    path = Path(folder) / "t.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    assert loaded(lambda: load_fleet(path)) is None
    policy = loaded(lambda: load_policy(path, fleet_of()))
    assert policy is None or isinstance(policy, Policy)
    assert loaded(lambda: load_cases(path, fleet_of())) is None
    assert (loaded(lambda: load_policies(folder, fleet_of())) is None) is (policy is None)


@settings(max_examples=60)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200), st.text("{}[]:,-&*!|>'\"# \n\tab10.", max_size=60)))
def test_bytes_and_words_are_refused(text: str | bytes) -> None:
    with folder_of({}) as folder:
        check_every_loader(folder, text)


@settings(max_examples=60)
@given(SEEDS)
def test_a_spoiled_policy_is_refused_or_decides(seed: int) -> None:
    with folder_of({"t.yaml": as_text(spoiled(whole_policy(), seed))}) as folder:
        fleet = fleet_of()
        policy = loaded(lambda: load_policy(Path(folder) / "t.yaml", fleet))
        assert policy is None or fits(fleet, policy)


@settings(max_examples=40)
@given(SEEDS, SEEDS)
def test_a_spoiled_base_is_refused_or_decides(seed: int, other: int) -> None:
    own = {"version": 1, "tenant": "t", "extends": "base/b.yaml", "classes": {"plain": {"deadline_ms": 10}}}
    base = {name: part for name, part in whole_policy().items() if name != "tenant"}
    texts: dict[str, str | bytes] = {"t.yaml": as_text(spoiled(own, other) if other % 2 else own)}
    with folder_of({**texts, "base/b.yaml": as_text(spoiled(base, seed))}) as folder:
        fleet = fleet_of()
        policies = loaded(lambda: load_policies(folder, fleet))
        assert all(fits(fleet, policy) for policy in (policies or {}).values())


@settings(max_examples=50)
@given(SEEDS, st.booleans())
def test_a_spoiled_fleet_is_refused_or_decides(seed: int, in_a_card: bool) -> None:
    files = cards()
    if in_a_card:
        files["small.json"] = json.dumps(spoiled(raw_fleet()["cards"]["small"], seed))
    text = as_text(whole_fleet() if in_a_card else spoiled(whole_fleet(), seed))
    with folder_of({**files, "cluster.yaml": text}) as folder:
        fleet = loaded(lambda: load_fleet(Path(folder) / "cluster.yaml"))
        assert fleet is None or fits(fleet, Policy.model_validate(raw_policy()))


@settings(max_examples=50)
@given(SEEDS)
def test_spoiled_cases_are_refused_or_run(seed: int) -> None:
    engine = engine_of(classes={"plain": {}})
    with folder_of({"t.cases.yaml": as_text(spoiled(whole_cases(), seed))}) as folder:
        loaded(lambda: check_cases(Path(folder) / "t.cases.yaml", engine))


@pytest.mark.parametrize("junk", [-1, 10**10 + 1, 10**30, float("inf"), None, "many"])
@pytest.mark.parametrize(
    ("part", "name"), [("request", "payload_bytes"), ("world", "in_flight"), ("request", "deadline_ms")]
)
def test_cases_of_calls_that_cannot_be_are_refused(junk: Any, part: str, name: str) -> None:
    raw = whole_cases()
    raw["cases"][0][part][name] = {"ber": junk} if name == "in_flight" else junk
    with folder_of({"t.cases.yaml": as_text(raw)}) as folder:
        assert loaded(lambda: check_cases(Path(folder) / "t.cases.yaml", engine_of())) is None


def test_the_files_that_are_spoiled_are_good_before() -> None:
    texts = {
        "cluster.yaml": as_text(whole_fleet()),
        "t.yaml": as_text(whole_policy()),
        "t.cases.yaml": as_text(whole_cases()),
    }
    with folder_of({**cards(), **texts}) as folder:
        fleet = load_fleet(Path(folder) / "cluster.yaml")
        policy = load_policy(Path(folder) / "t.yaml", fleet)
        assert fits(fleet, policy)
        (result,) = check_cases(Path(folder) / "t.cases.yaml", Engine(fleet, {"t": policy}))
        assert len(result.failures) <= 1  # it runs; what it expects is for its own tests


HOSTILE = {
    "aliases that unfold": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "an alias of itself": "version: 1\ntenant: t\nclasses: &c {a: *c}\n",
    "an alias of nobody": "version: *nobody",
    "deep lists": "[" * 2_000,
    "deep lists, closed": "[" * 2_000 + "]" * 2_000,
    "deep maps": "{a: " * 2_000,
    "deep lines": "".join(" " * at + "a:\n" for at in range(500)),
    "a Python object": "version: !!python/object/apply:os.system ['true']",
    "binary": "version: !!binary '***'",
    "a set": "version: !!set {1, 2}",
    "a time": "version: 2026-13-45",
    "an hour of base 60": "version: 1:99:99",
    "a merged key": "version: 1\ntenant: t\nclasses: {a: {}}\n<<: {always: {deadline_ms: 1}}\n",
    "two documents": "version: 1\n---\nversion: 1\n",
    "no end": "a: 'b",
    "keys that are lists": "? [a, b]\n: c\n",
    "keys that are maps": "{{a: b}: c}",
    "a directive": "%YAML 9.9\n---\na: b\n",
    "tabs": "a:\n\tb: c\n",
    "a byte order mark": "\ufeffversion: 1\n",
    "a lone surrogate": "a: \ud800",
    "a number of a million digits": "version: " + "9" * 1_000_000,
    "a long line of numbers": "version: [" + "1," * 100_000 + "]",
    "a float past the end": "version: 1e999999",
    "only a comment": "# nothing\n",
    "one keyword for all": "[version, tenant, classes]",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_yaml_is_refused(tmp_path: Path, text: str) -> None:
    """A merged key is a key that nobody knows; everything else is no policy either."""
    check_every_loader(str(tmp_path), text)
    with pytest.raises(BadInput):
        load_policy(tmp_path / "t.yaml", fleet_of())


def test_a_file_that_is_a_folder_a_loop_or_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "large.yaml").write_bytes(b"#" * (16 * 1024 * 1024 + 1))
    for name in ("folder", "loop", "large", "nowhere"):
        for load in (load_fleet, lambda path: load_policy(path, fleet_of()), lambda path: load_cases(path, fleet_of())):
            with pytest.raises(BadInput, match=name):
                load(tmp_path / f"{name}.yaml")


def test_one_bad_file_loads_none_of_them(tmp_path: Path) -> None:
    write(tmp_path / "t.yaml", raw_policy())
    write(tmp_path / "u.yaml", raw_policy(tenant="u", classes={"plain": {"deadline_ms": float("nan")}}))
    assert loaded(lambda: load_policies(tmp_path, fleet_of())) is None
    with pytest.raises(Unknown):
        Engine(fleet_of(), {}).choose(Request("r", "t", "digits", "ber", "ber"), Snapshot.declared(fleet_of()))
    assert TRUSTED
