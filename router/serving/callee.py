"""Another replica's methods as a call uses them: one handle for each, made once.

Serve makes a handle for every attribute that is asked of one, and pickles by cloudpickle, which is for code; what travels
here are plain values, which Python's own pickle writes several times as fast. Both are Serve's own options.
"""

from collections.abc import Callable
from typing import Any

from ray.serve.handle import DeploymentHandle

PLAIN = {"request_serialization": "pickle", "response_serialization": "pickle"}


class Callee:
    """A deployment. `find` gives its handle, once it is first called: Serve wants an event loop for that."""

    def __init__(self, find: Callable[[], DeploymentHandle]) -> None:
        self._find = find
        self._handle: DeploymentHandle | None = None
        self._methods: dict[tuple[str, bool], DeploymentHandle] = {}

    def call(self, method: str, *given: Any, stream: bool = False) -> Any:
        """Call a method; what comes back is awaited, or iterated over."""
        found = self._methods.get((method, stream))
        if found is None:
            self._handle = self._handle or self._find()
            found = self._handle.options(method_name=method, stream=stream, **PLAIN)
            self._methods[method, stream] = found
        return found.remote(*given)
