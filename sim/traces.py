"""Reading recorded traffic: public formats of LLM traces, and our own decision log. `docs/workloads.md` has their columns."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import isfinite
from pathlib import Path
from typing import Any, TextIO

from infercast.policies.faults import BadInput, Fault, did_you_mean
from infercast.policies.record import request_as_written
from infercast.policies.units import US_PER_MS, US_PER_S

from .attributes import CONTENT_BITS
from .model import NEVER_EQUAL
from .recording import Recording, Rows
from .streams import number_of
from .workload_parts import Trace

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
LATEST_S = 10**11
"""Times beyond this are no seconds."""
LOG_SUFFIX = ".jsonl"
DECISION, LOST, WITHHELD = "decision", "gap", "withheld"
"""Kinds of lines of a decision log; the log's writer calls them so."""


def read_trace(trace: Trace, base_folder: Path) -> Recording:
    """Return a trace's rows; its path begins at `base_folder`. Raises BadInput with file, line and remedy for each fault."""
    rows = Rows(base_folder / trace.file, trace)
    READERS[trace.format](rows, trace)
    return rows.recording(spread_s=trace.format == "decision_log")


def _azure_llm(rows: Rows, trace: Trace) -> None:
    """Azure's LLM inference traces of 2023 and 2024: `TIMESTAMP` in UTC, `ContextTokens`, `GeneratedTokens`."""
    for line, (time, prompt, generated) in _csv(rows, ("TIMESTAMP", "ContextTokens", "GeneratedTokens")):
        with _Row(rows, line):
            at = datetime.fromisoformat(time)
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
            rows.add(rows.path, line, (at - EPOCH) // MICROSECOND, _tokens(prompt), _tokens(generated))


def _burstgpt(rows: Rows, trace: Trace) -> None:
    """BurstGPT: `Timestamp` in seconds, `Model`, `Request tokens`, `Response tokens`."""
    for line, (time, model, *tokens) in _csv(rows, ("Timestamp", "Model", "Request tokens", "Response tokens")):
        with _Row(rows, line):
            prompt, generated = (_tokens(text) for text in tokens)
            rows.add(rows.path, line, _us(float(time), US_PER_S), prompt, generated, model=model)


def _mooncake(rows: Rows, trace: Trace) -> None:
    """Mooncake: `timestamp` in milliseconds, `input_length`, `output_length`, `hash_ids` of the prompt's blocks."""
    for line, row in _json(rows, rows.path):
        with _Row(rows, line):
            if not isinstance(row, dict):
                raise ValueError("is no JSON object")  # noqa: TRY004 - a value of the file's, not an argument
            if missing := [name for name in ("timestamp", "input_length", "output_length") if name not in row]:
                raise ValueError(f"lacks {', '.join(missing)}")
            at_us = _us(row["timestamp"], US_PER_MS)
            tokens = _tokens(row["input_length"]), _tokens(row["output_length"])
            rows.add(rows.path, line, at_us, *tokens, content=_prompt(row.get("hash_ids"), tokens[0]))


def _prompt(blocks: Any, tokens: int) -> int:
    """Return what stands for a prompt: equal where all its blocks are, and its length."""
    if blocks is None or blocks == []:
        return NEVER_EQUAL
    if not isinstance(blocks, list) or not all(type(block) is int for block in blocks):
        raise ValueError("has `hash_ids` that are no list of whole numbers")
    return number_of(CONTENT_BITS, "prompt", tokens, *blocks)


def _decision_log(rows: Rows, trace: Trace) -> None:
    """Our own log (a folder, or one file of it), or a file with one request a line. Calls tried again are one call."""
    holes: dict[str, int] = {}
    for path in _log_files(rows.path):
        rows.new_file()
        for line, value in _json(rows, path):
            with _Row(rows, line, path):
                record = _decision_of(value, holes)
                if record is None or (isinstance(record, dict) and record.get("tried")):
                    continue
                request = request_as_written(record, "")
                if not 0 < request.at_s < LATEST_S:
                    raise ValueError("does not say when it came: `at_s` is seconds since 1970")
                kind = replace(request, id="", at_s=0)
                rows.add(path, line, request.at_s * US_PER_S, model=request.model, request=kind)
    if holes and trace.gaps == "refuse":
        said = ", ".join(f"{count} {what}" for what, count in sorted(holes.items()))
        rows.bad(rows.path, 0, f"calls are missing: {said}", "write `gaps: keep` to go on without them")


def _decision_of(value: Any, holes: dict[str, int]) -> Any:
    """Return the decision of a log's line, None where it holds none; what is missing is counted in `holes`."""
    if not isinstance(value, dict) or "seq" not in value or "kind" not in value:
        return value
    body = value.get("body")
    if value["kind"] == DECISION and body is None:
        holes["erased"] = holes.get("erased", 0) + 1
    elif value["kind"] == DECISION:
        return body
    elif value["kind"] in (LOST, WITHHELD) and isinstance(body, dict):
        lost = body.get("decisions", body.get("lost"))
        counts = lost.values() if isinstance(lost, dict) else (lost,)
        what = "lost" if value["kind"] == LOST else "withheld by policy"
        holes[what] = holes.get(what, 0) + sum(count for count in counts if type(count) is int)
    return None


def _log_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    folder = path / "decisions" if (path / "decisions").is_dir() else path
    files = sorted(file for file in folder.glob(f"*{LOG_SUFFIX}") if not file.name.startswith("."))
    if not files:
        raise BadInput([Fault(str(folder), 0, "", "no decision log is here", "name its folder or one of its files")])
    return files


READERS: dict[str, Callable[[Rows, Trace], None]] = {
    "azure_llm": _azure_llm,
    "burstgpt": _burstgpt,
    "mooncake": _mooncake,
    "decision_log": _decision_log,
}


class _Row:
    """Turns what is wrong with a row into a fault at its line, and goes on."""

    def __init__(self, rows: Rows, line: int, path: Path | None = None) -> None:
        self._rows, self._line, self._path = rows, line, path or rows.path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, ValueError | OverflowError):
            return False
        self._rows.bad(self._path, self._line, f"cannot be read: {error}", "mend or remove the row")
        return True


