"""`call`: one real call through the running system."""

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from infercast import system
from infercast.policies.faults import BadInput, Fault, did_you_mean
from infercast.policies.fleet import Fleet
from infercast.policies.fleet_file import load_fleet
from infercast.policies.model import Tier

from .app import FAILED, STATE, AsJson, StatePath, app, err, out, print_json, refusing
from .explain import DataClass, Deadline, Entry, Model, Origin, Tenant, nearest_entry

Payload = Annotated[
    Path | None, typer.Option("--file", help="The call's body in its API's own words; made up if left out.")
]
Text = Annotated[str, typer.Option("--text", help="What to say to a language model, or to have embedded.")]
WAIT_S = 40.0
RAN = "infercast-variant"
"""The header of an answer that says what ran; whoever answers without it is no entry of ours."""
TOKENS_MAX = 16


@app.command()
def call(
    tenant: Tenant,
    model: Model = "digits",
    entry: Entry = None,
    origin: Origin = None,
    data_class: DataClass = None,
    deadline_ms: Deadline = 0,
    file: Payload = None,
    text: Text = "Good morning!",
    state: StatePath = STATE,
    json: AsJson = False,
) -> None:
    """Send one call into the running system and show where it ran. Exit code 1 when it got no answer."""
    with refusing():
        running = system.find(state)
        fleet = load_fleet(running.fleet)
        start = entry or nearest_entry(fleet, origin)
        url, key = address(running, fleet, tenant, start, origin)
        headers = {"authorization": f"Bearer {system.secret_of(state, key)}"}
        path, content = asked(fleet, model, text)
        content = _read(file) if file else content
    if data_class:
        headers["infercast-class"] = data_class
    if deadline_ms:
        headers["infercast-deadline-ms"] = str(deadline_ms)
    with httpx.Client(headers=headers, timeout=WAIT_S, verify=running.verify()) as client:
        began = time.perf_counter()
        try:
            response = client.post(f"{url}{path}", content=content)
        except httpx.HTTPError as error:
            err.print(f"[red]✗[/] {url}: {error}")
            raise typer.Exit(FAILED) from error
        took_ms = (time.perf_counter() - began) * 1000
    show(response, took_ms, json)
    if response.status_code != 200 or RAN not in response.headers:
        raise typer.Exit(FAILED)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        said = f"{file} cannot be read: {error.strerror}"
        raise BadInput([Fault("command line", 0, "--file", said, "name the file of a body")]) from error


def show(response: httpx.Response, took_ms: float, json: bool) -> None:
    """Show an answer, or why there is none: in the words of an entry, or of whatever stands where one was looked for."""
    ours = {name: text for name, text in response.headers.items() if name.startswith("infercast-")}
    body, message = _told(response)
    if json:
        print_json({"status": response.status_code, "took_ms": took_ms, "headers": ours, "body": body})
    elif response.status_code == 200 and RAN in ours:
        out.print(
            f"[green]✓[/] {ours[RAN]} at {ours['infercast-site']} ({ours['infercast-tier']})",
            highlight=False,
        )
        out.print(
            f"  {took_ms:.1f} ms, of which {ours['infercast-emulated-ms']} ms emulated distance between sites; the way to the entry is not emulated",
            highlight=False,
        )
        out.print(f"  {ours['infercast-cost-usd']} USD, decision {ours['infercast-decision']}", highlight=False)
        if message:
            out.print(f"  {message}", highlight=False, markup=False)
    else:
        err.print("[red]✗[/]", end=" ")
        err.print(f"{response.status_code}: {message}", highlight=False, markup=False, soft_wrap=True)


def _told(response: httpx.Response) -> tuple[Any, str]:
    """Return an answer's body, and what it says in a line: who is no entry of ours may not answer in JSON."""
    try:
        body = response.json()
    except ValueError:
        return response.text, response.text.strip()
    if response.status_code == 200 and isinstance(body, dict):
        return body, _said(body)
    error = body.get("error", body) if isinstance(body, dict) else body
    return body, str(error.get("message", error) if isinstance(error, dict) else error)


def _said(body: dict[str, Any]) -> str:
    """Return what a language model said, in a line; nothing for tensors."""
    if body.get("object") == "chat.completion":
        return repr(body["choices"][0]["message"]["content"])
    if body.get("object") == "list":
        return f"a vector of {len(body['data'][0]['embedding'])} numbers"
    return ""


def address(running: system.Running, fleet: Fleet, tenant: str, entry: str, origin: str | None) -> tuple[str, str]:
    """Return the URL of an entry and the id of the key to use there. Raises BadInput for an entry nobody declared."""
    site = fleet.site_by_id.get(entry)
    if site is None:
        remedy = did_you_mean(entry, fleet.site_by_id)
        raise BadInput([Fault("command line", 0, "--entry", f"no site is called {entry!r}", remedy)])
    if site.upstream is not None:
        remedy = f"enter at {', '.join(served.id for served in fleet.served)}"
        raise BadInput([Fault("command line", 0, "--entry", f"{entry!r} is an upstream: no call enters there", remedy)])
    if site.tier is Tier.DEVICE:
        return f"http://127.0.0.1:{running.devices[entry]}", f"{tenant}.{entry}"
    zone = f"{tenant}.{origin}" if origin and origin != entry else tenant
    return f"{running.url}/{entry}", zone


def addresses(running: system.Running, state: Path, fleet: Fleet) -> Callable[[str, str, str], tuple[str, str]]:
    """Return what gives the URL and the key for (tenant, entry, origin), as `infercast.load.Sender` asks for them."""

    @cache  # keys are read from their file once, not within the time that a call takes
    def where(tenant: str, entry: str, origin: str) -> tuple[str, str]:
        url, key = address(running, fleet, tenant, entry, origin)
        return url, system.secret_of(state, key)

    return where


def asked(fleet: Fleet, model: str, text: str) -> tuple[str, bytes]:
    """Return where a model is called and with what, in the words of its task. Raises BadInput for a model nobody declared."""
    import orjson

    if model not in fleet.model_by_id:
        remedy = did_you_mean(model, fleet.model_by_id)
        raise BadInput([Fault("command line", 0, "--model", f"no model is called {model!r}", remedy)])
    match fleet.model_by_id[model].task:
        case "chat":
            said = [{"role": "user", "content": text}]
            wishes = {"model": model, "messages": said, "max_completion_tokens": TOKENS_MAX}
            return "/v1/chat/completions", orjson.dumps(wishes)
        case "embedding":
            return "/v1/embeddings", orjson.dumps({"model": model, "input": text})
        case _:
            return f"/v2/models/{model}/infer", made_up(fleet, model)


def made_up(fleet: Fleet, model: str) -> bytes:
    """Return a request of the right shape, all zeros."""
    import orjson

    card = fleet.cards[fleet.model_by_id[model].variants[0].id]
    inputs: list[dict[str, Any]] = []
    for tensor in card.inputs:
        shape = [1 if size == -1 else size for size in tensor.shape]
        count = 1
        for size in shape:
            count *= size
        inputs.append({"name": tensor.name, "datatype": tensor.datatype, "shape": shape, "data": [0] * count})
    return orjson.dumps({"inputs": inputs})
