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
    """A method and a path, what answers it, and how that says trouble: each API in its own shape.

    One that is not `served` only says so, and what serves instead.
    """

    method: str
    path: str
    handler: Handler
    told: Callable[[Trouble], Sendable] = reply_of
    served: bool = True


class Routes:
    """All routes of an ingress."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.all = tuple(routes)
        self._methods = sorted({route.method for route in self.all})
        self._fixed: dict[tuple[str, str], Route] = {}
        self._named: dict[tuple[str, int], list[tuple[list[str], Route]]] = {}
        self._found: dict[tuple[str, str], tuple[Route, dict[str, str]]] = {}
        self._known = sorted({route.path for route in self.all if route.served and "{" not in route.path})
        for route in self.all:
            if "{" in route.path:
                parts = route.path.split("/")
                self._named.setdefault((route.method, len(parts)), []).append((parts, route))
            else:
                self._fixed[(route.method, route.path)] = route

    def find(self, ask: Ask) -> Route:
        """Return the route of a call, with the names of its path in `ask.names`. Raises Trouble: NOT_FOUND, WRONG_METHOD."""
        fixed = self._fixed.get((ask.method, ask.path))
        if fixed is not None:
            return fixed
        known = self._found.get((ask.method, ask.path))
        if known is not None:
            ask.names = dict(known[1])
            return known[0]
        # Who asks for a head alone gets that of the whole answer: the server leaves the body out (RFC 9110, 9.3.2).
        found = self._look(ask.method, ask.path) or (ask.method == "HEAD" and self._look("GET", ask.path)) or None
        if found is None:
            raise self._nothing(ask)
        route, ask.names = found
        if len(self._found) >= FOUND_MAX:
            self._found.clear()
        self._found[ask.method, ask.path] = (route, dict(ask.names))
        return route

    def _look(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """Return a route and the names in its path."""
        fixed = self._fixed.get((method, path))
        if fixed is not None:
            return fixed, {}
        parts = path.split("/")
        for wanted, route in self._named.get((method, len(parts)), ()):
            names = _names(wanted, parts)
            if names is not None:
                return route, names
        return None

    def _nothing(self, ask: Ask) -> Trouble:
        """Return what is said of a call without a route: that its method is another one, or that there is nothing."""
        said = f"{ask.method} {ask.path} is not served here"
        found = {method: self._look(method, ask.path) for method in self._methods}
        allowed = [method for method, one in found.items() if one is not None and one[0].served]
        if allowed:
            if "GET" in allowed:
                allowed.append("HEAD")
            return Trouble(Kind.WRONG_METHOD, said, f"use {' or '.join(allowed)}", {"allow": allowed})
        return Trouble(Kind.NOT_FOUND, said, did_you_mean(ask.path, self._known))


def _names(wanted: list[str], parts: list[str]) -> dict[str, str] | None:
    names = {}
    for want, part in zip(wanted, parts, strict=True):
        if want[:1] == "{" and part:
            names[want[1:-1]] = part
        elif want != part:
            return None
    return names
