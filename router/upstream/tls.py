"""TLS towards upstreams."""

import ssl


def client_context(ca_file: str | None, *, http2: bool) -> ssl.SSLContext:
    """Return what upstreams are spoken to with: certificates are checked against `ca_file`, or the system's. Raises OSError."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
    return context
