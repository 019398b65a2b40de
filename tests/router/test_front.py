"""What is changed in the configuration that Serve writes for HAProxy, and how many clients this machine can hold."""

import json
import resource
import subprocess
from pathlib import Path

import pytest
from ray.serve._private import haproxy_templates

from infercast.router.errors import Kind, Trouble
from infercast.router.ingress.openai_errors import error_of
from infercast.router.serving import front
from infercast.router.serving.front import CONNECTIONS_MAX, CONNECTIONS_MIN, Limits, connections_max, write_changes

CONFIG = """global
    maxconn 4096
defaults
    mode http
    timeout client 3600s
    timeout server 35s
    timeout http-keep-alive 90s
    errorfile 503 /tmp/500.http
frontend prometheus
    bind :9101
frontend http_frontend
    bind 127.0.0.1:8000
    use_backend fra if is_fra
backend fra
    timeout http-keep-alive 90s
    server one 127.0.0.1:30000 check observe layer4 error-limit 3 on-error mark-down
frontend grpc_frontend
    bind 127.0.0.1:9000 proto h2
"""


def changed(folder: Path, text: str) -> list[str]:
    script = folder / "changes.sed"
    script.write_text("\n".join([*write_changes(folder, Limits()), ""]))
    ran = subprocess.run(["sed", "-f", script], input=text, capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()


def test_each_limit_stands_where_haproxy_reads_it(tmp_path: Path) -> None:
    lines = [line.strip().removesuffix(f" {front.MARK}") for line in changed(tmp_path, CONFIG)]
    defaults = lines[lines.index("defaults") : lines.index("frontend prometheus")]
    for line in ("timeout client 30s", "timeout http-request 10s", "timeout http-keep-alive 60s", "timeout queue 5s"):
        assert line in defaults
    (gone,) = (line for line in defaults if "503" in line)
    assert gone.startswith(f"http-error status 503 content-type application/json lf-file {tmp_path}/503.json ")
    http = lines[lines.index("frontend http_frontend") : lines.index("backend fra")]
    assert sum("return status 431" in line for line in http) == 4
    assert http[1] == "bind 127.0.0.1:8000"
    assert sum("set-var(txn.error_" in line for line in http) == 2
    assert http[-1] == "use_backend fra if is_fra"
    assert lines[lines.index("backend fra") + 1] == front.PATIENT
    assert "3600s" not in " ".join(lines)
    assert "server one 127.0.0.1:30000 check observe layer4 error-limit 3 on-error mark-down maxconn 4096" in lines
    assert not any("http-request" in line for line in lines[lines.index("frontend grpc_frontend") :])


def test_a_second_reading_changes_nothing(tmp_path: Path) -> None:
    once = changed(tmp_path, CONFIG)
    assert changed(tmp_path, "\n".join([*once, ""])) == once


@pytest.mark.parametrize("status", front.SITE_GONE)
def test_what_haproxy_says_of_a_site_that_is_gone_has_the_shape_of_the_api_that_is_asked(
    tmp_path: Path, status: int
) -> None:
    changed(tmp_path, CONFIG)
    told = (tmp_path / f"{status}.json").read_text()
    names = ("%[var(txn.error_head)]", "%[var(txn.error_tail)]")
    head, tail = front.OPENAI_ERROR["head"], front.OPENAI_ERROR["tail"]
    assert json.loads(told.replace(names[0], "").replace(names[1], ""))["error"] == front.SITE_GONE[status]
    theirs = json.loads(told.replace(names[0], head).replace(names[1], tail))["error"]
    assert theirs["message"] == front.SITE_GONE[status]
    assert set(theirs) == set(error_of(Trouble(Kind.UNAVAILABLE, "x"))["error"])


def test_serves_template_still_has_what_is_changed() -> None:
    template = haproxy_templates.HAPROXY_CONFIG_TEMPLATE
    for words in ("global\n", "\ndefaults\n", "timeout client {{", "timeout http-keep-alive {{", "errorfile 503 {{",
                  "error-limit {{ config.observe_error_limit }} on-error mark-down{% endif %}\n"):  # fmt: skip
        assert words in template


@pytest.mark.parametrize(
    ("hard", "most"),
    [
        (1024, CONNECTIONS_MIN),
        (20_000, 13_300),
        (1_048_576, CONNECTIONS_MAX),
        (resource.RLIM_INFINITY, CONNECTIONS_MAX),
    ],
)
def test_as_many_clients_as_the_machine_has_files_for(hard: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, hard))
    assert connections_max() == most


@pytest.mark.parametrize(("soft", "hard", "wanted"), [(1024, 20_000, 20_000), (1024, 1_048_576, 65_536)])
def test_files_are_raised_to_what_the_machine_allows(
    soft: int, hard: int, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: said.append(limits))
    front.raise_files()
    assert said == [(wanted, hard)]
