"""Decide what becomes of ``__main__`` in a worker. Knows no task and no socket.

Pickle writes a function of ``python app.py`` down as ``__main__.name``, and in a worker
``__main__`` is another program. The standard library imports the owner's script into every worker
beforehand, under the name ``__mp_main__``; with a web server that script is the server's. Here it
is imported only when a task asks for a name in it, which under a server never happens.
"""

from __future__ import annotations

import multiprocessing  # noqa: F401 # gives the owner's __main__ the name that ALIAS tells of
import os
import pickle
import runpy
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from flask_concurrency.executors.processes.is_worker import loading_main
from flask_concurrency.vocabulary.errors import TaskNotPicklable

ALIAS = "__mp_main__"
"""The owner's script in a worker. Where ``multiprocessing`` is imported, the owner's ``__main__``
has this name too, so that an object of a class that is defined there can come back."""

_loaded = False

# The interpreter takes ``__file__`` away when the script is through; its threads may go on.
_main_at_import = sys.modules["__main__"]
_path_at_import: str | None = getattr(_main_at_import, "__file__", None)


class MainScript(NamedTuple):
    """Where ``__main__`` came from: the name of a module, or the path of a file."""

    module: str | None
    path: str | None


def find_main() -> MainScript | None:
    """Return where this process's ``__main__`` can be imported from; ``None`` if it cannot."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        # A package's __main__.py does its work when imported; there is no guard to rely on.
        name = str(spec.name)
        return None if name.split(".")[-1] == "__main__" else MainScript(name, None)
    path = getattr(main, "__file__", _path_at_import if main is _main_at_import else None)
    if path is None or not os.path.isfile(path):  # python -c, python -, a notebook
        return None
    return MainScript(None, path if os.path.isabs(path) else os.path.abspath(path))


def loads(
    payload: bytes | bytearray | memoryview,
    script: MainScript | None,
    buffers: Sequence[memoryview] = (),
) -> Any:
    """Unpickle in a worker, importing the owner's script if a name in it is asked for."""
    try:
        return pickle.loads(payload, buffers=buffers) if buffers else pickle.loads(payload)
    except AttributeError:
        if script is None or _loaded:
            raise
    load_main(script)
    return pickle.loads(payload, buffers=buffers)


def load_main(script: MainScript) -> None:
    """Import the owner's script under :data:`ALIAS` and let it stand in for ``__main__``.

    :raises TaskNotPicklable: The script raised something, ``SystemExit`` included.
    """
    try:
        with loading_main(), _app_run_ignored():
            if script.module is not None:
                names = runpy.run_module(script.module, run_name=ALIAS, alter_sys=True)
            else:
                names = runpy.run_path(str(script.path), run_name=ALIAS)
    except BaseException as error:
        raise TaskNotPicklable(
            f"{script.path or script.module} cannot be imported in a worker process: "
            f"{type(error).__name__}: {error}. Put what must run only once under "
            "if __name__ == '__main__':  or move the function that the task needs to a module."
        ) from error
    global _loaded
    _loaded = True
    module = types.ModuleType(ALIAS)
    module.__dict__.update(names)
    sys.modules["__main__"] = sys.modules[ALIAS] = module


@contextmanager
def _app_run_ignored() -> Iterator[None]:
    """Let an unguarded ``app.run()`` at the end of the script pass without starting a server.

    Flask ignores it, with a notice, in a process that its own command line has started; this
    variable is how it knows.
    """
    before = os.environ.get("FLASK_RUN_FROM_CLI")
    os.environ["FLASK_RUN_FROM_CLI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["FLASK_RUN_FROM_CLI"]
        else:
            os.environ["FLASK_RUN_FROM_CLI"] = before
