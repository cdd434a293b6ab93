"""What `copy` brings into an image: files of the project, normalised, so that the checkout does not matter.

A file's mode becomes 0755 if its owner may execute it, else 0644; folders 0755; owner 0:0; time the epoch. Symbolic
links stay links. `.anewignore` has the syntax of gitignore; version control's own folder, compiled Python files, and
anew's files are left out unless it says otherwise.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from anew.build.entries import WHITEOUT, Entry
from anew.build.filecache import FileDigests
from anew.build.listing import Lookup, resolved
from anew.core.digest import digest
from anew.errors import SpecError
from anew.model import Copy, Digest, Service

if TYPE_CHECKING:
    Ignored = Callable[[str], bool]  # of a path relative to the project, a folder's with a slash at its end

IGNORE_FILE = ".anewignore"
_WHITEOUT = WHITEOUT.decode()
_FOLDERS = frozenset({".git", "__pycache__"})
_FILES = frozenset({IGNORE_FILE, "anew.lock"})  # of the project's own folder
_ALWAYS = (*sorted(f"{name}/" for name in _FOLDERS), *sorted(f"/{name}" for name in _FILES))


@dataclass(frozen=True, slots=True)
class Item:
    """One path that is copied; `target` is relative to the image's root, as written in the spec."""

    target: str
    kind: Literal["file", "dir", "symlink"]
    mode: int = 0o755
    source: str = ""
    size: int = 0
    content: str = ""  # a file's SHA-256, a symlink's text


@dataclass(frozen=True, slots=True)
class Context:
    """Everything that a service copies, sorted by target, and its digest."""

    items: tuple[Item, ...]
    digest: Digest


def gather(project: Path, service: Service, digests: FileDigests) -> Context:
    """Read what `service` copies from the project's folder.

    Raises  SpecError for a source that is missing, ignored, outside the project, or of a kind that an image can't
            hold, and for a symbolic link that leads out of the project.
    """
    reader = Reader(project, digests)
    items: dict[str, Item] = {}
    for copy in service.copy:
        where = f"anew.yaml services.{service.name}.copy.{copy.source}"
        items.update((item.target, item) for item in reader.read(copy, where))
    digests.save()
    check_parents(items, f"anew.yaml services.{service.name}.copy")
    ordered = tuple(items[target] for target in sorted(items))
    return Context(ordered, digest([[i.target, i.kind, i.mode, i.content] for i in ordered]))


def collected(project: Path, paths: Sequence[str], where: str, digests: FileDigests) -> Context:
    """Read files and folders that a build step is given: each keeps its path in the project. Raises as `gather`."""
    if not paths:
        return Context((), digest([]))
    reader = Reader(Path(os.path.realpath(project)), digests)
    items: dict[str, Item] = {}
    for path in paths:
        target = "" if posixpath.normpath(path) == "." else posixpath.normpath(path)
        source = f"{target or '.'}/" if path.endswith("/") else target or "."
        items.update((one.target, one) for one in reader.read(Copy(source, f"/{target}"), where))
    ordered = tuple(items[target] for target in sorted(items))
    return Context(ordered, digest([[i.target, i.kind, i.mode, i.content] for i in ordered]))


def check_parents(items: Mapping[str, Item], where: str) -> None:
    """Raise SpecError at `where` if something would lie in what is no folder."""
    for target in items:
        parent = target.rpartition("/")[0]
        while parent:
            above = items.get(parent)
            if above is not None and above.kind != "dir":
                raise SpecError(
                    f"/{parent} is copied as a {above.kind}, and /{target} would lie in it",
                    where=where,
                    hint="choose another target for one of the two",
                )
            parent = parent.rpartition("/")[0]


