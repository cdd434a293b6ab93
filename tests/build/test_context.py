"""What `copy` brings in: normalised, ignored, refused, and fast when nothing changed."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anew.build.context import Context, Reader, gather, layer_entries
from anew.build.entries import Entry
from anew.build.filecache import FileDigests
from anew.build.listing import Lookup, Node, lookup_in
from anew.errors import SpecError
from anew.model import Copy, Service

EMPTY: Lookup = lookup_in({})


def read(project: Path, *copies: tuple[str, str]) -> Context:
    service = Service("web", "base", ("x",), copy=tuple(Copy(*one) for one in copies))
    return gather(project, service, FileDigests(project.parent / "cache", project))


def paths(context: Context, lookup: Lookup = EMPTY) -> list[str]:
    return [os.fsdecode(e.path) for e in layer_entries(context.items, lookup, "here") if e.kind != "dir"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "app" / "sub").mkdir(parents=True)
    (folder / "app" / "server.py").write_text("server")
    (folder / "app" / "sub" / "x.txt").write_text("x")
    (folder / "README").write_text("read me")
    return folder


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("app/", "/srv/app/", ["srv/app/server.py", "srv/app/sub/x.txt"]),
        ("app/", "/srv/app", ["srv/app/server.py", "srv/app/sub/x.txt"]),
        ("app", "/srv/app", ["srv/app/server.py", "srv/app/sub/x.txt"]),
        ("app", "/srv/", ["srv/app/server.py", "srv/app/sub/x.txt"]),
        ("README", "/etc/", ["etc/README"]),
        ("README", "/etc/motd", ["etc/motd"]),
        ("./app/../README", "/", ["README"]),
        ("app/sub/", "/", ["x.txt"]),
        ("./", "/all/", ["all/README", "all/app/server.py", "all/app/sub/x.txt"]),
        (".", "/all/", ["all/README", "all/app/server.py", "all/app/sub/x.txt"]),
    ],
)
def test_sources_and_targets(project: Path, source: str, target: str, expected: list[str]) -> None:
    assert paths(read(project, (source, target))) == expected


def test_modes_owners_and_times_are_normalised(project: Path) -> None:
    (project / "app" / "server.py").chmod(0o700)
    (project / "README").chmod(0o606)
    os.utime(project / "README", (5, 5))
    entries = layer_entries(read(project, ("./", "/a")).items, EMPTY, "here")
    assert {(os.fsdecode(e.path), oct(e.mode), e.uid, e.mtime) for e in entries} >= {
        ("a", "0o755", 0, 1735689600),
        ("a/README", "0o644", 0, 1735689600),
        ("a/app/server.py", "0o755", 0, 1735689600),
    }


def test_the_digest_depends_on_contents_and_not_on_the_checkout(project: Path, tmp_path: Path) -> None:
    first = read(project, ("./", "/a")).digest
    other = tmp_path / "elsewhere" / "checkout"
    other.parent.mkdir()
    project.rename(other)
    os.utime(other / "README", (1, 1))
    (other / "README").chmod(0o600)
    assert read(other, ("./", "/a")).digest == first
    (other / "README").write_text("changed")
    changed = read(other, ("./", "/a")).digest
    assert changed != first
    (other / "README").chmod(0o700)
    assert read(other, ("./", "/a")).digest not in (first, changed)


def test_ignored_files_are_left_out(project: Path) -> None:
    (project / ".git").mkdir()
    (project / ".git" / "HEAD").write_text("x")
    (project / "app" / "__pycache__").mkdir()
    (project / "app" / "__pycache__" / "x.pyc").write_text("x")
    (project / "app" / "keep.txt").write_text("x")
    (project / ".anewignore").write_text("*.txt\n!keep.txt\n/README\n# a comment\n")
    (project / "anew.lock").write_text("{}")
    assert paths(read(project, ("./", "/a"))) == ["a/app/keep.txt", "a/app/server.py"]


@given(st.lists(st.sampled_from([".git", "__pycache__", ".anewignore", "anew.lock", "app", "x"]), min_size=1))
def test_without_a_file_of_its_own_a_project_leaves_out_what_the_patterns_say(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        bare = Reader(project, FileDigests(project / "cache", project))
        (project / ".anewignore").write_text("")
        written = Reader(project, FileDigests(project / "cache", project))
    path = "/".join(names)
    for is_folder in (False, True):
        assert bare.is_ignored(path, is_folder=is_folder) == written.is_ignored(path, is_folder=is_folder)


def test_an_ignore_file_that_cant_be_read_is_named(project: Path) -> None:
    file = project / ".anewignore"
    file.write_bytes(b"caf\xe9\n")
    with pytest.raises(SpecError, match="can't be read: it is no UTF-8: byte 4") as caught:
        read(project, ("app/", "/a"))
    assert caught.value.where == str(file)
    file.unlink()
    file.mkdir()
    with pytest.raises(SpecError, match="can't be read: Is a directory"):
        read(project, ("app/", "/a"))


def test_symbolic_links_inside_stay_links(project: Path) -> None:
    (project / "app" / "link").symlink_to("../README")
    context = read(project, ("app/", "/a"))
    (link,) = [e for e in layer_entries(context.items, EMPTY, "here") if e.kind == "symlink"]
    assert (link.path, link.link) == (b"a/link", b"../README")


def bad_link(project: Path) -> None:
    (project / "app" / "link").symlink_to("../../outside")


def absolute_link(project: Path) -> None:
    (project / "app" / "link").symlink_to("/etc/passwd")


def absolute_link_inside(project: Path) -> None:
    (project / "app" / "link").symlink_to(project / "README")


def binary_link(project: Path) -> None:
    (project / "app" / "link").symlink_to(os.fsdecode(b"caf\xe9"))


def linked_folder(project: Path) -> None:
    (project / "etc").symlink_to("/etc")


def fifo(project: Path) -> None:
    os.mkfifo(project / "app" / "pipe")


def marked(project: Path) -> None:
    (project / "app" / ".wh.x").write_text("")


def marked_link(project: Path) -> None:
    (project / "app" / ".wh.x").symlink_to("server.py")


def marked_folder(project: Path) -> None:
    (project / "app" / ".wh.x").mkdir()


def marked_source(project: Path) -> None:
    (project / ".wh.x").mkdir()


def binary_folder(project: Path) -> None:
    Path(os.fsdecode(os.fsencode(project / "app") + b"/\xff")).mkdir()


def ignored(project: Path) -> None:
    (project / ".anewignore").write_text("app\n")


def binary_name(project: Path) -> None:
    Path(os.fsdecode(os.fsencode(project / "app") + b"/\xff")).write_text("")


def nothing(_project: Path) -> None:
    """Change nothing."""


@pytest.mark.parametrize(
    ("prepare", "source", "what"),
    [
        (nothing, "missing", "missing does not exist"),
        (nothing, "missing/", "does not exist"),
        (nothing, "README/", "is a file, not a folder"),
        (nothing, "../secret", "outside the project"),
        (nothing, "app/../../x", "outside the project"),
        (nothing, "/etc/passwd", "outside the project"),
        (linked_folder, "etc/passwd", "outside the project"),
        (bad_link, "app/", "points outside the project"),
        (absolute_link, "app/", "points outside the project"),
        (absolute_link_inside, "app/", "has an absolute path"),
        (binary_link, "app/", "which is not UTF-8"),
        (fifo, "app/", "neither file, folder nor symbolic link"),
        (marked, "app/", "mark removals"),
        (marked_link, "app/", "mark removals"),
        (marked_folder, "app/", "mark removals"),
        (marked_source, ".wh.x", "mark removals"),
        (ignored, "app/", "left out by .anewignore"),
        (binary_name, "app/", "not UTF-8"),
        (binary_folder, "app/", "not UTF-8"),
    ],
)
def test_sources_that_are_refused(project: Path, prepare: Callable[[Path], None], source: str, what: str) -> None:
    prepare(project)
    with pytest.raises(SpecError, match=what) as caught:
        read(project, (source, "/a/"))
    assert caught.value.where == f"anew.yaml services.web.copy.{source}"
    assert caught.value.hint


def test_a_file_that_may_not_be_read_is_named() -> None:
    with tempfile.TemporaryDirectory(prefix="anew-context-") as name:
        project = Path(name) / "project"
        project.mkdir()
        (project / "README").write_text("read me")
        (project / "README").chmod(0)
        for folder in (name, project):
            Path(folder).chmod(0o777)
        was = os.geteuid()
        if was == 0:  # who may read everything
            os.seteuid(65534)
        try:
            with pytest.raises(SpecError, match="may not be read") as caught:
                read(project, ("README", "/a"))
        finally:
            os.seteuid(was)
        assert caught.value.hint.startswith("chmod u+r ")


def test_a_target_that_would_mark_a_removal_is_refused(project: Path) -> None:
    for target in ("/etc/.wh.motd", "/etc/.wh.x/motd"):
        with pytest.raises(SpecError, match="mark removals"):
            read(project, ("README", target))


class Fleeting(FileDigests):
    """Digests of a project in which files go away as soon as others are read."""

    def sha256(self, path: str, status: os.stat_result) -> str:
        for name in ("app/server.py~", "app/sub/y.txt"):
            (Path(path.partition("/app/")[0]) / name).unlink(missing_ok=True)
        return super().sha256(path, status)


def test_what_goes_away_while_a_project_is_read_is_left_out(project: Path) -> None:
    (project / "app" / "server.py~").write_text("")
    service = Service("web", "base", ("x",), copy=(Copy("app/", "/a/"),))
    fleeting = gather(project, service, Fleeting(project.parent / "cache", project))
    assert paths(fleeting) == ["a/server.py", "a/sub/x.txt"]


def test_two_copies_that_exclude_each_other_are_refused(project: Path) -> None:
    with pytest.raises(SpecError, match="would lie in it"):
        read(project, ("README", "/a"), ("app/", "/a/b"))


def test_links_and_folders_of_the_head_are_respected(project: Path) -> None:
    head = {
        "bin": Node("bin", "symlink", 0o777, 0, 0, content="usr/bin"),
        "usr": Node("usr", "dir", 0o755, 0, 0),
        "usr/bin": Node("usr/bin", "dir", 0o755, 0, 0),
        "tmp": Node("tmp", "dir", 0o1777, 0, 0),
        "var": Node("var", "dir", 0o755, 0, 0),
        "var/run": Node("var/run", "symlink", 0o777, 0, 0, content="/run"),
        "loop": Node("loop", "symlink", 0o777, 0, 0, content="loop"),
    }
    lookup = lookup_in(head)
    assert paths(read(project, ("README", "/bin/tool")), lookup) == ["usr/bin/tool"]
    assert paths(read(project, ("app/", "/var/run/")), lookup) == ["run/server.py", "run/sub/x.txt"]
    entries = layer_entries(read(project, ("README", "/tmp/")).items, lookup, "here")
    assert entries[0] == Entry(path=b"tmp", kind="dir", mode=0o1777)
    with pytest.raises(SpecError, match="is a folder below"):
        layer_entries(read(project, ("README", "/usr/bin")).items, lookup, "here")
    with pytest.raises(SpecError, match="circle"):
        layer_entries(read(project, ("README", "/loop/x")).items, lookup, "here")


def kept(project: Path) -> dict[str, object]:
    (cache,) = (project.parent / "cache").iterdir()
    return {Path(path).name: one for path, one in json.loads(cache.read_bytes()).items()}


def settled(*files: Path) -> None:
    """Wait until these files have been as they are for so long that their times are trusted."""
    bound = time.monotonic() + 30
    while time.time() - max(one.stat().st_ctime for one in files) < 2.2:
        assert time.monotonic() < bound
        time.sleep(0.1)


def test_services_of_one_project_keep_what_the_others_know_and_what_is_gone_is_dropped(project: Path) -> None:
    settled(*(path for path in project.rglob("*") if path.is_file()))
    read(project, ("app/", "/a"))
    assert set(kept(project)) == {"server.py", "x.txt"}
    (project / "app" / "server.py").unlink()
    read(project, ("README", "/b"))
    assert set(kept(project)) == {"x.txt", "README"}


def test_what_had_just_changed_when_it_was_read_is_not_trusted_however_long_the_rest_takes(project: Path) -> None:
    settled(project / "README")
    (project / "app" / "server.py").write_text("changed")
    digests = FileDigests(project.parent / "cache", project)
    for path in (project / "app" / "server.py", project / "README"):
        digests.sha256(str(path), path.stat())
    settled(project / "app" / "server.py")
    digests.save()
    assert set(kept(project)) == {"README"}


def reads() -> int:
    """Return how often this process has read anything so far."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counts["syscr"])


def test_an_unchanged_project_is_not_read_again_and_a_changed_one_is_noticed(tmp_path: Path) -> None:
    project = tmp_path / "big"
    for n in range(50):
        (project / f"d{n}").mkdir(parents=True)
        for m in range(100):
            path = project / f"d{n}" / f"f{m}"
            path.write_text(f"{n} {m}")
            os.utime(path, (1_700_000_000, 1_700_000_000))
    first = read(project, ("./", "/a"))
    assert len(first.items) == 5051
    # What has just been made may change again within one tick of the clock, so it is not trusted yet.
    bound = time.monotonic() + 30
    count = 5000
    while count > 500:  # in the end none of the files is read again
        assert time.monotonic() < bound, count
        time.sleep(0.2)
        before = reads()
        assert read(project, ("./", "/a")).digest == first.digest
        count = reads() - before
    path = project / "d3" / "f4"
    path.write_text("3 5")  # the same size
    os.utime(path, (1_700_000_000, 1_700_000_000))  # and the same time
    assert read(project, ("./", "/a")).digest != first.digest
