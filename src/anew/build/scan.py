"""One walk through a layer: what in it the rules of hygiene are about, whatever lies below and above.

Rules: a layer is read once, and what was found is noted in the store; of each file at most `MOST` bytes are looked at,
and of what is no text only what its name and mode tell; what a package of a distribution or of Python brought, bit for
bit as its own list says, is public already, and no secret.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from anew.build.archive import layer_members
from anew.build.contents import is_core, secrets
from anew.build.entries import OPAQUE, WHITEOUT, Entry, Region, chunks
from anew.build.listing import text
from anew.model import Bytes
from anew.model.hygiene import VERSION

MOST: Bytes = 1 << 20  # of a file that is looked at
_BY_CONTENT = frozenset({"private-key", "dependency-key", "access-token", "credentials-file", "env-secret", "env-file"})
_LARGEST_LISTED: Bytes = 16 << 20  # larger files are not compared with the lists of packages
_HEAD = 4096  # bytes in which a file that is no text has a zero
_OWN_IN_INSTANCES = (b"dev", b"proc", b"sys", b"run", b"tmp")  # nothing of the image shows there
_HISTORIES = re.compile(
    rb"\.(?:bash|zsh|ash|sh|python|node_repl|mysql|psql|sqlite|rediscli|mongo|irb|php)_(?:history|hist)|"
    rb"\.(?:lesshst|viminfo|histfile|scapy_history|dbshell)"
)
_LEFTOVERS = re.compile(rb"[^/]+~|\.[^/]+\.sw[op]|#[^/]+#|\.#[^/]+|\.DS_Store|Thumbs\.db")
_CACHES = re.compile(
    rb"(var/lib/apt/lists|var/cache/apt(?:/archives)?|(?:root|home/[^/]+)/\.(?:cache/pip|npm/_cacache))/(.+)"
)
_USEFUL_IN_CACHES = re.compile(rb"lock|partial|auxfiles")
_HOST_KEY = re.compile(rb"etc/ssh/ssh_host_[^/]+_key")
_SNAKEOIL = b"etc/ssl/private/ssl-cert-snakeoil.key"
_MACHINE_IDS = (b"etc/machine-id", b"var/lib/dbus/machine-id")
_VERSION_CONTROL = (b".git", b".hg", b".svn", b".bzr")
_AUTHORIZED = re.compile(rb"(?:.+/)?\.ssh/authorized_keys2?|etc/ssh/authorized_keys/.+")
_LISTS = re.compile(rb"var/lib/dpkg/info/[^/]+\.md5sums|.+\.dist-info/(?:RECORD|direct_url\.json)")
_ID = re.compile(rb"[0-9]{1,20}")  # with room for zeros in front
_HASH = re.compile(r"\$.+|_[./0-9A-Za-z]{19}|[./0-9A-Za-z]{13}")


@dataclass(frozen=True, slots=True)
class Trace:
    """What one rule has to say about one path of a layer."""

    rule: str
    path: str
    text: str
    number: int = 0  # of the files below `path`, where one trace stands for all of them


@dataclass(frozen=True, slots=True)
class Scan:
    """What a layer tells by itself."""

    version: int
    traces: tuple[Trace, ...]
    uids: tuple[int, ...] | None = None  # that its /etc/passwd knows; None if it has none
    gids: tuple[int, ...] | None = None
    owners: tuple[tuple[int, int], ...] = ()  # uid and gid of all that it has, but for root's


@dataclass(slots=True)
class _Walk:
    """What a walk has found so far."""

    file: BinaryIO
    traces: dict[tuple[str, bytes], Trace] = field(default_factory=dict)
    files: dict[bytes, Entry] = field(default_factory=dict)  # that have been seen, for the links to them
    suspects: dict[bytes, Entry] = field(default_factory=dict)  # files in which something secret was seen
    lists: dict[bytes, Entry] = field(default_factory=dict)  # of packages, with the digests of their files
    uids: tuple[int, ...] | None = None
    gids: tuple[int, ...] | None = None
    owners: set[tuple[int, int]] = field(default_factory=set)


def scan(layer: Path) -> Scan:
    """Walk through the canonical layer at `layer`."""
    with layer.open("rb", buffering=0) as file:
        walk = _Walk(file)
        for entry in layer_members(layer):
            name = entry.path.rpartition(b"/")[2]
            if name != OPAQUE and not name.startswith(WHITEOUT):
                _look(walk, entry, name)
    published = set(_published(walk)) if walk.suspects else set()
    traces = tuple(one for (rule, path), one in walk.traces.items() if rule not in _BY_CONTENT or path not in published)
    return Scan(VERSION, traces, walk.uids, walk.gids, tuple(sorted(walk.owners)))


def _look(walk: _Walk, entry: Entry, name: bytes) -> None:
    path = entry.path
    if entry.uid or entry.gid:
        walk.owners.add((entry.uid, entry.gid))
    if name in _VERSION_CONTROL:
        _note(walk, "version-control", path, f"history of {name[1:].decode()}")
    if entry.kind != "symlink":
        _look_at_mode(walk, entry)
    if path.startswith(b"var/lib/cloud/") and entry.kind != "dir":
        _gather(walk, "cloud-init", b"var/lib/cloud", "what cloud-init left")
    entry = _file(walk, entry)
    if entry.kind != "file" or not entry.size:
        return
    cache = _CACHES.fullmatch(path)
    if cache and not _USEFUL_IN_CACHES.fullmatch(cache[2]):
        _gather(walk, "package-cache", cache[1], "files that nothing in an instance reads")
    if _HISTORIES.fullmatch(name):
        _note(walk, "shell-history", path, "what somebody typed")
    if _LEFTOVERS.fullmatch(name):
        _note(walk, "editor-leftover", path, "left by an editor or a desktop")
    if _LISTS.fullmatch(path):
        walk.lists[path] = entry
    if cache is None:
        _look_inside(walk, entry, _beginning(walk.file, entry))


def _file(walk: _Walk, entry: Entry) -> Entry:
    """Return an entry; of a hard link, the file that it is, by the link's own path."""
    if entry.kind == "file":
        walk.files[entry.path] = entry
    elif entry.kind == "hardlink" and entry.link in walk.files:
        return replace(walk.files[entry.link], path=entry.path)
    return entry


