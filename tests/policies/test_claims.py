"""Claims: what is proved no call breaks, what is broken the engine does decide so, and both are told plainly."""

from collections.abc import Iterator
from itertools import combinations, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from infercast.policies.claims import Answer, Proof, prove
from infercast.policies.claims_said import claim_said, command_of, proof_json, proof_said
from infercast.policies.claims_schema import Claim, claim_faults
from infercast.policies.documents import Document
from infercast.policies.engine import Engine
from infercast.policies.fleet import Fleet
from infercast.policies.kinds import places_of
from infercast.policies.model import Outcome, Request, Rule
from infercast.policies.snapshot import Snapshot
from tests.laws import oracle
from tests.laws.worlds import CLASSES, SEEDS, Dice, World, worlds
from tests.support import TRUSTED, card, engine_of, fleet_of, link, raw_fleet, site

Raw = dict[str, Any]
SETS: list[list[str]] = [[], *(list(some) for n in (1, 2) for some in combinations(sorted(CLASSES), n))]


def strict(seed: int, world: World) -> World:
    """The world with a policy that asks for more, so that there is something to prove."""
    dice = Dice(seed)
    policy = {**world.policy}
    asked = {
        "residency": {
            part: dice.of(None, {"allow": ["eea"], "deny": []}, {"allow": ["europe"], "deny": []})
            for part in ("processing", "transit", "storage")
        },
        "privacy": {
            "tiers": dice.of(None, None, ["edge", "cloud"]),
            "no_training": dice.of(True, False),
            "operators": dice.of(None, None, {"allow": ["acme"], "deny": []}),
        },
    }
    where = dice.of("always", "health", "at times")
    if where == "always":
        return world.but(policy={**policy, "always": asked})
    if where == "health":
        return world.but(policy={**policy, "classes": {**policy["classes"], "health": asked}})
    return world.but(policy={**policy, "overrides": [*policy["overrides"][:1], *at_times(dice, asked)]})


def at_times(dice: Dice, asked: Raw) -> list[Raw]:
    """Overrides that ask at some times only, or in turns at every time."""
    hours = dice.of(["08:00-18:00"], ["00:00-24:00"], ["08:00-18:00", "18:00-08:00"], ["22:00-06:00", "06:00-22:00"])
    rest = {"models": None, "origins": None, "zone": dice.of("UTC", "Asia/Kolkata")}
    dates = dice.of((None, None), (None, None), ("2026-03-04", None), (None, "2026-03-05"))
    days = dice.of(None, None, ["sat", "sun"])
    rest |= {"days": days, "since": dates[0], "until": dates[1]}
    return [{"when": {**rest, "hours": each}, "constraints": asked, "objective": None} for each in hours]


def claim_from(seed: int, world: World) -> Raw:
    """A claim about where data may be, or who may see it."""
    dice = Dice(seed)
    sites = [each["id"] for each in world.fleet["sites"]]
    where = dice.of({"outside": ["eea"]}, {"outside": ["europe"]}, ["US"], {"inside": ["CH"], "outside": ["europe"]})
    said = dice.of(
        {"never": {dice.of("processed", "transited", "stored"): where}},
        {"never": {"processed": where, "stored": where}},
        {"never": {dice.of("sites"): dice.some(tuple(sites), 1)}},
        {"never": dice.of({"operators": ["hyper"]}, {"tiers": ["device"]}, {"trained_on": True})},
        {"only": dice.of({"tiers": ["edge", "cloud"]}, {"operators": ["acme"]}, {"sites": sites[:2]})},
        {"refused": True},
    )
    scope = {
        "classes": dice.of(None, ["health"], ["plain"], ["health", "plain"]),
        "models": dice.of(None, None, ["m0"]),
        "origins": dice.of(None, None, ["zone"], ["eea"], ["s0", "US"]),
        "entries": dice.of(None, None, None, ["s0"]),
    }
    return {**said, **{part: words for part, words in scope.items() if words is not None}}


