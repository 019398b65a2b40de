"""What figures were measured on."""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any


def machine(packages: Sequence[str]) -> dict[str, Any]:
    """Return the processor, memory, system and the versions of some packages."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def described(on: Mapping[str, Any], packages: Sequence[str]) -> str:
    """Return the machine in two lines; `on` holds what `machine` gave, and `load_before` and `load_after`."""
    load = f"load {on['load_before'][0]:.1f} before, {on['load_after'][0]:.1f} after"
    versions = ", ".join(f"{name} {on[name]}" for name in packages)
    return f"{on['cpu']}, {on['cores']} cores, {on['memory_gb']} GB, {on['system']}, Python {on['python']}; {load}.\n{versions}."
