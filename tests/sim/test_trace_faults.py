"""Traces that cannot be used: each fault is said with its line, all at once, and what is meant may be kept."""

from pathlib import Path

import pytest

from infercast.policies.faults import BadInput
from infercast.sim.traces import read_trace
from infercast.sim.workload_parts import Trace
from tests.sim.trace_files import AZURE, BURST, MOONCAKE, asked, lines, read, refused


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
