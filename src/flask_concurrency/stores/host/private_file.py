"""Find the file of a namespace or build it; refuse what is not ours, rebuild what is damaged.

Knows the header and who may own the file; knows nothing of the counts in it.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from flask_concurrency.stores.host.boot_identity import current_boot_identity
from flask_concurrency.stores.host.flock_locks import FlockLocks
from flask_concurrency.stores.host.header import (
    HEADER_SIZE,
    NO_BOOT_IDENTITY,
    SECRET_SIZE,
    VERSION,
    DamagedFile,
    ForeignFile,
    Header,
    read_header,
)
from flask_concurrency.stores.host.layout import LINE, LINES_AT, LINES_USED_AT, WORD, Geometry
from flask_concurrency.stores.host.locks import Locks
from flask_concurrency.stores.host.ofd_locks import OfdLocks, known_for
from flask_concurrency.stores.host.private_directory import locked_directory, refuse_others
from flask_concurrency.vocabulary.errors import StoreUnavailable
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.store")

_FLAGS: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_READABLE: Final = 40
"""Characters of a namespace that its file's name shows."""


class OpenFile(NamedTuple):
    """A file that may be trusted, opened by this process.

    :ivar path: Where it is.
    :ivar inode: Device and number of it, to notice when another one takes its place.
    :ivar memory: Its content.
    :ivar header: What it says about itself.
    :ivar locks: Its locks.
    :ivar line: Which of its lines this process has.
    """

    path: Path
    inode: tuple[int, int]
    memory: mmap.mmap
    header: Header
    locks: Locks
    line: int


