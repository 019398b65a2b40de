"""The variants that a process hosts: right answers from the bytes of a call, on the event loop or beside it."""

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from infercast.router.api import Asking
from infercast.router.errors import Kind, Trouble
from infercast.router.runtime.host import INLINE_P95_MAX_MS, Answer, Host
from infercast.router.runtime.session import Session
from tests.router.digits import VARIANTS, deployment_of, fleet_with, held_out, infer_body, read_answer
from tests.router.fakes import example_fleet

MAIN = threading.main_thread().name


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads that sessions run on, from now on."""
    names: list[str] = []
    run = Session.run

    def noted(self: Session, *given: Any) -> Any:
        names.append(threading.current_thread().name)
        return run(self, *given)

    monkeypatch.setattr(Session, "run", noted)
    return names


def host_of(*variants: str) -> Host:
    return Host(example_fleet(), [deployment_of(variant) for variant in variants])


def answer(host: Host, variant: str, body: tuple[bytes, int | None]) -> Answer:
    return asyncio.run(host.run(variant, "fra", Asking(*body)))


@pytest.mark.parametrize("as_bytes", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_held_out_images_are_read_right(variant: str, as_bytes: bool) -> None:
    images, labels = held_out()
    host = host_of(*VARIANTS)
    assert host.variants == VARIANTS
    found = answer(host, variant, infer_body(images[:50], ("label",), as_bytes=as_bytes))
    read = read_answer(found.body, found.header_bytes, "label")
    direct = Session(example_fleet().cards[variant], example_fleet().artefacts[variant]).run({"image": images[:50]})
    np.testing.assert_array_equal(read, direct["label"])
    assert float(np.mean(read == labels[:50])) > 0.8
    assert (found.variant, found.site, found.emulated_us) == (variant, "fra", 0)
    assert found.service_us > 0
    assert (found.header_bytes is not None) is as_bytes


@pytest.mark.parametrize(
    ("shape", "said"),
    [((1, 63), "has shape [1, 63]"), ((64,), "has shape [64]"), ((1, 8, 8), "has shape [1, 8, 8]")],
)
def test_a_body_that_the_variant_cannot_take_is_refused(shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(Trouble) as caught:
        answer(host_of("digits-small"), "digits-small", infer_body(np.zeros(shape, np.float32)))
    assert caught.value.kind is Kind.BAD_REQUEST
    assert said in caught.value.message
    assert caught.value.remedy == "send [-1, 64]"


def test_bytes_that_are_no_request_are_refused() -> None:
    with pytest.raises(Trouble, match="not JSON") as caught:
        answer(host_of("digits-small"), "digits-small", (b"\x00\x01", None))
    assert caught.value.kind is Kind.BAD_REQUEST


def test_an_unknown_output_is_refused() -> None:
    with pytest.raises(Trouble, match="no output is called 'mood'"):
        answer(host_of("digits-small"), "digits-small", infer_body(held_out()[0][:1], ("mood",)))


def test_what_is_quick_runs_on_the_event_loop(threads: list[str]) -> None:
    host = host_of("digits-small")
    answer(host, "digits-small", infer_body(held_out()[0][:1]))
    assert threads == [MAIN, MAIN]  # the first is the warming up


def test_what_takes_longer_runs_beside_the_event_loop(threads: list[str]) -> None:
    images = held_out()[0][:1]
    fleet = fleet_with("digits-medium", p50=1.0, p95=INLINE_P95_MAX_MS * 1.01)
    host = Host(fleet, [deployment_of("digits-medium")])
    found = answer(host, "digits-medium", infer_body(images, ("label",)))
    assert len(threads) == 2
    assert threads[1].startswith("inference")
    inline = answer(host_of("digits-medium"), "digits-medium", infer_body(images, ("label",)))
    assert read_answer(found.body, found.header_bytes, "label") == read_answer(
        inline.body, inline.header_bytes, "label"
    )


def test_trouble_comes_back_from_beside_the_event_loop() -> None:
    host = Host(fleet_with("digits-small", p50=2.0, p95=2.0), [deployment_of("digits-small")])
    with pytest.raises(Trouble, match="not JSON"):
        answer(host, "digits-small", (b"", None))


def test_the_declared_time_decides_up_to_its_limit(threads: list[str]) -> None:
    host = Host(fleet_with("digits-small", p50=0.5, p95=INLINE_P95_MAX_MS), [deployment_of("digits-small")])
    answer(host, "digits-small", infer_body(held_out()[0][:1]))
    assert threads[1] == MAIN


def test_a_large_body_never_runs_on_the_event_loop(threads: list[str]) -> None:
    """The declared time is that of one input, and this call brings many."""
    host = host_of("digits-large")
    answer(host, "digits-large", infer_body(held_out()[0][:12]))
    answer(host, "digits-large", infer_body(held_out()[0][:64]))
    assert threads[1] == MAIN
    assert threads[2].startswith("inference")


def test_what_runs_beside_the_event_loop_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(fleet_with("digits-small", p50=2.0, p95=2.0), [deployment_of("digits-small")])
    done = threading.Event()
    monkeypatch.setattr(Session, "run", lambda self, *given: done.wait(5))
    try:
        with pytest.raises(TimeoutError):
            asyncio.run(timed(host))
    finally:
        done.set()


async def timed(host: Host) -> None:
    """One call with little patience; what it started ends when the test lets it."""
    await host.run("digits-small", "fra", Asking(*infer_body(held_out()[0][:1])), timeout_s=0.05)