def named(words: list[str] | None, world: World) -> list[str]:
    """The places that a claim names; those whose country nobody knows may be in any."""
    places = {each["id"]: each["country"] for each in [*world.fleet["sites"], *world.fleet["zones"]]}
    if words is None:
        return list(places)
    countries = oracle.countries(word for word in words if word not in places)
    return [
        place for place, country in places.items() if place in words or (countries and country in {*countries, "ZZ"})
    ]


def calls(claim: Raw, world: World) -> Iterator[World]:
    """Every call that a claim speaks of, at any time: all sets of classes with one of the claim's in them, or none named."""
    times = oracle.instants(world)
    for classes in SETS:
        if classes and not set(classes) & set(claim.get("classes", CLASSES)):
            continue
        for model in claim.get("models", [each["id"] for each in world.fleet["models"]]):
            for origin in named(claim.get("origins"), world):
                for entry in claim.get("entries", [each["id"] for each in world.fleet["sites"]]):
                    places = {"model": model, "origin": origin, "entry": entry}
                    yield from (world.asking(classes=classes, at_s=at_s, **places) for at_s in times)


def breaks(claim: Raw, call: World, fleet: Fleet, place: str) -> bool:
    """Whether a call that runs at a place breaks a claim; said as plainly as possible."""
    if "refused" in claim:
        return True
    sites = {each["id"]: each for each in call.fleet["sites"]}
    origin, entry = call.call["origin"], call.call["entry"]
    way_in, way_on = fleet.network.path(origin, entry), fleet.network.path(entry, place)
    assert way_in is not None
    assert way_on is not None
    seeing = [sites[name] for name in {entry, place, *way_in.via[1:-1], *way_on.via[1:-1]}]
    if "only" in claim:
        of = {"tiers": "tier", "operators": "operator", "sites": "id"}
        return any(each[of[part]] not in words for part, words in claim["only"].items() for each in seeing)
    countries = {
        "processed": {sites[entry]["country"], sites[place]["country"]},
        "transited": {*way_in.countries, *way_on.countries},
        "stored": {each["country"] for each in seeing if each["trust"]["retention_days"] != 0},
    }
    return any(_broken(part, words, countries, seeing) for part, words in claim["never"].items())


def _broken(part: str, words: Any, countries: dict[str, set[str]], seeing: list[Raw]) -> bool:
    if part in countries:
        where = words if isinstance(words, dict) else {"inside": words}
        inside, outside = oracle.countries(where.get("inside", [])), where.get("outside")
        return any(
            country == "ZZ" or country in inside or (outside is not None and country not in oracle.countries(outside))
            for country in countries[part]
        )
    if part == "trained_on":
        return any(each["trust"]["trains_on_inputs"] is not False for each in seeing)
    of = {"tiers": "tier", "operators": "operator", "sites": "id"}[part]
    return any(each[of] is None or each[of] in words for each in seeing)


def broken_by(claim: Raw, world: World, fleet: Fleet) -> bool:
    """Whether any call at all breaks a claim, by what the oracle lets through."""
    return any(
        oracle.may_run(call, fleet, deployment.id) and breaks(claim, call, fleet, deployment.site)
        for call in calls(claim, world)
        if oracle.may_enter(call, fleet, call.call["entry"])
        for deployment in fleet.deployments
        if fleet.model_of[deployment.variant] == call.call["model"]
    )


@settings(max_examples=150)
@given(worlds(), SEEDS)
def test_proved_is_exactly_what_no_call_can_break(world: World, seed: int) -> None:
    world = strict(seed, world)
    engine, claim = world.engine(), claim_from(seed, world)
    proof = prove(Claim.model_validate(claim), "t", engine)
    assert proof.holds is not broken_by(claim, world, engine.fleet), (claim, proof_said(proof))


