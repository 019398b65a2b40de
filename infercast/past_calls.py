"""Calls that came once, to be decided again by other policies: from a file with one request a line, or from a decision log."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from infercast.policies.faults import BadInput, Fault
from infercast.policies.model import Request
from infercast.policies.record import request_as_written

FAULTS_MAX = 20


@dataclass(slots=True)
class PastCalls:
    """The calls, and how many could not be read or have been erased since."""

    requests: list[Request] = field(default_factory=list)
    left_out: int = 0


def calls_of_file(path: Path) -> PastCalls:
    """Return the calls of a JSONL file: each line a request, or a decision record with its `request`.

    Raises BadInput with the faults of the first lines that are neither.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput([Fault(str(path), 0, "", f"cannot be read: {error}", "check the path")]) from error
    found, faults = PastCalls(), []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.requests.append(request_as_written(json.loads(line), f"line {number}"))
        except (ValueError, RecursionError) as error:
            remedy = 'one call a line: {"tenant": ..., "model": ..., "entry": ..., "origin": ...}'
            faults.append(Fault(str(path), number, "", str(error), remedy))
    if faults:
        raise BadInput(faults[:FAULTS_MAX])
    return found


def calls_of_log(folder: Path) -> PastCalls:
    """Return the calls of a decision log; `folder` is the log's, or the state folder that it stands in.

    A call that was tried again is one call. Raises BadInput where there is no log.
    """
    from infercast.router.telemetry.chain import DECISION, raw_lines, read_line
    from infercast.router.telemetry.log_files import log_files

    found = PastCalls()
    for path in log_files(folder / "decisions" if (folder / "decisions").is_dir() else folder):
        try:
            for raw, _ in raw_lines(path):
                try:
                    line = read_line(raw)
                    if line.kind == DECISION and line.body is None:
                        found.left_out += 1
                    elif line.kind == DECISION and line.body is not None and not line.body.get("tried"):
                        found.requests.append(request_as_written(line.body, path.name))
                except ValueError:
                    found.left_out += 1
        except (ValueError, OSError):
            found.left_out += 1
    return found
