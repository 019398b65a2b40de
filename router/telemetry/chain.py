r"""The hash chain of the decision log: how a line is written, read back, and bound to the one before it.

A line is one JSON object: `seq` (from 0), `kind`, `at` (s since 1970 UTC), `keep` (until when, s; decisions only), `prev`
(the head of the chain before this line), `digest` (of the body), `salt` (of erasable bodies) and `body`.

    digest = SHA-256(salt "\n" body), the body being its bytes as they stand in the line
    head   = SHA-256(prev "\n" seq "\n" kind "\n" at "\n" keep "\n" digest), which is the `prev` of the next line
    prev of line 0 = SHA-256("infercast.log.1" "\n" name of the file)

in base64url without padding. A body and its salt can be erased and the chain still holds; without the salt (128 random
bits), an erased body cannot be found by trying bodies.
"""

import base64
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

VERSION: Final = 1
OPEN, DECISION, SNAPSHOT, OBJECT = "open", "decision", "snapshot", "object"
GAP, WITHHELD, CHECKPOINT, PRUNED, RECOVERED = "gap", "withheld", "checkpoint", "pruned", "recovered"
KINDS = frozenset({OPEN, DECISION, SNAPSHOT, OBJECT, GAP, WITHHELD, CHECKPOINT, PRUNED, RECOVERED})
ERASABLE = frozenset({DECISION, SNAPSHOT})
SALT_BYTES = 16
LINE_BYTES_MAX = 16 * 2**20
"""No line is longer; a reader refuses one that is, without taking it into memory."""
WHOLE_MAX = 2**53
HASH_LETTERS, SALT_LETTERS = 43, 22
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


class Malformed(ValueError):  # noqa: N818 - bytes are malformed; whose error that is, nobody knows
    """Bytes that no writer of this log wrote."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line read back. `body` is None where it has been erased; its digest has not been checked yet."""

    seq: int
    kind: str
    at_s: int
    keep_until_s: int | None
    prev: str
    digest: str
    salt: str | None
    body: dict[str, Any] | None

    @property
    def head(self) -> str:
        """The head of the chain after this line."""
        return head_after(self.prev, self.seq, self.kind, self.at_s, self.keep_until_s, self.digest)

    def holds(self) -> bool:
        """Return whether the body is the one that the digest was made of; an erased body cannot be asked."""
        return self.body is None or digest_of(self.salt or "", orjson.dumps(self.body)) == self.digest


def short(hashed: bytes) -> str:
    """Return bytes as base64url without padding."""
    return base64.urlsafe_b64encode(hashed).rstrip(b"=").decode()


def digest_of(salt: str, body: bytes) -> str:
    """Return the salted digest of a body."""
    return short(hashlib.sha256(salt.encode() + b"\n" + body).digest())


def head_after(prev: str, seq: int, kind: str, at_s: int, keep_until_s: int | None, digest: str) -> str:
    """Return the head of the chain after a line."""
    keep = "" if keep_until_s is None else keep_until_s
    return short(hashlib.sha256(f"{prev}\n{seq}\n{kind}\n{at_s}\n{keep}\n{digest}".encode()).digest())


def first_prev(file: str) -> str:
    """Return what stands before line 0: a line holds in the file that it was written to, and in no other."""
    return short(hashlib.sha256(f"infercast.log.{VERSION}\n{file}".encode()).digest())


def new_salts(count: int) -> list[str]:
    """Return fresh salts, all from one system call: at each, the interpreter would be handed to another thread."""
    drawn = os.urandom(SALT_BYTES * count)
    return [short(drawn[at : at + SALT_BYTES]) for at in range(0, len(drawn), SALT_BYTES)]


