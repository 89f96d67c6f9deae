"""The decoded bytes of a file, gzip or plain: hashed as they are read, never held whole."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import IO

from components.core.errors import BadInput

GZIP = b"\x1f\x8b"
MAX_MEMBERS = 1 << 16
"""More gzip members are no image: bgzip's blocks of 64 KiB make 4 GiB of so many."""
AGAIN = "copy or export it again"
_CHUNK = 1 << 15


class DecodedFile:
    """A file open for reading, unpacked where it is gzip.

    Attributes:
        packed: whether it is gzip; several members may follow each other, and zeros the last.
    """

    def __init__(self, path: Path | str, stream: IO[bytes]) -> None:
        self._path, self._stream = path, stream
        self._hash = hashlib.sha256()
        self._rest = self._chunk()
        self.packed = self._rest.startswith(GZIP)
        self._member = zlib.decompressobj(31)
        self._members = 1
        self._ahead = bytearray()

    @property
    def sha256(self) -> str:
        """Hex digest of the file's own bytes as far as they were read."""
        return self._hash.hexdigest()

    def _chunk(self) -> bytes:
        found = self._stream.read(_CHUNK)
        self._hash.update(found)
        return found

    def read(self, count: int) -> bytearray:
        """The next `count` bytes; fewer where the file ends.

        Raises:
            BadInput: a gzip stream that is damaged, cut, or of more than MAX_MEMBERS members.
        """
        found = self._ahead[:count]
        del self._ahead[:count]
        while len(found) < count:
            most = count - len(found)
            part = self._unpacked(most) if self.packed else self._plain(most)
            if part is None:
                break
            found += part
        return found

    def peek(self, count: int) -> bytes:
        """The next `count` bytes, which `read` gives again."""
        self._ahead = self.read(count)
        return bytes(self._ahead)

    def skip(self, count: int) -> None:
        """Pass over so many bytes, or to the end."""
        while count > 0 and (passed := len(self.read(min(count, _CHUNK)))):
            count -= passed

    def _plain(self, most: int) -> bytes | None:
        found = self._rest or self._chunk()
        self._rest = found[most:]
        return found[:most] or None

    def _unpacked(self, most: int) -> bytes | None:
        """Some of the next bytes, at most so many; None at the end."""
        if self._member.eof:
            self._rest = self._member.unused_data or self._rest
            if not self._next_member():
                return None
        if not self._rest:
            self._rest = self._chunk()
            if not self._rest:
                raise BadInput(self._path, "not a readable image (it ends early)", AGAIN)
        try:
            part = self._member.decompress(self._rest, most)
        except zlib.error:
            problem = "not a readable image (its gzip stream is damaged)"
            raise BadInput(self._path, problem, AGAIN) from None
        self._rest = self._member.unconsumed_tail
        return part

    def _next_member(self) -> bool:
        """Go on to what follows a member; False where that is zeros alone, or nothing."""
        while not self._rest.strip(b"\0"):
            self._rest = self._chunk()
            if not self._rest:
                return False
        self._rest = self._rest.lstrip(b"\0")
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise BadInput(self._path, f"more than {MAX_MEMBERS} gzip members", AGAIN)
        self._member = zlib.decompressobj(31)
        return True