def _us(value: Any, scale: int) -> int:
    """Return a time in microseconds. Raises ValueError for what is no time."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{value!r} is no time")
    if not 0 <= value * scale < LATEST_S * US_PER_S:
        raise ValueError(f"{value!r} is no time that anybody recorded at")
    return round(value * scale)


def _tokens(value: Any) -> int:
    """Return a count of tokens. Raises ValueError for what is none."""
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    if type(value) is not int:
        raise ValueError(f"{value!r} is no whole number of tokens")
    return value


def _csv(rows: Rows, needed: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Yield line and needed values of each row of a CSV file with a header. Raises BadInput where columns are missing."""
    with _opened(rows.path) as file:
        reader = csv.reader(file)
        try:
            header = [name.strip() for name in next(reader, [])]
            if missing := [name for name in needed if name not in header]:
                remedy = did_you_mean(missing[0], header) if header else "is it the right file?"
                raise BadInput([Fault(str(rows.path), 1, "", f"lacks the columns {', '.join(missing)}", remedy)])
            at = [header.index(name) for name in needed]
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    rows.bad(rows.path, reader.line_num, f"has {len(row)} values, the header has {len(header)}")
                    continue
                yield reader.line_num, [row[place] for place in at]
        except (csv.Error, UnicodeDecodeError) as error:
            raise BadInput(
                [Fault(str(rows.path), reader.line_num, "", f"is no CSV: {error}", "mend the file")]
            ) from error


def _json(rows: Rows, path: Path) -> Iterator[tuple[int, Any]]:
    """Yield line and value of a file with one JSON value a line."""
    with _opened(path) as file:
        try:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError) as error:
                    rows.bad(path, number, f"is not JSON: {error}", "mend or remove the line")
                else:
                    yield number, value
        except UnicodeDecodeError as error:
            raise BadInput([Fault(str(path), 0, "", f"is not UTF-8: {error.reason}", "save it as UTF-8")]) from error


def _opened(path: Path) -> TextIO:
    try:
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise BadInput([Fault(str(path), 0, "", f"cannot be read: {error.strerror}", "check the path")]) from error
