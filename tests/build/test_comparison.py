"""Two images compared: which input changed, which packages moved, and which files differ because of it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from building import Project, need_root, quiet, tar_project

from anew.build.comparison import compared
from anew.build.definition import HeadRecord, Supply, read
from anew.build.entries import Entry
from anew.build.store import ImageStore
from anew.core.digest import digest_bytes
from anew.model import BuildStep, Copy, HostHead, Identity, Image, Service
from anew.model.comparison import Change, FileChange


def build(project: Project, service: Service) -> Image:
    return project.builder.build(project.spec, service, quiet)[0]


def file(path: str, content: bytes = b"", mode: int = 0o644) -> Entry:
    return Entry(path=path.encode(), kind="file", mode=mode, size=len(content), content=content)


def folders(*paths: str) -> list[Entry]:
    every = {part for path in paths for part in _parents(path)}
    return [Entry(path=path.encode(), kind="dir", mode=0o755) for path in sorted(every)]


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def image(store: ImageStore, *layers: list[Entry]) -> Image:
    digests = tuple(store.add_layer(one).digest for one in layers)
    name = digest_bytes("".join(digests).encode())
    return Image(Identity(name, name, digests, name, name), digests)


def debian(version: str, library: bytes, *more: Entry, usr: bytes = b"new") -> list[Entry]:
    """Return a head with dpkg's records of two packages, one of which is at `version`."""
    info = "var/lib/dpkg/info"
    status = (
        f"Package: libssl3\nStatus: install ok installed\nVersion: {version}\n\n"
        "Package: base-files\nStatus: install ok installed\nVersion: 12\nDescription: x\n Version: 99\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n"
    )
    return [
        *folders(info, "usr/lib/x86_64-linux-gnu", "usr/lib/python3/__pycache__", "etc"),
        Entry(path=b"lib", kind="symlink", mode=0o777, link=b"usr/lib"),
        file("usr/lib/x86_64-linux-gnu/libssl.so.3", library),
        file("usr/lib/python3/ssl.py", usr),
        file("usr/lib/python3/__pycache__/ssl.cpython-311.pyc", library),
        file("etc/issue", b"Debian"),
        file("etc/ld.so.cache", library),
        file(f"{info}/libssl3:amd64.list", b"/.\n/lib\n/lib/x86_64-linux-gnu\n/lib/x86_64-linux-gnu/libssl.so.3\n"
             b"/usr/lib/python3/ssl.py\n"),
        file(f"{info}/libssl3:amd64.md5sums", library),
        file(f"{info}/base-files.list", b"/etc\n/etc/issue\n"),
        file("var/lib/dpkg/status", status.encode()),
        *more,
    ]  # fmt: skip


