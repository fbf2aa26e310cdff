"""Write counts as bytes that another host can read. Knows no server and no file."""

from __future__ import annotations

import json
import zlib

from flask_concurrency.telemetry.names import Totals


def encode(totals: Totals) -> bytes:
    """Write counts."""
    return zlib.compress(json.dumps([*totals.items()], separators=(",", ":")).encode(), 1)


def decode(written: bytes) -> Totals:
    """Read counts.

    :raises ValueError: These are none.
    """
    try:
        found = {
            tuple(map(str, name)): tuple(map(int, numbers))
            for name, numbers in json.loads(zlib.decompress(written))
        }
    except (zlib.error, TypeError) as error:
        raise ValueError(f"These are no counts: {error}") from error
    return found
