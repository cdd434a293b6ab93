"""Instances under development: the image with a writable overlay, and sources mounted into it.

Rules

1. There are two sandboxes, one in the other. The outer one shows this machine, and in one folder of it the instance's
   root: the overlay, and the sources mounted into it. The inner one has that folder as its root, and is what every
   instance is: one uid, no capabilities, the filter of system calls.
2. Both die with the process that started them, and with them all mounts. The folder of the overlay is named after that
   process: whoever comes next removes it.
3. As root, whoever runs inside is root of this machine, without any capability, and appears as the uid of an instance:
   only so may the application write wherever it wants, which is told in the end. It is what a build step may, and less.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from anew.engines.embedded import argv, cgroups, confining, launch, life, ports, refusals, revealed
from anew.engines.embedded.argv import Layout
from anew.engines.embedded.launch import Start
from anew.engines.embedded.layout import lay_out
from anew.engines.embedded.revealed import Reveal
from anew.errors import EngineError
from anew.model import Digest, Order, Seconds
from anew.model.developed import Mount, Trace
from anew.ports import Say
from anew.sandbox import find, host, mounts, seccomp
from anew.sandbox.fit import UID
from anew.sandbox.mounts import Args
from anew.sandbox.points import Points
from anew.sandbox.powers import CAPABILITIES
from anew.sandbox.terminal import fitted, lent
from anew.sandbox.traces import traces

CLEARING: Seconds = 10.0  # from SIGKILL until the kernel has cleared everything
TAIL = 4096  # bytes of what was written last, in which bubblewrap says what is wrong
_MOST = 65536  # bytes that are read at once
_LONGEST = 16384  # bytes of one line; longer ones are cut
_DYING = ("--die-with-parent",)
_SYSTEM = ("--ro-bind", "/proc/sys", "/proc/sys")  # root of this machine could write there
# Of an ordinary user: the kernel lets nobody who is root in the outer one be somebody else in the inner one.
_USER = ("--unshare-user", "--uid", str(UID), "--gid", str(UID))
_ROOT_OF_USER = ("--unshare-user", "--uid", "0", "--gid", "0")
_POWERS = ("--cap-drop", "ALL", *(part for name in CAPABILITIES for part in ("--cap-add", name)))


@dataclass(frozen=True, slots=True)
class Workbench:
    """Implements `anew.ports.Workbench` in the state folder `home`; `folder` makes a folder that goes with us."""

    home: Path
    tree: Callable[[Digest], Path]
    owner: str
    reveal: Reveal
    folder: Callable[[], AbstractContextManager[Path]]

    @contextmanager
    def opened(self, order: Order) -> Iterator[Workpiece]:
        """Lay out an instance; see the port."""
        bwrap = find.bwrap(self.home / "bin")
        with self.folder() as folder, confining.throwaway(order.name, self.owner, order.limits) as cgroup:
            folder.chmod(0o700)
            place = Place(folder, self.home)
            layers: list[Path] = []
            layout = lay_out(order, self.home, self.tree, place.rooted(layers))
            place.make(layers, is_host=order.image.is_host)
            piece = Workpiece(order, place, Start(bwrap, layout, None, cgroup), self.reveal)
            try:
                yield piece
            finally:
                piece.stop(0.0)


class Place:
    """The folder of one workpiece: its overlay, and the root that the outer sandbox mounts."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.root = folder / "root"
        self._upper = folder / "upper"
        self._work = folder / "work"
        self._folder = folder
        self._home = home
        self._layers: tuple[Path, ...] = ()
        self._host: mounts.HostRoot | None = None
        self._rest: host.Rest | None = None
        self._points: tuple[Points, ...] = ()  # of the image's folders, and of what lies between those of the machine

    def rooted(self, into: list[Path]) -> Callable[[Sequence[Path]], Args]:
        """Return what takes the layers of a layout, and gives the root of its inner sandbox."""

        def root(layers: Sequence[Path]) -> Args:
            into.extend(layers)
            return ("--bind", str(self.root), "/")

        return root

    def make(self, layers: Sequence[Path], *, is_host: bool) -> None:
        """Make the folders that are mounted."""
        self._layers = tuple(layers)
        for folder in (self.root, self._upper, self._work):
            folder.mkdir()
            folder.chmod(0o755)
        self._points = (Points(self._upper, layers),)
        if is_host:
            self._host = host.compose(layers, [self._home.resolve()], is_writable=True)
            host.make_uppers(self._host, self._upper, self._work)
            self._rest = host.make_rest(self._host, self._folder / "rest")
            between = Points(self._rest.upper, [self._rest.lower])
            self._points = (Points(self._upper, host.roots(layers)), between)

    def ready(self, sources: Sequence[Mount]) -> None:
        """Prepare the overlay for these mounts; nothing may be mounted."""
        folders = [PurePosixPath(one.target) for one in self._host.folders] if self._host is not None else []
        inside = [any(PurePosixPath(one.target).is_relative_to(folder) for folder in folders) for one in sources]
        first, *between = self._points
        first.ready(one for one, is_inside in zip(sources, inside, strict=True) if is_inside or not between)
        for points in between:
            points.ready(one for one, is_inside in zip(sources, inside, strict=True) if not is_inside)

    def outer(self, sources: Sequence[Mount], *, is_writable: bool) -> Args:
        """Return the arguments of the outer sandbox."""
        at = str(self.root)
        if self._rest is not None:
            overlay: Args = (
                *mounts.writable_root([self._rest.lower], self._rest.upper, self._rest.work, at),
                *mounts.writable_host(self._rest.above, self._upper, self._work, at),
            )
        else:
            overlay = mounts.writable_root(self._layers, self._upper, self._work, at)
        bind = "--bind" if is_writable else "--ro-bind"
        return (
            *("--dev-bind", "/", "/"),
            *overlay,
            *(part for one in sources if one.source for part in (bind, one.source, f"{at}{one.target}")),
            *(() if os.geteuid() == 0 else _USER),
            *_DYING,
        )

    def traces(self, sources: Sequence[Mount]) -> tuple[Trace, ...]:
        """Return what in the overlay is not as below; nothing may be mounted."""
        for points in self._points:
            points.clear()
        targets = [one.target for one in sources if one.source]
        if self._host is None or self._rest is None:
            return tuple(traces(self._upper, self._layers, targets))
        # An ordinary user could not give the folders that were made for the overlays to their owners.
        made = [one.target for one in self._host.folders]
        # At the root itself, and in what it hides; places in what every instance has of its own are made for mounts.
        every = traces(self._rest.upper, [self._rest.lower], targets)
        beside = (one for one in every if not one.path.startswith(tuple(f"{own}/" for own in host.OWN)))
        found = (*traces(self._upper, host.roots(self._layers), [*targets, *made]), *beside)
        return tuple(sorted(found, key=lambda one: PurePosixPath(one.path).parts))


