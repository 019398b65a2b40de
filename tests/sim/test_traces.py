"""Recorded calls: every format by a small file written by hand, every fault by its line, and the public files where there are any."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infercast.policies.faults import BadInput
from infercast.policies.record import request_as_json
from infercast.sim.model import NEVER_EQUAL, Calls
from infercast.sim.recording import Recording
from infercast.sim.traces import read_trace
from infercast.sim.traffic import Scale, Shift
from infercast.sim.workload_parts import Trace
from tests.router.logs import decision, write_log
from tests.sim.workloads import FLEET, calls, data, origins, poisson_margin, rows, share_margin, source
from tests.support import Raw, request_of

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4800,18
2023-11-16 18:17:04.0319600,3180,8
2023-11-16 18:17:05.5000000,100,0
"""
BURST = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,400,20,420,Conversation log
45,ChatGPT,1000,200,1200,Conversation log
118.5,GPT-4,300,50,350,API log
"""
MOONCAKE = (
    {"timestamp": 0, "input_length": 1000, "output_length": 6, "hash_ids": [0, 1]},
    {"timestamp": 40, "input_length": 1000, "output_length": 7, "hash_ids": [0, 1]},
    {"timestamp": 40, "input_length": 1001, "output_length": 8, "hash_ids": [0, 1]},
    {"timestamp": 3000, "input_length": 600, "output_length": 9, "hash_ids": [0, 2]},
    {"timestamp": 3001, "input_length": 5, "output_length": 9},
)


def lines(values: Iterable[Any]) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def asked(at_s: int, **parts: Any) -> Raw:
    return request_as_json(request_of(at_s=at_s, **parts))


def trace(folder: Path, text: str, format_: str, **parts: Any) -> Raw:
    (folder / "trace").write_text(text, encoding="utf-8")
    return {"file": "trace", "format": format_, **parts}


def read(folder: Path, text: str, format_: str, **parts: Any) -> Recording:
    return read_trace(Trace.model_validate(trace(folder, text, format_, **parts)), folder)


def refused(folder: Path, text: str, format_: str, **parts: Any) -> list[str]:
    with pytest.raises(BadInput) as error:
        read(folder, text, format_, **parts)
    return [str(fault).removeprefix(f"{folder}/trace") for fault in error.value.faults]


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
    ("format_", "text", "said"),
    [
        ("azure_llm", "", ":1: lacks the columns TIMESTAMP, ContextTokens, GeneratedTokens (is it the right file?)"),
        (
            "azure_llm",
            "TIMESTAMP,GeneratedTokens,Contexttokens\n",
            ":1: lacks the columns ContextTokens (did you mean 'Contexttokens'?)",
        ),
        ("azure_llm", AZURE.splitlines()[0], ": holds no calls (is it the right file?)"),
        ("azure_llm", AZURE.replace("3180,8", "3180"), ":3: has 2 values, the header has 3"),
        ("azure_llm", AZURE.replace("3180", "3.5"), ":3: cannot be read: '3.5' is no whole number of tokens (mend or"),
        ("azure_llm", AZURE.replace("3180", "-1"), ":3: cannot be read: '-1' is no whole number of tokens"),
        ("azure_llm", AZURE.replace("3180", "9999999999"), ":3: 9999999999 prompt tokens (from 0 to 1000000000)"),
        ("azure_llm", AZURE.replace("2023-11-16 18:17:05", "soon"), ":4: cannot be read: Invalid isoformat string"),
        (
            "azure_llm",
            AZURE.replace("18:17:05", "18:16:05"),
            ":4: the clock goes back by 58s531ms (sort the file, or raise",
        ),
        ("azure_llm", AZURE.replace("18:17:05", "20:17:05"), ":4: no call for 2h1s468ms before this one: a hole, or"),
        ("burstgpt", BURST.replace("Model", "model"), ":1: lacks the columns Model (did you mean 'model'?)"),
        ("burstgpt", BURST.replace("\n45", "\nnan"), ":3: cannot be read: nan is no time"),
        ("burstgpt", BURST.replace("\n45", "\n1e30"), ":3: cannot be read: 1e+30 is no time that anybody"),
        ("burstgpt", BURST.replace("\n45", "\n"), ":3: cannot be read: could not convert string to float: ''"),
        ("mooncake", "[]\n", ":1: cannot be read: is no JSON object"),
        ("mooncake", '{"timestamp": 0, "input_length": 1}\n', ":1: cannot be read: lacks output_length"),
        ("mooncake", "{\n", ":1: is not JSON: Expecting property name"),
        ("mooncake", "[" * 100_000, ":1: is not JSON: maximum recursion"),
        ("mooncake", lines([{**MOONCAKE[0], "timestamp": "0"}]), ":1: cannot be read: '0' is no time"),
        ("mooncake", lines([{**MOONCAKE[0], "timestamp": True}]), ":1: cannot be read: True is no time"),
        ("mooncake", lines([{**MOONCAKE[0], "hash_ids": [1, "x"]}]), ":1: cannot be read: has `hash_ids` that"),
        ("mooncake", lines([{**MOONCAKE[0], "input_length": None}]), ":1: cannot be read: None is no whole number"),
        ("mooncake", "\n\n", ": holds no calls"),
        ("decision_log", lines([asked(0)]), ":1: cannot be read: does not say when it came"),
        ("decision_log", lines([{"tenant": "t"}]), ":1: cannot be read: lacks model, entry, origin"),
        ("decision_log", lines([asked(9), asked(5)]), ":2: the clock goes back by 4s"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, format_: str, text: str, said: str) -> None:
    found = refused(tmp_path, text, format_)
    assert len(found) == 1
    assert found[0].startswith(said)


def test_a_clock_may_go_back_a_little_and_the_rows_are_sorted(tmp_path: Path) -> None:
    text = AZURE.replace("18:17:05.5", "18:17:03.5")
    found = read(tmp_path, text, "azure_llm")
    assert found.at_us.tolist() == [0, 479_960, 531_960]
    assert found.line.tolist() == [4, 2, 3]
    assert refused(tmp_path, text, "azure_llm", backwards_max="500ms")


def test_a_clock_that_went_back_a_little_is_held_against_the_newest_row(tmp_path: Path) -> None:
    text = lines({"timestamp": at, "input_length": 1, "output_length": 1} for at in (5000, 4500, 4000, 3500))
    assert [said[:24] for said in refused(tmp_path, text, "mooncake")] == [":4: the clock goes back "]


def test_gaps_that_are_meant_are_kept(tmp_path: Path) -> None:
    text = AZURE.replace("18:17:05", "20:17:05")
    assert read(tmp_path, text, "azure_llm", gaps="keep").at_us[-1] == 7_201_520_040
    assert read(tmp_path, text, "azure_llm", gap_max="3h").at_us[-1] == 7_201_520_040


def test_all_faults_come_at_once_but_no_more_than_anybody_reads(tmp_path: Path) -> None:
    text = AZURE + "x,1,1\n2023-11-16 18:17:06,a,1\n"
    assert [said.split(":")[1] for said in refused(tmp_path, text, "azure_llm")] == ["5", "6"]
    assert len(refused(tmp_path, AZURE + "x,1,1\n" * 100, "azure_llm")) == 20


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    for format_ in ("azure_llm", "mooncake", "decision_log"):
        with pytest.raises(BadInput, match="cannot be read: No such file"):
            read_trace(Trace.model_validate({"file": "none", "format": format_}), tmp_path)
    (tmp_path / "trace").write_bytes(b"TIMESTAMP,ContextTokens,GeneratedTokens\n\xff\xff,1,1\n")
    with pytest.raises(BadInput, match="is no CSV: 'utf-8' codec"):
        read_trace(Trace(file="trace", format="azure_llm"), tmp_path)
    with pytest.raises(BadInput, match="is not UTF-8"):
        read_trace(Trace(file="trace", format="mooncake"), tmp_path)


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