def _look_at_mode(walk: _Walk, entry: Entry) -> None:
    is_hidden = entry.path.partition(b"/")[0] in _OWN_IN_INSTANCES
    if entry.kind in {"char", "block"} and not is_hidden:
        major, minor = entry.device
        _note(walk, "device-node", entry.path, f"the {entry.kind} device {major}:{minor}")
    if entry.mode & 0o002 and not is_hidden and not (entry.kind == "dir" and entry.mode & 0o1000):
        _note(walk, "world-writable", entry.path, f"a {entry.kind} of mode {entry.mode:04o}")
    if entry.kind not in {"file", "hardlink"}:
        return
    capabilities = any(name == "security.capability" for name, _ in entry.xattrs)
    if entry.mode & 0o6000 or capabilities:
        kinds = [word for word, bit in (("setuid", 0o4000), ("setgid", 0o2000)) if entry.mode & bit]
        told = " and ".join(kinds + (["a capability"] if capabilities else []))
        _note(walk, "setuid", entry.path, f"{told}, of {entry.uid}:{entry.gid}")


def _look_inside(walk: _Walk, entry: Entry, data: bytes) -> None:
    path = entry.path
    if path == b"etc/passwd":
        walk.uids = _ids(data)
    elif path == b"etc/group":
        walk.gids = _ids(data)
    if path in {b"etc/passwd", b"etc/shadow"}:
        _look_at_accounts(walk, path, data)
    elif path in _MACHINE_IDS:
        if data.strip() not in {b"", b"uninitialized"}:
            _note(walk, "machine-id", path, "it is filled in")
    elif _HOST_KEY.fullmatch(path):
        _note(walk, "ssh-host-key", path, "a key that every instance would have")
    elif _AUTHORIZED.fullmatch(path):
        keys = sum(1 for line in data.splitlines() if line.strip() and not line.lstrip().startswith(b"#"))
        if keys:
            _note(walk, "authorized-keys", path, f"{keys} key{'s' if keys > 1 else ''}")
    elif is_core(data):
        _note(walk, "core-dump", path, "the memory of a program")
    elif b"\0" not in data[:_HEAD]:
        for rule, what in secrets(path, data):
            walk.suspects[path] = entry
            _note(walk, _rule_at(rule, path), path, what)


