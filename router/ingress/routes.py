"""Which call of HTTP is answered by whom. Paths may hold names in braces: `/v2/models/{model}/infer`."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from infercast.policies.faults import did_you_mean

from ..errors import Kind, Trouble
from .answers import reply_of
from .http import Ask, Sendable

FOUND_MAX = 1024
"""Paths with names in them whose route is remembered: callers choose them, so there must be an end."""
Handler = Callable[[Ask], Awaitable[Sendable]]


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path, what answers it, and how that says trouble: each API in its own shape."""

    method: str
    path: str
    handler: Handler
    told: Callable[[Trouble], Sendable] = reply_of


class Routes:
    """All routes of an ingress."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.all = tuple(routes)
        self._fixed: dict[tuple[str, str], Route] = {}
        self._named: dict[tuple[str, int], list[tuple[list[str], Route]]] = {}
        self._found: dict[tuple[str, str], tuple[Route, dict[str, str]]] = {}
        for route in self.all:
            if "{" in route.path:
                parts = route.path.split("/")
                self._named.setdefault((route.method, len(parts)), []).append((parts, route))
            else:
                self._fixed[(route.method, route.path)] = route

    def find(self, ask: Ask) -> Route:
        """Return the route of a call, with the names of its path in `ask.names`. Raises Trouble(NOT_FOUND)."""
        fixed = self._fixed.get((ask.method, ask.path))
        if fixed is not None:
            return fixed
        known = self._found.get((ask.method, ask.path))
        if known is not None:
            ask.names = dict(known[1])
            return known[0]
        parts = ask.path.split("/")
        for wanted, route in self._named.get((ask.method, len(parts)), ()):
            names = _names(wanted, parts)
            if names is not None:
                ask.names = names
                if len(self._found) >= FOUND_MAX:
                    self._found.clear()
                self._found[ask.method, ask.path] = (route, dict(names))
                return route
        remedy = did_you_mean(ask.path, [path for _, path in self._fixed])
        raise Trouble(Kind.NOT_FOUND, f"{ask.method} {ask.path} is not served here", remedy)


def _names(wanted: list[str], parts: list[str]) -> dict[str, str] | None:
    names = {}
    for want, part in zip(wanted, parts, strict=True):
        if want[:1] == "{" and part:
            names[want[1:-1]] = part
        elif want != part:
            return None
    return names
