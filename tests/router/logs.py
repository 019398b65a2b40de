"""Decision logs made by hand, and the hands that tamper with them: they know the format and have no private key."""

import shutil
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import orjson

from infercast.router.telemetry import chain
from infercast.router.telemetry.checkpoints import SigningKey
from infercast.router.telemetry.decision_log import DecisionLog
from infercast.router.telemetry.heads import HEADS
from infercast.router.telemetry.log_files import PUBLIC

NOW_S = 1_790_000_000
FLEET, POLICY = "f" * 32, "b" * 32
FLEET_DOCUMENT = {"deployments": [{"variant": "small", "site": "fra"}, {"variant": "large", "site": "dub"}]}
Lines = list[dict[str, Any]]
Tampering = Callable[[Path, Random], None]


@cache
def key() -> SigningKey:
    """The key of every log here."""
    return SigningKey.new()


def decision(name: str, tenant: str = "bank", epoch: int = 1, **more: Any) -> dict[str, Any]:
    """A decision's record as the engine makes it."""
    request = {"id": "r", "tenant": tenant, "model": "digits", "entry": "fra", "origin": "paris", "classes": ["plain"]}
    whole = {"version": 2, "id": name, "request": request, "epoch": epoch, "outcome": "chosen", "chosen": [0, 1]}
    return {**whole, "policy": POLICY, "fleet": FLEET, **more}


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self, now_s: float = NOW_S) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def write_log(folder: Path, records: Iterable[tuple[dict[str, Any], int | None]], place: str = "fra") -> Path:
    """Write one file of a log, and end it. Returns the file."""
    before = set(folder.glob("*.jsonl"))
    log = DecisionLog(folder, place, key(), clock=Clock())
    log.put(FLEET, FLEET_DOCUMENT)
    log.put(POLICY, {"tenant": "bank"})
    for record, keep_until_s in records:
        log.snapshot(record["epoch"], lambda: {"live": [[1, 2], [3, 4]]})
        log.decision(NOW_S, record, keep_until_s)
    log.close()
    (path,) = set(folder.glob("*.jsonl")) - before
    return path


