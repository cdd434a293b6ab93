"""The unit of a keeper: systemd reads it as it was meant, whatever the paths are called."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from anew.model import Scope
from anew.shell.systemd import Systemd
from anew.shell.unit import Unit, owner_of, quoted

ODD = "a b %n $HOME ${HOME} \"'\\ ü;#"


def unit(folder: Path, name: str = "plain") -> Unit:
    """Return a unit whose paths are there."""
    home, project = folder / f"home {name}", folder / f"project {name}"
    python = folder / "a b %n $HOME ü" / "python"  # systemd runs no program whose name has quotes in it
    for one in (home, project, python.parent):
        one.mkdir()
    python.symlink_to("/bin/sh")
    return Unit(Scope("shop", "production", "state-1"), "docker", home, project, python)


def verified(text: str, path: Path, *options: str) -> str:
    """Return what systemd finds wrong with a unit."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not there (apt-get install systemd)")
    path.write_text(text)
    line = ["systemd-analyze", *options, "verify", "--man=no", str(path)]
    runtime = path.parent / "run"
    runtime.mkdir(mode=0o700, exist_ok=True)
    environment = {**os.environ, "SYSTEMD_LOG_LEVEL": "warning", "XDG_RUNTIME_DIR": str(runtime)}
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    return done.stdout + done.stderr + (f"exit code {done.returncode}" if done.returncode else "")


@pytest.mark.parametrize("name", ["plain", ODD])
def test_systemd_finds_nothing_wrong_with_a_unit(name: str, tmp_path: Path) -> None:
    one = unit(tmp_path, name)
    assert verified(one.text(), tmp_path / one.name) == ""
    wrong = one.text().replace("KillMode=process", "KillMode=nobody")
    assert "nobody" in verified(wrong, tmp_path / one.name)
    assert "not executable" in verified(replace(one, python=Path("/none")).text(), tmp_path / one.name)


def test_systemd_finds_nothing_wrong_with_a_unit_of_a_user(tmp_path: Path) -> None:
    one = replace(unit(tmp_path), is_of_user=True)
    assert "network-online" not in one.text()
    assert "WantedBy=default.target" in one.text()
    assert verified(one.text(), tmp_path / one.name, "--user") == ""


def test_only_containers_wait_for_their_engine(tmp_path: Path) -> None:
    one = unit(tmp_path)
    assert "After=network-online.target docker.service docker.socket podman.socket\n" in one.text()
    assert "After=network-online.target\n" in replace(one, engine="embedded").text()
    assert "DOCKER_HOST" not in one.text()
    assert "DOCKER_HOST=unix:///run/x.sock" in replace(one, docker_host="unix:///run/x.sock").text()


def test_environments_never_share_a_unit() -> None:
    names = {
        Unit(Scope(*names), "embedded", Path("/h"), Path("/p"), Path("/python")).name
        for names in [("a-b", "c"), ("a", "b-c"), ("a", "c"), ("b", "c")]
    }
    assert len(names) == 4


def test_a_unit_says_whose_it_is(tmp_path: Path) -> None:
    assert owner_of(unit(tmp_path).text()) == "state-1"
    assert owner_of("[Service]\nExecStart=/bin/true\n") == ""


def test_a_line_break_in_a_path_begins_no_new_line() -> None:
    assert quoted("/a\nExecStart=/bin/false") == '"/a\\x0aExecStart=/bin/false"'


def test_what_is_asked_of_systemd_can_be_pasted() -> None:
    own = Systemd(Path("/home/ada/.config/systemd/user"), is_of_user=True)
    assert own.argv("start", "x.service") == ("systemctl", "--user", "--no-ask-password", "start", "x.service")
    assert own.log_of("x.service") == "journalctl --user -u x.service -n 50"
    other = replace(own, top=Path("/mnt"))
    assert other.place("x.service") == Path("/mnt/home/ada/.config/systemd/user/x.service")
    link = other.link("x.service", "default.target")
    assert link == Path("/mnt/home/ada/.config/systemd/user/default.target.wants/x.service")
