"""Any tar archive, read as entries: so that it can be packed again canonically without being unpacked."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from anew.build.drafts import disk_errors
from anew.build.entries import WHITEOUT, Entry, Kind, Region, is_kept
from anew.build.epoch import EPOCH
from anew.errors import Conflict, SpecError
from anew.model import CHUNK

_XATTR = "SCHILY.xattr."
_ZSTD = b"\x28\xb5\x2f\xfd"
_BLOCK = 512
_OWNER = 2**32 - 2  # the largest that Linux has; one more means "as it is"
_DEVICE = 2**20 - 1
# The reader says with the others that a number is none, or leads far beyond the file.
_DAMAGES = (tarfile.TarError, ValueError, OverflowError)
_OF_NOTHING = frozenset({WHITEOUT, WHITEOUT + b".", WHITEOUT + b".."})
_KINDS: MappingProxyType[bytes, Kind] = MappingProxyType(
    {
        tarfile.REGTYPE: "file",
        tarfile.AREGTYPE: "file",
        tarfile.CONTTYPE: "file",
        tarfile.LNKTYPE: "hardlink",
        tarfile.SYMTYPE: "symlink",
        tarfile.CHRTYPE: "char",
        tarfile.BLKTYPE: "block",
        tarfile.DIRTYPE: "dir",
        tarfile.FIFOTYPE: "fifo",
    }
)


def plain(archive: Path, folder: Path, where: str) -> Path:
    """Return the uncompressed archive: itself, or a copy made in `folder`.

    Raises  SpecError at `where` if it is damaged or compressed in a way that isn't known.
    """
    with archive.open("rb") as file:
        magic = file.read(6)
    if magic.startswith(_ZSTD):
        raise SpecError(
            f"{archive.name} is compressed with zstd, which can't be read here",
            where=where,
            hint=f"unpack it with `zstd -d {archive.name}` and name the result",
        )
    opener = _opener(magic)
    if opener is None:
        return archive
    target = folder / "plain.tar"
    try:
        with disk_errors(folder), opener(archive) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out, CHUNK)
    except (EOFError, lzma.LZMAError, zlib.error, OSError) as e:
        # A reader of compressed files says with an OSError without number that the data is damaged.
        if isinstance(e, OSError) and e.errno is not None:
            raise
        raise SpecError(f"{archive.name} is damaged: {e}", where=where, hint="make the archive again") from e
    return target


def _opener(magic: bytes) -> type[gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile] | None:
    if magic.startswith(b"\x1f\x8b"):
        return gzip.GzipFile
    if magic.startswith(b"BZh"):
        return bz2.BZ2File
    return lzma.LZMAFile if magic.startswith(b"\xfd7zXZ") else None


def layer_members(layer: Path) -> Iterator[Entry]:
    """Yield the entries of a canonical layer, in its order, whiteouts included.

    Raises  Conflict if a path does not lie in a folder that the layer itself has, a hard link leads to what is no
            file of it, or a removal is of no name: no layer that anew packed is like that; or if it is damaged.
    """
    folders, others = {b""}, set[bytes]()
    try:
        for entry in _walked(layer, str(layer)):
            folder, _, name = entry.path.rpartition(b"/")
            if entry.path in folders or folder not in folders:
                raise _odd(layer, entry, "is out of place")
            if entry.kind == "hardlink" and entry.link not in others:
                raise _odd(layer, entry, "links to what is no file of it")
            if name in _OF_NOTHING:
                raise _odd(layer, entry, "removes what is no name")
            if entry.kind == "dir":
                folders.add(entry.path)
            elif entry.kind != "hardlink":
                others.add(entry.path)
            yield entry
    except _DAMAGES as e:
        raise Conflict(f"layer {layer.name} is not a readable tar archive: {e}", where=str(layer)) from e


def _odd(layer: Path, entry: Entry, why: str) -> Conflict:
    return Conflict(f"layer {layer.name}: {entry.path.decode(errors='replace')!r} {why}", where=str(layer))


def members(archive: Path, where: str) -> tuple[Entry, ...]:
    """Return the entries of an uncompressed tar archive, sorted; contents stay in the archive.

    The last of several members with one path counts; folders that are only implied are added; hard links point to
    the first path of their file. Owners' names, and times after the epoch, are dropped.
    Raises  SpecError at `where` if it is no archive, or if a path or link leads out of it.
    """
    found: dict[bytes, Entry] = {}
    try:
        for entry in _walked(archive, where):
            if entry.path.rpartition(b"/")[2].startswith(WHITEOUT):
                raise _unwanted(entry, where)
            if entry.path:
                found[entry.path] = entry
    except _DAMAGES as e:
        raise SpecError(f"{archive.name} is not a readable tar archive: {e}", where=where, hint="make it again") from e
    add_folders(found, where)
    return tuple(sorted(_linked(found, where), key=lambda e: e.path))


def raw_members(archive: Path, where: str) -> Iterator[Entry]:
    """Yield the entries of an uncompressed layer of any maker as they come, marks of removals too; the root as b"".

    Raises  SpecError as `members`.
    """
    try:
        yield from _walked(archive, where)
    except _DAMAGES as e:
        raise SpecError(f"a layer is not a readable tar archive: {e}", where=where, hint="choose another image") from e


def _walked(archive: Path, where: str) -> Iterator[Entry]:
    """Yield the entries of an uncompressed archive as they come; the root as b"".

    Raises  one of `_DAMAGES` if it can't be read to its end; SpecError for what no image can hold.
    """
    with tarfile.open(archive, "r:", encoding="utf-8", errors="surrogateescape") as tar:
        for member in tar:
            yield _entry(member, archive, where)
        # A header that can't be read is the end to that reader. Some tools write no zeros there, but nothing else.
        with archive.open("rb") as file:
            file.seek(tar.offset)
            if any(file.read(_BLOCK)):
                raise tarfile.ReadError(f"what is at byte {tar.offset} is neither a member nor the end")


def _unwanted(entry: Entry, where: str) -> SpecError:
    name = entry.path.decode(errors="replace")
    return SpecError(f"{name!r} marks a removal, but nothing is below a head", where=where, hint="leave it out")


def _require_possible(member: tarfile.TarInfo, where: str) -> None:
    """Raise SpecError at `where` for numbers and names that no file can have."""
    device = (member.devmajor, member.devminor) if member.type in (tarfile.CHRTYPE, tarfile.BLKTYPE) else (0, 0)
    if (
        member.size < 0
        or not 0 <= member.uid <= _OWNER
        or not 0 <= member.gid <= _OWNER
        or not 0 <= min(device) <= max(device) <= _DEVICE
        or "\0" in member.name
        or "\0" in member.linkname
        or any("\0" in key for key in member.pax_headers)
    ):
        raise SpecError(
            f"{member.name!r} has a name, size, owner or device number that no file can have",
            where=where,
            hint="the archive is damaged, or made to mislead; make it again",
        )


def _entry(member: tarfile.TarInfo, archive: Path, where: str) -> Entry:
    _require_possible(member, where)
    path = _clean(member.name, where)
    kind = _KINDS.get(member.type)
    if kind is None or member.sparse is not None:
        raise SpecError(
            f"{member.name!r} is of a type that an image can't hold (sparse, or unknown to this reader)",
            where=where,
            hint="make the archive without --sparse, of files, folders, links and devices only",
        )
    link = member.linkname.encode("utf-8", "surrogateescape")
    return Entry(
        path=path,
        kind=kind,
        mode=member.mode & 0o7777,
        uid=member.uid,
        gid=member.gid,
        mtime=min(int(member.mtime), EPOCH),
        size=member.size if kind == "file" else 0,
        link=_clean(member.linkname, where) if kind == "hardlink" else link if kind == "symlink" else b"",
        device=(member.devmajor, member.devminor) if kind in ("char", "block") else (0, 0),
        xattrs=_xattrs(member),
        content=Region(archive, member.offset_data, member.size) if kind == "file" else None,
    )


def _clean(name: str, where: str) -> bytes:
    parts = [p for p in name.split("/") if p not in ("", ".")]
    if ".." in parts:
        raise SpecError(f"{name!r} leads out of the archive", where=where, hint="make it again without `..`")
    return "/".join(parts).encode("utf-8", "surrogateescape")


def _xattrs(member: tarfile.TarInfo) -> tuple[tuple[str, bytes], ...]:
    found = {
        key.removeprefix(_XATTR): value.encode("utf-8", "surrogateescape")
        for key, value in member.pax_headers.items()
        if key.startswith(_XATTR)
    }
    return tuple((name, found[name]) for name in sorted(found) if is_kept(name))


def add_folders(found: dict[bytes, Entry], where: str) -> None:
    """Add the folders that are only implied. Raises SpecError at `where` if something lies below what is none."""
    for path in list(found):
        parent = path.rpartition(b"/")[0]
        while parent:
            above = found.setdefault(parent, Entry(path=parent, kind="dir", mode=0o755))
            if above.kind != "dir":
                raise SpecError(
                    f"{path.decode(errors='replace')!r} lies below a {above.kind}, which can't hold anything",
                    where=where,
                    hint="make the archive again from a real root file system",
                )
            parent = parent.rpartition(b"/")[0]


def _linked(found: dict[bytes, Entry], where: str) -> Iterable[Entry]:
    """Yield all entries; of each set of hard links, the first path is the file and the others point to it."""
    first: dict[bytes, bytes] = {}
    for path in sorted(found):
        real, passed = path, {path}
        while found[real].kind == "hardlink":
            real = found[real].link
            if real not in found or real in passed:
                raise SpecError(
                    f"{path.decode(errors='replace')!r} is a hard link to something that the archive does not have",
                    where=where,
                    hint="make the archive again with everything that is linked",
                )
            passed.add(real)
        if found[real].kind != "file":
            yield replace(found[real], path=path)
            continue
        keeper = first.setdefault(real, path)
        file = found[real]
        yield (
            replace(file, path=path)
            if keeper == path
            else replace(file, path=path, kind="hardlink", link=keeper, size=0, content=None)
        )
