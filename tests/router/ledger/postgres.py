"""A private Postgres for tests: its own folder and Unix socket, no port, gone when the tests are over."""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

START_S = 60.0


@dataclass
class PostgresServer:
    """A running server, and how it is started, killed and started again."""

    bin: Path
    folder: Path
    user: str
    process: subprocess.Popen[bytes] | None = None
    _names: Iterator[int] = field(default_factory=itertools.count)

    def run(self, program: str, *words: str) -> None:
        """Run one of its programs to its end."""
        subprocess.run(
            [str(self.bin / program), *words], check=True, capture_output=True, cwd=self.folder, user=self._who()
        )

    def _who(self) -> str | None:
        """Return whom to run as: Postgres does not run as root."""
        return self.user if os.getuid() == 0 else None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        words = ["-D", str(self.folder / "data"), "-k", str(self.folder), "-c", "listen_addresses=", "-F"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.bin / "postgres"), *words], stdout=log, stderr=log, cwd=self.folder, user=self._who()
            )
        until = time.monotonic() + START_S
        while not self._answers():
            assert time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.05)

    def _answers(self) -> bool:
        words: Sequence[str] = ("-q", "-h", str(self.folder))
        return subprocess.run([str(self.bin / "pg_isready"), *words], check=False).returncode == 0

    def kill(self) -> None:
        """End it as a crash would: it and all its children at once."""
        assert self.process is not None
        self.process.send_signal(3)  # SIGQUIT: without writing anything more
        self.process.wait(30)

    def url(self, database: str = "postgres") -> str:
        """Where a database of it is."""
        return f"postgresql://{self.user}@/{database}?host={self.folder}"

    def fresh(self) -> str:
        """Make an empty database."""
        name = f"ledger{next(self._names)}"
        self.run("createdb", "-h", str(self.folder), "-U", self.user, name)
        return self.url(name)


def _programs() -> Path | None:
    """The folder with Postgres' programs: `initdb` is where the others are."""
    found = shutil.which("initdb") or max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None)
    return Path(found).resolve().parent if found else None


@contextmanager
def serving(_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """Serve for a while. The folder is in /tmp: a socket's path may have a hundred characters."""
    programs = _programs()
    if programs is None:
        pytest.skip("Postgres is not installed here")
    user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    if os.getuid() == 0 and not any(entry.pw_name == user for entry in pwd.getpwall()):
        pytest.skip("Postgres does not run as root, and this machine has no user for it")
    folder = Path(tempfile.mkdtemp(prefix="icpg-", dir="/tmp"))
    if os.getuid() == 0:
        shutil.chown(folder, user)
    server = PostgresServer(programs, folder, user)
    try:
        server.run("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", user, "--no-sync")
        server.start()
        yield server
    finally:
        if server.process is not None:
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)