def _rule_at(rule: str, path: bytes) -> str:
    if rule == "private-key" and path == _SNAKEOIL:
        return "snakeoil-key"
    is_dependency = rule == "private-key" and b"node_modules/" in path
    return "dependency-key" if is_dependency else rule


def _look_at_accounts(walk: _Walk, path: bytes, data: bytes) -> None:
    hashed, empty = [], []
    for line in data.decode("utf-8", "replace").splitlines():
        name, _, rest = line.partition(":")
        word, colon, _ = rest.partition(":")
        if not colon or name.startswith("#"):
            continue
        if not word:
            empty.append(name)
        elif _HASH.fullmatch(word.lstrip("!")):
            hashed.append(name)
    for rule, names, has in (("password-hash", hashed, "a password"), ("empty-password", empty, "no password")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            _note(walk, rule, path, f"{has} for {names[0][:40]}{more}")


def _ids(data: bytes) -> tuple[int, ...]:
    fields = (line.split(b":") for line in data.splitlines())
    return tuple(sorted({int(one[2]) for one in fields if len(one) > 2 and _ID.fullmatch(one[2])}))


def _note(walk: _Walk, rule: str, path: bytes, what: str) -> None:
    before = walk.traces.get((rule, path))
    if before is None:
        walk.traces[rule, path] = Trace(rule, text(path), what)
    elif what not in before.text:
        walk.traces[rule, path] = Trace(rule, before.path, f"{before.text}, {what}")


def _gather(walk: _Walk, rule: str, folder: bytes, what: str) -> None:
    before = walk.traces.get((rule, folder))
    walk.traces[rule, folder] = Trace(rule, text(folder), what, before.number + 1 if before else 1)


def _beginning(file: BinaryIO, entry: Entry) -> bytes:
    match entry.content:
        case Region(offset=offset, size=size):
            return os.pread(file.fileno(), min(size, MOST), offset)
    return b""


def _published(walk: _Walk) -> Iterator[bytes]:
    """Yield the suspects that are as a package's own list of files has them."""
    wanted = {path: one for path, one in walk.suspects.items() if one.size <= _LARGEST_LISTED}
    local = {path.rpartition(b"/")[0] for path in walk.lists if path.endswith(b"/direct_url.json")}
    for path, entry in walk.lists.items():
        if path.endswith(b".md5sums"):
            for line in _lines(entry):
                known, _, name = line.partition(b"  ")
                for there in (name, b"usr/" + name):
                    if there in wanted and known == _md5(wanted[there]):
                        yield there
        elif path.endswith(b"/RECORD") and path.rpartition(b"/")[0] not in local:
            # What pip installed from a folder or a file of its user's is not published by that.
            folder = path.rpartition(b"/")[0].rpartition(b"/")[0]
            for line in _lines(entry):
                name, _, known = line.rpartition(b",")[0].rpartition(b",")
                there = folder + b"/" + name.strip(b'"') if folder else name
                if there in wanted and known == b"sha256=" + _sha256(wanted[there]):
                    yield there


def _lines(entry: Entry) -> Iterator[bytes]:
    return iter(b"".join(chunks(entry)).splitlines())


def _md5(entry: Entry) -> bytes:
    digest = hashlib.md5(usedforsecurity=False)  # as dpkg's lists have it
    for chunk in chunks(entry):
        digest.update(chunk)
    return digest.hexdigest().encode()


def _sha256(entry: Entry) -> bytes:
    digest = hashlib.sha256()
    for chunk in chunks(entry):
        digest.update(chunk)
    return base64.urlsafe_b64encode(digest.digest()).rstrip(b"=")
