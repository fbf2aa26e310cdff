"""Decide in which pieces a file is sent. Knows neither the file nor who reads it."""

from __future__ import annotations

from typing import IO, Final

from werkzeug.wsgi import FileWrapper

FILE_PIECE: Final = 262_144
"""Bytes of a file that go out at once. Each piece is a trip between a thread and the loop, and with
Werkzeug's 8 KiB 100 MB take 12,800 of them."""


class FilePieces(FileWrapper):
    """What stands in the WSGI environment as ``wsgi.file_wrapper``.

    Its pieces may be read in any thread, one after the other.

    :param file: A binary file.
    :param buffer_size: What the application would have read at once; never less is read.
    """

    def __init__(self, file: IO[bytes], buffer_size: int = FILE_PIECE) -> None:
        super().__init__(file, max(buffer_size, FILE_PIECE))
