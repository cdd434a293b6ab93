"""The sandbox of one step: a writable root over the layers so far, what the step is given, and nothing of this machine.

It is described once, as arguments of bubblewrap: a shell that looks into a failed step gets the very same.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from anew.build import control
from anew.build.definition import Job
from anew.build.epoch import ENVIRONMENT
from anew.build.footing import Base
from anew.build.listing import Lookup, Node, lookup_in, lookup_on_host, over, resolved, stacked
from anew.build.reach import PLACE, reach
from anew.build.store import ImageStore
from anew.errors import SpecError
from anew.model import Digest
from anew.sandbox import find, host, mounts
from anew.sandbox.powers import CAPABILITIES

SHELL = ("/bin/sh", "-eu", "-c")
_SIGNED_BY = re.compile(r"signed-by=([^\s\]]+)")
_MOUNT_POINTS: Mapping[str, int] = {"dev": 0o755, "proc": 0o555, "run": 0o755, "sys": 0o555, "tmp": 0o1777}
_IN_MEMORY = ("run", "tmp")  # those of them whose contents each sandbox has for itself


def seen(store: ImageStore, base: Base) -> Lookup:
    """Return what the layers of a base show."""
    listings = [store.listing(one) for one in base.layers]
    return over(listings, lookup_on_host) if base.is_host else lookup_in(stacked(listings))


@dataclass(frozen=True, slots=True)
class Sandbox:
    """How a step's program is started: bubblewrap's arguments, the environment it passes on, and secrets by name."""

    program: str
    root: mounts.Args
    given: tuple[str, ...]  # mounts of what the step is given
    network: tuple[str, ...]
    folder: str  # in which the step runs
    command: tuple[str, ...]
    settings: Mapping[str, str]
    passed: Mapping[str, str] = field(repr=False)
    secrets: Mapping[str, bytes] = field(repr=False)
    finish: Callable[[], None]  # to be called when the step has succeeded
    is_first: bool = False  # its program is process 1 itself

    def argv(
        self,
        files: Mapping[str, int],
        command: Sequence[str] = (),
        *,
        has_terminal: bool = False,
        status: int | None = None,
    ) -> list[str]:
        """Return the command line of the step, or of another `command` in its place.

        `files` are descriptors by the names of secrets: their contents go into a file system in memory, and to no disk.
        `status` is one to which the sandbox writes its process id; see `anew.build.programs.Inside`.
        """
        args = [
            *self.root,
            *("--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys", "--dev", "/dev"),
            *("--perms", "0755", "--tmpfs", "/run", "--perms", "1777", "--tmpfs", "/tmp"),  # noqa: S108 - inside
            *self.network,
            *self.given,
            *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "build"),
            *(() if has_terminal else ("--new-session",)),
            *("--die-with-parent", "--chdir", self.folder, "--cap-drop", "ALL"),
        ]
        if files:
            args += ["--perms", "0755", "--dir", "/run/secrets"]
        for name, file in sorted(files.items()):
            args += ["--perms", "0400", "--file", str(file), f"/run/secrets/{name}"]
        args += [] if status is None else ["--json-status-fd", str(status)]
        args += [part for name in CAPABILITIES for part in ("--cap-add", name)]
        args += ["--as-pid-1"] if self.is_first else []
        args += [part for name, value in sorted(self.settings.items()) for part in ("--setenv", name, value)]
        return [self.program, *args, "--", *(command or self.command)]


@contextmanager
def files_of(secrets: Mapping[str, bytes]) -> Iterator[dict[str, int]]:
    """Yield descriptors of files in memory with these contents, by name; they are closed afterwards."""
    files: dict[str, int] = {}
    try:
        for name, value in secrets.items():
            files[name] = os.memfd_create(name, os.MFD_CLOEXEC)
            os.write(files[name], value)
            os.lseek(files[name], 0, os.SEEK_SET)
        yield files
    finally:
        for file in files.values():
            os.close(file)


@dataclass(frozen=True, slots=True)
class Sandboxes:
    """Makes the sandboxes of steps. `home` is anew's state, of which no step sees anything."""

    home: Path
    store: ImageStore
    tree: Callable[[Digest], Path]  # unpacked layers whose files have their true owners

    def made(self, base: Base, job: Job, folder: Path, secrets: Mapping[str, bytes]) -> Sandbox:
        """Return the sandbox of a step whose changes land in `folder`/upper; everything that it needs lies in `folder`.

        Raises  as `anew.build.control.applied`, and as `anew.build.reach.reach`.
        """
        upper = folder / "upper"
        upper.mkdir(mode=0o755)
        upper.chmod(0o755)
        (folder / "work").mkdir()
        quiet, points = self._without_services(base, folder)
        names, more = self._resolver(base) if job.step.network else ([], [])
        root, finish = self._root(base, folder, [*points, *more])
        network, passed = self._network(base, folder) if job.step.network else (["--unshare-net"], {})
        plain = Sandbox(
            program=str(find.bwrap(self.home / "bin")),
            root=root,
            given=tuple(quiet),
            network=(*names, *network),
            folder="/",
            command=(*SHELL, job.step.run),
            settings=ENVIRONMENT,
            passed=passed,
            secrets=secrets,
            finish=finish,
        )
        return plain if job.supply.tool is None else self._applying(plain, job, folder)

    def _applying(self, plain: Sandbox, job: Job, folder: Path) -> Sandbox:
        tool, inputs = self.store.tree(job.supply.pin), self.store.tree(job.supply.layer)
        made = control.applied(job, tool, inputs)
        given = [
            *("--perms", "0755", "--dir", control.PLACE),  # which every user of the image may enter
            *("--ro-bind", str(tool), control.TOOLS, "--ro-bind", str(inputs), control.INPUTS),
            *("--ro-bind", str(control.write(made, folder)), control.PROGRAMS),
            *("--ro-bind", str(folder / "shims"), control.SHIMS),
            *("--perms", "0755", "--dir", "/run/systemd", "--perms", "0755", "--dir", "/run/systemd/system"),
        ]
        return replace(
            plain,
            given=(*plain.given, *given),
            folder=control.INPUTS,
            command=(f"{control.PROGRAMS}/systemd", *made.command),
            settings={**plain.settings, **made.environment},
            is_first=True,
        )

    def _root(self, base: Base, folder: Path, points: Sequence[str]) -> tuple[mounts.Args, Callable[[], None]]:
        """Return the arguments for a writable root, and what is to be done to its upper folder afterwards."""
        trees, upper, work = [self.tree(one) for one in base.layers], folder / "upper", folder / "work"
        if base.is_host:
            composed = host.compose(trees, [self.home.resolve()], is_writable=True)
            host.make_uppers(composed, upper, work)
            rest = host.make_rest(composed, folder / "rest")
            ground = mounts.writable_root([rest.lower], rest.upper, rest.work)

            def finish() -> None:
                host.prune_uppers(composed, upper)
                host.merge_rest(rest, upper)

            return (*ground, *mounts.writable_host(rest.above, upper, work)), finish
        # Mount points that the image lacks must be below, or the sandbox would make them in the upper folder.
        below = folder / "points"
        below.mkdir(mode=0o755)
        below.chmod(0o755)
        for name, mode in _MOUNT_POINTS.items():
            (below / name).mkdir()
            (below / name).chmod(mode)
        for name in points:
            path = below
            for part in Path(name).parts[:-1]:
                path /= part
                path.mkdir(exist_ok=True)
                path.chmod(0o755)
            (below / name).touch()
            (below / name).chmod(0o755)
        return mounts.writable_root([below, *trees], upper, work), lambda: None

    def _without_services(self, base: Base, folder: Path) -> tuple[list[str], list[str]]:
        """Return how packages are kept from starting services where they could: mounts, and their mount points."""
        shims, lookup = control.write_shims(folder), seen(self.store, base)
        place, name = control.POLICY.rsplit("/", 1)
        found = resolved(place, lookup, control.POLICY)
        there = lookup(found)
        if base.is_host or there is None or there.kind != "dir" or lookup(f"{found}/invoke-rc.d") is None:
            return [], []
        at, points = _mount_point(f"{found}/{name}", lookup)
        return (["--ro-bind", str(shims / name), f"/{at}"] if at else []), points

    def _resolver(self, base: Base) -> tuple[list[str], list[str]]:
        """Return how a step that may use the network resolves names: mounts, and their mount points."""
        names, lookup = Path("/etc/resolv.conf"), seen(self.store, base)
        if base.is_host or not names.exists():
            return [], []
        at, points = _mount_point(str(names).strip("/"), lookup)
        # Where a layer took something away no mount point shows, and the sandbox would make one in the upper folder.
        if not at or any(_is_taken_away(point, self.store.listing(one)) for point in points for one in base.layers):
            return [], []
        return ["--ro-bind", os.path.realpath(names), f"/{at}"], points

    def _network(self, base: Base, folder: Path) -> tuple[list[str], dict[str, str]]:
        """Return the arguments and the environment of a step that may use the network."""
        args: list[str] = []
        environment = {"DEBIAN_FRONTEND": "noninteractive"}
        lookup = seen(self.store, base)
        if base.apt:
            settings = folder / "apt"
            settings.mkdir(mode=0o755)
            (settings / "apt.conf").write_text('Dir::Etc::SourceList "/run/anew/sources.list";\n', encoding="utf-8")
            lines = _with_keys(base.apt, lookup, settings)
            (settings / "sources.list").write_text("\n".join((*lines, "")), encoding="utf-8")
            args += ["--ro-bind", str(settings), "/run/anew"]
            environment["APT_CONFIG"] = "/run/anew/apt.conf"
        (folder / "reach").mkdir(mode=0o755)
        known = reach(folder / "reach", os.environ, Path(os.environ.get("HOME") or "/"))
        if known.folder is not None:
            args += ["--ro-bind", str(known.folder), PLACE]
        return args, {**known.environment, **environment}


