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
from math import inf
from typing import Any, Final, NoReturn

from flask_concurrency.executors.processes.main_script import MainScript
from flask_concurrency.executors.processes.payloads import (
    decode_call,
    encode_error,
    encode_result,
    name_of,
)
from flask_concurrency.executors.processes.shared_memory.worker_side import MappedSegments
from flask_concurrency.executors.processes.wire import (
    INSTANT,
    READY,
    RECYCLE,
    START_FAILED,
    UNTIL,
    Channel,
    Received,
)
from flask_concurrency.executors.processes.worker.log_relay import RelayHandler
from flask_concurrency.executors.processes.worker.memory_cap import EXIT_CODE, MemoryCap
from flask_concurrency.executors.processes.worker.process_state import (
    end_what_tasks_left,
    give_forked_children_stop_signals,
)
from flask_concurrency.executors.processes.worker.setup import Setup
from flask_concurrency.executors.processes.worker.task_context import call_in_context
from flask_concurrency.runtime.deadline import Deadline

KEEPS_ARRAYS: Final = 1.0
"""Seconds for which a shared array stays mapped in a worker that has no further task."""


def main(
    channel: Channel, handler: RelayHandler | None, prepare: Callable[[], None] | None = None
) -> NoReturn:
    """Serve one channel until it ends, then end the process.

    ``atexit`` functions do not run here, as in the standard library's workers.

    :param handler: Where to send what is logged.
    :param prepare: What is to be done before the set-up that the owner sends.
    """
    process = os.getpid()
    give_forked_children_stop_signals()
    if hasattr(os, "register_at_fork"):
        # A process that a task leaves behind must not keep the channel open.
        os.register_at_fork(after_in_child=channel.drop)
    code = 1
    try:
        setup = _set_up(channel, handler, prepare)
        if setup is not None:
            _serve(channel, setup, process)
            code = 0
            if os.getpid() == process:
                end_what_tasks_left()
    except (OSError, EOFError):
        code = 0  # the owner is gone
    except MemoryError:
        code = EXIT_CODE
    except BaseException:
        traceback.print_exc()
    finally:
        _flush()
        os._exit(code)


def _set_up(
    channel: Channel, handler: RelayHandler | None, prepare: Callable[[], None] | None
) -> Setup | None:
    """Do what the owner's first message says, and answer; ``None`` if it could not be done."""
    frame = channel.receive()
    if frame is None:
        return None
    try:
        setup: Setup = pickle.loads(frame[2])
        setup.enter()
        if prepare is not None:
            prepare()
        if handler is not None:
            handler.worker = setup.name
            handler.take_over(setup.levels)
        setup.initialize()
    except BaseException:
        channel.send(START_FAILED, payload=traceback.format_exc().encode(errors="replace"))
        return None
    channel.send(READY)
    return setup


def _serve(channel: Channel, setup: Setup, process: int) -> None:
    script, segments, cap = setup.main, MappedSegments(shares_memory=setup.shares_memory), setup.cap
    capped = setup.max_memory is not None
    call = cap.call if capped else call_in_context
    until = inf
    while True:
        keeps_arrays = segments.keeps_arrays
        if keeps_arrays and not channel.readable(KEEPS_ARRAYS):
            segments.forget_arrays()
        frame = channel.receive()
        if frame is None:
            return
        kind, number, payload = frame
        if kind == UNTIL:
            (until,) = INSTANT.unpack(payload)
            continue
        if keeps_arrays and not isinstance(payload, Received):
            segments.forget_arrays()
        if until == inf:
            kind, reply = _run(payload, script, segments, cap, call)
        else:
            with Deadline(until):
                kind, reply = _run(payload, script, segments, cap, call)
            until = inf
        del frame, payload  # arguments may be large, and the next task may be long in coming
        if os.getpid() != process:
            # A task forked and let the child return; the answer is its parent's to give.
            return
        _flush()
        recycle = RECYCLE if capped and cap.is_exceeded(segments.size) else 0
        channel.send(kind | recycle, number, segments.seal(reply))
        del reply


def _run(
    payload: bytes | bytearray,
    script: MainScript | None,
    segments: MappedSegments,
    cap: MemoryCap,
    call: Callable[..., Any],
) -> tuple[int, bytes]:
    """Run one call; whatever it does short of ending the process, there is an answer.

    :param call: Calls a function with its arguments, within whatever is put around tasks.
    """
    try:
        if isinstance(payload, Received):
            fn, args, kwargs = decode_call(*segments.open(payload), script)
        else:
            fn, args, kwargs = decode_call(payload, (), script)
    except BaseException as error:
        return encode_error(cap.blame("The reading of a task", error))
    try:
        # A context of its own: what a task sets in a context variable ends with the task.
        value: Any = contextvars.copy_context().run(call, fn, args, kwargs)
    except BaseException as error:
        return encode_error(error)
    del args, kwargs  # a result may take their place in shared memory
    try:
        return encode_result(value, fn)
    except MemoryError as error:
        del value
        return encode_error(cap.blame(f"The result of {name_of(fn)}", error))


def _flush() -> None:
    # A worker may be killed at any time, and then loses what a task printed.
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception:  # a task has closed them, or put something in their place
        return
