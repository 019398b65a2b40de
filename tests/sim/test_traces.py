"""Recorded calls: every format by a small file written by hand, every fault by its line, and the public files where there are any."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infercast.policies.faults import BadInput
from infercast.sim.model import NEVER_EQUAL, Calls
from infercast.sim.traces import read_trace
from infercast.sim.traffic import Scale, Shift
from infercast.sim.workload_parts import Trace
from tests.router.logs import decision, write_log
from tests.sim.trace_files import AZURE, BURST, MOONCAKE, asked, lines, read, refused, trace
from tests.sim.workloads import FLEET, calls, data, origins, poisson_margin, rows, share_margin, source
from tests.support import Raw


def played(folder: Path, text: str, format_: str, changes: Any = (), source_: Raw | None = None, **parts: Any) -> Calls:
    raw = source(rate=None, trace=trace(folder, text, format_, **parts), **(source_ or {}))
    return calls(raw, folder=folder, changes=changes, duration="1h")


def test_azure_s_rows_by_hand(tmp_path: Path) -> None:
    found = played(tmp_path, AZURE, "azure_llm")
    assert found.at_us.tolist() == [0, 52_000, 1_520_040]
    assert found.payload_bytes.tolist() == [4 * 4800, 4 * 3180, 400]
    assert found.work_ppm.tolist() == [round(4818e6 / 3188), 1_000_000, round(100e6 / 3188)]
    assert found.content.tolist() == [NEVER_EQUAL] * 3
    assert {(kind.tenant, kind.model) for kind in found.kinds} == {("t", "digits")}


def test_a_time_may_name_its_offset(tmp_path: Path) -> None:
    text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,1,1\n2024-05-10 02:00:01.009930+02:00,1,1\n"
    assert read(tmp_path, text, "azure_llm").at_us.tolist() == [0, 1_000_000]


def test_burstgpt_s_rows_by_hand(tmp_path: Path) -> None:
    to = {"ChatGPT": "digits", "GPT-4": "vision"}
    found = played(
        tmp_path, BURST, "burstgpt", source_={"model": None}, models=to, bytes_per_token=2, generated_weight=10
    )
    assert found.at_us.tolist() == [0, 40_000_000, 113_500_000]
    assert [found.kinds[kind].model for kind in found.kind.tolist()] == ["digits", "digits", "vision"]
    assert found.payload_bytes.tolist() == [800, 2000, 600]
    first, second = 400 + 200, 1000 + 2000  # each model has its own usual work
    usual = (first + second) / 2
    assert found.work_ppm.tolist() == [round(first * 1e6 / usual), round(second * 1e6 / usual), 1_000_000]


def test_models_of_a_trace_that_are_not_named_are_left_out(tmp_path: Path) -> None:
    found = played(tmp_path, BURST, "burstgpt", source_={"model": None}, models={"GPT-4": "digits"})
    assert found.at_us.tolist() == [113_500_000]  # the clock is the file's, whatever is left out
    assert len(played(tmp_path, BURST, "burstgpt")) == 3  # all are the source's model
    with pytest.raises(BadInput, match=r"none of its 3 rows .* its models are 'ChatGPT', 'GPT-4'"):
        played(tmp_path, BURST, "burstgpt", source_={"model": None}, models={"GPT-5": "digits"})


def test_mooncake_s_rows_by_hand(tmp_path: Path) -> None:
    found = played(tmp_path, lines(MOONCAKE), "mooncake")
    assert found.at_us.tolist() == [0, 40_000, 40_000, 3_000_000, 3_001_000]
    one, same, longer, other, unknown = found.content.tolist()
    assert one == same
    assert len({one, longer, other}) == 3
    assert unknown == NEVER_EQUAL


def test_a_log_s_rows_by_hand(tmp_path: Path) -> None:
    records = [
        {"request": asked(1000, payload_bytes=7, deadline_us=5000, classes=("plain",)), "tried": []},
        {"request": asked(1000, payload_bytes=7, deadline_us=5000, classes=("plain",)), "tried": [3]},  # tried again
        asked(1000, entry="par", payload_bytes=9),
        asked(1003, origin="phone", entry="phone"),
    ]
    nobody = {"tenant": None, "model": None, "origins": None}
    found = played(tmp_path, lines(records), "decision_log", source_=nobody)
    assert found.at_us.tolist() == [0, 500_000, 3_250_000]  # 1000.25, 1000.75 and 1003.5 s
    kinds = [found.kinds[kind] for kind in found.kind.tolist()]
    assert [(kind.origin, kind.entries[0], kind.deadline_us, kind.classes) for kind in kinds] == [
        ("berlin", "ber", 5000, ("plain",)),
        ("berlin", "par", 0, ()),
        ("phone", "phone", 0, ()),
    ]
    assert kinds[1].entries == ("par", "ber", "iad")
    assert found.payload_bytes.tolist() == [7, 9, 0]


def log_line(seq: int, kind: str, body: Any) -> Raw:
    return {"seq": seq, "kind": kind, "at": 1, **({} if body is None else {"body": body})}


def test_a_log_s_own_lines_are_read_and_its_holes_are_said(tmp_path: Path) -> None:
    whole = [log_line(0, "open", {}), log_line(1, "decision", {"request": asked(5), "tried": []})]
    assert len(read(tmp_path, lines(whole), "decision_log")) == 1
    holes = [
        *whole,
        log_line(2, "decision", None),
        log_line(3, "gap", {"lost": {"queue": 3, "close": 1}}),
        log_line(4, "withheld", {"decisions": 2}),
    ]
    said = refused(tmp_path, lines(holes), "decision_log")
    assert said == [
        ": calls are missing: 1 erased, 4 lost, 2 withheld by policy (write `gaps: keep` to go on without them)"
    ]
    assert len(read(tmp_path, lines(holes), "decision_log", gaps="keep")) == 1


def test_a_log_is_a_folder_of_files_of_many_places(tmp_path: Path) -> None:
    (tmp_path / "state" / "decisions").mkdir(parents=True)
    for place, at_s in (("fra", 20), ("dub", 10)):
        text = lines([asked(at_s, entry="par"), asked(at_s + 1)])
        (tmp_path / "state" / "decisions" / f"{place}-1-2.jsonl").write_text(text)
    found = read_trace(Trace(file="state", format="decision_log"), tmp_path)
    assert found.at_us.tolist() == [0, 1_000_000, 10_000_000, 11_000_000]
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="no decision log is here"):
        read_trace(Trace(file="empty", format="decision_log"), tmp_path)


def test_a_log_that_the_router_wrote_is_read(tmp_path: Path) -> None:
    records = [decision(f"d{at_s}", request=asked(at_s)) for at_s in (5, 6, 8)]
    write_log(tmp_path / "decisions", [(record, None) for record in records])
    found = read_trace(Trace(file=".", format="decision_log"), tmp_path)
    assert found.at_us.tolist() == [0, 1_000_000, 3_000_000]
    assert [(asking.tenant, asking.entry) for asking in found.requests] == [("t", "ber")]


def test_calls_of_one_second_are_spread_evenly_over_it(tmp_path: Path) -> None:
    found = read(tmp_path, lines([asked(9), asked(9), asked(9), asked(9), asked(10), asked(12)]), "decision_log")
    assert found.at_us.tolist() == [0, 250_000, 500_000, 750_000, 1_375_000, 3_375_000]


def test_what_the_source_says_takes_the_place_of_what_the_trace_says(tmp_path: Path) -> None:
    says = {
        "payload_bytes": 5,
        "work": 3,
        "repeated": {"share": 1, "questions": 1},
        "deadline_ms": 9,
        "classes": ["plain"],
        "entries": ["iad"],
        "origins": ["tokyo"],
    }
    found = played(tmp_path, lines([asked(1, deadline_us=4), asked(2, classes=("x",))]), "decision_log", source_=says)
    assert found.payload_bytes.tolist() == [5, 5]
    assert found.work_ppm.tolist() == [3_000_000] * 2
    assert len(set(found.content.tolist()) - {NEVER_EQUAL}) == 1
    [kind] = found.kinds
    assert (kind.origin, kind.entries, kind.deadline_us, kind.classes) == ("tokyo", ("iad",), 9000, ("plain",))


def test_a_trace_is_played_faster_later_thinner_and_cut(tmp_path: Path) -> None:
    text = lines({"timestamp": 1000 * at, "input_length": 1, "output_length": 1} for at in range(10))
    late = {"from": "1m", "until": "63s"}
    assert played(tmp_path, text, "mooncake", source_=late, speed=2).at_us.tolist() == [
        60_000_000 + 500_000 * at for at in range(6)
    ]
    parts = [played(tmp_path, text, "mooncake", every=3, first=first).at_us.tolist() for first in range(3)]
    assert parts[1] == [1_000_000, 4_000_000, 7_000_000]
    assert sorted(at for part in parts for at in part) == [1_000_000 * at for at in range(10)]


def test_origins_of_a_trace_are_drawn_by_weight(tmp_path: Path) -> None:
    text = lines({"timestamp": at, "input_length": 1, "output_length": 1} for at in range(4000))
    found = origins(played(tmp_path, text, "mooncake", source_={"origins": {"berlin": 3, "tokyo": 1}}))
    assert abs(found.count("tokyo") - 1000) < poisson_margin(1000)
    assert len(found) == 4000


def test_more_of_a_trace_is_its_calls_again_a_little_later_asking_others_questions(tmp_path: Path) -> None:
    base = played(tmp_path, lines(MOONCAKE), "mooncake")
    more = played(tmp_path, lines(MOONCAKE), "mooncake", changes=[Scale(3.0)])
    assert rows(base).items() <= rows(more).items()
    assert len(more) == 15
    for count, payload in ((6, 4000), (3, 4004), (3, 2400), (3, 20)):
        assert more.payload_bytes.tolist().count(payload) == count
    added = sorted((at_us, payload) for luck, (_, at_us, payload, *_) in rows(more).items() if luck not in rows(base))
    recorded = list(zip(base.at_us.tolist(), base.payload_bytes.tolist(), strict=True))
    for at_us, payload in added:
        assert any(payload == known and 0 <= at_us - was < 1_000_000 for was, known in recorded)
    asked_of = {word: more.content.tolist().count(word) for word in set(more.content.tolist()) - {NEVER_EQUAL}}
    assert sorted(asked_of.values()) == [1] * 6 + [2] * 3  # three groups of callers, each asking one question twice


def test_copies_that_would_come_after_the_end_do_not(tmp_path: Path) -> None:
    text = lines({"timestamp": 0, "input_length": 1, "output_length": 1} for _ in range(1000))
    found = played(tmp_path, text, "mooncake", changes=[Scale(2.0)], source_={"until": "500ms"})
    assert 500_000 > found.at_us[-1] > 490_000
    assert abs(len(found) - 1500) < 1000 * share_margin(1000)


def test_a_call_of_a_log_that_is_moved_enters_where_calls_from_there_do(tmp_path: Path) -> None:
    nobody = {"tenant": None, "model": None, "origins": None}
    text = lines([asked(1, entry="iad")])
    stays, moves = (
        played(tmp_path, text, "decision_log", source_=nobody, changes=[Shift(share, "ber")]) for share in (0.0, 1.0)
    )
    assert stays.kinds[stays.kind[0]].entries == ("iad", "ber", "par")
    assert moves.kinds[moves.kind[0]].entries == ("ber", "par", "iad")


def test_a_trace_is_thinned_and_moved_call_by_call(tmp_path: Path) -> None:
    text = lines({"timestamp": at, "input_length": 1, "output_length": 1} for at in range(1000))
    base, some = played(tmp_path, text, "mooncake"), played(tmp_path, text, "mooncake", changes=[Scale(0.5)])
    assert rows(some).items() <= rows(base).items()
    assert abs(len(some) - 500) < poisson_margin(500)
    moved = played(tmp_path, text, "mooncake", changes=[Shift(1.0, "tokyo")])
    assert set(origins(moved)) == {"tokyo"}
    assert moved.luck.tobytes() == base.luck.tobytes()


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"tenant": "tt"}, "no tenant is called 'tt' here (did you mean 't'?)"),
        ({"model": "digit"}, "no model is called 'digit' here (did you mean 'digits'?)"),
        ({"origin": "berlim"}, "no place is called 'berlim' here (did you mean 'berlin'?)"),
        ({"entry": "par1"}, "no site is called 'par1' here (did you mean 'par'?)"),
    ],
)
def test_words_of_a_log_that_are_not_declared_here_are_said(tmp_path: Path, parts: Raw, said: str) -> None:
    nobody = {"tenant": None, "model": None, "origins": None}
    with pytest.raises(BadInput) as error:
        played(tmp_path, lines([asked(1), asked(2, **parts), asked(3, **parts)]), "decision_log", source_=nobody)
    assert str(error.value) == f"{tmp_path}/trace:2: {said}"


def test_models_of_a_log_are_renamed(tmp_path: Path) -> None:
    nobody = {"tenant": None, "model": None, "origins": None}
    text = lines([asked(1, model="old"), asked(2, model="older")])
    found = played(tmp_path, text, "decision_log", source_=nobody, models={"old": "vision"})
    assert [kind.model for kind in found.kinds] == ["vision"]
    assert len(found) == 1


def test_azure_s_public_trace() -> None:
    path = data("traces/azure_llm_2023_code.csv")
    raw = source(rate=None, trace={"file": path.name, "format": "azure_llm"})
    found = calls(raw, folder=path.parent, duration="2h")
    text = path.read_text().splitlines()
    assert len(found) == len(text) - 1 == 8819
    assert found.payload_bytes[0] == 4 * int(text[1].split(",")[1])
    assert found.payload_bytes.sum() == 4 * sum(int(line.split(",")[1]) for line in text[1:])
    assert np.median(found.work_ppm) == 1_000_000
    assert found.at_us[-1] == 3435_948_056  # 18:17:03.979960 to 19:14:19.928016


def test_mooncake_s_public_trace() -> None:
    path = data("traces/mooncake_synthetic.jsonl")
    raw = source(rate=None, trace={"file": path.name, "format": "mooncake", "gaps": "refuse"})
    found = calls(raw, folder=path.parent, duration="2h")
    prompts = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(found) == len(prompts) == 3993
    different = {(row["input_length"], tuple(row["hash_ids"])) for row in prompts}
    assert len(set(found.content.tolist())) == len(different)
    assert found.at_us[-1] == 1000 * prompts[-1]["timestamp"]
    assert FLEET.model_by_id
