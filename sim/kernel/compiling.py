"""Compiled where numba is installed, the same source interpreted where it is not."""

from collections.abc import Callable
from hashlib import blake2b
from importlib.util import find_spec
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeVar

import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])
COMPILED = find_spec("numba") is not None


def _part(function: Function, *, forceinline: bool) -> Function:
    """Compile a part that only other parts call: without a way in from Python, and once for all constants it is called with.

    For each constant numba would compile it anew; and the way in, which takes the whole bundle apart, is longer than most
    parts are.
    """
    if not COMPILED:
        return function
    from numba import njit, types

    options = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "forceinline": forceinline}
    compiled = njit(error_model="numpy", _nrt=False, **options)(function)
    template = getattr(compiled, "get_call_template", None)  # none where NUMBA_DISABLE_JIT is set
    if template is not None:
        compiled.get_call_template = lambda args, kws: template(
            tuple(map(types.unliteral, args)), {name: types.unliteral(kind) for name, kind in kws.items()}
        )
    part: Function = compiled
    return part


def inlined(function: Function) -> Function:
    """Compile a part of the kernel into each function that calls it: the tables' bundle is too large to hand over."""
    return _part(function, forceinline=True)


def apart(function: Function) -> Function:
    """Compile a part of the kernel on its own: what is seldom needed, or takes long anyway, is not copied into its callers."""
    return _part(function, forceinline=False)


def digest_of(function: Callable[..., Any]) -> int:
    """Return a digest of all that a function's compiled code follows from: its code, and all that it names, and so on."""
    hashed = blake2b(digest_size=7)
    seen: set[CodeType] = set()

    def take(value: Any) -> None:
        plain = getattr(value, "py_func", value)
        if isinstance(plain, FunctionType):
            if plain.__code__ not in seen:
                seen.add(plain.__code__)
                take_code(plain)
        elif isinstance(plain, np.ndarray):
            hashed.update(plain.tobytes())
        elif isinstance(plain, int | float | str | tuple):
            hashed.update(repr(plain).encode())

    def take_code(plain: FunctionType) -> None:
        code = plain.__code__
        hashed.update(code.co_code)
        hashed.update(repr([const for const in code.co_consts if not isinstance(const, str)]).encode())
        named = [plain.__globals__[name] for name in code.co_names if name in plain.__globals__]
        modules = [value for value in named if isinstance(value, ModuleType)]
        for value in named:
            take(value)
        for module in modules:
            for name in code.co_names:
                take(getattr(module, name, None))

    take(function)
    return int.from_bytes(hashed.digest(), "big")
