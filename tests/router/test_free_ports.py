"""Ports for a system that is to be started: nobody's now, and nobody's by the time they are listened on."""

import socket

from infercast.router.serving.cluster import PORTS_FROM, PORTS_MIN, _system_ports, free_ports


def test_they_are_different_and_can_be_listened_on() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    held = [socket.create_server(("127.0.0.1", port)) for port in ports]
    for listener in held:
        listener.close()


def test_the_system_gives_them_to_nobody_who_asks_for_any() -> None:
    given = []
    for _ in range(200):
        with socket.socket() as asks:
            asks.bind(("127.0.0.1", 0))
            given.append(asks.getsockname()[1])
    assert min(given) >= _system_ports()
    if _system_ports() > PORTS_FROM + PORTS_MIN:
        assert max(free_ports(200)) < _system_ports()


def test_one_that_somebody_listens_on_is_not_among_them() -> None:
    with socket.create_server(("127.0.0.1", free_ports(1)[0])) as taken:
        assert taken.getsockname()[1] not in free_ports(500)
