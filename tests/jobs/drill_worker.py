"""A worker as a program of its own, for drills: it ends on command, or is killed."""

from __future__ import annotations

import json
import logging
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def main(options: dict[str, Any]) -> None:
    """Work until told to end."""
    sys.path.insert(0, str(Path(__file__).parent))
    jobs = import_module("drill_jobs")
    from flask_concurrency.executors.processes import ProcessExecutor
    from flask_concurrency.jobs.opening import open_ledger
    from flask_concurrency.jobs.process_start import ProcessStart
    from flask_concurrency.jobs.worker import Worker

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    ledger = open_ledger(options["url"], app=options["app"], volatile=True, lease=options["lease"])
    processes = options["processes"]
    with ProcessExecutor(
        processes,
        preload=["drill_jobs", type(ledger).__module__],  # as the import of an app does
        max_memory=options.get("max_memory"),
    ) as executor:
        worker = Worker(
            ledger,
            ProcessStart(ledger, executor, jobs.find, max_result=65_536),
            options.get("names", jobs.NAMES),
            processes=processes,
            drain_timeout=options["drain_timeout"],
        )
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        signal.signal(signal.SIGINT, lambda *_: worker.stop())
        executor.submit(abs, 0)
        print("ready", flush=True)
        worker.run(burst=bool(options.get("burst")))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
