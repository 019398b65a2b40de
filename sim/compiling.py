"""Compiled where numba is installed, the same source interpreted where it is not."""

from collections.abc import Callable
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from infercast import policies

Function = TypeVar("Function", bound=Callable[..., Any])
COMPILED = find_spec("numba") is not None


def inlined(function: Function) -> Function:
    """Compile a part of the kernel into each function that calls it: the tables' bundle is too large to hand over."""
    if not COMPILED:
        return function
    from numba import njit

    compiled: Function = njit(forceinline=True, error_model="numpy", _nrt=False)(function)
    return compiled


def apart(function: Function) -> Function:
    """Compile a part of the kernel on its own: what is seldom needed, or takes long anyway, is not copied into its callers."""
    if not COMPILED:
        return function
    from numba import njit

    compiled: Function = njit(error_model="numpy", _nrt=False)(function)
    return compiled


def sources_digest() -> int:
    """Return a digest of every source that the kernel may be compiled from."""
    digest = blake2b(digest_size=7)
    for folder in (Path(__file__).parent, Path(policies.__file__).parent):
        for path in sorted(folder.glob("*.py")):
            digest.update(path.read_bytes())
    return int.from_bytes(digest.digest(), "big")
