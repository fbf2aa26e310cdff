"""The numbers in the explanation of the host store are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from flask_concurrency.stores.host.host_store import MAX_KEYS, MAX_PROCESSES
from flask_concurrency.stores.host.layout import CELL, SLOTS, WAYS, Geometry

PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "host-store.md"


def test_the_table_of_the_file_adds_up() -> None:
    """Each part has the bytes that are written there, and together they are the file."""
    text = PAGE.read_text()
    rows = re.findall(r"^\| ([a-z ]+) \| ([\d,]+) \|", text, re.MULTILINE)
    told = {part: int(size.replace(",", "")) for part, size in rows}
    geometry = Geometry.holding(MAX_KEYS, MAX_PROCESSES)
    ends = [
        geometry.evictions_at,
        geometry.rates_at,
        geometry.in_flight_at,
        geometry.size,
    ]
    starts = [4_096, *ends]
    assert told == {
        "header": 4_096,
        **dict(
            zip(
                ["lines", "evictions", "rates", "in flight"],
                [end - start for start, end in zip(starts, ends, strict=False)],
                strict=True,
            )
        ),
    }
    assert f"{MAX_KEYS:,} keys the file has {geometry.size:,} bytes" in text


def test_the_words_for_its_parts_are_right() -> None:
    """As many shards, buckets, cells, rows, words and slots as there are."""
    text = PAGE.read_text()
    geometry = Geometry.holding(MAX_KEYS, MAX_PROCESSES)
    assert f"{geometry.shards} shards of {geometry.buckets} buckets of {WAYS} cells" in text
    assert f"{geometry.shards} shards of {geometry.rows} rows" in text
    assert f"rows of {geometry.lines} words" in text
    assert f"A cell is {CELL} bytes" in text
    assert f"{SLOTS} slots" in text
    assert f"inside for {geometry.rows} keys of one shard" in text
