"""A wire in a process of its own, between our system and an upstream: it carries, loses everything, or is cut.

`python -m tests.trouble.wires PORT TO CONTROL` carries what comes on PORT to TO. On CONTROL it is told (a word on a line): `carry`;
`lose`, so that connections stand and nothing comes through them, in either direction, as when a network is parted; `cut`, so
that all connections end with a RST and no new one is taken; or `slow MS`, so that each piece takes so much longer.
"""

import asyncio
import sys
from contextlib import suppress

from tests.trouble.upstream import reset

PIECE_BYTES = 65536
WORDS = ("carry", "lose", "cut", "slow")


class Wire:
    """The wire."""

    def __init__(self, port: int, to: int) -> None:
        self._port, self._to = port, to
        self._carries = asyncio.Event()
        self._carries.set()
        self._slow_s = 0.0
        self._ends: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Be told."""
        word, *more = (await reader.readline()).decode().split() or [""]
        if word not in WORDS:
            writer.close()
            return
        self._slow_s = float(more[0]) / 1000 if word == "slow" else 0.0
        if word == "lose":
            self._carries.clear()
        else:
            self._carries.set()
        await (self._cut() if word == "cut" else self.listen())
        writer.write(b"so\n")
        writer.close()

    async def listen(self) -> None:
        """Take connections, if it does not yet."""
        if self._server is None:
            self._server = await asyncio.start_server(self._join, "127.0.0.1", self._port, backlog=1024)

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for end in list(self._ends):
            reset(end)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection's bytes both ways."""
        mine = {writer}
        self._ends.add(writer)
        try:
            await self._carries.wait()
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
            mine.add(back)
            self._ends.add(back)
            await asyncio.gather(self._carry(reader, back), self._carry(there, writer))
        except OSError:
            pass
        finally:
            self._ends -= mine
            for end in mine:
                end.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(PIECE_BYTES):
                await self._carries.wait()
                await asyncio.sleep(self._slow_s)
                writer.write(piece)
                await writer.drain()
        await self._carries.wait()
        with suppress(OSError):
            if reader.exception() is not None:
                reset(writer)
            elif writer.can_write_eof():
                writer.write_eof()


async def main(port: int, to: int, control: int) -> None:
    """Carry until killed."""
    wire = Wire(port, to)
    await wire.listen()
    server = await asyncio.start_server(wire.control, "127.0.0.1", control)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
