"""Kill a worker process in the middle of a picture, and see what it costs: one tile.

Decides who is killed and what happens to its tile; knows no picture and no request.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from examples.demo.extension import concurrency

from flask_concurrency import WorkerDied


@dataclass(slots=True)
class Killing:
    """Computes tiles on all processes, and kills the worker of the first one that is done.

    :ivar killed: The process that was killed; ``None`` as long as there is none.
    :ivar lost: Tiles that were lost with it, and computed again.
    """

    killed: int | None = None
    lost: int = 0

    def map(self, compute: Callable[..., Any], tasks: Sequence[Any]) -> list[Any]:
        """What ``map`` would give, in order, whatever dies meanwhile."""
        submit = concurrency.processes.submit
        futures = [submit(compute, task) for task in tasks]
        self._kill(futures[0].result())
        return [
            self._again(compute, task)
            if isinstance(future.exception(), WorkerDied)
            else future.result()
            for task, future in zip(tasks, futures, strict=True)
        ]

    def _kill(self, tile: Any) -> None:
        process = getattr(tile, "process", None)  # warming up makes no tile
        if process is not None:
            os.kill(process, signal.SIGKILL)
            self.killed = process

    def _again(self, compute: Callable[..., Any], task: Any) -> Any:
        self.lost += 1
        return concurrency.processes.submit(compute, task).result()