def file_name(namespace: str) -> str:
    """The file of a namespace; two namespaces never share one, nor do two layouts."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", namespace).strip(".-")[-_READABLE:]
    digest = hashlib.blake2b(namespace.encode(errors="surrogatepass"), digest_size=8)
    return f"{readable}-{digest.hexdigest()}.v{VERSION}"


def open_file(path: Path, wanted: Geometry, *, timeout: float) -> OpenFile:
    """Open a file of counts, building it if it is missing or cannot be trusted.

    :param path: Where it is; its directory is made if it is missing.
    :param wanted: How large it should be. A file that others use stays as large as it is.
    :param timeout: Seconds to wait for another process, now and for each lock later.
    :raises ForeignFile: Something else has its place; it is left alone.
    :raises StoreUnavailable: Others could change it, or too many processes have it open.
    :raises OSError: The system refuses, for instance because memory or disk are full.
    """
    with locked_directory(path.parent, timeout=timeout) as directory:
        # Everything here happens to one process at a time. A process that dies here leaves
        # either no file, or a whole one: a file gets its name only when it is complete.
        opened = _open_existing(path, directory, wanted, timeout)
        if opened is None:
            _build(path, directory, wanted)
            opened = _open_existing(path, directory, None, timeout)
        if opened is None:
            raise StoreUnavailable(f"{str(path)!r} was removed or damaged while it was built.")
        return opened


def remove_file(file: OpenFile, *, timeout: float) -> None:
    """Remove a file whose content cannot be trusted, so that its users meet in a new one.

    :param file: The file, which this process has open; another one in its place is left alone.
    :param timeout: Seconds to wait for another process.
    :raises StoreUnavailable: Another process keeps the directory for longer.
    """
    name = file.path.name
    with locked_directory(file.path.parent, timeout=timeout) as directory:
        found = _open(file.path, directory)
        if found is not None:
            status = os.fstat(found)
            os.close(found)
            if (status.st_dev, status.st_ino) == file.inode:
                os.unlink(name, dir_fd=directory)


def _open_existing(
    path: Path, directory: int, wanted: Geometry | None, timeout: float
) -> OpenFile | None:
    """Open the file if it is there and may be trusted; ``None`` if it must be built.

    :param wanted: How large it should be; ``None`` for one that was built just now.
    """
    descriptor = _open(path, directory)
    if descriptor is None:
        return None
    locks: Locks | None = None
    opened: OpenFile | None = None
    try:
        header = read_header(os.pread(descriptor, HEADER_SIZE, 0), os.fstat(descriptor).st_size)
        locks = _locks(descriptor, path, header.geometry, timeout)
        if wanted is None or _usable(path, header, wanted, locks):
            opened = _map(path, directory, header, locks)
    except ForeignFile as error:
        raise ForeignFile(
            f"{str(path)!r} is not a file of counts: {error}. Move it away."
        ) from None
    except DamagedFile as error:
        logger.warning("%s is built anew and counts start again: %s.", path, error)
    finally:
        if opened is None and locks is None:
            os.close(descriptor)
        elif opened is None and locks is not None:
            locks.close(wait=False)
    return opened


def _open(path: Path, directory: int) -> int | None:
    try:
        descriptor = os.open(path.name, _FLAGS, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
        raise ForeignFile(f"{str(path)!r} is not a regular file. Move it away.") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ForeignFile(f"{str(path)!r} is not a regular file. Move it away.")
        refuse_others(found, path, mode="600")
    except StoreUnavailable:
        os.close(descriptor)
        raise
    return descriptor


def _usable(path: Path, header: Header, wanted: Geometry, locks: Locks) -> bool:
    boot = current_boot_identity()
    same_locks = header.lock_kind == locks.kind
    if locks.any_alive(header.geometry.lines):
        if header.boot_identity != (boot or NO_BOOT_IDENTITY) or not same_locks:
            raise StoreUnavailable(
                f"{str(path)!r} is in use by processes with another clock or other locks, such "
                "as a container's. Give one side its own CONCURRENCY_NAMESPACE."
            )
        if header.geometry != wanted:
            logger.info("%s keeps its size until all who use it have ended.", path)
        return True
    if header.boot_identity == boot and same_locks and header.geometry == wanted:
        return True
    logger.info("%s is built anew: it is of another size or of an earlier boot.", path)
    return False


def _locks(descriptor: int, path: Path, geometry: Geometry, timeout: float) -> Locks:
    if known_for(descriptor):
        shards, size = geometry.shards, geometry.size
        return OfdLocks(descriptor, shards=shards, size=size, timeout=timeout)
    return FlockLocks(descriptor, path=path, size=geometry.size, timeout=timeout)


def _map(path: Path, directory: int, header: Header, locks: Locks) -> OpenFile:
    # Opened once more: a mapping keeps what it maps open, and with it the locks, even in a
    # forked child that closes every descriptor.
    descriptor = os.open(path.name, _FLAGS, dir_fd=directory)
    try:
        found = os.fstat(descriptor)
        memory = mmap.mmap(descriptor, header.geometry.size)
    finally:
        os.close(descriptor)
    (used,) = WORD.unpack_from(memory, LINES_USED_AT)
    if used > header.geometry.lines:
        memory.close()
        raise DamagedFile(f"it says that {used:,} processes have it open")
    line = locks.claim_line(header.geometry.lines)
    if line is None:
        memory.close()
        raise StoreUnavailable(
            f"{header.geometry.lines} processes have {str(path)!r} open, and it has room for no "
            "more. Raise max_processes and restart all of them."
        )
    LINE.pack_into(memory, LINES_AT + line * LINE.size, os.getpid())
    WORD.pack_into(memory, LINES_USED_AT, max(used, line + 1))
    # If the process dies here, the line is free again, and others add what is left in it, which
    # is what they did before, or zeros.
    return OpenFile(path, (found.st_dev, found.st_ino), memory, header, locks, line)


def _build(path: Path, directory: int, geometry: Geometry) -> None:
    unfinished = f".{path.name}.new"
    with suppress(FileNotFoundError):
        os.unlink(unfinished, dir_fd=directory)  # of a builder that died
    descriptor = os.open(unfinished, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)
    try:
        # Room is taken now: writing to a mapped file whose disk is full kills the process.
        _take_room(descriptor, path, geometry.size)
        kind = OfdLocks.kind if known_for(descriptor) else FlockLocks.kind
        secret = secrets.token_bytes(SECRET_SIZE)
        os.pwrite(
            descriptor,
            Header(geometry, kind, secret, current_boot_identity() or NO_BOOT_IDENTITY).pack(),
            0,
        )
        os.rename(unfinished, path.name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        os.unlink(unfinished, dir_fd=directory)
        raise
    finally:
        os.close(descriptor)


def _take_room(descriptor: int, path: Path, size: int) -> None:
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:  # macOS
            os.pwrite(descriptor, bytes(size), 0)
    except OSError as error:
        raise StoreUnavailable(
            f"No room for the {size:,} bytes of {str(path)!r} ({error.strerror}). Make room, "
            "lower max_keys, or set CONCURRENCY_STORE to "
            '"host:///a/directory" on another disk.'
        ) from None
