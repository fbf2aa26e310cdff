"""A loop and a fork: the child gets its own, the parent keeps what it had."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, os, threading, warnings
from flask_concurrency.executors.loop import LoopThread

warnings.simplefilter("ignore", DeprecationWarning)  # a fork with threads: what is tested here

async def where():
    await asyncio.sleep(0)
    return id(asyncio.get_running_loop()), threading.get_native_id()

loop = LoopThread()
parents = loop.run(where())

async def wait():
    await asyncio.Event().wait()

waiting = loop.spawn(wait())
loop.run(where())
child = os.fork()
if not child:
    mine = loop.run(where())
    assert mine != parents and loop.run(where()) == mine, "not a loop of its own"
    assert loop.snapshot().spawned == 0, "the parent's task is counted in the child"
    try:
        waiting.result(20)
    except RuntimeError as error:
        assert "forked from" in str(error), error
    assert loop.shutdown()
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert loop.run(where()) == parents, "the parent lost its loop"
assert loop.snapshot().spawned == 1
assert loop.shutdown()
print("both worked")
"""


@pytest.mark.slow
def test_pitfall_1_a_loop_used_before_a_fork_works_in_the_child() -> None:
    """The thread does not survive the fork, so the child starts another; the parent's stays."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=False
    )
    assert (ended.stdout, ended.stderr) == ("both worked\n", "")
