"""Decide in which directory the file lives, and refuse one that others could write to.

Knows nothing of the file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from flask_concurrency.stores.host.locks import BoundedRetry
from flask_concurrency.vocabulary.errors import StoreUnavailable

NAME: Final = "flask-concurrency"
SHARED_MEMORY: Final = Path("/dev/shm")


def default_directory() -> Path:
    """Where the files of this user live: in memory where the system has a place for that.

    ``$XDG_RUNTIME_DIR/flask-concurrency`` if that is a private directory of this user, else
    ``/dev/shm/flask-concurrency-<uid>``, else the same in the temporary directory.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and _is_private(Path(runtime)):
        return Path(runtime, NAME)
    shared = SHARED_MEMORY.is_dir() and os.access(SHARED_MEMORY, os.W_OK)
    base = SHARED_MEMORY if shared else Path(tempfile.gettempdir())
    return base / f"{NAME}-{os.geteuid()}"


@contextmanager
def locked_directory(path: Path, *, timeout: float) -> Iterator[int]:
    """Open a directory, made if it is missing, with every other process kept out meanwhile.

    :param path: Where it is; only its last part is made.
    :param timeout: Seconds to wait for another process.
    :returns: Its descriptor.
    :raises StoreUnavailable: It is not a directory, not this user's, or others may write to it.
    :raises OSError: It cannot be made or opened.
    """
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    descriptor = _open(path)
    try:
        refuse_others(os.fstat(descriptor), path, mode="700")
        BoundedRetry(f"the directory {str(path)!r}", timeout=timeout).wait_for(
            lambda: _attempt(descriptor)
        )
        yield descriptor
    finally:
        # Not by closing alone: a child forked meanwhile has the descriptor too.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


@contextmanager
def locked_subdirectory(path: Path, *, timeout: float) -> Iterator[None]:
    """Keep every other process out of the directory above ``path``, and make both if missing.

    :param path: A directory that files are to be opened in meanwhile.
    :param timeout: Seconds to wait for another process.
    :raises StoreUnavailable: One is not a directory, not this user's, or others may write to it.
    :raises OSError: One cannot be made or opened.
    """
    with locked_directory(path.parent, timeout=timeout):
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
        refuse_others(os.stat(path, follow_symlinks=False), path, mode="700")
        yield


def refuse_others(found: os.stat_result, path: Path, *, mode: str) -> None:
    """Refuse what another user owns or may touch: it could have been prepared.

    :param mode: The permissions it should have.
    :raises StoreUnavailable: Naming the path, the owner and the permissions.
    """
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise StoreUnavailable(
            f"{str(path)!r} belongs to user {found.st_uid} with permissions "
            f"{stat.S_IMODE(found.st_mode):o}, so others could change its counts. It must belong "
            f"to user {os.geteuid()} with permissions {mode}; or set CONCURRENCY_STORE to "
            '"host:///a/directory" of your own.'
        )


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        raise StoreUnavailable(
            f"{str(path)!r} is a file or a symbolic link instead of a directory. Remove it, or "
            'set CONCURRENCY_STORE to "host:///a/directory" of your own.'
        ) from None


def _attempt(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_private(path: Path) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    mine = found.st_uid == os.geteuid() and not found.st_mode & 0o077
    return mine and stat.S_ISDIR(found.st_mode) and os.access(path, os.W_OK)
