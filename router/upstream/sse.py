"""Server-sent events, read as they come: bytes in, the data of whole events out. Written from the HTML standard, 9.2."""

LINE_BYTES_MAX = 1024 * 1024
EVENT_BYTES_MAX = 4 * 1024 * 1024
BOM = b"\xef\xbb\xbf"


class BadEvents(Exception):  # noqa: N818 - the upstream's doing
    """What came are no events, or too long ones."""


class Events:
    """A stream of events. Lines end in LF, CRLF or CR; an event ends with an empty line."""

    def __init__(self) -> None:
        self._rest = b""
        self._pieces: list[bytes] = []
        self._pieces_bytes = 0
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._begun = False

    def feed(self, part: bytes) -> list[bytes]:
        """Take in the next bytes, and return the data of the events that end in them. Raises BadEvents."""
        if b"\n" not in part and b"\r" not in part:
            self._keep(part)
            return []
        text = b"".join((self._rest, *self._pieces, part))
        self._pieces, self._pieces_bytes = [], 0
        if not self._begun:
            text = text.removeprefix(BOM)
            self._begun = True
        if b"\r" in text:
            text = self._without_cr(text)
        *lines, self._rest = text.split(b"\n")
        if len(self._rest) > LINE_BYTES_MAX:
            raise BadEvents(f"a line of more than {LINE_BYTES_MAX} bytes")
        found: list[bytes] = []
        for line in lines:
            if line:
                self._line(line)
            elif self._data:
                found.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                self._data, self._data_bytes = [], 0
        return found

    def _keep(self, part: bytes) -> None:
        """Keep a piece of a line that has not ended; joined once, however small the pieces are."""
        self._pieces_bytes += len(part)
        if len(self._rest) + self._pieces_bytes > LINE_BYTES_MAX:
            raise BadEvents(f"a line of more than {LINE_BYTES_MAX} bytes")
        self._pieces.append(part)

    def _without_cr(self, text: bytes) -> bytes:
        """Make every end of line a LF. A CR at the very end may be half of one: it waits."""
        held = b"\r" if text.endswith(b"\r") else b""
        return text[: len(text) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n") + held

    def _line(self, line: bytes) -> None:
        if len(line) > LINE_BYTES_MAX:
            raise BadEvents(f"a line of more than {LINE_BYTES_MAX} bytes")
        name, _, value = line.partition(b":")
        if name != b"data":
            return  # comments, and fields that nothing here asks for
        value = value.removeprefix(b" ")
        self._data_bytes += len(value) + 1  # an empty line takes its place, too
        if self._data_bytes > EVENT_BYTES_MAX:
            raise BadEvents(f"an event of more than {EVENT_BYTES_MAX} bytes")
        self._data.append(value)

    @property
    def unfinished(self) -> bool:
        """Whether an event has begun that has not ended."""
        return bool(self._data or self._pieces_bytes or self._rest.strip(b"\r"))
