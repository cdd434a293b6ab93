"""Heads that a container engine builds: faithful, canonical, locked, and nothing of them is left in the engine."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from building import Project, need, need_root, proved, python, quiet, shell_head

from anew.build import engine_head, lock
from anew.build.archive import plain
from anew.build.context import Context, Item
from anew.build.flatten import flatten
from anew.errors import Conflict, EngineError, SpecError, Unsupported
from anew.model import BuiltHead

HEAD = BuiltHead("base", "web/Dockerfile", "web")
MARK = f"mark-{os.getpid()}-{os.urandom(4).hex()}"
STEPS = f"""FROM scratch
ADD rootfs.tar /
RUN : {MARK}; echo built > /srv/there; rm /etc/motd; chmod 0700 /srv/there; ln /srv/there /srv/same
COPY more/ /srv/more/
RUN : {MARK}; rm -r /srv/more/gone; mkdir /srv/more/gone; echo new > /srv/more/gone/file
"""


def layer(folder: Path, number: int, members: Sequence[tuple[str, bytes | str | None]], mode: str = "w") -> Path:
    """Write a layer: a text is a symlink, `None` a folder, and what ends with `=` a hard link."""
    path = folder / f"{number}.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name.removesuffix("="))
            if isinstance(data, bytes):
                info.size = len(data)
            elif data is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            else:
                info.type, info.linkname = (tarfile.LNKTYPE if name.endswith("=") else tarfile.SYMTYPE), data
            tar.addfile(info, io.BytesIO(data) if isinstance(data, bytes) else None)
    if mode == "gz":
        path.write_bytes(gzip.compress(path.read_bytes()))
    return path


def unpacked(one: Path) -> Path:
    """Return a layer that is not compressed."""
    folder = one.with_name(f"{one.name}.plain")
    folder.mkdir(exist_ok=True)
    return plain(one, folder, "here")


def seen(*layers: Path) -> Mapping[str, str]:
    """Return what layers show together: files by content, folders as `/`, links with an arrow."""
    out = {}
    for one in flatten([unpacked(one) for one in layers], "here"):
        match one.kind:
            case "file":
                with tarfile.open(one.content.path) as tar:  # type: ignore[union-attr]
                    assert tar.fileobj is not None
                    tar.fileobj.seek(one.content.offset)  # type: ignore[union-attr]
                    text = tar.fileobj.read(one.size).decode()
            case "dir":
                text = "/"
            case _:
                text = f"{one.kind} {one.link.decode()}"
        out[one.path.decode()] = text
    return out


def test_layers_show_together_what_a_container_would_see(tmp_path: Path) -> None:
    below = layer(
        tmp_path, 0, [("./a", None), ("./a/x", b"1"), ("./a/y", b"2"), ("b", b"3"), ("c", None), ("c/z", b"4")]
    )
    above = layer(
        tmp_path, 1, [("a/.wh.x", b""), ("a/n", b"5"), ("c/.wh..wh..opq", b""), ("c/new", b"6"), (".wh.b", b"")]
    )
    assert seen(below, above) == {"a": "/", "a/y": "2", "a/n": "5", "c": "/", "c/new": "6"}
    assert seen(below) == {"a": "/", "a/x": "1", "a/y": "2", "b": "3", "c": "/", "c/z": "4"}


def test_a_removal_never_hides_what_its_own_layer_has(tmp_path: Path) -> None:
    below = layer(tmp_path, 0, [("a", None), ("a/x", b"1")])
    first = layer(tmp_path, 1, [("a/x", b"2"), ("a/.wh.x", b""), (".wh..wh..opq", b"")])
    last = layer(tmp_path, 2, [(".wh.a", b""), ("a", None), ("a/q", b"3")])
    assert seen(below, first) == {"a": "/", "a/x": "2"}
    assert seen(below, first, last) == {"a": "/", "a/q": "3"}


def test_what_is_no_folder_hides_all_of_one_and_the_other_way_round(tmp_path: Path) -> None:
    below = layer(tmp_path, 0, [("a", None), ("a/x", b"1"), ("b", b"2")])
    above = layer(tmp_path, 1, [("a", "b"), ("b", None), ("b/c", b"3")])
    assert seen(below, above) == {"a": "symlink b", "b": "/", "b/c": "3"}


def test_a_hard_link_keeps_its_content_when_a_later_layer_replaces_the_other(tmp_path: Path) -> None:
    below = layer(tmp_path, 0, [("b", b"old"), ("a=", "b"), ("c=", "a")])
    assert seen(below) == {"a": "old", "b": "hardlink a", "c": "hardlink a"}
    above = layer(tmp_path, 1, [("a", b"new")])
    assert seen(below, above) == {"a": "new", "b": "old", "c": "hardlink b"}
    to_below = layer(tmp_path, 2, [("d=", "b")])
    assert seen(below, to_below)["d"] == "hardlink a"
    with pytest.raises(SpecError, match="hard link to something"):
        seen(layer(tmp_path, 3, [("x=", "nowhere")]))
    with pytest.raises(SpecError, match="hard link to something"):
        seen(layer(tmp_path, 4, [("x=", "y"), ("y=", "x")]))


def test_compressed_layers_are_read_and_damaged_ones_refused(tmp_path: Path) -> None:
    assert seen(layer(tmp_path, 0, [("a", b"1")], "gz"), layer(tmp_path, 1, [("b", b"2")], "gz")) == {
        "a": "1",
        "b": "2",
    }
    (tmp_path / "x.tar").write_bytes(b"no layer at all" * 99)
    with pytest.raises(SpecError, match="not a readable tar archive"):
        seen(tmp_path / "x.tar")
    with pytest.raises(SpecError, match="leads out"):
        seen(layer(tmp_path, 5, [("../x", b"1")]))


def test_without_an_engine_the_way_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = shop(tmp_path / "p")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unsupported, match="no container engine is installed") as caught:
        project.builder.build(project.spec, project.service(), quiet)
    assert "podman" in caught.value.hint
    monkeypatch.setenv("ANEW_BUILDER", "kaniko")
    with pytest.raises(SpecError, match="names 'kaniko'"):
        project.builder.build(project.spec, project.service(), quiet)


def test_what_there_is_to_remove_is_written_down_at_once(tmp_path: Path) -> None:
    """Whoever reads the note while it is written anew sees what it said before, and never nothing."""
    note = tmp_path / "notes" / "1-2-x"
    note.parent.mkdir()
    note.write_text("anew-head:before\n")
    silent = engine_head._Program("true", ("build",), ("save",), has_server=True)
    with note.open() as before:
        engine_head._Order(silent, tmp_path, tmp_path, note).run("build", "here", quiet)
        assert before.read() == "anew-head:before\n"
    assert note.read_text() == "anew-head:1-2-x\n"
    assert list(note.parent.iterdir()) == [note]


def test_a_recipe_or_context_that_is_missing_is_named(tmp_path: Path) -> None:
    project = shop(tmp_path)
    project.head = BuiltHead("base", "web/Dockerfle", "web")
    with pytest.raises(SpecError, match=r"web/Dockerfle can't be read") as caught:
        project.builder.build(project.spec, project.service(), quiet)
    assert caught.value.where == "anew.yaml os.base.dockerfile"
    project.head = BuiltHead("base", "web/Dockerfile", "wbe")
    with pytest.raises(SpecError, match="wbe/ does not exist") as caught:
        project.builder.build(project.spec, project.service(), quiet)
    assert caught.value.where == "anew.yaml os.base.context"


# ---------------------------------------------------------------- with a real engine


def test_a_file_that_changes_before_the_engine_has_it_is_a_conflict(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("one")
    item = Item("file", "file", 0o644, str(tmp_path / "file"), 3, hashlib.sha256(b"one").hexdigest())
    engine_head._laid_out(Context((item,), "sha256:x"), tmp_path / "context")
    (tmp_path / "file").write_text("two")
    with pytest.raises(Conflict, match="changed while"):
        engine_head._laid_out(Context((item,), "sha256:x"), tmp_path / "again")


def answers(name: str) -> bool:
    program = engine_head._PROGRAMS.get(name)
    return program is not None and shutil.which(name) is not None and not engine_head._quietly(name, "info")


@pytest.fixture(params=["docker", "podman", "buildah"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    need_root()
    name = str(request.param)
    need(f"an engine that answers to {name}", is_there=answers(name))
    monkeypatch.setenv("ANEW_BUILDER", name)
    return name


def shop(folder: Path, text: str = STEPS) -> Project:
    project = Project(folder, HEAD)
    (project.root / "web" / "more" / "gone").mkdir(parents=True)
    (project.root / "web" / "Dockerfile").write_text(text)
    (project.root / "web" / "more" / "gone" / "old").write_text("old")
    (project.root / "web" / "more" / "a").write_text("a")
    shell_head(project.root / "web" / "rootfs.tar")
    return project


def left(engine: str) -> list[str]:
    """Return what the engine has of images and containers that a recipe with our mark made; others use it too."""
    asked = "docker" if engine == "docker" else "podman"  # which shows what buildah has as well
    ids = _told(asked, "images", "--all", "--quiet", "--no-trunc").split()
    history = ("history", "--no-trunc", "--format", "{{.CreatedBy}}")
    out = [f"image {one}" for one in ids if MARK in _told(asked, *history, one)]
    containers = _told(asked, "ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Command}}")
    return out + [f"container {line}" for line in containers.splitlines() if MARK in line]


def _told(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


def is_clean(engine: str) -> bool:
    """Wait until nothing of ours is left: an engine removes containers in its own time."""
    end = time.monotonic() + 20
    while found := left(engine):
        if time.monotonic() > end:
            pytest.fail(f"left: {found}")
        time.sleep(0.2)
    return True


def test_a_head_is_built_packed_and_locked_and_nothing_is_left(tmp_path: Path, engine: str) -> None:
    project, lines = shop(tmp_path), list[str]()
    image, _ = project.builder.build(project.spec, project.service("cat /srv/there > /srv/out"), lines.append)
    assert any("only as reproducible as that" in line for line in lines)
    assert not image.is_reproducible
    tree = project.store.tree(image.layers[0])
    assert (tree / "srv" / "there").read_text() == "built\n"
    assert (tree / "srv" / "there").stat().st_mode & 0o777 == 0o700
    assert (tree / "srv" / "there").stat().st_ino == (tree / "srv" / "same").stat().st_ino
    assert sorted(one.name for one in (tree / "srv" / "more" / "gone").iterdir()) == ["file"]
    assert not any((tree / name).exists() for name in ("etc/motd", ".dockerenv", "dev/null", "etc/hostname"))
    assert (tree / "var" / "mail").stat().st_mode & 0o7777 == 0o2775
    pinned = lock.read(project.root).heads["base"]
    assert (pinned.layer, bool(pinned.resolved)) == (image.layers[0], True)
    assert is_clean(engine)
    lines.clear()
    assert project.builder.build(project.spec, project.service("cat /srv/there > /srv/out"), lines.append)[0] == image
    assert lines == []
    (view,) = project.builder.outdated(project.spec, quiet)
    assert view.source == "dockerfile web/Dockerfile"
    found = proved(project.builder, image)
    assert found.verdict == "identical"
    assert "taken as it is" in found.why


def test_a_head_that_is_lost_must_come_out_as_it_was(tmp_path: Path, engine: str) -> None:
    project = shop(tmp_path)
    image, _ = project.builder.build(project.spec, project.service(), quiet)
    project.store.blobs.path(image.layers[0]).unlink()
    assert project.builder.build(project.spec, project.service(), quiet)[0] == image
    random = shop(tmp_path / "random", STEPS + "RUN cat /proc/sys/kernel/random/uuid > /srv/random\n")
    image, _ = random.builder.build(random.spec, random.service(), quiet)
    random.store.blobs.path(image.layers[0]).unlink()
    with pytest.raises(Conflict, match="can't be made again as it was locked"):
        random.builder.build(random.spec, random.service(), quiet)


def test_a_change_of_recipe_or_context_builds_again_and_where_it_lies_does_not(tmp_path: Path, engine: str) -> None:
    project = shop(tmp_path)
    first = project.builder._heads.recipe(HEAD)
    other = shop(tmp_path / "other")
    (other.root / "web" / "more" / "a").chmod(0o600)
    assert other.builder._heads.recipe(HEAD) == first
    (project.root / "web" / "more" / "a").write_text("b")
    second = project.builder._heads.recipe(HEAD)
    (project.root / "web" / "Dockerfile").write_text(STEPS + "# more\n")
    assert len({first, second, project.builder._heads.recipe(HEAD)}) == 3


def test_a_build_that_fails_tells_its_last_lines_and_leaves_nothing(tmp_path: Path, engine: str) -> None:
    project = shop(tmp_path, STEPS + f"RUN : {MARK}; echo so it ends >&2; exit 3\n")
    with pytest.raises(EngineError, match=f"{engine} build ended with exit code") as caught:
        project.builder.build(project.spec, project.service(), quiet)
    assert "so it ends" in caught.value.facts["output"]
    assert caught.value.where == "anew.yaml os.base.dockerfile"
    assert is_clean(engine)
    assert not (project.root / "anew.lock").exists()
    assert list((project.home / "work").iterdir()) == []


def test_what_a_killed_build_left_is_removed_by_the_next_one(tmp_path: Path, engine: str) -> None:
    program = engine_head._PROGRAMS[engine]
    (tmp_path / "context").mkdir()
    (tmp_path / "recipe").write_text(f"FROM scratch\nCOPY a /{MARK}\n")
    (tmp_path / "context" / "a").write_text("x")
    ended = subprocess.Popen([python(), "-c", ""])
    ended.wait()
    note = tmp_path / "notes" / f"{ended.pid}-1-abcd"
    with tempfile.TemporaryDirectory(prefix="anew-t") as short:
        engine_head._Order(program, tmp_path, Path(short), note).run("build", "here", quiet)
    assert (left(engine) != []) == (engine == "docker")  # the others made it in a folder that goes with them
    engine_head._sweep(tmp_path / "notes")
    assert is_clean(engine)
    assert list((tmp_path / "notes").glob("*")) == []


def test_a_build_that_is_killed_leaves_nothing_that_is_trusted(tmp_path: Path, engine: str) -> None:
    project = shop(
        tmp_path, STEPS + f"RUN : {MARK}; echo waiting; while :; do cat /etc/nothing 2>/dev/null || :; done\n"
    )
    script = f"""
