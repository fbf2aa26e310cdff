"""Tasks that the tests send to worker processes: workers import this module by its name."""

from __future__ import annotations

import contextvars
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from flask_concurrency.executors.processes import ProcessExecutor
from flask_concurrency.runtime.deadline import remaining, within

inner = ProcessExecutor(1, name="inner")
setting = contextvars.ContextVar("setting", default="unset")
greeting = "none"


def double(number: int) -> int:
    return 2 * number


def add(first: Any, second: Any = 0, *, third: Any = 0) -> Any:
    return first + second + third


def worker_pid(_: object = None) -> int:
    return os.getpid()


def submit_and_return(entered: str, released: str) -> None:
    """Have a pool of this process pass a gate, and do not wait for it."""
    from flask_concurrency.executors.processes import ProcessExecutor

    ProcessExecutor(1).submit(pass_gate, entered, released)


def pass_gate(entered: str, released: str, *, value: Any = None) -> Any:
    """Report that the task runs, then run until the test releases it; see the gate fixture."""
    # Opened before the report: what the test writes would be lost once it has closed its end.
    with open(released, "rb") as answer, open(entered, "wb", buffering=0) as news:
        news.write(b"\0")
        answer.read(1)
    return value


def fail(message: str) -> NoReturn:
    raise LookupError(message)


def die_with(exitcode: int) -> NoReturn:
    os._exit(exitcode)


def kill_self(number: int) -> None:
    os.kill(os.getpid(), number)


def die_if_seven(number: int) -> int:
    if number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def leave(code: int) -> NoReturn:
    sys.exit(code)


def interrupt() -> NoReturn:
    raise KeyboardInterrupt


def print_a_lot(text: str) -> int:
    for descriptor in (1, 2):
        os.write(descriptor, text.encode())
    print(text, end="")
    return len(text)


def read_stdin() -> str:
    return sys.stdin.read()


def open_file() -> Any:
    return open(os.devnull)  # what cannot be pickled is the point


class NeedsTwo(Exception):
    """Pickles well and cannot be rebuilt: pickle calls it with the message alone."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def raise_needs_two() -> NoReturn:
    raise NeedsTwo("salt", "pepper")


class HoldsLock(Exception):
    def __init__(self) -> None:
        super().__init__("with a lock")
        self.lock = threading.Lock()


def raise_unpicklable() -> NoReturn:
    raise HoldsLock


class Unspeakable(HoldsLock):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def raise_unspeakable() -> NoReturn:
    raise Unspeakable


@dataclass(frozen=True)
class Frozen(Exception):
    code: int


def raise_frozen() -> NoReturn:
    raise Frozen(7)


class KeywordOnly(Exception):
    """Like ``httpx.HTTPStatusError``."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


def raise_keyword_only() -> NoReturn:
    raise KeywordOnly("teapot", status=418)


def raise_local() -> NoReturn:
    class Local(Exception):
        pass

    raise Local("nobody can import my class")


def end(kind: type[BaseException]) -> NoReturn:
    raise kind


class EndsWhenLoaded(Exception):
    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind

    def __reduce__(self) -> Any:
        return end, (self.kind,)


def end_when_loaded(kind: type[BaseException], raises: bool) -> EndsWhenLoaded:
    if raises:
        raise EndsWhenLoaded(kind)
    return EndsWhenLoaded(kind)


class EndsWhenPickled:
    def __reduce__(self) -> NoReturn:
        raise SystemExit(4)


def end_when_pickled() -> EndsWhenPickled:
    return EndsWhenPickled()


class ExplodesAtHome:
    """Can be rebuilt in the process that made it, and nowhere else."""

    def __init__(self, home: int) -> None:
        self.home = home

    def __reduce__(self) -> tuple[Callable[[int], ExplodesAtHome], tuple[int]]:
        return rebuild, (self.home,)


def rebuild(home: int) -> ExplodesAtHome:
    if os.getpid() != home:
        raise ValueError("not at home")
    return ExplodesAtHome(home)


def make_exploding() -> ExplodesAtHome:
    return ExplodesAtHome(os.getpid())


def echo(value: Any) -> Any:
    return value


def change_setting(value: str) -> str:
    before = setting.get()
    setting.set(value)
    return before


def use_own_pool(numbers: Iterable[int]) -> tuple[list[int], bool]:
    """Use a pool within a pool, and return whether it was done in this very process."""
    with inner as executor:
        doubled = list(executor.map(double, numbers))
        return doubled, executor.submit(os.getpid).result() == os.getpid()


def nested_failure() -> str:
    try:
        inner_of(ProcessExecutor(1)).submit(fail, "inside").result()
    except LookupError as error:
        return str(error)
    return "nothing was raised"


def inner_of(executor: Executor) -> Executor:
    return executor


