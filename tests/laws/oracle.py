"""The vetoes that files decide, said a second time and as plainly as possible, to hold the engine's against."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from infercast.policies.fleet import Fleet
from infercast.policies.network import Path
from tests.laws.worlds import DAY_S, MONDAY_S, World

Raw = dict[str, Any]
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
GRID_S = range(MONDAY_S - 7 * DAY_S, MONDAY_S + 21 * DAY_S, 1800)
"""Four weeks of half hours: the worlds' windows open and close on half hours, and name dates of the second week only."""
INSIDE = {"eea": {"DE", "FR", "PL"}, "europe": {"DE", "FR", "PL", "CH"}}


def countries(words: Iterable[str]) -> set[str]:
    """The countries inside words; a word that is no group stands for itself."""
    return set().union(*(INSIDE.get(word, {word}) for word in words))


def permitted(part: Raw | None, country: str) -> bool:
    """Whether a residency part permits a country; the unknown one never."""
    if part is None:
        return True
    allow, deny = part.get("allow"), part.get("deny", [])
    return country != "ZZ" and country not in countries(deny) and (allow is None or country in countries(allow))


def _resident(block: Raw, part: str, country: str) -> bool:
    return permitted(block.get("residency", {}).get(part), country)


def trusted(block: Raw, site: Raw) -> bool:
    """Whether a site may see the data, as far as privacy goes."""
    asked, trust, operator = block.get("privacy", {}), site["trust"], site["operator"]
    operators, limit = asked.get("operators"), asked.get("retention_days_max")
    kept, marks = trust["retention_days"], asked.get("attestation")
    return all(
        (
            asked.get("tiers") is None or site["tier"] in asked["tiers"],
            operators is None or (operator is not None and operator not in operators["deny"]),
            operators is None or operators["allow"] is None or operator in operators["allow"],
            limit is None or (kept is not None and kept <= limit),
            not asked.get("no_training") or trust["trains_on_inputs"] is False,
            marks is None or trust["attestation"] in marks,
            set(asked.get("certifications", [])) <= set(trust["certifications"]),
        )
    )


def _stored_well(block: Raw, site: Raw) -> bool:
    return site["trust"]["retention_days"] == 0 or _resident(block, "storage", site["country"])


def _crossed_well(block: Raw, path: Path) -> bool:
    return all(_resident(block, "transit", country) for country in path.countries)


def binding(world: World) -> list[Raw]:
    """The blocks that bind a call: `always`, the classes named (all where none is), and what overrides put on top."""
    classes = (world.policy["classes"][name] for name in world.call["classes"] or ("health", "plain"))
    extra = (override["constraints"] for override in applying(world) if override["constraints"] is not None)
    return [world.policy["always"], *classes, *extra]


def objective(world: World) -> Raw:
    """What is valued: the last override's that has a say, or else the policy's."""
    said = [override["objective"] for override in applying(world) if override["objective"] is not None]
    last: Raw = [world.policy["objective"], *said][-1]
    return last


def applying(world: World) -> list[Raw]:
    """The overrides that apply to a call."""
    return [override for override in world.policy.get("overrides", []) if _applies(override["when"], world)]


def instants(world: World) -> list[int]:
    """One instant (s since 1970 UTC) for each set of overrides that can veto at once; first 0, the time nobody knows."""
    timed = [each["when"] for each in world.policy.get("overrides", []) if each["constraints"] is not None]
    met = {(True,) * len(timed): 0}
    for at_s in GRID_S if timed else ():
        met.setdefault(tuple(_open(when, at_s) for when in timed), at_s)
    return list(met.values())


def _applies(when: Raw, world: World) -> bool:
    call, places = world.call, [*world.fleet["sites"], *world.fleet["zones"]]
    country = next(place["country"] for place in places if place["id"] == call["origin"])
    return all(
        (
            when["models"] is None or call["model"] in when["models"],
            when["origins"] is None
            or any(
                _meant(word, call["origin"], country, {place["id"] for place in places}) for word in when["origins"]
            ),
            call["at_s"] == 0 or _open(when, call["at_s"]),
        )
    )


def _meant(word: str, origin: str, country: str, places: set[str]) -> bool:
    """A place is itself; a country or group is whatever lies in it, and whatever may."""
    return word == origin or (word not in places and country in {"ZZ", *countries([word])})


def _open(when: Raw, at_s: int) -> bool:
    """Whether a window is open; both zones of the worlds keep one clock all year."""
    minutes = at_s // 60 + {"UTC": 0, "Asia/Kolkata": 330}[when["zone"]]
    day, minute = divmod(minutes, 24 * 60)
    if when["hours"] is not None:
        start, end = (int(edge[:2]) * 60 + int(edge[3:]) for edge in when["hours"].split("-"))
        inside = start <= minute < end if start < end else not end <= minute < start
        if not inside:
            return False
        if start > end and minute < end:
            day -= 1
    date = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).date().isoformat()
    return all(
        (
            when["days"] is None or DAYS[(day + 3) % 7] in when["days"],  # 1970 began on a Thursday
            when["since"] is None or date >= when["since"],
            when["until"] is None or date <= when["until"],
        )
    )


def may_enter(world: World, fleet: Fleet, entry: str) -> bool:
    """Whether a call may enter at a site."""
    site = next(site for site in world.fleet["sites"] if site["id"] == entry)
    way_in = fleet.network.path(world.call["origin"], entry)
    return (
        way_in is not None
        and "upstream" not in site
        and all(
            _resident(block, "entry", site["country"])
            and _resident(block, "processing", site["country"])
            and _crossed_well(block, way_in)
            and _seen_well(world, block, [entry, *way_in.via[1:-1]])
            for block in binding(world)
        )
    )


def _seen_well(world: World, block: Raw, seen: Iterable[str]) -> bool:
    """Whether every site that gets to see the data may see it, and may keep it where it keeps it."""
    sites = {site["id"]: site for site in world.fleet["sites"]}
    return all(trusted(block, sites[place]) and _stored_well(block, sites[place]) for place in seen)


def _comes_from_a_peer(world: World) -> bool:
    """Whether another cluster has sent the call here, which does not let it be sent on."""
    zones = [zone for zone in world.fleet["zones"] if zone["id"] == world.call["origin"]]
    return any(zone.get("peer", False) and not zone["onward"] for zone in zones)


def may_run(world: World, fleet: Fleet, deployment: str) -> bool:
    """Whether the files allow a deployment to a call that entered at `call['entry']`."""
    variant, place = deployment.split("@")
    sites = {site["id"]: site for site in world.fleet["sites"]}
    path = fleet.network.path(world.call["entry"], place)
    if path is None or not may_enter(world, fleet, world.call["entry"]):
        return False
    if "upstream" in sites[place] and _comes_from_a_peer(world):
        return False
    accuracy = world.fleet["cards"][variant]["accuracy"]
    floors = [block.get("accuracy_min", {}).get(world.call["model"], 0) for block in binding(world)]
    floor_asked = any(world.call["model"] in block.get("accuracy_min", {}) for block in binding(world))
    accurate = not floor_asked or (accuracy is not None and accuracy["value"] >= max(floors))
    return accurate and all(
        _resident(block, "processing", sites[place]["country"])
        and _crossed_well(block, path)
        and _seen_well(world, block, path.via)
        for block in binding(world)
    )
