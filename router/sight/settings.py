"""Whether and how traces go out: OpenTelemetry's own environment variables, no others. Without an endpoint there are none.

Read: OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT (either switches traces on), OTEL_SDK_DISABLED,
OTEL_TRACES_EXPORTER, OTEL_EXPORTER_OTLP_PROTOCOL and its _TRACES_ form, OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG,
OTEL_BSP_SCHEDULE_DELAY, OTEL_BSP_MAX_QUEUE_SIZE. The exporter itself reads those of headers, timeout, certificates and
compression; OpenTelemetry's resource reads OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from urllib.parse import urlsplit

from infercast.policies.faults import BadInput, Fault, did_you_mean

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
SAMPLERS = ("always_on", "always_off", "traceidratio")
PARENT_BASED = "parentbased_"
PROTOCOL = "http/protobuf"


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """How calls are traced: the share that is drawn, whether callers are heeded; seconds between sendings, spans kept."""

    share: float
    heeds: bool
    every_s: float
    spans_max: int


def trace_settings(environ: Mapping[str, str]) -> TraceSettings | None:
    """Return what the environment says of traces, None where there are none. Raises BadInput for what it cannot mean."""
    said = {name: value.strip() for name, value in environ.items() if name.startswith("OTEL_") and value.strip()}
    endpoint = next((name for name in ENDPOINTS if name in said), None)
    if said.get("OTEL_SDK_DISABLED", "").lower() == "true" or said.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    if endpoint is None:
        return None
    faults: list[Fault] = []
    if urlsplit(said[endpoint]).scheme not in ("http", "https"):
        faults.append(_fault(endpoint, said[endpoint], "is no URL", "http://localhost:4318"))
    exporter = said.get("OTEL_TRACES_EXPORTER", "otlp")
    if exporter != "otlp":
        faults.append(_fault("OTEL_TRACES_EXPORTER", exporter, "is not served", "otlp, or none"))
    faults += [
        _fault(name, said[name], "is not served", PROTOCOL)
        for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
        if said.get(name, PROTOCOL) != PROTOCOL
    ]
    share, heeds = _sampler(said, faults)
    every_ms = _number(said, "OTEL_BSP_SCHEDULE_DELAY", 5000, (10, 600_000), faults)
    spans_max = _number(said, "OTEL_BSP_MAX_QUEUE_SIZE", 2048, (16, 1_000_000), faults)
    if find_spec("opentelemetry.exporter.otlp.proto.http") is None:
        message = f"{endpoint} is set, and OpenTelemetry's exporter is not installed"
        faults.append(Fault("environment", 0, "", message, "pip install 'infercast[traces]', or unset it"))
    if faults:
        raise BadInput(faults)
    return TraceSettings(share, heeds, every_ms / 1000, int(spans_max))


def _sampler(said: Mapping[str, str], faults: list[Fault]) -> tuple[float, bool]:
    """Return the share that is drawn, and whether callers are heeded."""
    name = said.get("OTEL_TRACES_SAMPLER", "parentbased_always_on")
    kind = name.removeprefix(PARENT_BASED)
    if kind not in SAMPLERS:
        known = [*SAMPLERS, *(PARENT_BASED + one for one in SAMPLERS)]
        faults.append(_fault("OTEL_TRACES_SAMPLER", name, "is no sampler", did_you_mean(name, known)))
    share = _number(said, "OTEL_TRACES_SAMPLER_ARG", 1, (0, 1), faults) if kind == "traceidratio" else 1
    return (0.0 if kind == "always_off" else share), name.startswith(PARENT_BASED)


def _number(
    said: Mapping[str, str], name: str, usual: float, between: tuple[float, float], faults: list[Fault]
) -> float:
    try:
        value = float(said.get(name, usual))
    except ValueError:
        value = float("nan")
    if not between[0] <= value <= between[1]:
        faults.append(_fault(name, said[name], "is out of range", f"a number from {between[0]:g} to {between[1]:g}"))
        return usual
    return value


def _fault(name: str, value: str, what: str, remedy: str) -> Fault:
    return Fault("environment", 0, name, f"{value!r} {what}", remedy)
