"""What a step changed becomes its layer's unpacked tree: the very same that unpacking the layer would make."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from building import Project, need_root, tar_project

from anew.build.entries import scanned
from anew.build.examining import wrong_in_tree
from anew.build.hygiene import clean
from anew.build.store import ImageStore
from anew.errors import EngineError
from anew.model import BuildStep, Digest

ON_A_TREE = """
rm -r /var/mail; mkdir /var/mail; echo new > /var/mail/new        # an opaque folder
rm /etc/motd                                                     # a removal
mkdir -p /srv/deep/folder /var/log/apt /var/cache/apt/archives/partial
echo x > /var/log/dpkg.log; echo y > /var/log/apt/term.log; echo z > /var/cache/apt/archives/partial/z
echo 1234 > /etc/machine-id; chmod 600 /etc/machine-id           # which comes out empty
echo one > /srv/one; ln /srv/one /srv/deep/two; ln -s ../one /srv/deep/link
mknod /srv/pipe p; echo 'with space' > '/srv/deep/folder/ä b'
chmod 6755 /srv/one; chmod 1777 /srv/deep; chmod 0 /srv/deep/folder
"""
ON_THE_MACHINE = """
mkdir -p /srv/adopted/inner; echo x > /srv/adopted/inner/x
python3 -c 'import os; os.setxattr("/srv/adopted/inner/x", "user.mark", b"1"); os.utime("/srv/adopted/inner/x", (1, 1))'
chown -R 12:34 /srv/adopted; ln /srv/adopted/inner/x /srv/adopted/y
rm -rf /srv/adopted/inner; mkdir /srv/adopted/inner; mkfifo /srv/adopted/inner/pipe
"""
UNTIL_KILLED = "(while :; do echo again >> /srv/count; done) > /dev/null 2>&1 < /dev/null &\necho done > /srv/done"


@pytest.fixture(autouse=True)
def root() -> None:
    need_root()


def told(tree: Path) -> list[tuple[object, ...]]:
    """Return all that a tree has, in the order of its folders, but not which inodes it has."""
    told: list[tuple[object, ...]] = []
    for name, folders, files in os.walk(tree):
        for one in (Path(name), *(Path(name, each) for each in (*folders, *files))):
            status = one.lstat()
            marks = [(n, os.getxattr(one, n, follow_symlinks=False)) for n in os.listxattr(one, follow_symlinks=False)]
            content = one.read_bytes() if one.is_file() and not one.is_symlink() else b""
            text = one.readlink() if one.is_symlink() else None
            mtime = 0 if one == tree or stat.S_ISCHR(status.st_mode) else status.st_mtime  # no layer has these
            owner, links = (status.st_uid, status.st_gid), status.st_nlink
            told.append((one.relative_to(tree), status.st_mode, owner, links, mtime, sorted(marks), content, text))
    return told


def unpacked(store: ImageStore, layer: Digest) -> Path:
    shutil.rmtree(store.folder(layer))
    return store.tree(layer)


def require_same(store: ImageStore, layers: Sequence[Digest]) -> None:
    for layer in layers:
        adopted = told(store.tree(layer))
        assert list(wrong_in_tree(store, layer)) == []
        assert adopted == told(unpacked(store, layer))


@pytest.mark.parametrize(
    "text",
    [
        ON_A_TREE,
        "rm -r /var; rm -r /srv; echo > /srv",
        "true",
        "chown 1000:1000 /; echo x > /srv/x; touch -d @-1000 /srv/x",
        "for f in c a e b d; do echo $f > /srv/$f; done; rm /srv/a; mkdir /srv/0; echo z > /srv/0/z",
        "mkdir /etc/ssh /etc/ssh/ssh_host_keys; echo x > /etc/ssh/ssh_host_keys/a; ln /etc/ssh/ssh_host_keys/a /srv/a",
        "cd /var; mkdir -p log/apt; echo d > log/apt/a; ln log/apt/a log/apt/b; ln log/apt/a www; ln log/apt/a zzz",
        "echo secret > /etc/machine-id; ln /etc/machine-id /srv/id",
        "echo x > /bin/id; ln /bin/id /etc/machine-id; ln /bin/id /srv/id",
    ],
)
def test_a_step_on_a_tree_leaves_what_unpacking_makes(tmp_path: Path, text: str) -> None:
    project = tar_project(tmp_path)
    image, _ = project.builder.build(project.spec, project.service(text, "cat /srv/one || true"), project.lines.append)
    require_same(project.store, image.layers)


def test_a_step_on_the_machine_leaves_what_unpacking_makes(tmp_path: Path) -> None:
    project = Project(tmp_path)
    image, _ = project.builder.build(project.spec, project.service(ON_THE_MACHINE, "true"), project.lines.append)
    require_same(project.store, image.layers)


def test_nothing_of_a_step_writes_when_it_has_ended(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    image, _ = project.builder.build(project.spec, project.service(UNTIL_KILLED), project.lines.append)
    assert (project.store.tree(image.layers[-1]) / "srv" / "done").read_text() == "done\n"
    require_same(project.store, image.layers)


@pytest.mark.parametrize("place", ["/var/tmp", "/dev/shm"])
def test_names_come_in_the_order_of_an_unpacked_layer(place: str) -> None:
    with TemporaryDirectory(dir=place) as folder:
        store, upper = ImageStore(Path(folder) / "images"), Path(folder) / "upper"
        upper.mkdir()
        for name in (b"c", b"a", b"e\xff", b"b", b"d"):
            Path(os.fsdecode(os.fsencode(upper) + b"/" + name)).write_bytes(name)
        (upper / "a").unlink()
        entries = scanned(upper)
        layer = store.add_layer(entries).digest
        store.adopt(layer, entries)
        assert list(upper.iterdir()) == []
        require_same(store, [layer])


def test_what_stands_in_the_way_of_adoption_is_left_to_unpacking(tmp_path: Path) -> None:
    store, upper = ImageStore(tmp_path / "images"), tmp_path / "upper"
    (upper / "folder").mkdir(parents=True)
    (upper / "folder" / "file").write_text("x")
    entries = scanned(upper)
    layer = store.add_layer(entries).digest
    shutil.rmtree(upper)
    store.adopt(layer, entries)
    assert not store.folder(layer).exists()
    assert list(store.drafts.iterdir()) == []
    assert (store.tree(layer) / "folder" / "file").read_text() == "x"
    store.adopt(layer, entries)  # it is there: nothing is done


def test_a_secret_in_another_link_of_what_comes_out_empty_is_found(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    builder = replace(project.builder, lend=lambda _: b"a-value-that-is-long")
    step = BuildStep("cat /run/secrets/token > /etc/machine-id; ln /etc/machine-id /srv/id", secrets=("token",))
    with pytest.raises(EngineError, match="token"):
        builder.build(project.spec, project.service(step), project.lines.append)


def test_a_step_with_the_network_is_never_adopted(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    step = BuildStep("echo x > /srv/x; ls -i /srv/x", network=True)
    for one in (step, replace(step, network=False)):
        image, _ = project.builder.build(project.spec, project.service(one), project.lines.append)
        written = int(next(line for line in reversed(project.lines) if line.endswith(" /srv/x")).split()[0])
        kept = (project.store.tree(image.layers[-1]) / "srv" / "x").stat().st_ino
        assert (kept == written) is not one.network
        shutil.rmtree(project.store.root / "trees")


def test_a_socket_and_what_is_volatile_are_not_adopted(tmp_path: Path) -> None:
    store, upper = ImageStore(tmp_path / "images"), tmp_path / "upper"
    (upper / "var" / "log" / "apt").mkdir(parents=True)
    (upper / "var" / "log" / "apt" / "history.log").write_text("x")
    (upper / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(upper / "run" / "socket"))
        entries = clean(scanned(upper), is_head=False)
        layer = store.add_layer(entries).digest
        store.adopt(layer, entries)
    assert [e.path for e in scanned(store.tree(layer))] == [b"run", b"var", b"var/log", b"var/log/apt"]
    require_same(store, [layer])
