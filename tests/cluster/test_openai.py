"""OpenAI's own client against a running system: answers, streams near and far, errors, and who hangs up."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.cluster.live import ROOT, Live

HELLO: Any = [{"role": "user", "content": "hello"}]
WAIT_S = 30.0
AT_HOME = ("fra", "annotator", "paris", "images")
"""The annotator's calls have seconds: they run at Frankfurt, where they are cheapest."""
FAR_AWAY = ("dub", "studio", "paris", "replays")
"""Players' replays may run at one operator only, whose one decoder stands in Virginia."""


@pytest.fixture(autouse=True)
def models(live: Live) -> None:
    """What the guide talks to."""
    missing = {"chat", "embedding"} - set(live.fleet.model_by_id)
    if missing:
        pytest.skip(f"the fleet has no {' and no '.join(sorted(missing))}")


@contextmanager
def client(live: Live, entry: str, tenant: str, origin: str | None, named: str | None) -> Iterator[openai.OpenAI]:
    """The client as its users make it; no answer is to be a kept one."""
    headers = {"cache-control": "no-store"} | ({"infercast-class": named} if named else {})
    secret = live.secret(tenant, origin)
    with openai.OpenAI(
        api_key=secret, base_url=f"{live.url(entry)}/v1", default_headers=headers, timeout=WAIT_S
    ) as found:
        yield found


def ended(live: Live, request: str) -> dict[str, Any]:
    """The `call` line of a request, once it stands there."""
    until = time.monotonic() + WAIT_S
    while not (lines := live.journal("call", request)) and time.monotonic() < until:
        time.sleep(0.2)
    return lines[-1]


def test_the_guide_runs_as_written(live: Live, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "openai.md").read_text(encoding="utf-8")
    program = "\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL))
    assert "127.0.0.1:8000" in program
    (tmp_path / ".infercast").symlink_to(live.state)
    words = [sys.executable, "-c", program.replace("127.0.0.1:8000", f"127.0.0.1:{live.running.port}")]
    ran = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "ward-7-0001" in ran.stdout


@pytest.mark.parametrize(("where", "site"), [(AT_HOME, "fra"), (FAR_AWAY, "iad")], ids=["home", "away"])
def test_a_text_is_the_same_whole_and_in_parts(live: Live, where: tuple[str, str, str, str], site: str) -> None:
    with client(live, *where) as talk:
        wishes: dict[str, Any] = {"model": "chat", "messages": HELLO, "temperature": 0, "max_tokens": 20}
        raw = talk.chat.completions.with_raw_response.create(**wishes, extra_headers={"infercast-id": f"whole-{site}"})
        whole = raw.parse()
        raw = talk.chat.completions.with_raw_response.create(
            **wishes, stream=True, extra_headers={"infercast-id": f"parts-{site}"}
        )
        events = list(raw.parse())
    assert raw.headers["infercast-site"] == site
    assert raw.headers["infercast-variant"] == whole.model == "tiny-llama"
    assert raw.headers["x-request-id"].startswith(f"parts-{site}")
    assert "".join(event.choices[0].delta.content or "" for event in events) == whole.choices[0].message.content
    assert len(events) >= 3
    for request in (f"whole-{site}", f"parts-{site}"):
        line = ended(live, request)
        assert (line["outcome"], line["deployment"], line["tokens"][1]) == ("answered", f"tiny-llama@{site}", 20)


def test_vectors_and_models(live: Live) -> None:
    with client(live, *AT_HOME) as talk:
        assert {"chat", "embedding"} <= {model.id for model in talk.models.list()}
        vectors = talk.embeddings.create(model="embedding", input=["one", "two"])
    assert len(vectors.data) == 2


def test_errors_are_those_of_the_client(live: Live) -> None:
    with client(live, "fra", "hospital", "paris", "personal") as talk:
        with pytest.raises(openai.NotFoundError):
            talk.chat.completions.create(model="chta", messages=HELLO)
        with pytest.raises(openai.BadRequestError, match="n is not supported here"):
            talk.chat.completions.create(model="chat", messages=HELLO, n=2)
        with pytest.raises(openai.APIStatusError) as caught:
            talk.chat.completions.create(model="chat", messages=HELLO, extra_body={"infercast": {"class": "biometric"}})
        assert (caught.value.status_code, caught.value.code) == (421, "wrong_entry")
        with pytest.raises(openai.AuthenticationError):
            talk.with_options(api_key="ic-nobody").models.list()
    with client(live, "iad", "hospital", "paris", "personal") as talk, pytest.raises(openai.APIStatusError) as caught:
        talk.chat.completions.create(model="chat", messages=HELLO, extra_headers={"infercast-id": "unread"})
    assert caught.value.status_code == 421
    assert [line["payload_bytes"] for line in live.journal("received", "unread")] == [0]


@pytest.mark.parametrize(("where", "site"), [(AT_HOME, "fra"), (FAR_AWAY, "iad")], ids=["home", "away"])
def test_who_hangs_up_ends_the_work(live: Live, where: tuple[str, str, str, str], site: str) -> None:
    with client(live, *where) as talk:
        stream = talk.chat.completions.create(
            model="chat", messages=HELLO, max_tokens=900, stream=True, extra_headers={"infercast-id": f"left-{site}"}
        )
        next(iter(stream))
        stream.close()
    line = ended(live, f"left-{site}")
    assert (line["outcome"], line["reason"] in ("gone", "cancelled")) == ("failed", True)


def test_the_description_is_that_of_the_entry(live: Live) -> None:
    described = live.client.get(f"{live.url('fra')}/openapi.json").json()
    assert described["servers"] == [{"url": "/fra"}]
    assert "/v1/chat/completions" in described["paths"]
    assert live.client.get(f"{live.url('fra')}/docs").headers["content-type"] == "text/html; charset=utf-8"