import sys
from pathlib import Path
from anew.build.builder import Builder
from anew.build.store import ImageStore
from anew.model import *
tell = lambda line: print(line, flush=True)
home, root = Path({str(project.home)!r}), Path({str(project.root)!r})
spec = Spec("shop", (BuiltHead("base", "web/Dockerfile", "web"),), (), ())
Builder(home, ImageStore(home / "images"), root).build(spec, Service("web", "base", ("x",)), tell)
"""
    with subprocess.Popen(
        [python(), "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as builder:
        assert builder.stdout is not None
        assert any(line.startswith("waiting") for line in builder.stdout)
        os.killpg(builder.pid, signal.SIGKILL)
    assert not (project.root / "anew.lock").exists()
    end = time.monotonic() + 20
    while _told("pgrep", "-f", f": {MARK}; echo waiting") and time.monotonic() < end:
        time.sleep(0.1)
    assert _told("pgrep", "-a", "-f", f": {MARK}; echo waiting") == ""
    (project.root / "web" / "Dockerfile").write_text(STEPS)
    image, _ = project.builder.build(project.spec, project.service(), quiet)
    assert (project.store.tree(image.layers[0]) / "srv" / "there").read_text() == "built\n"
    assert list((project.home / "work").iterdir()) == []
    assert is_clean(engine)
