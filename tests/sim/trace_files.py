"""Traces written by hand, one for each format; tests of what is read and of what is refused share them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from infercast.policies.faults import BadInput
from infercast.policies.record import request_as_json
from infercast.sim.recording import Recording
from infercast.sim.traces import read_trace
from infercast.sim.workload_parts import Trace
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
