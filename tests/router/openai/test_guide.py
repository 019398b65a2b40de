"""What docs/openai.md shows, run as written, and what it says of parameters and errors."""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from infercast.router.errors import Kind, Trouble
from infercast.router.ingress.answers import STATUS
from infercast.router.ingress.openai_errors import REPEATABLE, error_of
from infercast.router.openai import bodies, envelope, fields
from infercast.router.openai.parameters import HARMLESS, NEUTRAL, OF_MESSAGES
from infercast.router.upstream.hops import HEADER
from tests.router.fakes import ROOT
from tests.router.openai.tiny import entry

PAGE = (ROOT / "docs" / "openai.md").read_text(encoding="utf-8")


def test_the_programs_of_the_guide_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    programs = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(programs) == 2
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".infercast").mkdir()
    with entry("fra") as fra, warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ResourceWarning
        )  # the guide leaves its files and connections to the interpreter
        (tmp_path / ".infercast" / "credentials.json").write_text(json.dumps(fra.secrets))
        names: dict[str, Any] = {}
        for program in programs:
            exec(program.replace("http://127.0.0.1:8000/fra", fra.url), names)
        names["client"].close()
    said = capsys.readouterr().out
    assert "['chat', 'embedding']" in said
    assert "2 vectors of" in said
    assert said.rstrip().endswith("ward-7-0001")


def words(text: str) -> set[str]:
    return set(re.findall(r"`([a-z_]+)`", text))


def test_the_guide_names_every_parameter() -> None:
    taken = PAGE[PAGE.index("## What is taken") : PAGE.index("## Streams")]
    read = {*bodies.CHAT_READ, *bodies.COMPLETION_READ, *bodies.EMBEDDING_READ} - {"model"}
    assert (read | set(HARMLESS) | set(NEUTRAL)) - set(OF_MESSAGES) - words(taken) == set()
    ours = PAGE[PAGE.index("## What a policy") : PAGE.index("## What is taken")]
    assert set(envelope.KNOWN) <= words(ours)


def test_the_guide_names_every_error() -> None:
    table = PAGE[PAGE.index("## Errors") : PAGE.index("## For programs")]
    rows = {int(row[2:5]): row for row in table.splitlines() if re.match(r"\| \d", row)}
    assert set(rows) == set(STATUS.values())
    for kind, status in STATUS.items():
        code = error_of(Trouble(kind, "x"))["error"]["code"]
        assert code is None or f"`{code}`" in rows[status]
        assert (kind in REPEATABLE) == ("| yes" in rows[status])
    source = "".join(Path(module.__file__ or "").read_text() for module in (bodies, envelope, fields))
    source += (ROOT / "router" / "openai" / "parameters.py").read_text()
    codes = set(re.findall(r'"((?:invalid|missing|unknown|unsupported)_\w+)"', source))
    codes.add("context_length_exceeded")  # which `test_client.py` meets: it is said where texts are made
    assert codes == words(rows[STATUS[Kind.BAD_REQUEST]]) - {"param", "code", "bad_hops", HEADER}
