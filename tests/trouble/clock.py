"""A wall clock that tests step: the shim of `clock.c`, compiled, and the file that says by how much it goes wrong."""

import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


@dataclass(frozen=True)
class Clock:
    """A clock that can be stepped in the processes that were started with `environment`."""

    library: Path
    file: Path

    @classmethod
    def made(cls, folder: Path) -> "Clock | None":
        """Compile it; None where there is no C compiler."""
        compiler = shutil.which("cc")
        if compiler is None:
            return None
        library, file = folder / "clock.so", folder / "clock.ns"
        command = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(library), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True)
        file.write_bytes(bytes(8))
        return cls(library, file)

    def environment(self) -> dict[str, str]:
        """What a process is started with."""
        return {"LD_PRELOAD": str(self.library), "RIG_CLOCK_FILE": str(self.file)}

    def step(self, seconds: float) -> None:
        """Let it go wrong by so much, from now on; in place, since the file is mapped."""
        with self.file.open("r+b") as file:
            file.write(struct.pack("=q", round(seconds * 1e9)))

    @contextmanager
    def stepped(self, seconds: float) -> Iterator[None]:
        """Let it be wrong for a while; stepped back afterwards."""
        self.step(seconds)
        try:
            yield
        finally:
            self.step(0.0)

    def now(self) -> float:
        """What the processes take for the time, in seconds since 1970."""
        (step_ns,) = struct.unpack("=q", self.file.read_bytes())
        return time.time() + float(step_ns) / 1e9
