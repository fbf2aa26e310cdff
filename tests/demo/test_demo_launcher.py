"""One command brings the demo up, says what is in its way, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from examples.demo.__main__ import main
from examples.demo.origins import PORT_VARIABLE, Origins

ROOT = Path(__file__).parents[2]
slow = pytest.mark.slow
pytestmark = pytest.mark.timeout(180)


@contextmanager
def launched(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The launcher as a program of its own, up to the line that says how to stop it."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "examples.demo", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        printed = []
        for line in process.stdout:
            printed.append(line)
            if "Ctrl-C" in line:
                break
        else:
            pytest.fail("".join(printed) + process.communicate()[1])
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def processes_of(origins: Origins) -> set[int]:
    """Ids of all processes that have this demo's port: servers, workers, and theirs."""
    told, found = f"{PORT_VARIABLE}={origins.port}".encode(), set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and told in (entry / "environ").read_bytes().split(b"\0"):
                found.add(int(entry.name))
        except OSError:
            continue  # it has ended meanwhile
    return found


@slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything(origins: Origins, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM or a closed terminal: exit code 0, and no process is left."""
    with launched("--port", str(origins.port)) as process:
        tiles = "/pictures/fractal/on-all-processes?width=48&height=32&iterations=9"
        urlopen(origins.api + tiles, timeout=30).close()
        assert len(processes_of(origins)) >= 9

        process.send_signal(number)

        assert process.wait(20) == 0
        assert processes_of(origins) == set()


@slow
def test_a_signal_stops_what_is_only_starting(origins: Origins) -> None:
    """It is not waited for until all servers are up."""
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.demo", "--port", str(origins.port)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    while not processes_of(origins):
        assert process.poll() is None

    process.terminate()

    assert process.wait(20) == 0
    assert processes_of(origins) == set()


@slow
def test_a_server_that_dies_ends_the_demo(origins: Origins) -> None:
    """With a message and an exit code, and without the others."""
    with launched("--port", str(origins.port)) as process:
        servers = [p for p in processes_of(origins) if _parent(p) == process.pid]
        assert len(servers) == 5

        os.kill(servers[0], signal.SIGKILL)

        assert process.wait(20) == 1
        assert process.stderr is not None
        assert "ended with exit code -9" in process.stderr.read()
        assert processes_of(origins) == set()


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@slow
def test_the_check_asks_every_part(origins: Origins) -> None:
    """As a smoke test of an installation: it ends by itself, with exit code 0."""
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo", "--port", str(origins.port), "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "Every part of the demo answers as it should." in done.stdout


@pytest.mark.parametrize("neighbour", [0, 1, 2])
def test_a_port_in_use_is_named_with_the_remedy(
    origins: Origins, neighbour: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any of the three: one line, exit code 1, nothing started."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # tests ran there just now
        taken.bind(("127.0.0.1", origins.port + neighbour))
        taken.listen()

        code = main(["--port", str(origins.port)])

    printed = capsys.readouterr()
    assert code == 1
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert f"Port {origins.port + neighbour} cannot be used" in printed.err
    assert "--port PORT" in printed.err


@pytest.mark.parametrize("port", ["0", "65532", "-1", "web", ""])
def test_a_port_that_is_none_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As usage errors are: exit code 2 and what may be."""
    with pytest.raises(SystemExit) as stopped:
        main([f"--port={port}"])

    assert stopped.value.code == 2
    assert "give a number from 1 to 65531" in capsys.readouterr().err
