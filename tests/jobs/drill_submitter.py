"""A process that submits jobs and says which were accepted, until it is killed."""

from __future__ import annotations

import json
import os
import sys
import time


def main(url: str, app: str, name: str, count: int, args: list[object], pause: float = 0.0) -> None:
    """Submit, and say each id once it was accepted."""
    from flask_concurrency.jobs.ledger import Capacity
    from flask_concurrency.jobs.opening import open_ledger
    from flask_concurrency.jobs.record import new_record

    ledger = open_ledger(url, app=app, volatile=True, capacity=Capacity(None, None))
    for _ in range(count):
        record = new_record(name, args, {}, max_arguments=65_536)
        ledger.insert(record)
        os.write(1, f"{record.id}\n".encode())
        time.sleep(pause)


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
