"""What somebody changed in a tree that instances run from: whatever it is, it is found, and nothing else is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from building import need_root

from anew.build.entries import OPAQUE, OPAQUE_ATTRIBUTE, WHITEOUT, Entry
from anew.build.examining import wrong_in_tree
from anew.build.store import ImageStore

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")


def entries() -> list[Entry]:
    def file(path: str, mode: int = 0o644, uid: int = 0, **more: object) -> Entry:
        return Entry(path=path.encode(), kind="file", mode=mode, uid=uid, gid=uid, size=2, content=b"x\n", **more)  # type: ignore[arg-type]

    return [
        Entry(path=b"bin", kind="dir", mode=0o755),
        file("bin/capable", 0o755, xattrs=(("security.capability", CAPABILITY),)),
        file("bin/plain", 0o755),
        file("bin/su", 0o4755),
        Entry(path=b"bin/too", kind="hardlink", mode=0o600, uid=7, link=b"bin/plain"),
        Entry(path=b"dev", kind="dir", mode=0o755),
        Entry(path=b"dev/null", kind="char", mode=0o666, device=(1, 3)),
        Entry(path=b"link", kind="symlink", mode=0o777, link=b"bin/plain"),
        Entry(path=b"pipe", kind="fifo", mode=0o600),
        Entry(path=b"tmp", kind="dir", mode=0o1777),
        Entry(path=b"var", kind="dir", mode=0o755),
        Entry(path=b"var/" + OPAQUE, kind="file", content=b""),
        Entry(path=b"var/" + WHITEOUT + b"gone", kind="file", content=b""),
        file("var/mine", 0o640, 33),
    ]


@pytest.fixture
def laid(tmp_path: Path) -> tuple[ImageStore, str, Path]:
    need_root()
    store = ImageStore(tmp_path)
    layer = store.add_layer(entries()).digest
    return store, layer, store.tree(layer)


def wrong(laid: tuple[ImageStore, str, Path]) -> list[str]:
    store, layer, _ = laid
    return [one.removesuffix(f" the tree of layer {layer[7:19]}") for one in wrong_in_tree(store, layer)]


def relink(path: Path, to: str) -> None:
    path.unlink()
    path.symlink_to(to)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


CHANGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "nothing": (lambda _: None, []),
    "set uid": (
        lambda top: (top / "bin" / "plain").chmod(0o4755),
        [f"/bin/{name} has the mode 4755, and not 755, in" for name in ("plain", "too")],
    ),
    "open to all": (lambda top: (top / "tmp").chmod(0o777), ["/tmp has the mode 777, and not 1777, in"]),
    "the root itself": (lambda top: top.chmod(0o777), ["/ has the mode 777, and not 755, in"]),
    "a mode of a pipe": (lambda top: (top / "pipe").chmod(0o666), ["/pipe has the mode 666, and not 600, in"]),
    "an owner": (lambda top: os.chown(top / "var" / "mine", 0, 33), ["/var/mine belongs to 0:33 in"]),
    "the owner of a link": (
        lambda top: os.chown(top / "link", 5, 0, follow_symlinks=False),
        ["/link belongs to 5:0 in"],
    ),
    "the target of a link": (lambda top: relink(top / "link", "bin/su"), ["/link was changed in"]),
    "an empty folder": (lambda top: (top / "var" / "new").mkdir(), ["/var/new was put into"]),
    "a capability": (
        lambda top: os.setxattr(top / "bin" / "su", "security.capability", CAPABILITY),
        ["/bin/su has other extended attributes in"],
    ),
    "a mark that a path is gone": (
        lambda top: os.mknod(top / "bin" / "sh", 0o20000, os.makedev(0, 0)),
        ["/bin/sh was put into"],
    ),
    "no mark any more": (lambda top: (top / "var" / "gone").unlink(), ["/var/gone is gone from"]),
    "no opaque folder any more": (
        lambda top: os.removexattr(top / "var", OPAQUE_ATTRIBUTE),
        ["/var has other extended attributes in"],
    ),
    "another opaque folder": (
        lambda top: os.setxattr(top / "bin", OPAQUE_ATTRIBUTE, b"y"),
        ["/bin has other extended attributes in"],
    ),
    "a folder in place of a pipe": (
        lambda top: replace_by_folder(top / "pipe"),
        ["/pipe was changed in"],
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_changed_in_a_tree_is_found_and_nothing_else(name: str, laid: tuple[ImageStore, str, Path]) -> None:
    change, told = CHANGES[name]
    change(laid[2])
    assert wrong(laid) == told


def test_the_tree_of_an_ordinary_user_is_all_that_users(laid: tuple[ImageStore, str, Path]) -> None:
    top = laid[2]
    (top / "dev" / "null").unlink()  # as that user would have unpacked it
    os.removexattr(top / "bin" / "capable", "security.capability")
    everything = [top, *top.rglob("*")]
    modes = {path: path.lstat().st_mode & 0o7777 for path in everything}
    for path in everything:
        os.chown(path, 1000, 1000, follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(modes[path])  # a change of owner takes the right to be another one away
    assert wrong(laid) == []
    os.chown(top / "var" / "mine", 33, 33)
    os.setxattr(top / "bin" / "plain", "security.capability", CAPABILITY)
    (top / "bin" / "su").chmod(0o755)
    assert wrong(laid) == [
        "/bin/plain has other extended attributes in",
        "/bin/su has the mode 755, and not 4755, in",
        "/bin/too has other extended attributes in",
        "/var/mine belongs to 33:33 in",
    ]
