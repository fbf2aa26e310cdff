"""The one ``Concurrency`` that all parts of the API share. Knows none of them."""

from flask_concurrency import Concurrency

concurrency = Concurrency(default_limits="600/minute")
