"""Upstreams: sites that are somebody else's service, reached over HTTP, and what the fleet file may say of them.

The address stands here and nowhere else: no call can name one. A credential is named by where it lies, never written down.
"""

import ipaddress
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field

Task = Literal["tensors", "chat", "embedding"]
TASKS_OF: dict[str, frozenset[str]] = {
    "openai": frozenset({"chat", "embedding"}),
    "oip": frozenset({"tensors"}),
    "infercast": frozenset({"tensors", "chat", "embedding"}),
}
"""Which tasks an API can be asked for."""
ANSWER_BYTES_MAX = 64 * 1024 * 1024


class Upstream(BaseModel):
    """A service behind a site: where it answers, in which API, with whose credential. `models` maps our variants to its names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, Field(max_length=2048)]
    """Everything before the API's own path: `https://host/v1` for OpenAI's, `https://host` for OIP, `https://host/SITE` for infercast."""
    api: Literal["openai", "oip", "infercast"]
    key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")] | None = None
    """The environment variable that holds the key, sent as `Authorization: Bearer`."""
    key_file: str | None = None
    """The file that holds it, in its first line."""
    http2: bool = False
    ca_file: str | None = None
    """The authorities that are believed, in place of the public ones."""
    cert_file: str | None = None
    cert_key_file: str | None = None
    """What is shown of oneself to an upstream that asks for a certificate, and its key."""
    private: bool = False
    """Whether the address may be a private one, or this machine's."""
    connections: int = Field(default=256, ge=1, le=10_000)
    """As many calls are under way at once from one worker; the others wait."""
    health: Annotated[str, Field(pattern=r"^/[!-~]{0,255}$")] | None = None
    """What is asked for to see whether it lives, below `url`; the API's own light question if left out."""
    check_s: float = Field(default=1.0, ge=0.2, le=3.0)
    """How often it is asked."""
    stall_s: float = Field(default=60.0, ge=0.1, le=600)
    """A stream that says nothing for so long is given up."""
    answer_bytes_max: int = Field(default=ANSWER_BYTES_MAX, ge=1024, le=1 << 30)
    classes: dict[str, Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9_.-]{0,61}[a-z0-9])?$")]] = {}
    """What a peer calls our data classes; those that are not here it calls as we do."""
    models: dict[str, Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[!-~]+$")]] = {}

    def name_of(self, variant: str) -> str:
        """Return what the upstream calls a variant."""
        return self.models.get(variant, variant)


class TokenPrice(BaseModel):
    """What a million tokens cost, of the prompt and of the completion."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: float = Field(ge=0, le=1_000_000)
    completion: float = Field(default=0.0, ge=0, le=1_000_000)


def url_faults(upstream: Upstream) -> list[tuple[str, str]]:
    """Return what is wrong with an upstream's address: messages and remedies."""
    try:
        parts = urlsplit(upstream.url)
        _ = parts.port
    except ValueError as error:
        return [(f"{upstream.url!r} is no URL: {error}", "write https://host[:port]/path")]
    if parts.username is not None or parts.password is not None:
        return [("a credential stands in the URL", "take it out, and name where it lies with key_env or key_file")]
    if parts.scheme not in ("http", "https"):
        return [(f"{parts.scheme or 'no'}:// is no way to an upstream", "write https:// or http://")]
    if not parts.hostname or not all("!" <= letter <= "~" for letter in upstream.url):
        return [(f"{upstream.url!r} names no host", "write https://host[:port]/path")]
    if parts.query or parts.fragment or "?" in upstream.url or "#" in upstream.url:
        return [("the URL goes on after its path", "leave out ? and #")]
    return list(_privacy_faults(upstream, parts))


def _privacy_faults(upstream: Upstream, parts: SplitResult) -> list[tuple[str, str]]:
    if is_private(parts.hostname or ""):
        return (
            [] if upstream.private else [(f"{parts.hostname} is a private address", "write `private: true`, if meant")]
        )
    keyed = upstream.key_env is not None or upstream.key_file is not None
    if parts.scheme == "http" and keyed and not upstream.private:
        return [
            ("the key would travel unencrypted", "write https://, or `private: true` where the network is your own")
        ]
    return []


def is_private(host: str) -> bool:
    """Return whether a name or address is this machine's or a private network's, as far as it can be told by looking at it."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.split("%", maxsplit=1)[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    told = mapped or address
    return told.is_multicast or not told.is_global