class Reader:
    """Reads sources of one project."""

    def __init__(self, project: Path, digests: FileDigests) -> None:
        self._project = os.path.realpath(project)
        self._digests = digests
        self._ignored = _ignored(Path(self._project))

    def read(self, copy: Copy, where: str) -> Iterator[Item]:
        """Yield all that an entry of `copy` brings in."""
        source, target = self.place(copy, where)
        for name in target.split("/"):
            _check_name(name, os.fspath(source), where)
        if not source.is_dir():
            try:
                yield self._item(os.fspath(source), source.stat(), target, where)
            except FileNotFoundError as e:
                raise self._missing(copy, where) from e
            return
        yield from self._folder(os.fspath(source), target, where)

    def place(self, copy: Copy, where: str) -> tuple[Path, str]:
        """Return what is copied, a file or a folder, and where it goes, relative to the image's root."""
        source = self._source(copy, where)
        relative = os.path.relpath(source, self._project)
        is_folder = source.is_dir()
        if relative != "." and self.is_ignored(relative, is_folder=is_folder):
            raise SpecError(
                f"{copy.source} is left out by {IGNORE_FILE} (or by default)",
                where=where,
                hint=f"add a line `!{copy.source}` to {IGNORE_FILE}, or don't copy it",
            )
        target = copy.target.strip("/")
        if copy.target.endswith("/") and not (is_folder and (copy.source.endswith("/") or relative == ".")):
            target = f"{target}/{source.name}" if target else source.name
        if not is_folder and copy.source.endswith("/"):
            raise SpecError(f"{copy.source} is a file, not a folder", where=where, hint="leave the slash out")
        return source, target

    def _source(self, copy: Copy, where: str) -> Path:
        """Return the real path of a source, having checked that it is there and inside the project."""
        written = os.path.normpath(os.path.join(self._project, copy.source))  # noqa: PTH118 - `/` would hide `..`
        real = os.path.realpath(written)
        if Path(copy.source).is_absolute() or not all(self._is_inside(one) for one in (written, real)):
            raise SpecError(
                f"{copy.source} is outside the project",
                where=where,
                hint="copy it into the project's folder first; only what lies there can be part of an image",
            )
        if not os.path.lexists(real):
            raise self._missing(copy, where)
        return Path(real)

    def _missing(self, copy: Copy, where: str) -> SpecError:
        hint = f"create it, or correct the path (in {self._project})"
        return SpecError(f"{copy.source} does not exist", where=where, hint=hint)

    def _is_inside(self, path: str) -> bool:
        return path == self._project or path.startswith(self._project + os.sep)

    def _folder(self, folder: str, target: str, where: str) -> Iterator[Item]:
        """Yield a folder and all that is in it, but for what goes away meanwhile: it is some program's own."""
        try:
            with os.scandir(folder) as found:
                names = sorted(found, key=lambda e: e.name)
        except PermissionError as e:
            raise _unreadable(folder, where) from e
        except FileNotFoundError:
            return
        if target:
            yield Item(target, "dir")
        for one in names:
            is_folder = one.is_dir(follow_symlinks=False)
            if self.is_ignored(one.path[len(self._project) + 1 :], is_folder=is_folder):
                continue
            inside = f"{target}/{one.name}" if target else one.name
            if is_folder:
                _check_name(one.name, one.path, where)
                yield from self._folder(one.path, inside, where)
                continue
            with suppress(FileNotFoundError):
                status = one.stat(follow_symlinks=False)
                if not stat.S_ISSOCK(status.st_mode):
                    yield self._item(one.path, status, inside, where)

    def _item(self, path: str, status: os.stat_result, target: str, where: str) -> Item:
        _check_name(os.path.basename(target), path, where)  # noqa: PTH119 - text, thousands of times
        if stat.S_ISLNK(status.st_mode):
            return self._link(path, target, where)
        if not stat.S_ISREG(status.st_mode):
            raise SpecError(
                f"{path} is neither file, folder nor symbolic link", where=where, hint=f"list it in {IGNORE_FILE}"
            )
        try:
            sha = self._digests.sha256(path, status)
        except PermissionError as e:
            raise _unreadable(path, where) from e
        mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
        return Item(target, "file", mode, path, status.st_size, sha)

    def _link(self, path: str, target: str, where: str) -> Item:
        text = os.readlink(path)  # noqa: PTH115 - text, thousands of times
        end = os.path.normpath(os.path.join(os.path.dirname(path), text))  # noqa: PTH118, PTH120 - `/` would hide `..`
        is_inside = self._is_inside(end)
        if not is_inside or text.startswith("/"):  # a whole path is another one in each checkout, and in the image
            how = "has an absolute path" if is_inside else "points outside the project, to"
            raise SpecError(
                f"the symbolic link {os.path.relpath(path, self._project)} {how} {text!r}",
                where=where,
                hint="let it point to something inside by a relative path, or make it in a `build` step",
            )
        if not _is_utf8(text):
            what = f"the symbolic link {os.path.relpath(path, self._project)} points to {text!r}, which is not UTF-8"
            raise SpecError(what, where=where, hint="rename what it points to, or make it in a `build` step")
        return Item(target, "symlink", 0o777, path, content=text)

    def is_ignored(self, relative: str, *, is_folder: bool) -> bool:
        """Say whether a path, relative to the project, is left out."""
        return self._ignored(relative + "/" if is_folder else relative)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_name(name: str, path: str, where: str) -> None:
    """Raise SpecError for a name that nothing in an image can have, of what is copied from `path`."""
    if not _is_utf8(name):
        raise SpecError(f"the name {name!r} is not UTF-8", where=where, hint="rename the file")
    if name.startswith(_WHITEOUT):
        what = f"{path}: names that begin with `.wh.` mark removals"
        raise SpecError(what, where=where, hint="rename it")