def _mount_point(path: str, lookup: Lookup) -> tuple[str, list[str]]:
    """Return where a file is mounted that shall show at `path`, "" if it can't; and what must be made for that.

    Links are followed, as whoever opens `path` will: the sandbox would make what a link leads to in the upper folder.
    """
    try:
        at = resolved(path, lookup, path)
    except SpecError:  # links in a circle, which nobody can open
        return "", []
    there, top = lookup(at), at.partition("/")[0]
    if top in _MOUNT_POINTS:
        return (at if top in _IN_MEMORY and at != top else ""), []  # the sandbox makes it there, and it stays nowhere
    if there is not None:
        return (at if there.kind == "file" else ""), []
    folder = lookup(at.rpartition("/")[0])
    return (at, [at]) if folder is not None and folder.kind == "dir" else ("", [])


def _is_taken_away(path: str, listing: Iterable[Node]) -> bool:
    """Say whether a layer hides what lies at `path` below it."""
    folders = {path[:end] for end, letter in enumerate(path) if letter == "/"}
    return any(
        (one.kind == "whiteout" and (one.path == path or one.path in folders))
        or (one.kind == "opaque" and one.path in folders)
        for one in listing
    )


def _with_keys(lines: Sequence[str], lookup: Lookup, settings: Path) -> list[str]:
    """Return apt's sources with the keyrings that the image lacks put beside them."""
    found: list[str] = []
    for line in lines:
        named = _SIGNED_BY.search(line)
        if named and lookup(named[1].strip("/")) is None and Path(named[1]).is_file():
            name = f"{len(found)}{Path(named[1]).suffix}"
            shutil.copyfile(named[1], settings / name)
            found.append(line.replace(named[1], f"/run/anew/{name}"))
        else:
            found.append(line)
    return found