@settings(max_examples=100)
@given(worlds(), SEEDS)
def test_what_is_proved_no_decision_breaks_in_any_world(world: World, seed: int) -> None:
    world = strict(seed, world)
    engine, claim = world.engine(), claim_from(seed, world)
    if not prove(Claim.model_validate(claim), "t", engine).holds:
        return
    snapshot = world.snapshot(engine.fleet)
    for call in calls(claim, world):
        decision = engine.explain(call.request(), snapshot)
        for name in (decision.chosen, *decision.alternatives):
            assert name is None or not breaks(claim, call, engine.fleet, name.split("@")[1]), (claim, decision)


@settings(max_examples=100)
@given(worlds(), SEEDS)
def test_a_counterexample_is_a_call_that_the_engine_decides_so(world: World, seed: int) -> None:
    world = strict(seed, world)
    engine, claim = world.engine(), claim_from(seed, world)
    example = prove(Claim.model_validate(claim), "t", engine).counterexample
    if example is None:
        return
    request, decision = example.request, example.decision
    assert decision.outcome is Outcome.CHOSEN
    assert decision.chosen is not None
    places = {"model": request.model, "origin": request.origin, "entry": request.entry}
    call = world.asking(classes=list(request.classes), at_s=request.at_s, **places)
    assert oracle.may_run(call, engine.fleet, decision.chosen)
    assert breaks(claim, call, engine.fleet, decision.verdict_of(decision.chosen).site)
    assert request.origin in named(claim.get("origins"), world)
    if example.declared:
        snapshot = Snapshot.declared(engine.fleet)
        for index, deployment in enumerate(engine.fleet.deployments):
            if deployment.site in example.down:
                snapshot.distrust(index, 0)
        again = world.engine().explain(request, snapshot)
        assert again.chosen == decision.chosen


def passing(engine: Engine, request: Request, down: str = "") -> int:
    """How many candidates pass a call on the world as declared."""
    verdicts = engine.explain(request, Snapshot.declared(engine.fleet)).verdicts
    return sum(1 for verdict in verdicts if verdict.rule is Rule.NONE and verdict.site != down)


def fewest(engine: Engine, claim: Claim, sets: list[tuple[str, ...]], times: list[int]) -> int:
    """The fewest candidates of any call that may enter, asked one by one."""
    found = [1000]
    sites = [site.id for site in engine.fleet.sites]
    downs = [""] if claim.while_ == "all_sites_healthy" else sites
    ways = product(engine.models_of("t"), sites, places_of(engine.fleet), sets, times)
    for model, entry, origin, classes, at_s in ways:
        request = Request("r", "t", model, entry, origin, classes, payload_bytes=claim.payload_bytes, at_s=at_s)
        if engine.compiled(request).gate is None:
            found += [passing(engine, request, down) for down in downs]
    return min(found)


@settings(max_examples=60)
@given(worlds(), SEEDS, st.sampled_from([None, ("health",), ("plain",)]), st.booleans())
def test_candidates_are_counted_as_if_each_call_were_asked(
    world: World, seed: int, classes: tuple[str, ...] | None, one_down: bool
) -> None:
    world = strict(seed, world)
    engine = world.engine()
    raw = {"candidates_min": 1, "while": "any_one_site_down" if one_down else "all_sites_healthy", "classes": classes}
    sets = [classes] if classes else [tuple(each) for each in SETS]
    least = fewest(engine, Claim.model_validate(raw), sets, oracle.instants(world))
    for wanted in (least, least + 1):
        if wanted in (0, 1000, 1001):
            continue
        proof = prove(Claim.model_validate({**raw, "candidates_min": wanted}), "t", engine)
        assert proof.holds is (wanted <= least), (wanted, least, proof_said(proof))
        if (example := proof.counterexample) is not None:
            eligible = [verdict for verdict in example.decision.verdicts if verdict.rule is Rule.NONE]
            assert len(eligible) < wanted