def test_files_of_a_moved_package_are_told_with_it(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    extra = [*folders("usr/share/tz")[1:], file("usr/share/tz/CET", b"1")]
    moved_in = file("var/lib/dpkg/info/tzdata.list", b"/usr\n/usr/share/tz\n/usr/share/tz/CET\n")
    before = image(store, debian("3.0.15", b"old"))
    after = image(store, debian("3.0.16", b"new", *extra, moved_in))
    found = compared(store, before, after)
    assert found.packages == (Change("libssl3", "3.0.15", "3.0.16"),)
    ssl = "package libssl3 3.0.15 → 3.0.16"
    told = {one.path: (one.what, one.origin) for one in found.files}
    # No definition says that the layer is a head: an older anew's image is told by what its layers are.
    assert told["usr/lib/x86_64-linux-gnu/libssl.so.3"] == ("content", ssl)
    assert told["usr/lib/python3/__pycache__/ssl.cpython-311.pyc"] == ("content", ssl)
    assert told["var/lib/dpkg/info/libssl3:amd64.md5sums"] == ("content", ssl)
    assert told["etc/ld.so.cache"] == ("content", "head")
    assert told["var/lib/dpkg/status"] == ("content", "head")
    assert told["usr/share/tz/CET"] == told["usr/share/tz"] == ("added", "package tzdata")
    assert told["usr/share"] == ("added", "head")
    assert "usr/lib/python3/ssl.py" not in told
    assert "etc/issue" not in told
    assert [one for one in found.unknown if "older anew" in one] == list(found.unknown)
    assert len(found.unknown) == 2


def test_what_stands_for_a_list_of_a_package_and_is_no_file_is_not_read(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    odd = (
        Entry(b"var/lib/dpkg/info/odd.list", "fifo"),
        Entry(b"var/lib/dpkg/info/own.list", "symlink", link=b"odd.list"),
    )
    before = image(store, debian("3.0.15", b"x", *odd))
    after = image(store, debian("3.0.15", b"y", *odd))
    (changed,) = (one for one in compared(store, before, after).files if one.path.endswith("libssl.so.3"))
    assert changed.origin == "package libssl3"


def test_a_removed_file_is_told_of_the_image_that_had_it(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    before, after = debian("3.0.15", b"x"), debian("3.0.15", b"x")
    after = [one for one in after if not one.path.endswith(b"libssl.so.3")]
    found = compared(store, image(store, before), image(store, after))
    removed = FileChange("usr/lib/x86_64-linux-gnu/libssl.so.3", "removed", "package libssl3")
    assert (found.packages, found.files) == ((), (removed,))


def test_every_input_that_changed_is_named_with_the_files_that_came_of_it(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    app = project.root / "app"
    app.mkdir()
    (app / "same").write_text("same\n")
    (app / "one").write_text("one\n")
    (app / "gone").write_text("gone\n")
    copy = (Copy("app/", "/srv/app/"),)
    before = build(project, project.service("cat /srv/app/one > /srv/made", "true", copy=copy))
    (app / "one").write_text("two\n")
    (app / "gone").unlink()
    (app / "new").write_text("new\n")
    (app / "new").chmod(0o755)
    after = build(project, project.service("cat /srv/app/one > /srv/made; chmod 600 /srv/made", copy=copy))
    found = compared(project.store, before, after)
    assert found.inputs == (
        Change("build[0]", "cat /srv/app/one > /srv/made", "cat /srv/app/one > /srv/made; chmod 600 /srv/made"),
        Change("build[1]", "true", ""),
    )
    copied = (
        FileChange("srv/app/gone", "removed", "copy"),
        FileChange("srv/app/new", "added", "copy"),
        FileChange("srv/app/one", "content", "copy"),
    )
    assert found.copied == copied
    assert found.files == (*copied, FileChange("srv/made", "content, mode 644 before, 600 now", "build[0]"))
    assert (found.is_same_tree, found.packages, found.unknown) == (False, (), ())


def test_another_head_and_a_step_with_the_network_are_named(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    before = build(project, project.service("mkdir /srv/x"))
    lines = project.store.blobs.path(before.inputs[0]).read_bytes()
    made = read(lines)
    head = replace(
        made.head, kind="debian", suite="bookworm", named=("curl",), layer=f"sha256:{64 * 'd'}", archive="", path=""
    )
    head = replace(head, packages=(f"curl 7.88 amd64 sha256:{64 * 'a'} 10", f"tzdata 1 all sha256:{64 * 'b'} 10"))
    newer = replace(head, suite="trixie", packages=(f"curl 8.14 amd64 sha256:{64 * 'c'} 10",))

    def as_made(one: object) -> Image:
        assert isinstance(one, type(made))
        return replace(before, inputs=(project.store.blobs.add_bytes(one.text()),))

    old = as_made(replace(made, head=head))
    new = as_made(replace(made, format=2, head=newer, steps=(BuildStep("mkdir /srv/x", network=True),)))
    found = compared(project.store, old, new)
    assert found.inputs == (
        Change("os", "base debian bookworm", "base debian trixie"),
        Change("build[0]", "mkdir /srv/x", 'mkdir /srv/x {"network":true}'),
        Change("anew's format of images", "1", "2"),
    )
    assert found.packages == (Change("curl", "7.88", "8.14"), Change("tzdata", "1", ""))
    assert found.is_same_tree


def test_what_was_fetched_and_what_steps_are_given_is_told_in_words(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    before = build(project, project.service("mkdir /srv/x"))
    made = read(project.store.blobs.path(before.inputs[0]).read_bytes())
    a, b, c = (f"sha256:{12 * letter}" + 52 * "0" for letter in "abc")
    tool = HeadRecord("debian", "bookworm/ansible", "bookworm", ("ansible-core",), layer=a)
    tool = replace(tool, packages=(f"ansible-core 2.14 all {a} 10", f"python3 3.11 all {b} 10"))
    newer = replace(tool, layer=b, packages=(f"ansible-core 2.16 all {c} 10", f"python3 3.11 all {b} 10"))

    def given(*entries: Entry) -> str:
        return project.store.add_layer([*folders("tasks"), *entries]).digest

    files = given(file("site.yml", b"1"), file("tasks/a", b"x"), file("tasks/run"))
    changed = given(file("site.yml", b"2"), file("tasks/b", b"x"), file("tasks/run", mode=0o755))
    steps = (BuildStep(ansible="site.yml"), BuildStep("mkdir /srv/x", inputs=("x",)), BuildStep(ansible="more.yml"))
    old = replace(
        made,
        steps=steps,
        fetched=(("https://a.example/x", a), ("https://a.example/y", a), ("https://a.example/z", a)),
        supplies=(Supply(a, files, tool, a), Supply(a, a), Supply(tool=tool, pin=a)),
    )
    new = replace(
        made,
        steps=(BuildStep("true"), *steps),
        fetched=(("https://a.example/w", c), ("https://a.example/x", b), ("https://a.example/y", a)),
        supplies=(Supply(), Supply(b, changed, newer, b), Supply(b, b), Supply(tool=newer, pin=b)),
    )
    images = [replace(before, inputs=(project.store.blobs.add_bytes(one.text()),)) for one in (old, new)]
    one, two = (digest_bytes(text)[7:19] for text in (b"1", b"2"))
    x = digest_bytes(b"x")[7:19]
    assert compared(project.store, *images).inputs == (
        Change("build[0]", "", "true"),
        Change("build[1] /site.yml", one, two),
        Change("build[1] /tasks/a", x, ""),
        Change("build[1] /tasks/b", "", x),
        Change("build[1] /tasks/run", "file, mode 644", "file, mode 755"),
        Change("build[2] files", 12 * "a", 12 * "b"),  # which are not in the store any more
        Change("build[1], build[3] tool locked layer", 12 * "a", 12 * "b"),
        Change("build[1], build[3] tool package ansible-core", "2.14", "2.16"),
        Change("fetched https://a.example/w", "", 12 * "c"),
        Change("fetched https://a.example/x", 12 * "a", 12 * "b"),
        Change("fetched https://a.example/z", 12 * "a", ""),
    )
    alone = replace(new, supplies=(Supply(), Supply(b, changed), Supply(b, b), Supply()))
    images[1] = replace(before, inputs=(project.store.blobs.add_bytes(alone.text()),))
    told = {change.name: change for change in compared(project.store, *images).inputs}
    tools = told["build[1], build[3] tool"]
    assert (tools.before, tools.after) == ("bookworm/ansible debian bookworm", "")


def test_another_image_as_a_head_is_told_by_its_digest(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    before = build(project, project.service("mkdir /srv/x"))
    made = read(project.store.blobs.path(before.inputs[0]).read_bytes())

    def on(*letters: str) -> Image:
        blobs = tuple(f"sha256:{64 * letter}" for letter in letters)
        text = replace(made, head=replace(made.head, blobs=blobs)).text()
        return replace(before, inputs=(project.store.blobs.add_bytes(text),))

    found = compared(project.store, on("a", "b", "c"), on("d", "b", "e"))
    assert found.inputs == (Change("os image", 12 * "a", 12 * "d"),)


def test_what_is_gone_or_damaged_is_said_and_the_rest_is_told(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    (project.root / "one").write_text("one\n")
    copy = (Copy("one", "/srv/one"),)
    before = build(project, project.service(copy=copy))
    (project.root / "one").write_text("two\n")
    after = build(project, project.service(copy=copy))
    store, layer = ImageStore(project.store.root), before.layers[1]
    shutil.rmtree(store.root / "listings")
    store.blobs.path(layer).unlink()
    found = compared(store, before, after)
    assert found.copied == (FileChange("srv/one", "content", "copy"),)
    assert (found.files, len(found.unknown)) == ((), 1)
    assert f"blob {layer} is missing" in found.unknown[0]
    store.blobs.path(after.inputs[0]).write_bytes(b"{}")
    found = compared(store, before, after)
    assert (found.inputs, found.copied) == ((), ())
    assert "corrupt" in found.unknown[0]


def test_the_machines_own_root_is_said_to_be_left_out(tmp_path: Path) -> None:
    need_root()
    project = Project(tmp_path, HostHead("base"))
    (project.root / "one").write_text("one\n")
    copy = (Copy("one", "/srv/one"),)
    before = build(project, project.service(copy=copy))
    (project.root / "one").chmod(0o755)
    after = build(project, project.service(copy=copy))
    found = compared(project.store, before, after)
    assert found.files == (FileChange("srv/one", "mode 644 before, 755 now", "copy"),)
    assert "machine's own root" in found.unknown[0]
    assert compared(project.store, before, before).files == ()
