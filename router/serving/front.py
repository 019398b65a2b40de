"""HAProxy's limits on who calls: how many connections, how long each may keep silent, how large a head may be.

Serve's own template leaves clients an hour of silence and any head that fits its buffer. What Serve has a setting for
is set by the environment; the rest are changes, in sed's words, to the configuration that Serve writes.
"""

import json
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PIPES_MAX = 200
"""Pairs of files by which HAProxy moves bytes in the kernel; left to itself it wants one for four connections."""
FILES_SPARE = 1000
"""Files that HAProxy needs beside those of connections: pipes, listeners, health checks, logs, its control socket."""
CONNECTIONS_MAX = 20_000
CONNECTIONS_MIN = 500
FILES_MAX = 65_536
MARK = "# infercast"
"""Stands behind each line that is put in, so that a second reading takes it out first."""
SERVES_OWN = "^(x-request-(timeout-seconds|disconnect-disabled)|(serve[-_]multiplexed[-_]model|x[-_]session)[-_]id)$"
"""Headers by which Serve would let callers change how it treats a call, or which it decodes without asking whether it can."""
OPENAI_PATHS = "{ path_reg '^/[^/]+/v1/(chat|completions|embeddings|models)' }"
PATIENT = (
    "http-request set-timeout server req.hdr(infercast-deadline-ms,1),add(5000)"
    " if { req.hdr_cnt(infercast-deadline-ms) eq 1 } { req.hdr(infercast-deadline-ms,1) -m int 30000:600000 }"
)
"""Who gives a call more time than a site's silence usually means has it: the site says by itself when that is over.

Of several values none counts: a test looks at all of them, the time would be the last one, and the site refuses them anyway.
"""
OPENAI_ERROR = {
    "head": '{"message": ',
    "tail": ', "type": "server_error", "param": null, "code": "unavailable", "infercast": {"kind": "unavailable"}}',
}
"""What stands around a message in OpenAI's errors."""
SITE_GONE = {
    502: "the site broke off before its answer (the call may be repeated)",
    503: "the site takes no calls now (the call may be repeated)",
    504: "the site did not answer in time (the call may be repeated)",
}
"""What HAProxy says where a site's replica is gone, full, or silent."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may take. Times in whole seconds."""

    head_s: int = 10
    """For a whole head, from the connection's start or from the head's first byte."""
    silence_s: int = 30
    """Of a client that is to send its body, or to read its answer, and does neither."""
    idle_s: int = 60
    """Between two calls on one connection."""
    head_fields: int = 64
    head_bytes: int = 12 * 1024
    """Of all header lines together; HAProxy's buffer takes 15 KiB with the request line, and refuses more with 400."""
    path_bytes: int = 2048
    queue_s: int = 5
    """For a call that waits for one of a site's connections."""
    site_connections: int = 4096
    """From HAProxy to one replica: calls under way, slow ones included."""


def connections_max() -> int:
    """Return how many clients may be connected: seven in ten of the files that this machine lets a process open.

    HAProxy itself counts on two for each and refuses to start on less (`no strict-limits` stops that): yet only calls
    under way take a second one, to their site, and a crowd that merely stands there shall not be the end of the place.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return max(CONNECTIONS_MIN, min(CONNECTIONS_MAX, (hard - FILES_SPARE) * 7 // 10))


def raise_files() -> None:
    """Let this process, and those that it starts, open as many files as the machine allows, up to FILES_MAX."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def write_changes(folder: Path, limits: Limits) -> list[str]:
    """Write the answers that HAProxy gives by itself into `folder`, and return the changes as lines of a sed script."""
    lines = [
        f"/ {MARK}$/d",
        rf"s/^\( *timeout client\) .*/\1 {limits.silence_s}s/",
        rf"s/^\( *timeout http-keep-alive\) .*/\1 {limits.idle_s}s/",
        rf"s/^\( *server .* check observe .*mark-down\).*$/\1 maxconn {limits.site_connections}/",
        rf"/^global/a\    maxpipes {PIPES_MAX} {MARK}",
        rf"/^global/a\    no strict-limits {MARK}",
        rf"/^defaults/a\    timeout http-request {limits.head_s}s {MARK}",
        rf"/^defaults/a\    timeout queue {limits.queue_s}s {MARK}",
    ]
    for status, message in SITE_GONE.items():
        # Serve's own answer for all three is 500, as if a fault of the site's had been met.
        lines.append(rf"s#^\( *\)errorfile {status} .*#\1{_gone(folder, status, message)}#")
    rules = "\n".join(rf"a\    {line} {MARK}" for line in _rules(folder, limits))
    lines.append(rf"/^backend /a\    {PATIENT} {MARK}")
    lines.append(f"/^frontend http_frontend/,/^backend/ {{\n/^ *bind / {{\n{rules}\n}}\n}}")
    return lines


def _gone(folder: Path, status: int, message: str) -> str:
    """Return what answers for a site that is gone: the two variables, empty for other APIs than OpenAI's, are set by `_rules`."""
    file = folder / f"{status}.json"
    body = '{"error": %%[var(txn.error_head)]%s%%[var(txn.error_tail)], "infercast": {"kind": "unavailable"}}'
    file.write_text(body % json.dumps(message), encoding="utf-8")
    headers = "hdr retry-after 5 hdr cache-control no-cache"
    return f"http-error status {status} content-type application/json lf-file {file} {headers}"


def _rules(folder: Path, limits: Limits) -> Iterator[str]:
    fields, size, path = limits.head_fields, limits.head_bytes, limits.path_bytes
    yield from _refused(
        folder, 431, f"at most {fields} header fields are accepted", f"{{ req.fhdr_cnt() gt {fields} }}"
    )
    yield from _refused(folder, 431, f"at most {size} bytes of header are accepted", f"{{ req.hdrs,length gt {size} }}")
    yield from _refused(folder, 414, f"at most {path} bytes of path are accepted", f"{{ url,length gt {path} }}")
    yield f"http-request del-header '{SERVES_OWN}' -m reg"
    # Serve takes the caller's id for its logs and answers; one that is no plain word would end in a fault.
    yield "http-request del-header x-request-id unless { req.fhdr(x-request-id) -m reg '^[!-~]{1,128}$' }"
    # Serve adds an id of its own to the one that an answer has from us.
    yield "http-response set-header x-request-id %[res.hdr(infercast-id)] if { res.hdr(infercast-id) -m found }"
    for name, text in OPENAI_ERROR.items():
        quoted = text.replace('"', r'\\"')  # once for HAProxy, once for sed
        yield f"http-request set-var(txn.error_{name}) 'str(\"{quoted}\")' if {OPENAI_PATHS}"
    # No other protocol is spoken here: a client that offers one goes on with this one (RFC 9110, 7.8).
    yield "http-request del-header upgrade"


def _refused(folder: Path, status: int, message: str, when: str) -> Iterator[str]:
    """Yield the rules that answer in the shape of the API that is asked: OpenAI's, or that of everything else."""
    theirs = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": "too_large"}}
    ours = {"error": message, "infercast": {"kind": "too_large"}}
    name = f"{status}-{message.split()[3]}"
    for condition, body, shape in ((f"{when} {OPENAI_PATHS}", theirs, "openai"), (when, ours, "other")):
        file = folder / f"{name}-{shape}.json"
        file.write_text(json.dumps(body), encoding="utf-8")
        yield f"http-request return status {status} content-type application/json file {file} if {condition}"
