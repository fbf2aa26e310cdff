"""The files of the page on deployments: each runs, or is read as its platform reads it."""

from __future__ import annotations

import ast
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = ROOT / "examples" / "deploy"
PAGES = ["docs/how-to/deploy.md", "docs/zh-CN/how-to/deploy.md"]
SHOWN = {
    "gunicorn.conf.py": "python",
    "shop.service": "ini",
    "Dockerfile": "dockerfile",
    "kubernetes.yaml": "yaml",
}
INSTRUCTIONS = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "STOPSIGNAL", "CMD"}
WITHIN = 30.0


def instructions() -> dict[str, list[str]]:
    """What the Dockerfile says, by instruction."""
    found: dict[str, list[str]] = {}
    for line in (FILES / "Dockerfile").read_text().splitlines():
        name, _, rest = line.partition(" ")
        found.setdefault(name, []).append(rest)
    return found


def pod() -> Any:
    """The pod of the Kubernetes file."""
    return yaml.safe_load((FILES / "kubernetes.yaml").read_text())["spec"]["template"]["spec"]


def drain_timeout() -> float:
    """What the app is told."""
    source = (FILES / "shop.py").read_text()
    (number,) = re.findall(r'"CONCURRENCY_DRAIN_TIMEOUT"\] = ([\d.]+)', source)
    return float(number)


def unit() -> dict[str, str]:
    """The lines of systemd's file."""
    lines = (FILES / "shop.service").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def settings() -> dict[str, Any]:
    """What gunicorn's file sets."""
    tree = ast.parse((FILES / "gunicorn.conf.py").read_text())
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


@contextmanager
def running(directory: Path, command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server of the files' copy, until the end of the block."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "XDG_RUNTIME_DIR": str(directory)}
    process = subprocess.Popen(command, cwd=directory, env=environment)
    try:
        until(lambda: status(port, "/livez") == 200 or process.poll() is not None)
        assert process.poll() is None, "the server has ended"
        yield process
    finally:
        process.terminate()
        process.wait(WITHIN)


def status(port: int, path: str) -> int | None:
    """What the server answers; ``None`` for nothing."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def until(condition: Callable[[], bool]) -> None:
    """Poll for what another process does."""
    give_up_at = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A copy of the files, as an image has it."""
    place = tmp_path / "shop"
    shutil.copytree(FILES, place)
    place.chmod(0o700)
    return place


@pytest.fixture
def port() -> int:
    """One that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
        return found


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("name", SHOWN)
def test_the_page_shows_the_files(name: str, page: str) -> None:
    """What is tested is what is read."""
    shown = f"```{SHOWN[name]}\n{(FILES / name).read_text()}```"
    assert shown in (ROOT / page).read_text()


@pytest.mark.slow
def test_gunicorn_starts_with_its_file_and_stops_within_its_time(
    directory: Path, port: int
) -> None:
    """It answers, tells its probes, and a stop is over before it would be cut off."""
    command = ["gunicorn", "--bind", f"127.0.0.1:{port}", "shop:app"]
    with running(directory, command, port) as server:
        assert [status(port, path) for path in ("/", "/livez", "/readyz")] == [200, 200, 200]
        server.send_signal(signal.SIGTERM)
        assert server.wait(settings()["graceful_timeout"]) == 0


@pytest.mark.slow
def test_the_command_of_the_image_starts(directory: Path, port: int) -> None:
    """As Docker runs it, without a shell, so that SIGTERM reaches it; and it has its settings."""
    command = json.loads(instructions()["CMD"][0].replace(":8000", f":{port}"))
    with running(directory, command, port) as server:
        assert status(port, "/readyz") == 200
        workers = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        assert len(workers) == settings()["workers"]
        server.send_signal(getattr(signal, instructions()["STOPSIGNAL"][0]))
        assert server.wait(settings()["graceful_timeout"]) == 0


def test_the_image_is_built_from_what_is_there() -> None:
    """Instructions that Docker knows, in an order that works, and files that exist."""
    lines = (FILES / "Dockerfile").read_text().splitlines()
    names = [line.split()[0] for line in lines]
    assert names[0] == "FROM"
    assert set(names) <= INSTRUCTIONS
    copied, place = instructions()["COPY"][0].split()
    assert (FILES / copied).exists()
    assert place == "."
    assert names.index("USER") > names.index("RUN")
    assert "gunicorn" in (FILES / "requirements.txt").read_text()


@pytest.mark.slow
def test_the_probes_ask_for_paths_that_the_app_answers(directory: Path, port: int) -> None:
    """On the port that the container opens."""
    (container,) = pod()["containers"]
    opened = {each["containerPort"] for each in container["ports"]}
    assert opened == {int(instructions()["EXPOSE"][0])}
    probes = [container[name]["httpGet"] for name in ("readinessProbe", "livenessProbe")]
    assert {probe["port"] for probe in probes} == opened
    with running(directory, ["gunicorn", "--bind", f"127.0.0.1:{port}", "shop:app"], port):
        assert [status(port, probe["path"]) for probe in probes] == [200, 200]


def test_the_selector_of_the_deployment_finds_its_pods() -> None:
    """Kubernetes refuses one that does not."""
    found = yaml.safe_load((FILES / "kubernetes.yaml").read_text())
    assert (found["apiVersion"], found["kind"]) == ("apps/v1", "Deployment")
    labels = found["spec"]["template"]["metadata"]["labels"]
    assert found["spec"]["selector"]["matchLabels"] == labels


def test_the_times_fit_into_each_other() -> None:
    """The app drains first, the server waits longer, the platform longest."""
    (container,) = pod()["containers"]
    before = float(container["lifecycle"]["preStop"]["exec"]["command"][1])
    server = settings()["graceful_timeout"]
    assert drain_timeout() < server < float(unit()["TimeoutStopSec"])
    assert before + server < pod()["terminationGracePeriodSeconds"]
    probe = container["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < before


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """Each line of it; the command must exist, so another one stands in its place."""
    text = (FILES / "shop.service").read_text()
    assert "/bin/gunicorn" in unit()["ExecStart"]
    path = tmp_path / "shop.service"
    path.write_text(
        text.replace(unit()["ExecStart"].split()[0], "/bin/true").replace("User=shop", "User=root")
    )
    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert [line for line in told.stderr.splitlines() if "shop.service" in line] == []
    assert told.returncode == 0, told.stderr


@pytest.mark.parametrize("platform", ["", "KUBERNETES_SERVICE_HOST"])
@pytest.mark.slow
def test_the_doctor_finds_nothing_wrong(directory: Path, platform: str) -> None:
    """On a machine of one's own, and on Kubernetes with what its file sets."""
    (container,) = pod()["containers"]
    given = {each["name"]: each["value"] for each in container["env"]} if platform else {}
    told = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "shop", "concurrency", "doctor"],
        cwd=directory,
        env={**os.environ, "XDG_RUNTIME_DIR": str(directory), platform or "PLATFORM": "1", **given},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert "gunicorn gthread, 2 workers, each with 8 requests at once" in told.stdout
    assert "Nothing is wrong" in told.stdout, told.stdout + told.stderr
