"""Take the pictures of the page for the README: ``python -m examples.demo.screenshot``.

Decides what is pressed and where the pictures go.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from examples.demo.__main__ import servers
from examples.demo.origins import PORT_VARIABLE, Origins
from examples.demo.servers import ROOT, running
from examples.demo.visitor import PANELS, Visitor, chromium
from PIL import Image

IMAGES = ROOT / "docs" / "images"
WIDTH = 1280
COLOURS = 192
"""Of a picture's palette; more cannot be told apart and double the file."""


def main() -> None:
    """Press every button, in light and in dark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8640, help="where the demo runs meanwhile")
    origins = Origins(parser.parse_args().port)
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, dark in (("demo.png", False), ("demo-dark.png", True)):
        with (
            running(servers(origins), environment={PORT_VARIABLE: str(origins.port)}),
            chromium(width=WIDTH, dark=dark) as visitor,
        ):
            visitor.open(origins.page)
            press_everything(visitor)
            visitor.photograph(IMAGES / name)
        _shrink(IMAGES / name)
        print(f"{IMAGES / name}: {(IMAGES / name).stat().st_size / 1000:.0f} kB")


def press_everything(visitor: Visitor) -> None:
    """Run every panel twice, but for the first: the second time everything is warm."""
    for name in PANELS:
        panel = visitor.panel(name)
        panel.press()
        if name != "limit":
            panel.press()
    visitor.script("document.activeElement.blur(); window.scrollTo(0, 0)")


def _shrink(path: Path) -> None:
    picture, content = Image.open(path).convert("RGB"), io.BytesIO()
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
    path.write_bytes(content.getvalue())


if __name__ == "__main__":
    main()
