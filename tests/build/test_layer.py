"""The canonical packer: what it packs can be unpacked, and depends on nothing but what is packed."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import socket
import stat
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest
from building import need_program, need_root
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anew.build.archive import members, plain, raw_members
from anew.build.entries import Entry, scanned
from anew.build.epoch import EPOCH
from anew.build.layer import Packed, header, pack
from anew.build.listing import listed, stacked, tree_digest
from anew.build.unpack import unpack
from anew.errors import Conflict, SpecError

NAMES = st.one_of(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40).map(
        str.encode
    ),
    st.binary(min_size=1, max_size=30).filter(lambda b: b"/" not in b and b"\0" not in b),
    st.integers(95, 250).map(lambda n: b"n" * n),
).filter(lambda b: b not in (b".", b"..") and not b.startswith(b".wh.") and len(b) <= 255)
FOLDER = st.tuples(st.just("dir"), st.sampled_from([0o755, 0o700, 0o1777, 0o2775]), st.just(b""))
LEAF = st.one_of(
    st.tuples(st.just("file"), st.sampled_from([0o644, 0o600, 0o755, 0o4755, 0o444]), st.binary(max_size=2000)),
    st.tuples(st.just("symlink"), st.just(0o777), NAMES.map(lambda b: b"../" + b)),
    st.tuples(st.just("fifo"), st.just(0o644), st.just(b"")),
)
TREES = st.recursive(
    st.dictionaries(NAMES, LEAF, max_size=5),
    lambda inner: st.dictionaries(NAMES, st.one_of(LEAF, inner), max_size=5),
    max_leaves=20,
)
Tree = dict[bytes, Any]  # name → (kind, mode, data), or the tree below
RANDOM = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def packed(entries: tuple[Entry, ...]) -> tuple[bytes, Packed]:
    file = io.BytesIO()
    result = pack(entries, file)
    return file.getvalue(), result


def as_entries(tree: Tree, below: bytes = b"") -> list[Entry]:
    out = []
    for name, value in tree.items():
        path = below + name
        if isinstance(value, dict):
            out.append(Entry(path=path, kind="dir", mode=0o755))
            out += as_entries(value, path + b"/")
            continue
        kind, mode, data = value
        is_file = kind == "file"
        out.append(
            Entry(
                path=path,
                kind=kind,
                mode=mode,
                size=len(data) if is_file else 0,
                content=data if is_file else None,
                link=data if kind == "symlink" else b"",
            )
        )
    return out


@RANDOM
@given(TREES)
def test_what_is_packed_and_unpacked_packs_to_the_same_bytes(tmp_path: Path, tree: Tree) -> None:
    work = tmp_path / os.urandom(8).hex()
    work.mkdir()
    entries = tuple(as_entries(tree))
    data, first = packed(entries)
    (work / "layer").write_bytes(data)
    (work / "tree").mkdir()
    unpack(work / "layer", work / "tree")
    again, second = packed(scanned(work / "tree"))
    if os.geteuid() == 0:
        assert again == data
        assert second == first
    assert listed(work / "layer") == first.nodes
    assert first.digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert packed(entries[::-1])[0] == data, "the order in which entries come does not matter"


@RANDOM
@given(TREES)
def test_other_programs_read_the_same(tmp_path: Path, tree: Tree) -> None:
    data, first = packed(tuple(as_entries(tree)))
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as tar:
        seen = {m.name.encode("utf-8", "surrogateescape"): m for m in tar}
        for entry in as_entries(tree):
            member = seen.pop(entry.path)
            assert member.mode == entry.mode
            assert (member.mtime, member.uid, member.uname) == (EPOCH, 0, "")
            if entry.kind == "file":
                file = tar.extractfile(member)
                assert file is not None
                assert file.read() == entry.content
    assert not seen
    # The same archive, read as any archive is and packed again, is the same.
    (tmp_path / "any.tar").write_bytes(data)
    assert packed(members(tmp_path / "any.tar", "here"))[0] == data
    assert first.size == len(data)


def test_the_bytes_are_these() -> None:
    entry = Entry(path=b"etc", kind="dir", mode=0o755, mtime=EPOCH + 99)
    file = Entry(path=b"etc/caf\xc3\xa9", kind="file", mode=0o640, uid=3, gid=2**22, size=2, content=b"hi", mtime=5)
    data, result = packed((file, entry))
    assert data[:512] == header(entry)
    assert data[:8] == b"etc/\0\0\0\0"
    assert result.digest == "sha256:3891df73c622274dffeb5965b69c01d291dad119ed63839a9c6d56ca3440dcaa"


def test_hard_links_point_to_the_first_path(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"same")
    os.link(tmp_path / "b", tmp_path / "a")
    os.link(tmp_path / "b", tmp_path / "c")
    entries = scanned(tmp_path)
    assert [(e.path, e.kind, e.link) for e in entries] == [
        (b"a", "file", b""),
        (b"b", "hardlink", b"a"),
        (b"c", "hardlink", b"a"),
    ]
    data, result = packed(entries)
    layer, tree = tmp_path / "layer", tmp_path / "tree"
    layer.write_bytes(data)
    tree.mkdir()
    unpack(layer, tree)
    assert (tree / "a").stat().st_ino == (tree / "c").stat().st_ino
    assert len({n.content for n in result.nodes}) == 1


def test_hard_links_of_any_archive_come_out_as_a_scan_has_them(tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "z").write_bytes(b"same")
    os.link(folder / "z", folder / "a")
    with tarfile.open(tmp_path / "t.tar", "w") as tar:  # z comes first, and a links to it
        tar.add(folder / "z", "./z")
        tar.add(folder / "a", "./a")
    from_archive = members(tmp_path / "t.tar", "here")
    assert [(e.path, e.kind, e.link) for e in from_archive] == [(b"a", "file", b""), (b"z", "hardlink", b"a")]
    assert packed(from_archive)[0] == packed(scanned(folder))[0]


@pytest.mark.parametrize(
    "name", ["x" * 99, "x" * 100, "x" * 101, "ü" * 51, "x" * 98 + "/y", "x" * 120 + "/" + "y" * 200]
)
def test_names_of_any_length_survive(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"1")
    (tmp_path / "link").symlink_to(name)
    data, _ = packed(scanned(tmp_path))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getmember(name).size == 1
        assert tar.getmember("link").linkname == name


def test_attributes_are_kept_and_noise_is_not(tmp_path: Path) -> None:
    need_root()
    need_program("setcap")
    tool = tmp_path / "tool"
    tool.write_bytes(b"x")
    subprocess.run(["setcap", "cap_net_bind_service=ep", tool], check=True)
    os.setxattr(tool, "user.mark", b"\x00\xff=\n")
    os.setxattr(tool, "user.overlay.impure", b"y")
    (entry,) = scanned(tmp_path)
    assert [name for name, _ in entry.xattrs] == ["security.capability", "user.mark"]
    layer, tree = tmp_path / "layer", tmp_path / "tree"
    layer.write_bytes(packed((entry,))[0])
    tree.mkdir()
    unpack(layer, tree)
    assert os.getxattr(tree / "tool", "user.mark") == b"\x00\xff=\n"
    told = subprocess.run(["getcap", tree / "tool"], check=True, capture_output=True, text=True).stdout
    assert told.strip().endswith("cap_net_bind_service=ep")


def test_whiteouts_and_opaque_folders_are_translated_both_ways(tmp_path: Path) -> None:
    upper = tmp_path / "upper"
    (upper / "dir").mkdir(parents=True)
    os.mknod(upper / "dir" / "gone", stat.S_IFCHR, os.makedev(0, 0))
    (upper / "fresh").mkdir()
    (upper / "fresh" / "new").write_bytes(b"")
    os.setxattr(upper / "fresh", "user.overlay.opaque", b"y")
    entries = scanned(upper)
    assert [e.path for e in entries] == [b"dir", b"dir/.wh.gone", b"fresh", b"fresh/.wh..wh..opq", b"fresh/new"]
    data, result = packed(entries)
    layer, tree = tmp_path / "layer", tmp_path / "tree"
    layer.write_bytes(data)
    tree.mkdir()
    unpack(layer, tree)
    assert os.getxattr(tree / "fresh", "user.overlay.opaque") == b"y"
    gone = (tree / "dir" / "gone").lstat()
    assert stat.S_ISCHR(gone.st_mode)
    assert gone.st_rdev == 0
    assert packed(scanned(tree))[0] == data
    below = packed(
        tuple(
            Entry(path=p, kind="dir" if p in (b"dir", b"fresh") else "file", content=b"")
            for p in (b"dir", b"dir/gone", b"dir/stays", b"fresh", b"fresh/old")
        )
    )[1]
    assert sorted(stacked([below.nodes, result.nodes])) == ["dir", "dir/stays", "fresh", "fresh/new"]


def test_sockets_are_left_out(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "s"))
        assert scanned(tmp_path) == ()


def test_a_name_that_means_removal_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".wh.x").write_bytes(b"")
    with pytest.raises(SpecError, match=r"\.wh\.x"):
        scanned(tmp_path)


def test_times_and_other_owners_names_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    os.utime(tmp_path / "f", (2_000_000_000, 2_000_000_000))
    one = packed(scanned(tmp_path))[0]
    os.utime(tmp_path / "f", (2_000_009_999, 2_000_009_999.5))
    assert packed(scanned(tmp_path))[0] == one


def test_a_tree_digest_sees_modes_and_contents_but_no_times(tmp_path: Path) -> None:
    def tree() -> str:
        return tree_digest(packed(scanned(tmp_path))[1].nodes)

    (tmp_path / "f").write_bytes(b"x")
    (tmp_path / "f").chmod(0o644)
    first = tree()
    os.utime(tmp_path / "f", (1, 1))
    assert tree() == first
    (tmp_path / "f").chmod(0o600)
    changed = tree()
    assert changed != first
    (tmp_path / "f").write_bytes(b"y")
    assert tree() not in (first, changed)


def test_a_file_that_shrinks_while_it_is_packed_is_a_conflict(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"long")
    entries = scanned(tmp_path)
    (tmp_path / "f").write_bytes(b"s")
    with pytest.raises(Conflict, match="changed while"):
        packed(entries)


def test_a_file_that_changes_between_reading_and_packing_is_a_conflict(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"new!")
    was = hashlib.sha256(b"old!").hexdigest()
    entry = Entry(path=b"f", kind="file", size=4, content=tmp_path / "f", expected=was)
    with pytest.raises(Conflict, match="changed while"):
        packed((entry,))


def test_a_layer_that_leads_out_of_itself_is_never_unpacked(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    link = Entry(path=b"out", kind="symlink", link=str(tmp_path).encode())
    data, _ = packed((link, Entry(path=b"out/file", kind="file", content=b"")))
    (tmp_path / "layer").write_bytes(data)
    with pytest.raises(Conflict, match="out of place"):
        unpack(tmp_path / "layer", tmp_path / "tree")
    assert not (tmp_path / "file").exists()


def archive(path: Path, *infos: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as tar:
        for info in infos:
            tar.addfile(info)
    return path


def info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    one = tarfile.TarInfo(name)
    one.type, one.linkname = kind, link
    return one


@pytest.mark.parametrize(
    ("infos", "what"),
    [
        ([info("../evil")], "leads out"),
        ([info("a", tarfile.LNKTYPE, "../../etc/passwd")], "leads out"),
        ([info("a", tarfile.LNKTYPE, "b")], "hard link"),
        ([info("a", tarfile.LNKTYPE, "b"), info("b", tarfile.LNKTYPE, "a")], "hard link"),
        (
            [info("a", tarfile.LNKTYPE, "b"), info("b", tarfile.LNKTYPE, "c"), info("c", tarfile.LNKTYPE, "b")],
            "hard link",
        ),
        ([info("a", tarfile.SYMTYPE, "/etc"), info("a/passwd")], "lies below"),
        ([info("d/.wh.x")], "marks a removal"),
    ],
)
def test_archives_that_are_no_root_file_system_are_refused(
    tmp_path: Path, infos: list[tarfile.TarInfo], what: str
) -> None:
    with pytest.raises(SpecError, match=what) as caught:
        members(archive(tmp_path / "t.tar", *infos), "anew.yaml os.base.tar")
    assert caught.value.where == "anew.yaml os.base.tar"
    assert caught.value.hint


def test_absolute_names_and_missing_folders_are_made_good(tmp_path: Path) -> None:
    found = members(archive(tmp_path / "t.tar", info("/usr/bin/x"), info("./usr/bin/y")), "here")
    assert [(e.path, e.kind) for e in found] == [
        (b"usr", "dir"),
        (b"usr/bin", "dir"),
        (b"usr/bin/x", "file"),
        (b"usr/bin/y", "file"),
    ]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_compressed_archives_are_read(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "t"
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        tar.addfile(info("x"))
    assert [e.path for e in members(plain(path, tmp_path, "here"), "here")] == [b"x"]


@pytest.mark.parametrize(
    "data", [b"\x1f\x8bnonsense", b"\xfd7zXZ\0no", b"BZhno", b"no archive at all" * 99, b"\x28\xb5\x2f\xfdx"]
)
def test_damaged_archives_are_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "t.tar").write_bytes(data)
    with pytest.raises(SpecError, match=r"t\.tar") as caught:
        members(plain(tmp_path / "t.tar", tmp_path, "here"), "here")
    assert caught.value.hint


def test_an_archive_that_is_damaged_or_cut_anywhere_is_never_taken_for_a_shorter_one(tmp_path: Path) -> None:
    path = archive(tmp_path / "t.tar", *(info(f"f{number}") for number in range(4)))
    whole = path.read_bytes()
    for damaged in (
        whole[:1024] + b"X" + whole[1025:],  # a byte of a header
        whole[: 1024 + 100],  # cut in a header
        whole[:1024] + b"no header at all" * 32 + whole[1536:],
    ):
        path.write_bytes(damaged)
        with pytest.raises(SpecError, match="byte 1024 is neither a member nor the end") as caught:
            members(path, "here")
        assert caught.value.hint
        with pytest.raises(SpecError, match="byte 1024"):
            tuple(raw_members(path, "here"))
        (tmp_path / "tree").mkdir(exist_ok=True)
        with pytest.raises(Conflict, match="byte 1024"):
            unpack(path, tmp_path / "tree")
        shutil.rmtree(tmp_path / "tree")


@pytest.mark.parametrize("end", [b"", bytes(512), bytes(700), bytes(1024), bytes(512) + b"whatever" * 64])
def test_an_archive_may_end_as_tools_let_it_end(tmp_path: Path, end: bytes) -> None:
    path = archive(tmp_path / "t.tar", info("a"), info("b"))
    path.write_bytes(path.read_bytes()[:1024] + end)
    assert [one.path for one in members(path, "here")] == [b"a", b"b"]


@pytest.mark.parametrize(
    "records",
    [
        {"mtime": "nan"},
        {"mtime": "inf"},
        {"uid": "99999999999"},
        {"uid": "-5"},
        {"gid": "4294967295"},
        {"path": "a\0b"},
        {"size": "-1024"},
        {"size": "9" * 30},
        {"SCHILY.xattr.user.a\0b": "x"},
    ],
)
def test_members_that_no_file_can_be_are_refused(tmp_path: Path, records: dict[str, str]) -> None:
    one = info("f")
    one.pax_headers = records
    with tarfile.open(tmp_path / "t.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info("first"))
        tar.addfile(one)
        tar.addfile(info("last"))
    with pytest.raises(SpecError) as caught:
        members(tmp_path / "t.tar", "here")
    assert caught.value.hint
    with pytest.raises(SpecError):
        tuple(raw_members(tmp_path / "t.tar", "here"))


@pytest.mark.parametrize("name", [b".wh.", b".wh..", b".wh...", b"d/.wh..."])
def test_a_removal_of_no_name_is_never_unpacked(tmp_path: Path, name: bytes) -> None:
    data, _ = packed((Entry(path=b"d", kind="dir"), Entry(path=name, kind="file", content=b"")))
    (tmp_path / "layer").write_bytes(data)
    (tmp_path / "tree").mkdir()
    with pytest.raises(Conflict, match="removes what is no name"):
        unpack(tmp_path / "layer", tmp_path / "tree")


def test_an_attribute_that_an_archive_would_cut_is_refused() -> None:
    with pytest.raises(SpecError, match=r"user\.a=b") as caught:
        header(Entry(path=b"f", kind="file", content=b"", xattrs=(("user.a=b", b"x"),)))
    assert caught.value.hint


def test_an_ordinary_user_unpacks_attributes_of_what_may_not_be_written_to() -> None:
    need_root()
    marked = (("user.mark", b"x"),)
    data, _ = packed(
        (
            Entry(path=b"d", kind="dir", mode=0o555, xattrs=marked),
            Entry(path=b"d/f", kind="file", mode=0o444, content=b"", xattrs=marked),
        )
    )
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:  # a user may not enter the folders of pytest's
        folder = Path(place)
        (folder / "layer").write_bytes(data)
        (folder / "tree").mkdir()
        for one in (folder, folder / "tree"):
            os.chown(one, 65534, 65534)
        os.seteuid(65534)
        try:
            unpack(folder / "layer", folder / "tree")
        finally:
            os.seteuid(0)
        found = scanned(folder / "tree")
    assert [(one.path, one.mode, one.xattrs) for one in found] == [(b"d", 0o555, marked), (b"d/f", 0o444, marked)]


def test_an_attributes_name_need_not_be_text(tmp_path: Path) -> None:
    entry = Entry(path=b"f", kind="file", content=b"", xattrs=((os.fsdecode(b"user.\xff"), b"x"),))
    (tmp_path / "layer").write_bytes(packed((entry,))[0])
    (tmp_path / "tree").mkdir()
    unpack(tmp_path / "layer", tmp_path / "tree")
    assert scanned(tmp_path / "tree")[0].xattrs == entry.xattrs


def test_a_hard_link_to_what_is_no_file_of_its_layer_is_never_unpacked(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("a secret")
    link = Entry(path=b"s", kind="symlink", link=os.fsencode(tmp_path))
    for target in (b"s/outside", b"outside", b"z"):
        data, _ = packed(
            (link, Entry(path=b"x", kind="hardlink", link=target), Entry(path=b"z", kind="file", content=b""))
        )
        (tmp_path / "layer").write_bytes(data)
        (tmp_path / "tree").mkdir(exist_ok=True)
        with pytest.raises(Conflict, match="no file of it"):
            unpack(tmp_path / "layer", tmp_path / "tree")
        assert not (tmp_path / "tree" / "x").exists()
        shutil.rmtree(tmp_path / "tree")
