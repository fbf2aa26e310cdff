"""Decide what a worker process does: set itself up, then run one task after the other.

Knows its one channel, and neither its owner nor the process that started it.
"""

from __future__ import annotations

import contextvars
import os
import pickle
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from flask_concurrency.executors.processes.call import decode_call
from flask_concurrency.executors.processes.inbox import Inbox
from flask_concurrency.executors.processes.launch.process_state import (
    give_forked_children_stop_signals,
)
from flask_concurrency.executors.processes.main_script import MainScript
from flask_concurrency.executors.processes.outcome import encode_error, encode_result
from flask_concurrency.executors.processes.setup import Setup
from flask_concurrency.executors.processes.wire import READY, START_FAILED, Channel


def main(channel: Channel, prepare: Callable[[], None] | None = None) -> NoReturn:
    """Serve one channel until it ends, then end the process.

    It ends without Python's own clean-up, which would wait for whatever threads a task left
    behind. ``atexit`` functions do not run here, as in the standard library's workers.

    :param prepare: What is to be done before the set-up that the owner sends.
    """
    process = os.getpid()
    give_forked_children_stop_signals()
    if hasattr(os, "register_at_fork"):
        # A process that a task leaves behind must not keep the channel open.
        os.register_at_fork(after_in_child=channel.drop)
    code = 1
    try:
        script = _set_up(channel, prepare)
        if script is not None:
            _serve(channel, script.main, process, Inbox(shares_memory=script.shares_memory))
            code = 0
    except (OSError, EOFError):
        code = 0  # the owner is gone
    except BaseException:
        traceback.print_exc()
    finally:
        _flush()
        os._exit(code)


def _set_up(channel: Channel, prepare: Callable[[], None] | None) -> Setup | None:
    """Do what the owner's first message says, and answer; ``None`` if it could not be done."""
    frame = channel.receive()
    if frame is None:
        return None
    try:
        setup: Setup = pickle.loads(frame[2])
        setup.enter()
        if prepare is not None:
            prepare()
        setup.initialize()
    except BaseException:
        channel.send(START_FAILED, payload=traceback.format_exc().encode(errors="replace"))
        return None
    channel.send(READY)
    return setup


def _serve(channel: Channel, script: MainScript | None, process: int, inbox: Inbox) -> None:
    while (frame := channel.receive()) is not None:
        _, number, payload = frame
        kind, reply = _run(payload, script, inbox)
        del frame, payload  # arguments may be large, and the next task may be long in coming
        if os.getpid() != process:
            # A task forked and let the child return; the answer is its parent's to give.
            return
        _flush()
        channel.send(kind, number, inbox.seal(reply))
        del reply


def _run(
    payload: bytes | bytearray, script: MainScript | None, inbox: Inbox
) -> tuple[int, bytes]:
    """Run one call; whatever it does short of ending the process, there is an answer."""
    try:
        fn, args, kwargs = decode_call(inbox.open(payload), script)
    except BaseException as error:
        return encode_error(error)
    try:
        # A context of its own: what a task sets in a context variable ends with the task.
        value: Any = contextvars.copy_context().run(fn, *args, **kwargs)
    except BaseException as error:
        return encode_error(error)
    del args, kwargs  # a result may take their place in shared memory
    return encode_result(value, fn)


def _flush() -> None:
    # A worker may be killed at any time, and then loses what a task printed.
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception:  # a task has closed them, or put something in their place
        return
