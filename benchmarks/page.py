"""Write measured tables into a page, each between the comments that ask for it.

.. code-block:: text

    <!-- rates ratios -->
    whatever stood here is replaced
    <!-- end -->

Knows names and lines; measures nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

KINDS = ("times", "ratios", "rows")
PLACE = re.compile(
    r"<!-- (?P<name>[a-z0-9-]+) (?P<kind>\w+) -->\n(?P<now>.*?)<!-- end -->", re.DOTALL
)


class Page:
    """A page with places for tables.

    :param path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def places(self) -> Iterator[tuple[str, str]]:
        """The benchmarks that the page shows, and which of their tables."""
        for found in PLACE.finditer(self.path.read_text("utf-8")):
            yield found["name"], found["kind"]

    def write(self, name: str, tables: dict[str, list[str]], load: tuple[float, float]) -> None:
        """Replace the tables of one benchmark by new ones.

        :param tables: Lines of Markdown, by kind.
        :param load: The machine's load average of a minute, before and after.
        """
        told = f"*{date.today():%Y-%m-%d}, load {load[0]:.1f} before and {load[1]:.1f} after*"

        def replaced(found: re.Match[str]) -> str:
            if found["name"] != name:
                return found[0]
            lines = [*tables[found["kind"]], "", told]
            return "\n".join([found[0].partition("\n")[0], *lines, "<!-- end -->"])

        text = self.path.read_text("utf-8")
        self.path.write_text(PLACE.sub(replaced, text), "utf-8")
