"""What is mounted where an image has copies, and which changes of the sources matter."""

from __future__ import annotations

import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from building import Project, need_root, quiet, tar_project

from anew.build.sources import MOST_MOUNTS, SourceTree
from anew.errors import SpecError, Unsupported
from anew.model import Copy, Service
from anew.model.developed import Sources

PATIENCE = 20.0


def file(path: Path, text: str = "x\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def sources(project: Project, service: Service) -> Sources:
    image, _ = project.builder.build(project.spec, service, quiet)
    return SourceTree(project.root, service, project.store).sources(image)


def mounts(project: Project, service: Service) -> dict[str, str]:
    """Return what is mounted where, with sources relative to the project."""
    return {one.target: os.path.relpath(one.source, project.root) for one in sources(project, service).mounts}


def test_folders_and_files_are_mounted_where_copy_puts_them(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    file(project.root / "app" / "deep" / "server.py")
    file(project.root / "app" / "deep" / "__pycache__" / "server.pyc")
    file(project.root / "web.conf")
    file(project.root / "lib" / "one.py")
    copy = (Copy("app/", "/srv/app/"), Copy("lib", "/srv/"), Copy("web.conf", "/etc/"), Copy("web.conf", "/etc/x.conf"))
    found = mounts(project, project.service("mkdir -p /srv/app/deep/__pycache__ /srv/other", copy=copy))
    assert found == {"/etc/web.conf": "web.conf", "/etc/x.conf": "web.conf", "/srv/app": "app", "/srv/lib": "lib"}


def test_links_of_the_image_are_followed(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    file(project.root / "app" / "a")
    service = project.service("mkdir /data; rm -r /srv; ln -s /data /srv")
    image, _ = project.builder.build(project.spec, service, quiet)
    copied = project.service(copy=(Copy("app/", "/srv/app/"), Copy("app/a", "/srv/a")))
    found = SourceTree(project.root, copied, project.store).sources(image)
    assert [one.target for one in found.mounts] == ["/data/app", "/data/a"]


def test_what_a_step_left_in_a_copied_folder_stays(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    file(project.root / "app" / "index.js")
    file(project.root / "app" / "lib" / "a.js")
    service = project.service("mkdir /srv/app/node_modules", copy=(Copy("app/", "/srv/app/"),))
    assert mounts(project, service) == {"/srv/app/index.js": "app/index.js", "/srv/app/lib": "app/lib"}
    # Also where this machine has a folder of that name, which is not copied.
    file(project.root / ".anewignore", "node_modules/\n")
    file(project.root / "app" / "node_modules" / "of-this-machine")
    assert mounts(project, service) == {"/srv/app/index.js": "app/index.js", "/srv/app/lib": "app/lib"}


def test_what_is_left_out_is_not_seen(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    file(project.root / ".anewignore", ".env\n")
    file(project.root / "app" / "a" / "one")
    file(project.root / "app" / "b" / ".env")
    file(project.root / "app" / "b" / "two")
    service = project.service(copy=(Copy("app/", "/srv/app/"),))
    assert mounts(project, service) == {"/srv/app/a": "app/a", "/srv/app/b/two": "app/b/two"}


def test_a_file_that_was_deleted_is_not_kept_by_its_old_copy(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    file(project.root / "app" / "old")
    file(project.root / "app" / "stays")
    service = project.service(copy=(Copy("app/", "/srv/app/"),))
    image, _ = project.builder.build(project.spec, service, quiet)
    (project.root / "app" / "old").unlink()
    file(project.root / "app" / "new")
    found = SourceTree(project.root, service, project.store).sources(image)
    assert [one.target for one in found.mounts] == ["/srv/app"]


def test_what_is_not_copied_any_more_is_gone_also_where_a_step_left_something(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    for name in ("stays", "old", "rewritten", "lib/a", "lib/deep/b", "mixed/c", "mixed/d"):
        file(project.root / "app" / name)
    steps = "echo 1 > /srv/app/made; echo 2 > /srv/app/rewritten; echo 3 > /srv/app/mixed/made"
    service = project.service(steps, copy=(Copy("app/", "/srv/app/"),))
    image, _ = project.builder.build(project.spec, service, quiet)
    for name in ("old", "rewritten", "mixed/c"):
        (project.root / "app" / name).unlink()
    shutil.rmtree(project.root / "app" / "lib")
    found = SourceTree(project.root, service, project.store).sources(image).mounts
    gone = ["lib", "lib/a", "lib/deep", "lib/deep/b", "mixed/c", "old"]
    assert sorted(one.target for one in found if not one.source) == [f"/srv/app/{name}" for name in gone]
    assert [one.target for one in found if one.source] == ["/srv/app/mixed/d", "/srv/app/stays"]


def test_the_folder_of_a_file_that_another_source_has_may_be_gone(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    file(project.root / "app" / "lib" / "a")
    file(project.root / "app" / "main")
    file(project.root / "conf")
    service = project.service(copy=(Copy("app/", "/srv/app/"), Copy("conf", "/srv/app/lib/conf")))
    image, _ = project.builder.build(project.spec, service, quiet)
    (project.root / "app" / "lib").rename(project.root / "lib")
    found = SourceTree(project.root, service, project.store).sources(image).mounts
    assert {one.target: bool(one.source) for one in found} == {
        "/srv/app/lib/a": False,
        "/srv/app/lib/conf": True,
        "/srv/app/main": True,
    }


def test_sources_that_lie_in_one_another_are_kept_apart(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    file(project.root / "app" / "a")
    file(project.root / "lib" / "b")
    copy = (Copy("app/", "/srv/app/"), Copy("lib/", "/srv/app/lib/"))
    assert mounts(project, project.service(copy=copy)) == {"/srv/app/a": "app/a", "/srv/app/lib": "lib"}
    file(project.root / "root" / "etc" / "one")
    file(project.root / "root" / "opt" / "two")
    found = mounts(project, project.service(copy=(Copy("root/", "/"),)))
    assert found == {"/etc/one": "root/etc/one", "/opt": "root/opt"}
    assert not (project.root / "app" / "lib").exists()


def test_what_can_not_be_mounted_is_refused(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    file(project.root / "app" / "a")
    service = project.service("echo 1 > /srv/app/made", copy=(Copy("app/", "/srv/app/"),))
    image, _ = project.builder.build(project.spec, service, quiet)
    for number in range(MOST_MOUNTS):
        file(project.root / "app" / str(number))
    tree = SourceTree(project.root, service, project.store)
    with pytest.raises(Unsupported, match=f"{MOST_MOUNTS + 1} mounts"):
        tree.sources(image)
    (project.root / "app").rename(project.root / "elsewhere")
    with pytest.raises(SpecError, match="does not exist"):
        tree.sources(image)


@contextmanager
def watched(project: Project, *names: str, tree: SourceTree | None = None) -> Iterator[Callable[..., tuple[str, ...]]]:
    """Watch sources; yields what returns the next batch of changes."""
    service = project.service(copy=tuple(Copy(name, f"/srv/{name}") for name in names))
    tree = tree or SourceTree(project.root, service, project.store)
    found: queue.SimpleQueue[tuple[str, ...]] = queue.SimpleQueue()
    stop = threading.Event()
    paths = [os.path.realpath(project.root / name) for name in names]

    def follow() -> None:
        for one in tree.changed(paths, stop):
            found.put(one)

    thread = threading.Thread(target=follow)
    thread.start()

    def batch(limit: float = PATIENCE) -> tuple[str, ...]:
        return found.get(timeout=limit)

    try:
        # The kernel tells nothing of what was before it was asked: so a change is made until it is told.
        while found.empty():
            (Path(paths[0]) / "begin" if Path(paths[0]).is_dir() else Path(paths[0])).write_text("begin\n")
            stop.wait(0.05)
        stop.wait(0.5)
        while not found.empty():
            found.get()
        yield batch
    finally:
        stop.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_changes_that_matter_are_told_together_and_others_are_not(tmp_path: Path) -> None:
    project = Project(tmp_path)
    file(project.root / ".anewignore", "*.log\nbuild/\n")
    for name in ("app/one", "app/gone", "app/x.log", "app/build/out", "app/__pycache__/x.pyc", "conf", "other"):
        file(project.root / name)
    with watched(project, "app", "conf") as batch:
        for name in ("app/x.log", "app/build/out", "app/__pycache__/x.pyc", "app/.one.swp", "app/one~", "other"):
            file(project.root / name, "changed\n")
        for name in ("app/4913", "app/#one#", "app/.#one"):
            file(project.root / name)
            (project.root / name).unlink()
        file(project.root / "app" / "one", "changed\n")
        file(project.root / "app" / "deep" / "new")
        (project.root / "app" / "gone").unlink()
        told = set(batch())
        while not {"app/one", "app/gone"} <= told:
            told |= set(batch())
        assert told - {"app/deep", "app/deep/new"} == {"app/one", "app/gone"}
        # As editors do it: another file is written, and put in the place of the first one.
        file(project.root / "conf.tmp", "changed\n")
        (project.root / "conf.tmp").rename(project.root / "conf")
        assert batch() == ("conf",)


def test_what_is_left_out_is_a_change_when_it_appears_in_a_folder_that_is_mounted_whole(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    file(project.root / ".anewignore", "*.log\nnode_modules/\n")
    file(project.root / "app" / "one" / "file")
    file(project.root / "app" / "two" / "file")
    file(project.root / "app" / "two" / "x.log")
    service = project.service(copy=(Copy("app/", "/srv/app/"),))
    image, _ = project.builder.build(project.spec, service, quiet)
    tree = SourceTree(project.root, service, project.store)
    assert [one.target for one in tree.sources(image).mounts] == ["/srv/app/one", "/srv/app/two/file"]
    with watched(project, "app", tree=tree) as batch:
        file(project.root / "app" / "two" / "y.log")
        file(project.root / "app" / "two" / "node_modules" / "a")
        file(project.root / "app" / "y.log")
        file(project.root / "app" / "one" / "__pycache__" / "a")
        file(project.root / "app" / "one" / "y.log")
        assert batch() == ("app/one/y.log",)
        file(project.root / "app" / "one" / "y.log", "more\n")  # it is seen already, or is not any more
        (project.root / "app" / "aside").mkdir()
        file(project.root / "app" / "aside" / "a")
        assert "app/one/y.log" not in batch()
        file(project.root / "app" / "one" / "node_modules" / "a")
        told: tuple[str, ...] = ()
        while "app/one/node_modules" not in told:
            told = batch()
            assert "app/one/node_modules/a" not in told


def test_a_source_that_goes_and_comes_back_is_followed(tmp_path: Path) -> None:
    project = Project(tmp_path)
    file(project.root / "app" / "one")
    with watched(project, "app") as batch:
        (project.root / "app").rename(project.root / "aside")
        (project.root / "aside").rename(project.root / "app")
        batch()
        # Both renames may be one batch, and nothing is told while it is watched anew: so there is ever another change.
        end, number = time.monotonic() + PATIENCE, 0
        told: tuple[str, ...] = ()
        while "app/two" not in told:
            assert time.monotonic() < end
            file(project.root / "app" / "two", f"{(number := number + 1)}\n")
            with suppress(queue.Empty):
                told = batch(0.5)
