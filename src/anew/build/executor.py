"""`build` steps: each runs in a sandbox over the layers so far, and what it changed becomes a layer.

Rules: a step sees nothing of this machine but the clock and the processor (and, if it asks, the network); its
environment is fixed, but for what a step must know to use the network (`anew.build.reach`); its result is a checkpoint
keyed by everything that it depends on, so an unchanged step after unchanged ones is never run again.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from anew.build.drafts import scratch
from anew.build.entries import scanned
from anew.build.epoch import ENVIRONMENT
from anew.build.hygiene import clean
from anew.build.listing import Lookup, lookup_in, lookup_on_host, over, resolved, stacked
from anew.build.programs import streamed
from anew.build.reach import PLACE, reach
from anew.build.store import ImageStore
from anew.core.digest import digest
from anew.errors import EngineError, SpecError
from anew.model import BuildStep, Digest
from anew.ports import Say
from anew.sandbox import find, host, mounts
from anew.sandbox.powers import CAPABILITIES as _CAPABILITIES

_FORMAT = 1  # of what a step leaves; raised when the same step leaves another layer
_SIGNED_BY = re.compile(r"signed-by=([^\s\]]+)")
_SHELL = ("/bin/sh", "-eu", "-c")
_MOUNT_POINTS = {"dev": 0o755, "proc": 0o555, "run": 0o755, "sys": 0o555, "tmp": 0o1777}


@dataclass(frozen=True, slots=True)
class Base:
    """What a step builds on: layers, lowest first, and the key of everything that led to them."""

    layers: tuple[Digest, ...]
    key: Digest
    is_host: bool = False
    apt: tuple[str, ...] = ()  # for steps with network: lines of apt's sources, where the head has none of its own


@dataclass(frozen=True, slots=True)
class Executor:
    """Runs steps as this process's user, which is root, or root of a user namespace with subordinate uids."""

    home: Path
    store: ImageStore
    work: Path
    tree: Callable[[Digest], Path]  # unpacked layers whose files have their true owners

    def run(self, base: Base, step: BuildStep, where: str, say: Say) -> Base:
        """Return the base with what `step` makes on top; from its checkpoint if there is one.

        Raises  SpecError at `where` without a shell in the image; EngineError with the last lines if the step fails.
        """
        after = next_base(base, step)
        with self.store.lock(f"step {after.key}"):
            known = self.store.checkpoint(after.key)
            if known is None:
                self._check_shell(base, where)
                say(f"running {where}: {_first_line(step.run)}")
                known = self._run(base, step, where, say)
                self.store.remember_checkpoint(after.key, known)
            else:
                say(f"unchanged {where}: {_first_line(step.run)}")
        return replace(after, layers=(*base.layers, *known))

    def _check_shell(self, base: Base, where: str) -> None:
        lookup = seen(self.store, base)
        if lookup(resolved("bin/sh", lookup, where)) is None:
            raise SpecError(
                "there is no /bin/sh in the image, and `run` needs it",
                where=where,
                hint="choose a head that has a shell, or copy what you need instead of running something",
            )

    def _run(self, base: Base, step: BuildStep, where: str, say: Say) -> tuple[Digest, ...]:
        with scratch(self.work) as folder:
            upper = folder / "upper"
            upper.mkdir(mode=0o755)
            upper.chmod(0o755)
            (folder / "work").mkdir()
            root, finish = self._root(base, folder, upper)
            args, passed = self._network(base, folder) if step.network else (["--unshare-net"], {})
            # Not as arguments: an address of the user's may hold a password, and everybody sees arguments.
            ended = streamed(self._argv(step, root, args), passed, say)
            if ended.code != 0:
                raise EngineError(
                    f"the step ended with exit code {ended.code}: {_first_line(step.run)}",
                    where=where,
                    hint="see its last lines; the steps before it are kept, so the next build begins here",
                    facts={
                        "command": shlex.join((*_SHELL, step.run)),
                        "exit": str(ended.code),
                        "output": ended.output,
                    },
                )
            finish()
            entries = clean(scanned(upper), is_head=False)
            return (self.store.add_layer(entries).digest,) if entries else ()

    def _root(self, base: Base, folder: Path, upper: Path) -> tuple[mounts.Args, Callable[[], None]]:
        """Return the arguments for a writable root, and what is to be done to `upper` afterwards."""
        trees = [self.tree(one) for one in base.layers]
        work = folder / "work"
        if base.is_host:
            composed = host.compose(trees, [self.home.resolve()], is_writable=True)
            host.make_uppers(composed, upper, work)
            return mounts.writable_host(composed, upper, work), lambda: host.prune_uppers(composed, upper)
        # Mount points that the image lacks must be below, or the sandbox would make them in the upper folder.
        points = folder / "points"
        points.mkdir(mode=0o755)
        for name, mode in _MOUNT_POINTS.items():
            (points / name).mkdir()
            (points / name).chmod(mode)
        return mounts.writable_root([points, *trees], upper, work), lambda: None

    def _argv(self, step: BuildStep, root: mounts.Args, network: Sequence[str]) -> list[str]:
        args = [
            *root,
            *("--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys", "--dev", "/dev"),
            *("--perms", "0755", "--tmpfs", "/run", "--perms", "1777", "--tmpfs", "/tmp"),  # noqa: S108 - inside
            *network,
            *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "build"),
            *("--new-session", "--die-with-parent", "--chdir", "/", "--cap-drop", "ALL"),
        ]
        args += [part for name in _CAPABILITIES for part in ("--cap-add", name)]
        args += [part for name, value in sorted(ENVIRONMENT.items()) for part in ("--setenv", name, value)]
        return [str(find.bwrap(self.home / "bin")), *args, "--", *_SHELL, step.run]

    def _network(self, base: Base, folder: Path) -> tuple[list[str], dict[str, str]]:
        """Return the arguments and the environment of a step that may use the network."""
        args: list[str] = []
        environment = {"DEBIAN_FRONTEND": "noninteractive"}
        lookup = seen(self.store, base)
        names = Path("/etc/resolv.conf")
        found = lookup("etc/resolv.conf")
        if names.exists() and found is not None and found.kind == "file" and not base.is_host:
            args += ["--ro-bind", os.path.realpath(names), str(names)]
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


def next_base(base: Base, step: BuildStep) -> Base:
    """Return the base after `step`, its layers not known yet: its key says everything that the step depends on."""
    said = [_FORMAT, base.key, step.run, step.network, sorted(ENVIRONMENT.items()), _CAPABILITIES]
    return replace(base, layers=(), key=digest(said))


def seen(store: ImageStore, base: Base) -> Lookup:
    """Return what the layers of a base show."""
    listings = [store.listing(one) for one in base.layers]
    return over(listings, lookup_on_host) if base.is_host else lookup_in(stacked(listings))


def is_known(store: ImageStore, base: Base, steps: Sequence[BuildStep]) -> bool:
    """Say whether every one of `steps` on top of `base` has its checkpoint, so that nothing needs to be run."""
    for step in steps:
        base = next_base(base, step)
        if store.checkpoint(base.key) is None:
            return False
    return True


def _first_line(command: str) -> str:
    line, _, more = command.strip().partition("\n")
    return f"{line} …" if more else line
