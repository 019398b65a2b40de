"""What `infercast call` sends: a body in the words of the model's task."""

from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from infercast.commands.call import _read, asked, show
from infercast.policies.faults import BadInput
from infercast.policies.fleet_file import load_fleet
from infercast.router.oip import parse_infer
from infercast.router.openai.bodies import parse_chat, parse_embedding

FLEET = load_fleet(Path(__file__).resolve().parents[2] / "cluster.yaml")


def test_a_model_of_tensors_gets_zeros_of_its_shape() -> None:
    path, body = asked(FLEET, "digits", "unused")
    assert path == "/v2/models/digits/infer"
    assert parse_infer(body, None).inputs["image"].shape == (1, 64)


def test_a_language_model_gets_the_text() -> None:
    path, body = asked(FLEET, "chat", "hello")
    assert path == "/v1/chat/completions"
    assert [message.content for message in parse_chat(body).messages] == ["hello"]
    path, body = asked(FLEET, "embedding", "hello")
    assert path == "/v1/embeddings"
    assert list(parse_embedding(body).inputs) == ["hello"]
    named: dict[str, Any] = orjson.loads(body)
    assert named["model"] == "embedding"


def test_a_model_that_nobody_declared_is_told_the_nearest() -> None:
    with pytest.raises(BadInput, match="chat"):
        asked(FLEET, "chatt", "hello")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"Path '/frra' not found [/-/routes].", "Path '/frra' not found [/-/routes]."),
        (b'{"error": "no model is called \'x\'"}', "no model is called 'x'"),
        (b'{"error": {"message": "n is not [supported]", "code": "x"}}', "n is not [supported]"),
        (b'{"detail": 1}', "{'detail': 1}"),
        (b"[1]", "[1]"),
        (b"", ""),
    ],
)
def test_whatever_answers_where_an_entry_was_looked_for_is_shown(
    content: bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show(httpx.Response(404, content=content), 1.0, json=False)
    assert capsys.readouterr().err == f"✗ 404: {said}\n"


def test_what_answers_there_without_being_an_entry_is_no_answer(capsys: pytest.CaptureFixture[str]) -> None:
    show(httpx.Response(200, content=b"<html>"), 1.0, json=False)
    assert capsys.readouterr().err == "✗ 200: <html>\n"
    show(httpx.Response(200, content=b"<html>"), 1.0, json=True)
    assert orjson.loads(capsys.readouterr().out)["body"] == "<html>"


def test_a_body_that_cannot_be_read_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"--file: .*none cannot be read"):
        _read(tmp_path / "none")