@settings(max_examples=60)
@given(worlds(), SEEDS)
def test_a_call_of_several_classes_is_vetoed_where_one_of_them_is(world: World, seed: int) -> None:
    """Why single classes are enough for a proof."""
    world = strict(seed, world)
    engine, call = world.engine(), world.request()

    def vetoed(classes: tuple[str, ...]) -> list[bool]:
        request = Request("r", "t", call.model, call.entry, call.origin, classes)
        return [veto is not None for veto in engine.compiled(request).vetoes]

    singles = [vetoed((name,)) for name in CLASSES]
    assert vetoed(()) == vetoed(tuple(sorted(CLASSES))) == [any(row) for row in zip(*singles, strict=True)]


def proof_of(claim: Raw, always: Raw | None = None, fleet: Fleet | None = None, **parts: Any) -> Proof:
    """Prove a claim of a hand-made policy on the small fleet."""
    return prove(Claim.model_validate(claim), "t", engine_of(always, fleet, **parts))


EEA = {"outside": ["eea"]}
IN_EEA = {"residency": {"processing": ["eea"], "transit": ["eea"], "storage": ["eea"]}}


def test_receiving_counts_and_so_does_what_lies_on_the_way() -> None:
    """Data from Virginia enters in Paris: processing stays in the EEA, the way in does not."""
    residency = {"residency": {"processing": ["eea"]}}
    assert proof_of({"never": {"processed": EEA}}, residency).holds
    example = proof_of({"never": {"transited": EEA}}, residency).counterexample
    assert example is not None
    assert example.why == "transited in US, (on the way from iad to ber)"


def test_the_entry_alone_breaks_a_claim() -> None:
    """Only the phone computes, but others receive."""
    fleet = fleet_of(raw_fleet(deployments=[{"variant": "small", "site": "par"}]))
    example = proof_of({"only": {"sites": ["par"]}}, None, fleet).counterexample
    assert example is not None
    assert "the entry" in example.why
    assert example.decision.chosen == "small@par"


def test_what_every_candidate_is_closed_to_is_never_read() -> None:
    """A call that files refuse wherever it might run touches nothing, not even its entry."""
    fleet = fleet_of(raw_fleet(deployments=[{"variant": "small", "site": "iad"}]))
    closed = {"accuracy_min": {"digits": 0.99}}
    proof = proof_of({"never": {"processed": ["DE", "FR", "US"]}}, closed, fleet)
    assert (proof.holds, proof.running) == (True, 0)
    assert proof_of({"refused": True}, closed, fleet).holds


def test_a_price_or_a_deadline_is_no_protection() -> None:
    """The world may be faster than declared; a claim that leans on a deadline is not proved."""
    slow = fleet_of(raw_fleet(cards={"small": card("small", 0.9, 1.0), "large": card("large", 0.98, 60.0)}))
    late = proof_of({"never": {"processed": ["US"]}, "origins": ["berlin"]}, {"deadline_ms": 140}, slow)
    assert late.answer is Answer.BROKEN
    assert late.counterexample is not None
    assert not late.counterexample.declared
    assert late.counterexample.decision.chosen == "large@iad"
    assert "better than declared" in proof_said(late)
    never = proof_of({"never": {"processed": ["US"]}, "origins": ["berlin"], "entries": ["ber"]}, {"deadline_ms": 1})
    assert never.answer is Answer.OPEN
    assert not never.holds
    assert "only a price or a deadline" in proof_said(never)


def test_an_unknown_is_taken_for_the_worst() -> None:
    """A link whose course nobody knows may cross anything, a site that says nothing may keep and learn."""
    sites = [site("ber", "edge", "DE", operator="acme", trust=TRUSTED), site("par", "cloud", "FR")]
    raw = raw_fleet(
        sites=sites,
        links=[link("berlin", "ber", 5), link("ber", "par", 5, "DE", "FR")],
        deployments=[{"variant": "large", "site": "par"}, {"variant": "small", "site": "ber"}],
    )
    fleet = fleet_of(raw)
    for never in ({"transited": ["US"]}, {"operators": ["hyper"]}, {"trained_on": True}, {"stored": ["FR"]}):
        assert proof_of({"never": never}, None, fleet).answer is Answer.BROKEN, never


