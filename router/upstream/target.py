"""What the fleet file says of an upstream, ready for sending: paths, fixed headers, names. Made once per site."""

import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx

from infercast.policies.faults import BadInput, Fault
from infercast.policies.fleet import Fleet, Site
from infercast.policies.upstream import Upstream

from ..api import Api
from .client import Client
from .tls import client_context
from .transport import Address

PATHS = {Api.CHAT: "/chat/completions", Api.COMPLETION: "/completions", Api.EMBEDDING: "/embeddings"}
HEALTH = {"openai": "/models", "oip": "/v2/health/ready", "infercast": "/v2/health/ready"}
APIS_OF = {"tensors": (Api.INFER,), "chat": (Api.CHAT, Api.COMPLETION), "embedding": (Api.EMBEDDING,)}
KEY = re.compile(r"[!-~]{1,8192}")


@dataclass(frozen=True, slots=True)
class Target:
    """One upstream. `ways` are where calls go, by deployment and API; `health` is what is asked to see whether it lives."""

    site: str
    upstream: Upstream
    client: Client
    ways: dict[tuple[int, Api], httpx.URL]
    health: httpx.URL


def target_of(fleet: Fleet, site: Site, upstream: Upstream) -> Target:
    """Return a site's upstream, ready. Raises BadInput where its key or certificates cannot be read."""
    parts = urlsplit(upstream.url)
    tls = _tls(fleet, site) if parts.scheme == "https" else None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = Address(parts.hostname or "", port, tls, upstream.private)
    client = Client(address, upstream, parts.netloc, lambda: key_of(fleet, site))
    base = upstream.url.rstrip("/")
    ways = {}
    for index, deployment in enumerate(fleet.deployments):
        if deployment.site == site.id:
            model = fleet.model_by_id[fleet.model_of[deployment.variant]]
            name = name_of(fleet, index, upstream)
            for api in APIS_OF[model.task]:
                ways[(index, api)] = httpx.URL(base + _path(upstream.api, api, name))
    return Target(site.id, upstream, client, ways, httpx.URL(base + (upstream.health or HEALTH[upstream.api])))


def _tls(fleet: Fleet, site: Site) -> ssl.SSLContext:
    ca, certificate, key = (_file(fleet, site, field) for field in ("ca_file", "cert_file", "cert_key_file"))
    context = client_context(*(Path(name) if name else None for name in (ca, certificate, key)))
    context.set_alpn_protocols(["http/1.1"])  # httpx offers h2, too, where it is to be spoken
    return context


def name_of(fleet: Fleet, index: int, upstream: Upstream) -> str:
    """Return what an upstream calls a deployment's variant: its name; for another cluster of ours `MODEL/VARIANT`."""
    deployment = fleet.deployments[index]
    ours = f"{fleet.model_of[deployment.variant]}/{deployment.variant}"
    own = ours if upstream.api == "infercast" else deployment.variant
    return upstream.models.get(deployment.variant, own)


def _path(kind: str, api: Api, name: str) -> str:
    if api is Api.INFER and kind == "infercast":
        model, _, variant = name.partition("/")
        version = f"/versions/{quote(variant, safe='')}" if variant else ""
        return f"/v2/models/{quote(model, safe='')}{version}/infer"
    if api is Api.INFER:
        return f"/v2/models/{quote(name, safe='')}/infer"
    return f"/v1{PATHS[api]}" if kind == "infercast" else PATHS[api]


def _file(fleet: Fleet, site: Site, field: str) -> str | None:
    return fleet.files.get(f"{site.id}.{field}")


def key_of(fleet: Fleet, site: Site) -> str | None:
    """Return the credential for an upstream, None where it takes none. Raises BadInput, which never holds any of it."""
    upstream = site.upstream
    if upstream is None or (upstream.key_env is None and upstream.key_file is None):
        return None
    at = f"sites.{site.id}.upstream"
    if upstream.key_env is not None:
        key, where = os.environ.get(upstream.key_env), f"the environment variable {upstream.key_env}"
        if key is None:
            raise BadInput([Fault("", 0, f"{at}.key_env", f"{where} is not set", "set it before `infercast up`")])
    else:
        path = _file(fleet, site, "key_file") or ""
        try:
            key, where = Path(path).read_text(encoding="utf-8").partition("\n")[0], path
        except (OSError, UnicodeDecodeError) as error:
            why = f"{path} cannot be read: {type(error).__name__}"
            raise BadInput([Fault("", 0, f"{at}.key_file", why, "write the key into its first line")]) from error
    if not KEY.fullmatch(key.strip()):
        raise BadInput([Fault("", 0, at, f"{where} holds no key", "one word of visible ASCII letters")])
    return key.strip()
