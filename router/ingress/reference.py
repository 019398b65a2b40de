"""The page at /docs: the OpenAPI document for people, in one file without scripts or anything from elsewhere."""

from collections.abc import Iterator
from html import escape
from typing import Any

import orjson

STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 15px/1.55 system-ui, sans-serif; max-width: 60rem; margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.5rem 0 .5rem; }
code, pre { font: 13px/1.5 ui-monospace, monospace; } pre { overflow-x: auto; margin: .25rem 0; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .4rem 0; }
summary { padding: .5rem .75rem; cursor: pointer; }
details > div { padding: 0 .9rem .8rem; border-top: 1px solid var(--line); }
.method { display: inline-block; min-width: 3.2rem; font-weight: 600; text-transform: uppercase; font-size: 12px; }
.what { opacity: .75; margin-left: .75rem; } .key { float: right; opacity: .6; font-size: 12px; }
table { border-collapse: collapse; width: 100%; } h3 { font-size: .9rem; margin: 1rem 0 .25rem; }
td { padding: .2rem .6rem .2rem 0; vertical-align: top; border-bottom: 1px solid var(--line); }
td:first-child { white-space: nowrap; }
"""


def page(document: dict[str, Any]) -> str:
    """Return the document as HTML."""
    root = document["servers"][0]["url"]
    body = "".join(_body(document))
    title = escape(document["info"]["title"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{STYLE}</style>"
        f"<h1>{title} {escape(document['info']['version'])}</h1><p>{escape(document['info']['summary'])} "
        f"Addresses are below <code>{escape(root)}</code>. "
        f'For programs: <a href="openapi.json">openapi.json</a>.</p>{body}</html>'
    )


def _body(document: dict[str, Any]) -> Iterator[str]:
    calls = [(path, method, call) for path, ways in document["paths"].items() for method, call in ways.items()]
    for group in dict.fromkeys(call["tags"][0] for _, _, call in calls):
        yield f"<h2>{escape(group)}</h2>"
        for path, method, call in calls:
            if call["tags"][0] == group:
                yield _call(path, method, call)
    yield "<h2>Shapes</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary><div>{_shape(schema)}</div></details>'


def _call(path: str, method: str, call: dict[str, Any]) -> str:
    key = '<span class="key">key</span>' if call["security"] else ""
    parts = [_table("Sends", _sent(call)), _table("Gets", _got(call))]
    return (
        f'<details id="{escape(call["operationId"])}"><summary><span class="method">{escape(method)}</span>'
        f'<code>{escape(path)}</code><span class="what">{escape(call["summary"])}</span>{key}</summary>'
        f"<div>{''.join(parts)}</div></details>"
    )


def _sent(call: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for parameter in call["parameters"]:
        yield escape(parameter["name"]), escape(parameter.get("description", f"in the {parameter['in']}"))
    for media, content in call.get("requestBody", {}).get("content", {}).items():
        yield "body", f"<code>{escape(media)}</code> {_name(content['schema'])}"


def _got(call: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for status, answer in call["responses"].items():
        shapes = " ".join(
            f"<code>{escape(media)}</code> {_name(one['schema'])}" for media, one in answer["content"].items()
        )
        yield status, f"{escape(answer['description'])} {shapes}"
    for name, header in call["responses"]["200"].get("headers", {}).items():
        yield escape(name), escape(header["description"])


def _table(title: str, rows: Iterator[tuple[str, str]]) -> str:
    body = "".join(f"<tr><td><code>{name}</code></td><td>{said}</td></tr>" for name, said in rows)
    return f"<h3>{title}</h3><table>{body}</table>" if body else ""


def _shape(schema: dict[str, Any]) -> str:
    needed = schema.get("required", [])
    rows = (
        (escape(name) + ("" if name in needed else "?"), _name(one))
        for name, one in schema.get("properties", {}).items()
    )
    said = f"<p>{escape(schema['description'])}</p>" if "description" in schema else ""
    return said + _table("Fields", iter(rows))


def _name(schema: dict[str, Any]) -> str:
    """Return a shape in a few words, with links to those that have a name."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_name(one) for one in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " or ".join(f"<code>{escape(_json(value))}</code>" for value in values)
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_name(schema.get('items', {}))}"
    if kind == "object" and "properties" in schema:
        fields = schema["properties"]
        return "{ " + ", ".join(f"<code>{escape(name)}</code>: {_name(one)}" for name, one in fields.items()) + " }"
    return escape(" or ".join(kind) if isinstance(kind, list) else kind)


def _json(value: Any) -> str:

    return orjson.dumps(value).decode()
