"""Decide in which pieces a file is sent, and whether a server may send it by its path instead.

Does not know who reads it.
"""

from __future__ import annotations

import io
import os
import stat
from abc import ABC, abstractmethod
from typing import IO, Final

from werkzeug.wsgi import FileWrapper

FILE_PIECE: Final = 262_144
"""Bytes of a file that go out at once. Each piece is a trip between a thread and the loop, and with
Werkzeug's 8 KiB 100 MB take 12,800 of them."""


class WholeFile(ABC):
    """A body that may be one file as a whole."""

    @abstractmethod
    def path(self, length: int) -> str | None:
        """Where a server finds what is read here; ``None`` where it may be something else.

        :param length: The bytes that were announced.
        """


class FilePieces(FileWrapper, WholeFile):
    """What stands in the WSGI environment as ``wsgi.file_wrapper``.

    Its pieces may be read in any thread, one after the other.

    :param file: A binary file.
    :param buffer_size: What the application would have read at once; never less is read.
    """

    def __init__(self, file: IO[bytes], buffer_size: int = FILE_PIECE) -> None:
        super().__init__(file, max(buffer_size, FILE_PIECE))

    def path(self, length: int) -> str | None:
        """Of a regular file that has not been read from, and is still where it was opened."""
        file = self.file
        if type(file) is not io.BufferedReader or not isinstance(file.name, str):
            return None  # a file in memory, a temporary one, one that has a number for a name
        try:
            there, here = os.stat(file.name), os.fstat(file.fileno())
            whole = stat.S_ISREG(there.st_mode) and there.st_size == length and not file.tell()
        except (OSError, ValueError):  # removed since, or closed
            return None
        # A path may lead to another file by now, as where a new version takes its place.
        return os.path.abspath(file.name) if whole and os.path.samestat(there, here) else None
