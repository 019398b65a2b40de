"""The supervisor asked to end: once, whatever it is asked after that."""

import signal

import pytest

from infercast.router.serving.supervisor import Stop, _stop


def test_who_is_asked_to_end_twice_ends_once() -> None:
    names = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(name) for name in names]
    try:
        with pytest.raises(Stop):
            _stop(signal.SIGINT, None)
        assert [signal.getsignal(name) for name in names] == [signal.SIG_IGN] * 2
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)