def _unreadable(path: str, where: str) -> SpecError:
    return SpecError(f"{path} may not be read", where=where, hint=f"chmod u+r {path}")


def _ignored(project: Path) -> Ignored:
    try:
        text = (project / IGNORE_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return _ignored_always
    except (OSError, UnicodeDecodeError) as e:
        why = f"it is no UTF-8: byte {e.start + 1}" if isinstance(e, UnicodeDecodeError) else e.strerror
        hint = "it is a text file in UTF-8 that you may read"
        raise SpecError(f"{IGNORE_FILE} can't be read: {why}", where=str(project / IGNORE_FILE), hint=hint) from e
    import pathspec  # noqa: PLC0415 - it takes long to import, and most projects have no such file

    try:
        return pathspec.GitIgnoreSpec.from_lines([*_ALWAYS, *text.splitlines()]).match_file
    except ValueError as e:
        raise SpecError(f"a pattern is not valid: {e}", where=IGNORE_FILE, hint="see the syntax of gitignore") from e


def _ignored_always(path: str) -> bool:
    """Say of a path what `_ALWAYS` says."""
    folders = path.split("/")
    name = folders.pop()
    return (folders[0] if folders else name) in _FILES or not _FOLDERS.isdisjoint(folders)


def layer_entries(items: Sequence[Item], lookup: Lookup, where: str) -> tuple[Entry, ...]:
    """Return the layer that brings `items` into the tree that `lookup` sees.

    Symbolic links of that tree are followed on the way (``/bin`` may be ``/usr/bin``). Folders that are already there
    keep mode and owner.
    Raises  SpecError at `where` if an item would replace a folder by a file or the other way round.
    """
    found: dict[str, Entry] = {}
    for item in items:
        folder, _, name = item.target.rpartition("/")
        path = "/".join(p for p in (resolved(folder, lookup, where), name) if p)
        if item.kind == "dir":
            path = resolved(path, lookup, where)
        if not path:
            continue
        _add_folders(found, path if item.kind == "dir" else path.rpartition("/")[0], lookup, where)
        if item.kind == "dir":
            continue
        below = lookup(path)
        if below is not None and below.kind == "dir":
            raise SpecError(
                f"/{path} is a folder below, and would be replaced by a {item.kind}",
                where=where,
                hint=f"write the target as `/{path}/` to copy into it",
            )
        found[path] = _entry(item, path)
    return tuple(found[path] for path in sorted(found))


def _add_folders(found: dict[str, Entry], path: str, lookup: Lookup, where: str) -> None:
    while path and path not in found:
        below = lookup(path)
        if below is not None and below.kind != "dir":
            raise SpecError(
                f"/{path} is a {below.kind} below, so nothing can be copied into it",
                where=where,
                hint="choose another target",
            )
        mode, uid, gid = (below.mode, below.uid, below.gid) if below else (0o755, 0, 0)
        found[path] = Entry(path=path.encode(), kind="dir", mode=mode, uid=uid, gid=gid)
        path = path.rpartition("/")[0]


def _entry(item: Item, path: str) -> Entry:
    if item.kind == "symlink":
        return Entry(path=path.encode(), kind="symlink", mode=0o777, link=item.content.encode())
    return Entry(
        path=path.encode(),
        kind="file",
        mode=item.mode,
        size=item.size,
        content=Path(item.source),
        expected=item.content,
    )