def test_too_few_candidates_are_shown() -> None:
    proof = proof_of({"candidates_min": 2, "origins": ["berlin"]}, IN_EEA)
    assert proof.holds
    proof = proof_of({"candidates_min": 3, "origins": ["berlin"]}, IN_EEA)
    assert proof.counterexample is not None
    assert proof.counterexample.why == "2 candidates, 3 claimed"
    down = proof_of({"candidates_min": 2, "origins": ["berlin"], "while": "any_one_site_down"}, IN_EEA)
    assert down.counterexample is not None
    assert down.counterexample.down == ("ber",)
    assert "--down ber" in command_of(down.counterexample)


def test_a_named_origin_that_may_enter_nowhere_has_too_few() -> None:
    nowhere = {"residency": {"entry": ["US"], "processing": ["FR"]}}
    proof = proof_of({"candidates_min": 1, "origins": ["berlin"]}, nowhere)
    assert proof.counterexample is not None
    assert proof.counterexample.why == "it may enter nowhere"
    proof = proof_of({"candidates_min": 1, "entries": ["ber"]}, nowhere)
    assert proof.counterexample is not None
    unnamed = proof_of({"candidates_min": 1}, nowhere)
    assert (unnamed.answer, unnamed.kinds) == (Answer.OPEN, 0)
    assert "nothing has candidates" in proof_said(unnamed)


def test_payloads_count_for_candidates() -> None:
    """10 GB do not reach anybody in time."""
    asked = {"candidates_min": 1, "origins": ["berlin"], "entries": ["ber"]}
    assert proof_of(asked, {"deadline_ms": 500}).holds
    assert not proof_of({**asked, "payload_bytes": 10_000_000_000}, {"deadline_ms": 500}).holds


def test_where_records_are_kept_is_claimed_too() -> None:
    logged = {"never": {"logged": EEA}}
    assert not proof_of(logged).holds
    assert proof_of(logged, {"log": {"residency": ["eea"]}}).holds
    assert proof_of(logged, {"log": {"decisions": False}}).holds
    broken = proof_of(logged, {"log": {"residency": ["europe"]}}).counterexample
    assert broken is not None
    assert broken.why == "its record may be kept in CH"


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        (
            {"classes": ["plain"], "never": {"processed": EEA, "stored": EEA}},
            "plain: never processed or stored outside eea",
        ),
        ({"only": {"tiers": ["device"]}}, "every class: seen by tier device only"),
        ({"models": ["digits"], "refused": True}, "every class, model digits: always refused"),
        ({"candidates_min": 2}, "every class: at least 2 candidates while all sites healthy"),
    ],
)
def test_claims_are_said_in_words(claim: Raw, said: str) -> None:
    assert claim_said(Claim.model_validate(claim)) == said


