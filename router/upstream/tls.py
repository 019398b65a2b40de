"""TLS towards others: whom to believe, and what to show of oneself. Never less than TLS 1.2, never unverified."""

import ssl
from pathlib import Path

from infercast.policies.faults import BadInput, Fault


def client_context(ca: Path | None = None, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """Return the context for calls to another cluster or upstream, for httpx's `verify`.

    `ca` is a PEM file of the authorities to believe, and then no others are believed; left out, the public ones are.
    `certificate` (a PEM chain) and its `key` are shown to a server that asks for them. Raises BadInput.
    """
    faults: list[Fault] = []
    context = _believing(ca, faults)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if key is not None and certificate is None:
        faults.append(Fault(str(key), 0, "", "a key without its certificate", "name the certificate, too"))
    if certificate is not None:
        _show(context, certificate, key, faults)
    if faults:
        raise BadInput(faults)
    return context


def _believing(ca: Path | None, faults: list[Fault]) -> ssl.SSLContext:
    if ca is None:
        import httpx

        return httpx.create_ssl_context()  # its own list of authorities: slim systems have none
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(ca)
    except OSError as error:  # an SSLError is one
        said = (
            "holds no certificates in PEM" if isinstance(error, ssl.SSLError) else f"cannot be read: {error.strerror}"
        )
        faults.append(Fault(str(ca), 0, "", said, "give a PEM file of certificate authorities"))
    return context


def _show(context: ssl.SSLContext, certificate: Path, key: Path | None, faults: list[Fault]) -> None:
    missing = [path for path in (certificate, key) if path is not None and not path.is_file()]
    faults += [Fault(str(path), 0, "", "cannot be read: no such file") for path in missing]
    if missing:
        return
    try:
        # A key with a passphrase would be asked for on the terminal: an empty answer makes it a fault instead.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (ssl.SSLError, OSError) as error:
        said = f"cannot be used with its key: {error.reason if isinstance(error, ssl.SSLError) else error.strerror}"
        remedy = "a PEM chain, its own certificate first, and the key that it was issued for, without a passphrase"
        faults.append(Fault(str(certificate), 0, "", said, remedy))


def trusting(certificate: Path) -> ssl.SSLContext:
    """Return the context for a server on this machine that holds this very certificate, whatever names stand in it.

    Only the first certificate of the file is believed, not who issued it. Raises OSError or ValueError for no PEM file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trust_also(context, certificate)
    return context


def trust_also(context: ssl.SSLContext, certificate: Path) -> None:
    """Believe one more certificate from the next connection on: after a renewal. Raises as `trusting` does."""
    head, mark, _ = certificate.read_text(encoding="ascii").partition("-----END CERTIFICATE-----")
    context.load_verify_locations(cadata=head[head.find("-----BEGIN CERTIFICATE-----") :] + mark + "\n")
