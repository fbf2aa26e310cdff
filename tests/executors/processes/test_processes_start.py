"""How worker processes start, what they take over, and what happens if they do not come up."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import process_tasks as tasks
import process_watching as watching
from flask_concurrency.executors.processes import ProcessExecutor
from flask_concurrency.vocabulary.errors import TaskNotPicklable, WorkerStartFailed

PoolOf = Callable[..., ProcessExecutor]

pytestmark = pytest.mark.slow

METHODS = ["forkserver", "spawn"]


@pytest.mark.parametrize("start_method", METHODS)
def test_workers_take_over_what_tasks_rely_on_and_nothing_else(
    pool_of: PoolOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start_method: str
) -> None:
    """Search path, directory and command line; no listening socket, no terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["server", "--flag"])
    monkeypatch.syspath_prepend("")
    with socket.create_server(("127.0.0.1", 0)) as server:
        os.set_inheritable(server.fileno(), True)  # as gunicorn does
        assert tasks.count_listening() == 1
        found = pool_of(1, start_method=start_method).submit(tasks.surroundings).result(30)
    assert found["path"] == [str(tmp_path), *sys.path[1:]]
    assert found["argv"] == ["server", "--flag"]
    assert found["cwd"] == str(tmp_path)
    assert found["sigint"]
    assert found["blocked"] == set()
    assert found["listening"] == 0
    # A spawned worker has no guardian, and watches over its owner with a thread.
    assert found["threads"] == (1 if start_method == "forkserver" else 2)


