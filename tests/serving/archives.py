"""ZIP and gzip files that claim what is not so, or that unpack to more than anybody asked for."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from collections.abc import Callable

from tests.serving.images import header_with, zip_of

LOCAL, ENTRY, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_STREAMED = 8
"""Flag of an entry whose sizes follow its content."""

Spoil = Callable[[bytes], bytes]


def _raw_zip(names: list[bytes], content: bytes, entry: Callable[[int, bytes], bytes]) -> bytes:
    """One stored file, and a directory in which every name refers to it."""
    body = struct.pack("<4s5H3I2H", LOCAL, 20, 0, 0, 0, 0, 0, len(content), len(content), 1, 0)
    body += b"a" + content
    directory = b"".join(entry(index, name) for index, name in enumerate(names))
    count = min(len(names), 0xFFFF)
    end = struct.pack("<4s4H2IH", END, 0, 0, count, count, len(directory), len(body), 0)
    return body + directory + end


def _entry(name: bytes, size: int, extra: bytes = b"", offset: int = 0) -> bytes:
    sizes = (0xFFFFFFFF,) * 2 if extra else (size, size)
    place = 0xFFFFFFFF if extra else offset
    head = (ENTRY, 20, 20, 0, 0, 0, 0, 0, *sizes, len(name), len(extra), 0, 0, 0, 0, place)
    return struct.pack("<4s6H3I5H2I", *head) + name + extra


def _zip64(size: int, offset: int) -> bytes:
    """A directory that gives the size and the place of its one file in 64 bits."""
    extra = struct.pack("<2H3Q", 1, 24, size, size, offset)
    return _raw_zip([b"a"], b"x" * 400, lambda _, name: _entry(name, 0, extra))


def overlapping(size: int, count: int) -> bytes:
    """A small ZIP of `count` files that all are the same `size` bytes (after Fifield, 2019)."""
    made = zip_of({"a": bytes(size)})
    first, end = made.index(ENTRY), made.index(END)
    directory = made[first:end] * count
    tail = struct.pack("<4s4H2IH", END, 0, 0, count, count, len(directory), first, 0)
    return made[:first] + directory + tail


def _linked(_: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, target in (("IM0", "/etc/passwd"), ("IM1", "../../..")):
            link = zipfile.ZipInfo(name)
            link.create_system, link.external_attr = 3, 0o120777 << 16
            archive.writestr(link, target)
    return stream.getvalue()


def _without_sizes(_: bytes) -> bytes:
    """Neither before its content nor in the directory does this file say how long it is."""
    made = bytearray(zip_of({"IM0": b"x" * 4000}))
    first = made.index(ENTRY)
    for flags, sizes in ((6, 18), (first + 8, first + 20)):
        made[flags] |= _STREAMED
        made[sizes : sizes + 8] = bytes(8)
    return bytes(made)


def _packed(method: int, size: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("IM0", bytes(size))
    return stream.getvalue()


def _extension_of_a_gigabyte(content: bytes) -> bytes:
    plain = gzip.decompress(header_with(content, 108, struct.pack("<f", 368.0)))
    extension = struct.pack("<2i8x", 1 << 30, 6)
    return gzip.compress(plain[:348] + b"\x01\x00\x00\x00" + extension + plain[352:], 1)


ARCHIVES: dict[str, Spoil] = {
    "a ZIP of links": _linked,
    "absolute names": lambda _: zip_of({"/etc/passwd": b"x", "/tmp/IM0": b"y"}),
    "one name twice": lambda _: zip_of({"IM0": b"x", "IM1": b"y"}).replace(b"IM1", b"IM0"),
    "eight exabytes by 64 bits": lambda _: _zip64(1 << 63, 0),
    "a file beyond 64 bits": lambda _: _zip64(400, (1 << 64) - 1),
    "a place before the beginning": lambda _: _zip64(400, 1 << 62),
    "overlapping files beyond the limit": lambda _: overlapping(16 << 20, 100),
    "overlapping files": lambda _: overlapping(1 << 20, 60),
    "100,000 empty files": lambda _: _raw_zip([b"a"] * 100_000, b"", lambda _, n: _entry(n, 0)),
    "a file without sizes": _without_sizes,
    "bzip2 inside": lambda _: _packed(zipfile.ZIP_BZIP2, 2 << 20),
    "LZMA inside": lambda _: _packed(zipfile.ZIP_LZMA, 2 << 20),
    "a directory without files": lambda _: zip_of({"a/": b"", "a/b/": b""}),
    "hidden files alone": lambda _: zip_of({".DS_Store": b"x", "__MACOSX/._IM0": b"y"}),
    "a comment for a ZIP": lambda _: END + bytes(16) + b"\xff\xff" + b"x" * 100,
    "gzip and rubbish": lambda content: content + b"rubbish" * 9,
    "gzip twice": lambda content: content + content,
    "gzip and an empty gzip and a byte": lambda c: c + gzip.compress(b"") + gzip.compress(b"x"),
    "NIfTI and a byte": lambda content: gzip.decompress(content) + b"\x01",
}
"""Each is to be refused, whatever NIfTI file it is made of."""

HARMLESS: dict[str, Spoil] = {
    "an extension that claims a gigabyte": _extension_of_a_gigabyte,
    "gzip in two members": lambda c: (
        gzip.compress(gzip.decompress(c)[:999]) + gzip.compress(gzip.decompress(c)[999:])
    ),
    "gzip and zeros": lambda content: content + bytes(512),
}
"""Odd, but clear: the volume is the one that it was made of."""