def lines_of(path: Path) -> Lines:
    """The lines of a file."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def save(path: Path, lines: Lines) -> None:
    """Write lines as they are."""
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))


def relinked(path: Path, lines: Lines) -> Lines:
    """Number and chain lines anew, as anybody can who knows how; signatures stay what they were."""
    prev, done = chain.first_prev(path.name), []
    for seq, line in enumerate(lines):
        body = line.get("body")
        if body is not None:
            made, prev = chain.new_line(
                prev, seq, line["kind"], line["at"], line.get("keep"), orjson.dumps(body), line.get("salt")
            )
            done.append(orjson.loads(made))
        else:
            bare = {**line, "seq": seq, "prev": prev}
            prev = chain.head_after(prev, seq, line["kind"], line["at"], line.get("keep"), line["digest"])
            done.append(bare)
    return done


def _pick(folder: Path, dice: Random) -> Path:
    return dice.choice(sorted(folder.glob("*.jsonl")))


def _with_body(lines: Lines, dice: Random) -> int:
    return dice.choice([at for at, line in enumerate(lines) if line["kind"] == "decision" and "body" in line])


def a_body_is_altered(folder: Path, dice: Random) -> None:
    path = _pick(folder, dice)
    lines = lines_of(path)
    lines[_with_body(lines, dice)]["body"]["outcome"] = "refused"
    save(path, lines)


def a_body_is_altered_and_all_after_it_chained_anew(folder: Path, dice: Random) -> None:
    path = _pick(folder, dice)
    lines = lines_of(path)
    lines[_with_body(lines, dice)]["body"]["chosen"] = [7]
    save(path, relinked(path, lines))


def a_time_is_altered(folder: Path, dice: Random) -> None:
    path = _pick(folder, dice)
    lines = lines_of(path)
    dice.choice(lines)["at"] += 1
    save(path, lines)


def a_retention_is_altered_and_chained_anew(folder: Path, dice: Random) -> None:
    path = _pick(folder, dice)
    lines = lines_of(path)
    lines[_with_body(lines, dice)]["keep"] += 5
    save(path, relinked(path, lines))


def a_line_is_removed(folder: Path, dice: Random) -> None:
    path = _pick(folder, dice)
    lines = lines_of(path)
    del lines[dice.randrange(len(lines))]
    save(path, lines)


def a_line_is_removed_and_the_rest_numbered_anew(folder: Path, dice: Random) -> None:
    path = _pick(folder, dice)
    lines = lines_of(path)
    del lines[_with_body(lines, dice)]
    save(path, relinked(path, lines))


def two_lines_change_places(folder: Path, dice: Random) -> None:
    path = _pick(folder, dice)
    lines = lines_of(path)
    one = dice.randrange(len(lines) - 1)
    lines[one], lines[one + 1] = lines[one + 1], lines[one]
    save(path, lines)


def two_records_change_places_and_are_numbered_anew(folder: Path, dice: Random) -> None:
    path = _pick(folder, dice)
    lines = lines_of(path)
    one, other = _with_body(lines, dice), next(at for at, line in enumerate(lines) if line["kind"] == "object")
    lines[one], lines[other] = lines[other], lines[one]
    save(path, relinked(path, lines))


def a_line_stands_twice(folder: Path, dice: Random) -> None:
    path = _pick(folder, dice)
    lines = lines_of(path)
    one = dice.randrange(len(lines))
    save(path, [*lines[: one + 1], *lines[one:]])


def a_forged_record_is_inserted(folder: Path, dice: Random) -> None:
    path = _pick(folder, dice)
    lines = lines_of(path)
    forged = {**lines[_with_body(lines, dice)], "body": decision("forged")}
    lines.insert(dice.randrange(1, len(lines)), forged)
    save(path, relinked(path, lines))


def a_forged_record_stands_behind_the_end(folder: Path, dice: Random) -> None:
    path = _pick(folder, dice)
    lines = lines_of(path)
    lines.append({**lines[_with_body(lines, dice)], "body": decision("forged")})
    save(path, relinked(path, lines))


def the_end_is_cut_off(folder: Path, dice: Random) -> None:
    path = _pick(folder, dice)
    lines = lines_of(path)
    save(path, lines[: dice.randrange(len(lines))])


def the_end_is_cut_off_in_a_line(folder: Path, dice: Random) -> None:
    path = _pick(folder, dice)
    whole = path.read_bytes()
    path.write_bytes(whole[: dice.randrange(len(whole))])


def a_file_is_removed(folder: Path, dice: Random) -> None:
    _pick(folder, dice).unlink()


def a_file_is_renamed(folder: Path, dice: Random) -> None:
    path = _pick(folder, dice)
    path.rename(path.with_name(f"gru-{path.name.partition('-')[2]}"))


def a_file_changes_places_with_another(folder: Path, dice: Random) -> None:
    one, other = sorted(folder.glob("*.jsonl"))[:2]
    (content, others) = (one.read_bytes(), other.read_bytes())
    one.write_bytes(others)
    other.write_bytes(content)


def a_record_comes_from_another_file(folder: Path, dice: Random) -> None:
    one, other = dice.sample(sorted(folder.glob("*.jsonl")), 2)
    lines, theirs = lines_of(one), lines_of(other)
    at = _with_body(lines, dice)
    lines[at] = {**theirs[_with_body(theirs, dice)], "seq": lines[at]["seq"]}
    save(one, lines)


def the_public_key_is_swapped(folder: Path, dice: Random) -> None:
    (folder / PUBLIC).write_text(SigningKey.new().public.pem)


def the_public_key_is_rubbish(folder: Path, dice: Random) -> None:
    (folder / PUBLIC).write_bytes(dice.randbytes(dice.randrange(200)))


def a_body_is_erased(folder: Path, dice: Random) -> None:
    path = _pick(folder, dice)
    lines = lines_of(path)
    at = _with_body(lines, dice)
    lines[at] = {name: value for name, value in lines[at].items() if name not in ("salt", "body")}
    save(path, lines)


def a_body_is_erased_under_a_forged_pruned_line(folder: Path, dice: Random) -> None:
    path = _pick(folder, dice)
    lines = lines_of(path)
    at = _with_body(lines, dice)
    lines[at] = {name: value for name, value in lines[at].items() if name not in ("salt", "body")}
    spans = {"expired": [[at, at]], "asked": [], "unused": []}
    lines.append({"kind": "pruned", "at": NOW_S, "body": spans})
    lines.append({**next(line for line in reversed(lines) if line["kind"] == "checkpoint")})
    save(path, relinked(path, lines))


def a_line_is_spelt_differently(folder: Path, dice: Random) -> None:
    path = _pick(folder, dice)
    lines = path.read_bytes().splitlines(keepends=True)
    one = dice.randrange(len(lines))
    lines[one] = lines[one].replace(b",", b", ", 1)
    path.write_bytes(b"".join(lines))


def a_byte_is_changed(folder: Path, dice: Random) -> None:
    path = _pick(folder, dice)
    whole = bytearray(path.read_bytes())
    whole[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
    path.write_bytes(bytes(whole))


def a_document_is_altered(folder: Path, dice: Random) -> None:
    path = dice.choice(sorted((folder / "objects").glob("*.json")))
    path.write_bytes(path.read_bytes() + b" ")


def a_document_is_removed(folder: Path, dice: Random) -> None:
    dice.choice(sorted((folder / "objects").glob("*.json"))).unlink()


def the_list_is_removed_with_a_file(folder: Path, dice: Random) -> None:
    _pick(folder, dice).unlink()
    (folder / HEADS).unlink()


def the_list_is_altered(folder: Path, dice: Random) -> None:
    whole = orjson.loads((folder / HEADS).read_bytes())
    whole["files"].pop(dice.choice(sorted(whole["files"])))
    (folder / HEADS).write_bytes(orjson.dumps(whole) + b"\n")


def a_file_comes_from_another_log(folder: Path, dice: Random) -> None:
    other = folder.parent / f"other-{dice.randrange(10**9)}"
    path = write_log(other, [(decision("elsewhere"), None)], place="gru")
    shutil.copy(path, folder)
    shutil.rmtree(other)


TAMPERINGS: list[Tampering] = [
    a_body_is_altered, a_body_is_altered_and_all_after_it_chained_anew, a_time_is_altered,
    a_retention_is_altered_and_chained_anew, a_line_is_removed, a_line_is_removed_and_the_rest_numbered_anew,
    two_lines_change_places, two_records_change_places_and_are_numbered_anew, a_line_stands_twice,
    a_forged_record_is_inserted, a_forged_record_stands_behind_the_end, the_end_is_cut_off, the_end_is_cut_off_in_a_line,
    a_file_is_removed, a_file_is_renamed, a_file_changes_places_with_another, a_record_comes_from_another_file,
    the_public_key_is_swapped, the_public_key_is_rubbish, a_body_is_erased, a_body_is_erased_under_a_forged_pruned_line,
    a_line_is_spelt_differently, a_byte_is_changed, a_document_is_altered, a_document_is_removed,
    the_list_is_removed_with_a_file, the_list_is_altered, a_file_comes_from_another_log,
]  # fmt: skip