def fork_and_return() -> int:
    """Fork, and let the child return from the task as well."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    return child


def fork_and_stay(released: str) -> int:
    """Leave a process behind that lives until the test ends, then die."""
    with open(released, "rb") as news:  # before the fork: the test still holds the other end
        if os.fork() == 0:
            news.read(1)
            os._exit(0)
        os._exit(5)


def close_everything() -> None:
    os.closerange(3, 64)
    time.sleep(3600)


def set_greeting(words: str) -> None:
    global greeting
    greeting = words


def get_greeting() -> str:
    return greeting


def fail_to_start(words: str) -> NoReturn:
    raise RuntimeError(words)


def surroundings() -> dict[str, Any]:
    """Return what a worker has taken over from its owner, and what not."""
    return {
        "path": sys.path,
        "argv": sys.argv,
        "cwd": os.getcwd(),
        "sigint": callable(signal.getsignal(signal.SIGINT)),
        "blocked": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "threads": threading.active_count(),
        "listening": count_listening(),
    }


def count_listening() -> int:
    """Count the listening sockets this process holds."""
    return sum(_listens(int(entry.name)) for entry in Path("/proc/self/fd").iterdir())


def _listens(fd: int) -> bool:
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            return False
    except OSError:  # the descriptor with which the directory was read
        return False
    with socket.socket(fileno=os.dup(fd)) as candidate:
        return bool(candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def subprocess_signals() -> str:
    """Return which stop signals a program that a task starts would ignore."""
    probe = (
        "import signal; print([s.name for s in (signal.SIGINT, signal.SIGTERM)"
        " if signal.getsignal(s) == signal.SIG_IGN])"
    )
    return subprocess.check_output([sys.executable, "-S", "-c", probe], text=True).strip()


def terminate_own_child() -> int:
    """Fork a child that waits, end it with SIGTERM, and return how it ended."""
    child = os.fork()
    if not child:
        time.sleep(3600)
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def append_to(path: str, text: str) -> None:
    """Append in one system call."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, text.encode())
    os.close(descriptor)


def time_left(nested: bool = False) -> float | None:
    """Return what ``remaining()`` is in a task, or in a task of that task."""
    return inner.submit(remaining).result() if nested else remaining()


def submit_too_late() -> int:
    """Submit a task in a task whose time is up, and return what it does."""
    with within(-1.0):
        return inner.submit(abs, -1).result()


def ignore_stop_signals_and_hang(entered: str) -> None:
    """Be a task that only SIGKILL can end, with a child process that is one, too."""
    ready = os.pipe()
    child = os.fork()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # a fork has set them back
        signal.signal(number, signal.SIG_IGN)
    if not child:
        os.write(ready[1], b"\0")
    else:
        os.read(ready[0], 1)
        Path(entered + ".new").write_text(f"{os.getpid()} {child}")
        os.rename(entered + ".new", entered)
    while True:
        time.sleep(3600)


def leave_the_group_and_hang(entered: str, released: str) -> None:
    """Join the forkserver's process group, and wait for a gate."""
    os.setpgid(0, os.getppid())
    pass_gate(entered, released)


def is_imported(module: str) -> bool:
    return module in sys.modules


def note_pid_and_hang(path: str) -> None:
    """Write the worker's process id to a file, at one go, and never return."""
    Path(path + ".new").write_text(str(os.getpid()))
    os.rename(path + ".new", path)
    while True:
        time.sleep(3600)


def wait_for_file(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.01)


def take_memory(size: int, keep: bool = False) -> int:
    """Take so many bytes at once, and let them go again or not."""
    taken = bytearray(size)
    if keep:
        kept.append(taken)
    return len(taken)


kept: list[bytearray] = []


def log_something(level: int, words: str, **extra: Any) -> None:
    """Log, as any library does, with and without an error at hand."""
    logger = logging.getLogger("shop.tasks")
    logger.log(level, "%s by %s", words, "a task", extra=extra)
    try:
        raise LookupError(words)
    except LookupError:
        logger.log(level, "failed", exc_info=True)


def recurse_for_ever(depth: int = 0) -> int:
    return recurse_for_ever(depth + 1) + 1


def set_of(number: int) -> set[int]:
    """Return what can be referred to weakly."""
    return {number}


def boxed_bytes_of(count: int) -> list[bytes]:
    """Give bytes that are copied into a pickle, because they are part of something."""
    return [bytes(count)]


def bytes_of(size: int) -> bytes:
    return bytes(size)


def misbehave(number: int, how: str) -> int:
    """Return twice a number, or crash, hang, or take too much memory."""
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "hang":
        time.sleep(3600)
    if how == "overrun":
        return len(bytearray(1 << 40))
    return 2 * number


def nap(seconds: float) -> None:
    time.sleep(seconds)


def spawn_inside() -> int:
    return inner.spawn(abs, -1).result()


def append_progress(progress: Any, text: str) -> None:
    progress.append(text)


def use_shared_memory(name: str) -> str:
    """Write to a block of the owner's, and return the name of a block of its own."""
    from multiprocessing.shared_memory import SharedMemory

    theirs = SharedMemory(name)
    assert theirs.buf is not None
    theirs.buf[:5] = b"there"
    theirs.close()
    made = SharedMemory(create=True, size=16)
    made.close()
    return made.name


def leave_behind(directory: str) -> tuple[int, int]:
    """Start a daemon process, another process and a thread, and register a finalizer."""
    import multiprocessing
    from multiprocessing.util import Finalize

    daemon = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,), daemon=True)
    daemon.start()
    child = subprocess.Popen(["sleep", "60"])
    Finalize(None, write_done, args=(os.path.join(directory, "finalizer"),), exitpriority=1)
    thread = threading.Thread(target=work_a_little, args=(os.path.join(directory, "thread"),))
    thread.start()
    child.returncode = 0  # left behind without a warning
    assert daemon.pid is not None
    return daemon.pid, child.pid


def work_a_little(path: str) -> None:
    time.sleep(0.1)
    write_done(path)


def write_done(path: str) -> None:
    Path(path).write_text("done")
