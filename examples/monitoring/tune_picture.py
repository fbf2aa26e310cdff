"""Take the pictures of what ``flask concurrency tune`` writes, for the docs.

Run it as ``python -m examples.monitoring.tune_picture``. Decides which routes are measured.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from examples.demo.visitor import chromium
from examples.monitoring.picture import IMAGES
from examples.monitoring.served_shop import ROOT

APP = "benchmarks.bottlenecks:make('pool','both')"
SECONDS = 30


def main() -> None:
    """Measure two routes, and photograph the report in light and in dark."""
    with TemporaryDirectory() as directory:
        report = Path(directory) / "report.html"
        command = [sys.executable, "-m", "flask", "--app", APP, "concurrency", "tune", "--yes"]
        command += ["--budget", str(SECONDS), "--html", str(report)]
        subprocess.run(command, cwd=ROOT, check=True)
        with chromium(width=820) as visitor:
            for name, scheme in (("tune.png", "light"), ("tune-dark.png", "dark")):
                visitor.prefer(scheme)
                visitor.driver.get(report.as_uri())
                visitor.photograph(IMAGES / name)
                print(f"{IMAGES / name}: {(IMAGES / name).stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
