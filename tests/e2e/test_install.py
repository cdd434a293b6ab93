"""A keeper as a service: what is written, for whom, and that what the unit runs keeps, and takes nothing along.

That systemd itself does what the unit says is proven by ``script/prove service``.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from anew.testing.rig import Rig, rig

UNIT = "etc/systemd/system/anew-rig.local.service"
LINK = "etc/systemd/system/multi-user.target.wants/anew-rig.local.service"


def unit_of(project: Rig, folder: Path) -> Path:
    """Install into a folder, and return the unit."""
    project.expect("install", "--root", str(folder))
    return next(path for path in folder.rglob("anew-rig.local.service") if not path.is_symlink())


@contextmanager
def kept(unit: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run what a unit runs, as systemd would: with its variables alone, as the first of its control group."""
    lines = dict(line.split("=", 1) for line in unit.read_text().splitlines() if "=" in line)
    environment = dict(one.split("=", 1) for one in shlex.split(lines["Environment"]))
    command = shlex.split(lines["ExecStart"].removeprefix(":"))
    out = subprocess.DEVNULL
    keeper = subprocess.Popen(command, env=environment, cwd=lines["WorkingDirectory"], stdout=out, stderr=out)
    try:
        yield keeper
    finally:
        keeper.kill()
        keeper.wait()


def instances(project: Rig) -> dict[int, str]:
    """Return the instances of a project, without its keeper."""
    return {pid: line for pid, line in project.processes().items() if "bwrap" in line}


def test_what_a_unit_runs_keeps_the_environment_and_takes_nothing_along(project: Rig, tmp_path: Path) -> None:
    project.write("r1")
    project.expect("up")
    project.wait(project.is_idle, limit=30, what="the end of the keeper of `up`")
    unit = unit_of(project, tmp_path)
    before = instances(project)
    assert before
    for number in (signal.SIGTERM, signal.SIGKILL):
        with kept(unit) as keeper:
            project.wait(partial(is_kept_by, project, keeper.pid), limit=20, what="the keeper")
            keeper.send_signal(number)
            code = keeper.wait(20)
        assert code == (0 if number == signal.SIGTERM else -signal.SIGKILL)  # systemd starts it again after the second
        assert instances(project) == before
    with kept(unit) as keeper:
        project.wait(partial(is_kept_by, project, keeper.pid), limit=20, what="the keeper")
        for pid in before:
            os.kill(pid, signal.SIGKILL)  # as a machine that restarts ends them
        project.wait(lambda: ready(project) == 2, limit=30, what="new instances")
    assert not set(instances(project)) & set(before)


def is_kept_by(project: Rig, pid: int) -> bool:
    """Say whether a process is the keeper."""
    return bool(project.status()["keeper"] == pid)


def ready(project: Rig) -> int:
    """Count the instances that are ready."""
    return sum(group["ready"] for service in project.status()["services"] for group in service["groups"])


def test_a_unit_is_written_once_and_removed_if_it_is_ours(project: Rig, tmp_path: Path) -> None:
    project.write("r1")
    for command in ("install", "uninstall"):
        code = 3 if command == "install" else 0
        project.expect(command, "--root", str(tmp_path), code=code)  # nothing was ever brought up
    project.expect("up")
    path = unit_of(project, tmp_path)
    if os.geteuid() == 0:
        assert path == tmp_path / UNIT
        assert (tmp_path / LINK).resolve() == path
    written = path.stat().st_ino, path.read_text()
    assert unit_of(project, tmp_path) == path
    assert (path.stat().st_ino, path.read_text()) == written
    assert oct(path.stat().st_mode & 0o7777) == "0o644"
    assert project.expect("install", "--print") == path.read_text()
    path.write_text(path.read_text().replace("RestartSec=5s", "RestartSec=1s"))
    unit_of(project, tmp_path)
    assert path.read_text() == written[1]
    assert "is no service any more" in project.expect("uninstall", "--root", str(tmp_path))
    assert [one for one in tmp_path.rglob("*") if not one.is_dir() or one.is_symlink()] == []
    assert "there is no" in project.expect("uninstall", "--root", str(tmp_path))


def test_a_unit_of_somebody_else_is_a_conflict(project: Rig, tmp_path: Path) -> None:
    project.write("r1")
    project.expect("up")
    path = unit_of(project, tmp_path)
    for text in ("[Service]\nExecStart=/bin/true\n", path.read_text().replace("State=", "State=0")):
        path.write_text(text)
        for command in ("install", "uninstall"):
            project.expect(command, "--root", str(tmp_path), code=4)
        assert path.read_text() == text


def test_two_states_that_have_a_project_of_the_same_name_do_not_share_a_unit(project: Rig, tmp_path: Path) -> None:
    project.write("r1")
    project.expect("up")
    path = unit_of(project, tmp_path)
    with rig() as other:
        other.write("r1")
        other.expect("up")
        assert "belongs to another state" in other.anew("install", "--root", str(tmp_path)).stderr
        assert "belongs to another state" in other.anew("uninstall", "--root", str(tmp_path)).stderr
    assert path.exists()


def test_without_systemd_nothing_is_written_and_it_is_said_what_is_missing(project: Rig) -> None:
    project.write("r1")
    project.expect("up")
    project.environment = {"PATH": "/nowhere"}
    done = project.anew("install")
    assert (done.returncode, done.stdout) == (5, "")
    assert "there is no `systemctl` on this machine" in done.stderr
    assert "serve --environment local" in done.stderr
    assert not Path("/", UNIT).exists()
