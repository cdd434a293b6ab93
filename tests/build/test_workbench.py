"""Instances under development on images of layers: the overlay, the sources in it, and what is told of both."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from building import Project, need_root, quiet, tar_project

from anew.build.drafts import scratch
from anew.engines.embedded.workbench import Workbench
from anew.errors import NotFound
from anew.model import Copy, Image, Limits, Order, Pin, Scope
from anew.model.developed import Mount, Trace
from anew.ports import Workpiece

MAKING = "mkdir -p /srv/app; echo x > /srv/app/file; mkfifo /pipe"
SCOPE = Scope("shop", "local", "owner")
PATIENCE = 20.0


def opened(project: Project, image: Image, script: str, **more: object) -> AbstractContextManager[Workpiece]:
    folder: Callable[[], AbstractContextManager[Path]] = partial(scratch, project.home / "work")
    bench = Workbench(project.home, project.store.tree, "owner", lambda _, pin: pin.name.encode(), folder)
    plain = Order("shop-local-web-dev-1", "web-dev", SCOPE, image, ("/bin/sh", "-c", script), writable=("/var/mine",))
    return bench.opened(replace(plain, **more))  # type: ignore[arg-type]


def ended(piece: Workpiece) -> str:
    end = time.monotonic() + PATIENCE
    while not (how := piece.ended(0.1)):
        assert time.monotonic() < end
    return how


def image(project: Project) -> Image:
    (project.root / "app").mkdir()
    (project.root / "app" / "file").write_text("of the image\n")
    service = project.service("mkdir -p /var/mine; ln -s /srv/app /srv/link", copy=(Copy("app/", "/srv/app/"),))
    return project.builder.build(project.spec, service, quiet)[0]


def test_the_overlay_lasts_through_starts_and_the_image_stays_as_it_is(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    made = image(project)
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("of the source\n")
    mounts = (Mount(str(source), "/srv/app"),)
    script = "cat /srv/link/file; [ -e /etc/twice ] && rm /etc/motd; echo x > /etc/twice; echo y > /var/mine/z; exit 4"
    lines: list[str] = []
    with opened(project, made, script) as piece:
        for _ in range(2):
            piece.start(mounts, lines.append)
            assert ended(piece) == "exit code 4"
        assert piece.changes(mounts) == (Trace("/etc/motd", "deleted"), Trace("/etc/twice", "created"))
    assert lines == ["of the source", "of the source"]
    assert list((project.home / "work").iterdir()) == []
    with opened(project, made, "cat /etc/motd /srv/app/file") as piece:
        piece.start((), lines.append)
        assert ended(piece) == "exit code 0"
    assert lines[2:] == ["welcome", "of the image"]


@pytest.mark.parametrize("is_host", [False, True])
def test_the_places_of_mounts_come_and_go_and_leave_no_trace(tmp_path: Path, *, is_host: bool) -> None:
    need_root()
    project = Project(tmp_path) if is_host else tar_project(tmp_path)
    steps = "mkdir -p /srv/app/lib; echo x > /srv/app/old; echo y > /srv/app/lib/a"
    made = project.builder.build(project.spec, project.service(steps), quiet)[0]
    source, folder = tmp_path / "new", tmp_path / "folder"
    source.write_text("z\n")
    folder.mkdir()
    (folder / "in").write_text("in\n")
    new = (Mount(str(source), "/srv/app/new"), Mount(str(folder), "/srv/app/deep/er"))
    gone = (Mount("", "/srv/app/lib"), Mount("", "/srv/app/lib/a"), Mount("", "/srv/app/old"))
    other = (Mount(str(folder), "/srv/app/old"), Mount(str(source), "/srv/app/lib"))
    lines: list[str] = []
    with opened(project, made, "cd /srv/app; echo * lib/* old/* deep/er/*") as piece:
        for mounts in (new, gone, other, (), gone, new):
            piece.start(mounts, lines.append)
            assert ended(piece) == "exit code 0"
            assert piece.changes(mounts) == ()
    with_new, nothing = "deep lib new old lib/a old/* deep/er/in", "* lib/* old/* deep/er/*"
    as_made, with_other = "lib old lib/a old/* deep/er/*", "lib old lib/* old/in deep/er/*"
    assert lines == [with_new, nothing, with_other, as_made, nothing, with_new]


def test_what_is_made_where_a_source_was_stays(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    made = project.builder.build(project.spec, project.service("mkdir /srv/app; echo x > /srv/app/old"), quiet)[0]
    gone = (Mount("", "/srv/app/old"),)
    with opened(project, made, "echo mine >> /srv/app/old; ls -ld /srv/app") as piece:
        for _ in range(2):
            piece.start(gone, quiet)
            assert ended(piece) == "exit code 0"
        assert piece.changes(gone) == (Trace("/srv/app/old", "changed"),)


def test_on_the_machines_own_root_nothing_that_is_written_is_lost(tmp_path: Path) -> None:
    need_root()
    project = Project(tmp_path)
    made = project.builder.build(project.spec, project.service(MAKING), quiet)[0]
    script = "[ -p /pipe ] && cat /top; echo x >> /top; mkdir -p /home/me; echo y > /home/me/file; ls -A /home"
    script += "; echo z > /srv/app/file"
    lines: list[str] = []
    with opened(project, made, script) as piece:
        for _ in range(2):
            piece.start((), lines.append)
            assert ended(piece) == "exit code 0"
        changed = piece.changes(())
    assert [line for line in lines if line in {"x", "me"}] == ["me", "x", "me"]
    wanted = [
        Trace("/home/me", "created"),
        Trace("/home/me/file", "created"),
        Trace("/srv/app/file", "changed"),
        Trace("/top", "created"),
    ]
    assert list(changed) == wanted
    assert not Path("/top").exists()


def test_it_is_asked_to_end_and_then_made_to(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    lines: list[str] = []
    with opened(project, image(project), "trap 'echo asked; exit' TERM; echo up; while :; do :; done") as piece:
        for grace in (PATIENCE, 0.0):
            piece.start((), lines.append)
            end = time.monotonic() + PATIENCE
            while lines[-1:] != ["up"]:
                assert time.monotonic() < end
                time.sleep(0.01)
            piece.stop(grace)
        piece.stop(0.0)  # once more is well
    assert lines == ["up", "asked", "up"]


def test_it_is_what_an_instance_is(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    lines: list[str] = []
    script = (
        "cat /run/secrets/token; echo; cat /proc/self/status; echo $FLAG; cat /proc/sys/kernel/hostname; "
        "echo x > /proc/sys/kernel/hostname || echo refused; ls /proc/self/fd"
    )
    more = {"secrets": (Pin("token", 1, ""),), "environment": (("FLAG", "flag"),), "limits": Limits(pids=50)}
    with opened(project, image(project), script, **more) as piece:
        piece.start((), lines.append)
        assert ended(piece) == "exit code 0"
    said = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert said["Uid"].split() == ["1000"] * 4
    assert (said["CapEff"], said["CapBnd"]) == ("0" * 16, "0" * 16)
    assert (said["NoNewPrivs"], said["Seccomp"]) == ("1", "2")
    assert [line for line in lines if line in {"token", "flag", "anew", "refused"}] == [
        "token",
        "flag",
        "anew",
        "refused",
    ]
    assert [line for line in lines if line.isdigit()] == ["0", "1", "2", "3"]  # the last one is that of `ls`


def test_what_does_not_start_says_why(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    made = image(project)
    with opened(project, made, "", command=("/no/such",)) as piece:
        piece.start((), quiet)
        assert ended(piece) == "command not found: /no/such"
    with opened(project, made, "exit 0") as piece:
        piece.start((Mount(str(tmp_path / "missing"), "/srv/app"),), quiet)
        with pytest.raises(NotFound, match="missing"):
            ended(piece)
    assert list((project.home / "work").iterdir()) == []
