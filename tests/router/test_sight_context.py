"""Which calls are traced: a caller's word goes only so far."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.policies.faults import BadInput
from infercast.router.sight.context import WISHES_PER_S, Sampler, Traced, parsed
from infercast.router.sight.settings import trace_settings
from tests.router.fakes import Clock

WISHED = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
NOT = WISHED[:-1] + b"0"


@pytest.mark.parametrize(
    "wrong",
    [
        None, b"", b"garbage", WISHED[:-1], WISHED + b"0", WISHED.upper(), b"ff" + WISHED[2:], WISHED + b"-more",
        b"00-" + b"0" * 32 + WISHED[35:], WISHED[:36] + b"0" * 16 + b"-01", b"x" * 10_000,
    ],
)  # fmt: skip
def test_a_malformed_traceparent_is_left_out(wrong: bytes | None) -> None:
    assert parsed(wrong) is None


@given(st.binary(max_size=80))
def test_no_bytes_make_it_fall_over(bytes_: bytes) -> None:
    found = parsed(bytes_)
    assert found is None or (found[0] > 0 and found[1] > 0)


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert parsed(b"01" + WISHED[2:] + b"-what-comes") == (int(WISHED[3:35], 16), int(WISHED[36:52], 16), True)


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1))
def test_what_is_sent_on_is_read_again(trace_id: int, span_id: int) -> None:
    assert parsed(Traced(trace_id, span_id).sent_on()) == (trace_id, span_id, True)


def test_a_caller_cannot_have_all_its_calls_traced() -> None:
    clock = Clock(10_000_000)
    sampler = Sampler(0.0, True, clock)
    assert sum(sampler.take(WISHED) is not None for _ in range(1000)) == WISHES_PER_S
    clock.now_us += 1_000_000
    assert sum(sampler.take(WISHED) is not None for _ in range(1000)) == WISHES_PER_S
    assert sampler.take(WISHED, peer=True) is not None


def test_what_a_caller_does_not_want_traced_is_not() -> None:
    sampler = Sampler(1.0, True, Clock())
    assert sampler.take(NOT) is None
    assert sampler.take(NOT, peer=True) is None
    assert sampler.take(None) is not None


def test_a_sampler_that_heeds_nobody_draws_for_all() -> None:
    assert Sampler(1.0, False, Clock()).take(NOT) is not None
    assert Sampler(0.0, False, Clock()).take(WISHED, peer=True) is None
    drawn = Sampler(0.25, False, Clock())
    assert 150 < sum(drawn.take(WISHED) is not None for _ in range(1000)) < 350


URL = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}


def test_without_an_endpoint_there_are_no_traces() -> None:
    assert trace_settings({}) is None
    assert trace_settings({"OTEL_TRACES_SAMPLER": "nonsense"}) is None
    assert trace_settings({**URL, "OTEL_SDK_DISABLED": "true"}) is None
    assert trace_settings({**URL, "OTEL_TRACES_EXPORTER": "none"}) is None


@pytest.mark.parametrize(
    ("more", "share", "heeds"),
    [
        ({}, 1.0, True),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}, 0.01, True),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}, 0.5, False),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, 0.0, True),
    ],
)
def test_the_samplers_are_opentelemetrys(more: dict[str, str], share: float, heeds: bool) -> None:
    settings = trace_settings({**URL, **more})
    assert settings is not None
    assert (settings.share, settings.heeds) == (share, heeds)


def test_every_mistake_is_told_at_once() -> None:
    wrong = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_TRACES_SAMPLER": "parentbased_alwayson",
        "OTEL_BSP_MAX_QUEUE_SIZE": "lots",
    }
    with pytest.raises(BadInput) as refused:
        trace_settings(wrong)
    assert {fault.field for fault in refused.value.faults} == set(wrong)
    assert "did you mean" in str(refused.value)
