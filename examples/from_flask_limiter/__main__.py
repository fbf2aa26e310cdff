"""Print where Flask-Concurrency decides differently from Flask-Limiter, both asked in one run.

``python -m examples.from_flask_limiter`` needs the project's development environment.
"""

from __future__ import annotations

import logging

from . import reaching, spending, telling


def main() -> None:
    """Print every difference."""
    logging.disable(logging.ERROR)  # what Flask-Limiter says of a limit it cannot read
    for chapter in (spending, reaching, telling):
        for difference in chapter.differences():
            print(difference)


if __name__ == "__main__":
    main()
