"""The wheel works without the repository: it holds every file of the package, and `guest` runs from it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the files that git knows."""
    folder = tmp_path_factory.mktemp("wheel")
    words = (
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-build-isolation",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(ROOT),
    )
    subprocess.run((sys.executable, *words), check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_it_holds_every_file(wheel: Path) -> None:
    listed = subprocess.run(
        ("git", "ls-files", "--cached", "--others", "--exclude-standard", "src/guesthouse"),
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    expected = {line.removeprefix("src/") for line in listed.stdout.splitlines() if (ROOT / line).exists()}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("guesthouse/")}
    assert expected - held == set()


def test_guest_runs_from_it(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "installed"
    words = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(place), str(wheel))
    subprocess.run((sys.executable, *words), check=True, capture_output=True)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(place), "GUESTHOUSE_HOME": str(tmp_path / "home")}

    def guest(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = (sys.executable, str(place / "bin" / "guest"), *arguments)
        return subprocess.run(
            program, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S
        )

    where = subprocess.run(
        (sys.executable, "-c", "import guesthouse; print(guesthouse.__file__)"),
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(place))
    opened = guest("serve", "--detach", "--no-networks", "--json")
    assert opened.returncode == 0, opened.stderr
    try:
        assert "daemon 0." in guest("version").stdout
        assert guest("list").returncode == 0
    finally:
        pid = int((tmp_path / "home" / "daemon.lock").read_text())
        ended = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        assert select.select([ended], [], [], PATIENCE_S)[0]
        os.close(ended)
