"""Decide whether a file is ours and may be trusted. Knows no lock and nothing behind the header.

The header is written once, before the file gets its name, and never changes.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import astuple, dataclass
from typing import Final

from flask_concurrency.stores.host.layout import Geometry
from flask_concurrency.vocabulary.errors import StoreUnavailable

MAGIC: Final = b"\x89FlaskCC"
VERSION: Final = 2
"""Raise it with any change of the layout; it is part of the file's name, so that processes of
two versions never meet in one file."""

SECRET_SIZE: Final = 32
BOOT_IDENTITY_SIZE: Final = 16
NO_BOOT_IDENTITY: Final = bytes(BOOT_IDENTITY_SIZE)
"""Of a file built where the kernel names no boot."""
_FIELDS: Final = struct.Struct(f"=8sI4IIQ{SECRET_SIZE}s{BOOT_IDENTITY_SIZE}s")
_CHECKSUM_SIZE: Final = 16
HEADER_SIZE: Final = _FIELDS.size + _CHECKSUM_SIZE


class ForeignFile(StoreUnavailable):
    """The file is not one of ours, so it is left alone."""


class DamagedFile(StoreUnavailable):
    """The file was ours, but its counts cannot be trusted any more."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says about itself.

    :ivar geometry: How large its parts are.
    :ivar lock_kind: How its users keep each other out; all must do it the same way.
    :ivar secret: Random bytes with which keys are hashed.
    :ivar boot_identity: Whose monotonic clock its instants are of: this boot of this host.
    """

    geometry: Geometry
    lock_kind: int
    secret: bytes
    boot_identity: bytes

    def pack(self) -> bytes:
        """The bytes that :func:`read_header` reads back."""
        fields = _FIELDS.pack(
            MAGIC,
            VERSION,
            *astuple(self.geometry),
            self.lock_kind,
            self.geometry.size,
            self.secret,
            self.boot_identity,
        )
        return fields + _checksum(fields)


def read_header(start: bytes, size: int) -> Header:
    """Read a header.

    :param start: The first ``HEADER_SIZE`` bytes of a file, or fewer where it is shorter.
    :param size: Bytes the whole file has.
    :raises ForeignFile: It does not begin like one of ours.
    :raises DamagedFile: It begins like ours, or is empty, and cannot be trusted.
    """
    if not MAGIC.startswith(start[: len(MAGIC)]):
        raise ForeignFile(f"it begins with {start[: len(MAGIC)]!r}, which none of ours does")
    fields, checksum = start[: _FIELDS.size], start[_FIELDS.size :]
    if len(start) < HEADER_SIZE:
        raise DamagedFile(f"it has only {size} bytes")
    if checksum != _checksum(fields):
        raise DamagedFile("its header has a wrong checksum")
    _, version, shards, buckets, rows, lines, kind, stated, secret, boot_identity = _FIELDS.unpack(
        fields
    )
    if version != VERSION:
        raise DamagedFile(f"it has layout {version}, not {VERSION}")
    header = Header(Geometry(shards, buckets, rows, lines), kind, secret, boot_identity)
    if size != stated or size != header.geometry.size:
        raise DamagedFile(f"it has {size} bytes instead of {stated}")
    return header


def _checksum(fields: bytes) -> bytes:
    return hashlib.blake2b(fields, digest_size=_CHECKSUM_SIZE).digest()
