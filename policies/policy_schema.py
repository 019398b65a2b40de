"""The JSON Schema of policy files, made from the same classes that read them, so that an editor completes and checks them.

A schema sees the shape of a file; names, places and what a base permits are checked by `infercast policy check`.
"""

import json
from typing import Any

from .policy import Base, Draft

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TENANT_FILE = "policy.schema.json"
BASE_FILE = "base/base.schema.json"


def tenant_schema() -> dict[str, Any]:
    """Return the schema of a `TENANT.yaml`: one that extends a base may leave its classes out."""
    schema = Draft.model_json_schema()
    schema["required"] = ["version", "tenant"]
    schema["anyOf"] = [
        {"required": ["extends"]},
        {"required": ["classes"], "properties": {"classes": {"minProperties": 1}}},
    ]
    return finished(schema, "A tenant's policy", "One tenant's policy file.")


def base_schema() -> dict[str, Any]:
    """Return the schema of a `base/NAME.yaml`."""
    return finished(
        Base.model_json_schema(), "A base of policies", "What policy files extend and only tighten; no tenant."
    )


def finished(schema: dict[str, Any], title: str, said: str) -> dict[str, Any]:
    """Return a schema made by pydantic as it is published: closed, with its dialect, a title and what it is for."""
    _close(schema)
    return {"$schema": DIALECT, **schema, "title": title, "description": said}


def _close(part: Any) -> None:
    """Refuse the keys of a mapping that its pattern does not know: pydantic leaves them open."""
    if isinstance(part, dict):
        if "patternProperties" in part:
            part.setdefault("additionalProperties", False)
        for inner in part.values():
            _close(inner)
    elif isinstance(part, list):
        for inner in part:
            _close(inner)


def as_text(schema: dict[str, Any]) -> str:
    """Return a schema as it stands in a file: the same bytes for the same classes."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
