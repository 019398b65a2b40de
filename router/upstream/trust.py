"""Whom a device believes when it calls a site."""

import asyncio
import ssl
from collections.abc import Iterable
from pathlib import Path

from ..followed import WATCH_S, prints_of
from .tls import client_context, trust_also, trusting


class Trust:
    """A context for httpx: the authorities of a file or the public ones, or one certificate and what it is renewed to."""

    def __init__(self, ca: Path | None = None, only: Path | None = None) -> None:
        """Raises BadInput, OSError or ValueError for files that hold nothing to believe."""
        self._only = only
        self._seen = prints_of(self._paths())
        self.context: ssl.SSLContext = trusting(only) if only else client_context(ca)

    def _paths(self) -> Iterable[Path]:
        return [self._only] if self._only else []

    async def follow(self) -> None:
        """Believe what the one certificate is renewed to, for as long as the agent lives."""
        while self._only is not None:
            await asyncio.sleep(WATCH_S)
            prints = prints_of(self._paths())
            if prints == self._seen:
                continue
            try:
                trust_also(self.context, self._only)
            except (OSError, ValueError):
                continue  # half written, or away for a moment: looked at again
            self._seen = prints