def test_a_path_object_in_the_search_path_is_left_out(
    pool_of: PoolOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python imports from texts only; another object in ``sys.path`` is no error there."""
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path])
    monkeypatch.setattr(sys, "argv", [Path("server")])
    found = pool_of(1).submit(tasks.surroundings).result(30)
    assert found["path"] == sys.path[:-1]


@pytest.mark.parametrize("start_method", METHODS)
def test_the_initializer_runs_once_in_each_worker(pool_of: PoolOf, start_method: str) -> None:
    """Before its first task, with its arguments."""
    executor = pool_of(
        2, initializer=tasks.set_greeting, initargs=["hello"], start_method=start_method
    )
    assert [executor.submit(tasks.get_greeting).result(30) for _ in range(4)] == ["hello"] * 4


@pytest.mark.parametrize("start_method", METHODS)
def test_pitfall_23_a_failing_initializer_is_told_to_the_waiting_tasks(
    pool_of: PoolOf, start_method: str
) -> None:
    """With its traceback; the next task tries again, and nothing is tried in between."""
    executor = pool_of(
        1, initializer=tasks.fail_to_start, initargs=["no database"], start_method=start_method
    )
    futures = [executor.submit(abs, -1) for _ in range(3)]
    for future in futures:
        with pytest.raises(WorkerStartFailed, match=r"(?s)did not start.*no database") as caught:
            future.result(30)
        assert "fail_to_start" in str(caught.value)
    assert executor.snapshot().workers == 0
    with pytest.raises(WorkerStartFailed):
        executor.submit(abs, -1).result(30)


@pytest.mark.parametrize("initializer", [tasks.die_with, tasks.leave])
def test_an_initializer_that_ends_the_worker_is_told(
    pool_of: PoolOf, initializer: Callable[..., Any]
) -> None:
    """Whichever way it does."""
    executor = pool_of(2, initializer=initializer, initargs=[7])
    with pytest.raises(WorkerStartFailed, match=r"(exit code|SystemExit:) 7"):
        executor.submit(abs, -1).result(30)


def test_an_initializer_that_ends_the_process_is_told_from_a_task_that_does(
    pool_of: PoolOf,
) -> None:
    """There is no task yet from which to return."""
    executor = pool_of(1, initializer=tasks.die_with, initargs=[7])
    told = str(executor.submit(abs, -1).exception(30))
    assert "ended with exit code 7 before it was ready. Its initializer" in told
    assert "the task" not in told


def test_an_initializer_that_cannot_be_pickled_is_told(pool_of: PoolOf) -> None:
    """To the first task, for the executor may be made before all modules are."""
    executor = pool_of(1, initializer=lambda: None)
    with pytest.raises(WorkerStartFailed, match=r"initializer.*lambda.*function of a module"):
        executor.submit(abs, -1).result(30)


@pytest.mark.parametrize("start_method", METHODS)
def test_preloaded_modules_are_there_before_the_first_task(
    pool_of: PoolOf, start_method: str
) -> None:
    """A task need not import them."""
    executor = pool_of(1, preload=["colorsys"], start_method=start_method)
    assert executor.submit(tasks.is_imported, "colorsys").result(30)
    assert not executor.submit(tasks.is_imported, "turtledemo").result(30)


@pytest.mark.parametrize("start_method", METHODS)
def test_a_module_that_cannot_be_preloaded_is_told(pool_of: PoolOf, start_method: str) -> None:
    """With its traceback, to every task that waits."""
    executor = pool_of(1, preload=["no_such_module"], start_method=start_method)
    for future in [executor.submit(abs, -1), executor.submit(abs, -2)]:
        with pytest.raises(WorkerStartFailed, match=r"(?s)did not start.*no_such_module"):
            future.result(30)


def test_a_missing_interpreter_is_told(pool_of: PoolOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its path and the remedy; a server may embed Python and have none."""
    interpreter = "flask_concurrency.executors.processes.launch.interpreter"
    monkeypatch.setattr(f"{interpreter}.get_executable", lambda: "/no/such/python")
    with pytest.raises(WorkerStartFailed, match=r"'/no/such/python'.*Is it a Python"):
        pool_of(1).submit(abs, -1).result(30)
    monkeypatch.setattr(f"{interpreter}.get_executable", lambda: None)
    with pytest.raises(WorkerStartFailed, match="set_executable"):
        pool_of(1).submit(abs, -1).result(30)
    monkeypatch.setattr(f"{interpreter}.get_executable", lambda: "/bin/false")
    with pytest.raises(WorkerStartFailed, match=r"(exit code 1|/bin/false)"):
        pool_of(1).submit(abs, -1).result(30)


def test_workers_start_as_they_are_needed(pool_of: PoolOf) -> None:
    """One task at a time needs one worker."""
    executor = pool_of(4)
    for _ in range(3):
        executor.submit(abs, -1).result(30)
    assert executor.snapshot().workers == 1
    list(executor.map(abs, range(20)))
    assert executor.snapshot().workers == 4


def test_a_spawned_worker_that_nobody_can_watch_over_is_ended(
    pool_of: PoolOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the system's limit of threads the task fails, and no process is left behind."""
    start = threading.Thread.start

    def no_thread_for_workers(thread: threading.Thread) -> None:
        if "-worker-" in thread.name:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", no_thread_for_workers)
    executor = pool_of(1, start_method="spawn")
    with pytest.raises(WorkerStartFailed, match=r"watch over.*can't start new thread"):
        executor.submit(abs, -1).result(30)
    monkeypatch.undo()
    assert executor.submit(abs, -1).result(30) == 1


def test_spawned_workers_do_all_that_forked_ones_do(pool_of: PoolOf) -> None:
    """Results, errors, deaths and replacements."""
    executor = pool_of(2, start_method="spawn", max_tasks_per_worker=5)
    assert list(executor.map(tasks.double, range(12))) == list(range(0, 24, 2))
    assert isinstance(executor.submit(tasks.fail, "far").exception(30), LookupError)
    died = executor.submit(tasks.die_with, 4).exception(30)
    assert "exit code 4" in str(died)
    assert executor.submit(abs, -1).result(30) == 1


SCRIPT_HEAD = """
import sys
from flask_concurrency.executors.processes import ProcessExecutor

class Point:
    def __init__(self, x): self.x = x

def double(point): return Point(2 * point.x)

executor = ProcessExecutor(1{options})
"""

GUARDED = """
if __name__ == "__main__":
    print(executor.submit(double, Point(21)).result(30).x)
"""

UNGUARDED_SERVER = """
from flask import Flask
app = Flask(__name__)
if __name__ != "__mp_main__":
    print(executor.submit(double, Point(21)).result(30).x)
    sys.exit()
app.run(port=1)  # a port that is not permitted: it must not be tried in the worker
"""

OUTLASTING = """
import threading
def work_on():
    threading.main_thread().join()
    print(executor.submit(double, Point(21)).result(30).x)

if __name__ == "__main__":
    threading.Thread(target=work_on).start()
"""

UNGUARDED = """
future = executor.submit(double, Point(21))
error = future.exception(30)
print(type(error).__name__, error)
"""

WITHOUT_A_FILE = """
try:
    executor.submit(double, Point(21))
except Exception as error:
    print(type(error).__name__, error)
"""


def output_of(*arguments: str, cwd: Path, read: str = "") -> str:
    """Run an interpreter, which must end well, and return what it printed.

    :param read: Its standard input.
    """
    ended = subprocess.run(
        [sys.executable, *arguments],
        input=read,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        cwd=cwd,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout


@pytest.mark.parametrize("options", ["", ", preload=['__main__']", ", start_method='spawn'"])
@pytest.mark.parametrize("body", [GUARDED, UNGUARDED_SERVER, OUTLASTING])
def test_pitfall_24_functions_of_the_script_that_is_run_work(
    tmp_path: Path, options: str, body: str
) -> None:
    """``python app.py`` with the function and the class in that very file."""
    script = tmp_path / "app.py"
    script.write_text(SCRIPT_HEAD.format(options=options) + body)
    assert output_of(script.name, cwd=tmp_path).splitlines()[-1] == "42"
    assert output_of("-m", "app", cwd=tmp_path).splitlines()[-1] == "42"


def test_pitfall_24_a_script_without_a_guard_is_told(tmp_path: Path) -> None:
    """It would do its work once more in each worker; the message shows the guard."""
    script = tmp_path / "app.py"
    script.write_text(SCRIPT_HEAD.format(options="") + UNGUARDED)
    told = output_of(script.name, cwd=tmp_path)
    assert told.startswith("TaskNotPicklable")
    assert "app.py cannot be imported in a worker process" in told
    assert "if __name__ == '__main__':" in told


def test_pitfall_24_a_function_without_a_file_is_refused(tmp_path: Path) -> None:
    """As in a notebook or ``python -c``: where it is submitted, with the remedy."""
    program = SCRIPT_HEAD.format(options="") + WITHOUT_A_FILE
    for arguments, read in (["-c", program], ""), (["-"], program):
        told = output_of(*arguments, cwd=tmp_path, read=read)
        assert "TaskNotPicklable '__main__.double' is defined in __main__" in told
        assert "Move it to a module" in told


def test_pitfall_24_a_server_script_is_never_imported(tmp_path: Path) -> None:
    """Tasks of modules need no ``__main__``, so a worker does not look at it."""
    (tmp_path / "work.py").write_text("def triple(x): return 3 * x\n")
    script = tmp_path / "server"
    script.write_text(
        "import os, work\n"
        "print(os.getpid())\n"
        "from flask_concurrency.executors.processes import ProcessExecutor\n"
        "print(ProcessExecutor(1).submit(work.triple, 14).result(30))\n"
    )
    _, result = output_of(script.name, cwd=tmp_path).split()
    assert result == "42"


def test_pitfall_27_a_spawned_worker_ends_with_its_owner(tmp_path: Path) -> None:
    """Although no forkserver watches over it, and though it is busy."""
    marker = tmp_path / "pid"
    program = (
        "import process_tasks, os, signal, sys\n"
        "from flask_concurrency.executors.processes import ProcessExecutor\n"
        "executor = ProcessExecutor(1, start_method='spawn')\n"
        "executor.submit(process_tasks.note_pid_and_hang, sys.argv[1])\n"
        "process_tasks.wait_for_file(sys.argv[1])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(marker)],
        env={**os.environ, "PYTHONPATH": str(Path(tasks.__file__).parent)},
        timeout=50,
        check=False,
    )
    assert not watching.wait_until_gone({int(marker.read_text())}, within=5.0)


def test_an_unpicklable_initializer_does_not_stay(pool_of: PoolOf) -> None:
    """The failure is a ``WorkerStartFailed``, whose cause is given as text."""
    executor = pool_of(1, initializer=tasks.echo, initargs=[lambda: None])
    error = executor.submit(abs, -1).exception(30)
    assert isinstance(error, WorkerStartFailed)
    assert not isinstance(error, TaskNotPicklable)