@pytest.mark.parametrize(
    ("claim", "fault"),
    [
        ({}, "exactly one of"),
        ({"refused": True, "candidates_min": 1}, "exactly one of"),
        ({"never": {}}, "name what must never happen"),
        ({"only": {}}, "name who may see"),
        ({"never": {"stored": {}}}, "name the forbidden places"),
        ({"refused": True, "while": "any_one_site_down"}, "belong to `candidates_min`"),
        ({"refused": False}, "should be True"),
        ({"classes": [], "refused": True}, "at least 1"),
        ({"refused": True, "clases": ["plain"]}, "not permitted"),
    ],
)
def test_a_claim_that_says_nothing_or_two_things_is_refused(claim: Raw, fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Claim.model_validate(claim)


def test_names_that_nobody_knows_are_faults_with_a_line_and_a_remedy() -> None:
    text = """claims:
  - {classes: [plan], models: [digit], origins: [berlino], entries: [bear], refused: true}
  - never: {processed: {outside: [eeaa]}, operators: [acne], sites: [pari]}
"""
    claims = [Claim.model_validate(raw) for raw in Document("t.yaml", text).value["claims"]]
    faults = list(claim_faults(Document("t.yaml", text), claims, ["plain"], ["digits"], fleet_of()))
    assert sorted(fault.line for fault in faults) == [2, 2, 2, 2, 3, 3, 3]
    assert {fault.remedy for fault in faults} >= {
        "did you mean 'plain'?",
        "did you mean 'berlin'?",
        "did you mean 'acme'?",
    }


def test_what_came_of_it_is_told_to_programs() -> None:
    told = proof_json(proof_of({"description": "at home", "never": {"processed": ["US"]}}))
    assert (told["answer"], told["description"]) == ("broken", "at home")
    assert told["counterexample"]["command"].startswith("infercast explain --tenant t --model digits --from ")
    assert told["counterexample"]["chosen"] is not None


NO_US: Raw = {"residency": {"processing": {"deny": ["US"]}}}
NEVER_US: Raw = {"never": {"processed": ["US"]}}


def by_time(*hours: str) -> dict[str, Any]:
    """Overrides that keep data out of the US at these hours."""
    return {"overrides": [{"when": {"hours": each}, "constraints": NO_US} for each in hours]}


def test_what_holds_at_some_hours_only_is_broken_at_another() -> None:
    proof = proof_of(NEVER_US, **by_time("08:00-18:00"))
    assert proof.answer is Answer.BROKEN
    assert proof.counterexample is not None
    request = proof.counterexample.request
    assert not 8 * 3600 <= request.at_s % 86_400 < 18 * 3600
    assert request.at_s > 0
    assert "--at " in command_of(proof.counterexample)


def test_windows_that_cover_the_day_between_them_prove_together() -> None:
    proof = proof_of(NEVER_US, **by_time("08:00-18:00", "18:00-08:00"))
    assert proof.holds
    assert "by its time windows" in proof.note
    assert not proof_of(NEVER_US, **by_time("08:00-18:00", "18:01-08:00")).holds


def test_what_always_holds_is_proved_for_all_time() -> None:
    proof = proof_of(NEVER_US, NO_US, **by_time("08:00-18:00"))
    assert (proof.holds, proof.note) == (True, "")


def test_too_few_candidates_at_some_hours() -> None:
    claim = {"candidates_min": 3, "origins": ["berlin"], "entries": ["ber"]}
    assert proof_of(claim).holds
    assert not proof_of(claim, **by_time("08:00-18:00")).holds


def test_an_entry_that_opens_at_some_hours_is_counted_then() -> None:
    """By day only the phone takes calls, with all four before it; at night France does too, whence the phone is not reached."""
    raw = raw_fleet()
    raw["sites"][1]["country"] = "FR"
    entry = {"residency": {"entry": {"deny": ["FR", "US"]}}}
    claim = {"candidates_min": 4, "origins": ["phone"]}
    assert proof_of(claim, entry, fleet_of(raw)).holds
    by_day = {"overrides": [{"when": {"hours": "08:00-18:00"}, "constraints": entry}]}
    broken = proof_of(claim, None, fleet_of(raw), **by_day).counterexample
    assert broken is not None
    assert (broken.request.entry, broken.why) == ("ber", "3 candidates, 4 claimed")
    assert not 8 * 3600 <= broken.request.at_s % 86_400 < 18 * 3600


def test_an_override_for_one_origin_counts_for_it_alone() -> None:
    override: Raw = {"overrides": [{"when": {"origins": ["phone"]}, "constraints": NO_US}]}
    assert proof_of({**NEVER_US, "origins": ["phone"]}, **override).holds
    broken = proof_of(NEVER_US, **override).counterexample
    assert broken is not None
    assert broken.request.origin != "phone"


def test_classes_that_each_have_enough_may_have_too_few_together() -> None:
    classes = {"ours": {"privacy": {"operators": ["acme"]}}, "central": {"privacy": {"tiers": ["cloud"]}}}
    claim = {"candidates_min": 2, "origins": ["par"], "entries": ["par"]}
    for name in classes:
        assert proof_of({**claim, "classes": [name]}, classes=classes).holds
    broken = proof_of(claim, classes=classes).counterexample
    assert broken is not None
    assert broken.request.classes == ("central", "ours")
    assert [verdict.site for verdict in broken.decision.verdicts if verdict.rule is Rule.NONE] == ["par"]


@pytest.mark.parametrize(
    "dates",
    [{"since": "1960-01-01"}, {"until": "9999-12-31"}, {"since": "0001-01-01"}, {"since": "1975-01-01"}],
    ids=lambda dates: next(iter(dates.values())),
)
def test_a_date_that_no_instant_reaches_hides_no_hour(dates: Raw) -> None:
    """`until: 9999-12-31` is how people write for ever."""
    when = {"hours": "22:00-06:00", **dates}
    proof = proof_of(
        {"never": {"processed": {"outside": ["DE"]}}},
        overrides=[{"when": when, "constraints": {"residency": {"processing": ["DE"]}}}],
    )
    assert proof.answer is Answer.BROKEN, proof_said(proof)


def test_a_window_until_the_end_of_the_calendar_is_proved() -> None:
    override = {"when": {"until": "9999-12-31"}, "constraints": {"residency": {"processing": ["DE"]}}}
    proof = proof_of({"never": {"processed": {"outside": ["DE"]}}}, overrides=[override])
    assert proof.holds
    assert proof_said(proof).endswith("met in 2024-11-27 to 9909-12-06")


def test_a_peer_stands_for_no_origin_whose_calls_may_be_sent_on() -> None:
    raw = raw_fleet()
    raw["sites"][3]["upstream"] = {"url": "https://api.example.com/v1", "api": "openai"}
    raw["deployments"][3]["hosted"] = "upstream"
    raw["zones"] = [{"id": "friend", "country": "DE", "lat": 0, "lon": 0, "peer": True}, *raw["zones"]]
    raw["links"].append(link("friend", "ber", 5, "DE"))
    engine = engine_of(fleet=fleet_of(raw))
    never = {"never": {"sites": ["iad"]}}
    alone = prove(Claim.model_validate({**never, "origins": ["friend"]}), "t", engine)
    both = prove(Claim.model_validate({**never, "origins": ["friend", "berlin"]}), "t", engine)
    assert alone.holds
    assert both.counterexample is not None
    assert both.counterexample.request.origin == "berlin"


@pytest.mark.parametrize(
    ("asked", "holds"),
    [({}, False), ({"retention_days_max": 0}, True), ({"retention_days_max": 1}, False)],
)
def test_answers_that_an_entry_keeps_are_stored_there(asked: Raw, holds: bool) -> None:
    """Every site here keeps no inputs, so only the cache can break this."""
    raw = raw_fleet()
    raw["sites"] = [{**each, "trust": TRUSTED} for each in raw["sites"]]
    claim = {"never": {"stored": {"outside": ["DE"]}}, "origins": ["iad"], "entries": ["iad"]}
    cache = {"cache": {"ttl_s": 60}}
    assert proof_of(claim, {"privacy": asked}, fleet_of(raw)).holds
    proof = proof_of(claim, {"privacy": asked}, fleet_of(raw), behaviour=cache)
    assert proof.holds is holds
    assert holds or "stored in US, at iad (the entry's cache of answers)" in proof_said(proof)
    assert proof_of(claim, {"residency": {"storage": ["DE"]}}, fleet_of(raw), behaviour=cache).holds