class Workpiece:
    """Implements `anew.ports.Workpiece`; belongs to one thread, that which opened it."""

    def __init__(self, order: Order, place: Place, start: Start, reveal: Reveal) -> None:
        self._order = order
        self._place = place
        self._start = start
        self._reveal = reveal
        self._outer: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._status = -1
        self._said = b""

    @property
    def is_listening(self) -> bool:
        """Whether something listens on its port; see the port."""
        return bool(self._order.port and ports.listeners().get(self._order.port))

    def start(self, mounts: Sequence[Mount], show: Say) -> None:
        """Start the application; see the port."""
        self.stop(0.0)
        self._status, self._said = os.memfd_create("status"), b""
        reading, writing = os.pipe()
        cgroup = self._start.cgroup
        with os.fdopen(writing, "wb", 0) as sink, revealed.of(self._order, self._reveal) as secrets:
            try:
                with (
                    cgroup.made(None) as entry,
                    launch.prepared(self._start, self._status, 0, secrets, (*_SYSTEM, *_DYING)) as (inner, handed),
                ):
                    command = self._within(inner, mounts, is_writable=False)
                    self._outer = launch.spawn(self._start, command, handed, sink, entry)
            except BaseException:
                os.close(reading)
                raise
        self._reader = threading.Thread(target=self._read, args=(reading, show), name="output", daemon=True)
        self._reader.start()

    def ended(self, limit: Seconds) -> str:
        """Wait for its end; see the port."""
        if self._outer is None:
            return life.UNKNOWN
        try:
            self._outer.wait(limit)
        except subprocess.TimeoutExpired:
            return ""
        self._drain()
        return self._how(self._outer.returncode)

    def stop(self, grace: Seconds) -> None:
        """End the application; see the port."""
        outer, self._outer = self._outer, None
        if outer is None:
            return
        try:
            pid = self._pid()
            if grace > 0 and pid and outer.poll() is None:
                with suppress(ProcessLookupError):  # it has ended meanwhile
                    os.killpg(pid, signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    outer.wait(grace)
        finally:
            outer.kill()  # and with it, as it is their parent, all that is inside
            outer.wait(CLEARING)
            self._drain()
            os.close(self._status)
            self._status = -1
            cgroups.remove(self._start.cgroup.folders)

    def shell(self, mounts: Sequence[Mount], command: Sequence[str], output: int) -> int:
        """Run a command as root of the instance; see the port."""
        self.stop(0.0)
        layout = replace(self._start.layout, environment=_of_root(self._start.layout))
        options = argv.options(layout, *((), _POWERS) if os.geteuid() == 0 else (_ROOT_OF_USER, ()))
        before = signal.signal(signal.SIGINT, lambda *_: None)  # it is for who has the terminal
        try:
            with lent(), revealed.of(self._order, self._reveal) as secrets:
                values = tuple(sorted(secrets.files.items()))
                args = argv.with_secrets((*options, *_SYSTEM, *_DYING), values)
                flags = seccomp.memory_file(argv.file_of(args), "arguments")
                try:
                    inner = [str(self._start.bwrap), "--args", str(flags), "--", *fitted(command)]
                    outer = self._within(inner, mounts, is_writable=True)
                    fds = [flags, *(fd for _, fd in values)]
                    return subprocess.run(
                        outer, check=False, env={}, cwd="/", umask=0o022, stdout=output, pass_fds=fds
                    ).returncode
                finally:
                    os.close(flags)
        finally:
            signal.signal(signal.SIGINT, before)

    def changes(self, mounts: Sequence[Mount]) -> tuple[Trace, ...]:
        """Return what is not as the image has it; see the port."""
        return self._place.traces(mounts)

    # ------------------------------------------------------------ inside

    def _within(self, inner: Sequence[str], sources: Sequence[Mount], *, is_writable: bool) -> list[str]:
        """Prepare for the outer sandbox that runs the inner one, and return its command line."""
        self._place.ready(sources)
        return [str(self._start.bwrap), *self._place.outer(sources, is_writable=is_writable), "--", *inner]

    def _pid(self) -> int:
        """Return the pid of the first process inside; 0 while there is none."""
        return life.parse_status(os.pread(self._status, _MOST, 0).decode("utf-8")).pid

    def _read(self, source: int, show: Say) -> None:
        """Show what the application writes, line by line, until nobody can write any more."""
        rest = b""
        with os.fdopen(source, "rb", 0) as file:
            while chunk := file.read(_MOST):
                self._said = (self._said + chunk)[-TAIL:]
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > _LONGEST:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    show(line.decode("utf-8", errors="replace").rstrip("\r"))
        if rest:
            show(rest.decode("utf-8", errors="replace"))

    def _drain(self) -> None:
        """Wait until all that was written is shown: when the outer process is gone, nothing inside is left."""
        if self._reader is None:
            return
        self._reader.join(CLEARING)
        if self._reader.is_alive():
            raise EngineError(
                f"{self._order.name} does not end {CLEARING:g} s after SIGKILL",
                hint="a process of it hangs in the kernel: look at the machine's disks",
                facts={"command": "ps -e -o pid,stat,wchan,cmd"},
            )
        self._reader = None

    def _how(self, code: int) -> str:
        """Return how the application ended. Raises EngineError if the sandbox did not start."""
        text = self._said.decode("utf-8", errors="replace")
        said = life.parse_status(os.pread(self._status, _MOST, 0).decode("utf-8")).code
        refused = life.not_executed(text)
        if refused:
            return refused
        if said is None and code >= 0:
            line = argv.pasteable(self._start.bwrap, self._start.layout, None)
            raise refusals.as_error(life.message(text), line, self._order.name)
        killed = cgroups.killed(self._start.cgroup.folders)
        why = f" ({cgroups.OUT_OF_MEMORY})" if killed and (said or code) else ""
        return life.sentence(said if said is not None else 128 - code) + why


def _of_root(layout: Layout) -> tuple[tuple[str, str], ...]:
    """Return the environment of a shell: the application's, and what a terminal needs."""
    terminal = {"TERM": os.environ["TERM"]} if "TERM" in os.environ and sys.stdin.isatty() else {}
    return tuple(({"HOME": "/root"} | terminal | dict(layout.environment)).items())
