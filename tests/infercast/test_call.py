"""What `infercast call` sends: a body in the words of the model's task."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from infercast.commands.call import asked
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