def new_line(
    prev: str, seq: int, kind: str, at_s: int, keep_until_s: int | None, body: bytes, salt: str | None = None
) -> tuple[bytes, str]:
    """Return a line with its newline, and the head after it. `body` is JSON as orjson writes it.

    An erasable kind is given a random salt unless `salt` brings one.
    """
    if kind in ERASABLE and salt is None:
        salt = short(os.urandom(SALT_BYTES))
    digest = digest_of(salt or "", body)
    # Written out: whole numbers, hashes and our own words need no escapes, and every decision is a line.
    keep = "" if keep_until_s is None else f'"keep":{keep_until_s},'
    salted = "" if salt is None else f'"salt":"{salt}",'
    start = f'{{"seq":{seq},"kind":"{kind}","at":{at_s},{keep}"prev":"{prev}","digest":"{digest}",{salted}"body":'
    return start.encode() + body + b"}\n", head_after(prev, seq, kind, at_s, keep_until_s, digest)


def without_body(line: Line) -> bytes:
    """Return a line as it stands once its body and salt are erased; its link in the chain is the same."""
    whole: dict[str, Any] = {"seq": line.seq, "kind": line.kind, "at": line.at_s}
    if line.keep_until_s is not None:
        whole["keep"] = line.keep_until_s
    return orjson.dumps(whole | {"prev": line.prev, "digest": line.digest}) + b"\n"


def read_line(raw: bytes) -> Line:
    """Return the line that some bytes (without the newline) are. Raises Malformed for anything no writer wrote.

    Only the exact bytes that a writer writes are taken: no other spacing, order of keys or key given twice.
    """
    try:
        whole = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Malformed("is not JSON") from error
    if not isinstance(whole, dict):
        raise Malformed("is not a JSON object")
    try:
        same = orjson.dumps(whole) == raw
    except (TypeError, ValueError):
        same = False
    if not same:
        raise Malformed("is not in the form that it was written in")
    return _line_of(whole)


def _line_of(whole: dict[str, Any]) -> Line:
    wanted = [name for name in ("seq", "kind", "at", "keep", "prev", "digest", "salt", "body") if name in whole]
    if list(whole) != wanted:
        raise Malformed("has other fields than a line of this log")
    kind, keep, salt, body = whole.get("kind"), whole.get("keep"), whole.get("salt"), whole.get("body")
    if not (isinstance(kind, str) and kind in KINDS):
        raise Malformed("is of no known kind")
    if not (_whole(whole.get("seq")) and _whole(whole.get("at")) and ("keep" not in whole or _whole(keep))):
        raise Malformed("has a field that should be a whole number")
    if not (is_short(whole.get("prev"), HASH_LETTERS) and is_short(whole.get("digest"), HASH_LETTERS)):
        raise Malformed("has a field that should be a hash")
    if kind in ERASABLE:
        if ("salt" in whole) != ("body" in whole) or ("salt" in whole and not is_short(salt, SALT_LETTERS)):
            raise Malformed("has a body without its salt, or a salt without its body")
    elif "salt" in whole or "body" not in whole:
        raise Malformed("has no body, or a salt that its kind does not have")
    if "body" in whole and not isinstance(body, dict):
        raise Malformed("has a body that is no JSON object")
    return Line(whole["seq"], kind, whole["at"], keep, whole["prev"], whole["digest"], salt, body)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < WHOLE_MAX


def is_short(value: object, letters: int) -> bool:
    """Return whether a value is base64url of so many letters."""
    return isinstance(value, str) and len(value) == letters and _LETTERS.issuperset(value)


def raw_lines(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Yield each line's bytes without the newline, and whether the newline was there (only a last line lacks it).

    Raises Malformed at a line longer than LINE_BYTES_MAX, OSError where the file cannot be read.
    """
    with path.open("rb") as file:
        while raw := file.readline(LINE_BYTES_MAX + 1):
            if len(raw) > LINE_BYTES_MAX:
                raise Malformed(f"is longer than {LINE_BYTES_MAX} bytes")
            yield raw.removesuffix(b"\n"), raw.endswith(b"\n")
