"""Take the pictures of the page for the README: ``python -m examples.demo.screenshot``.

Decides what is pressed and where the pictures go.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from examples.demo.launching import launched
from examples.demo.origins import Origins
from examples.demo.servers import ROOT
from examples.demo.visitor import PANELS, Visitor, chromium
from PIL import Image

IMAGES = ROOT / "docs" / "images"
WIDTH = 1280
PLAIN_COLOURS, OTHER_COLOURS = 24, 232
"""Of a picture's palette: those of the page itself, kept exactly, and those of the rest."""
NEAR = 8
"""How far the rest stays from them, in each channel."""


def main() -> None:
    """Press every button, in light and in dark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8640, help="where the demo runs meanwhile")
    origins = Origins(parser.parse_args().port)
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, dark in (("demo.png", False), ("demo-dark.png", True)):
        with launched(origins), chromium(width=WIDTH, dark=dark) as visitor:
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
    """Give the PNG a palette, which halves the file."""
    picture = Image.open(path).convert("RGB")
    plain = [c for c, _ in Counter(_triples(picture.tobytes())).most_common(PLAIN_COLOURS)]
    # Pillow is content with a colour that is near, even where the very one is there, too.
    others = [
        colour
        for colour in _triples(bytes(picture.quantize(OTHER_COLOURS).getpalette() or []))
        if all(max(abs(a - b) for a, b in zip(colour, c, strict=True)) > NEAR for c in plain)
    ]
    palette = Image.new("P", (1, 1))
    palette.putpalette(b"".join(plain + others))
    picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


def _triples(values: bytes) -> list[bytes]:
    return [values[at : at + 3] for at in range(0, len(values), 3)]


if __name__ == "__main__":
    main()
