"""A head that a container engine builds from its own kind of recipe; anew packs what comes out, and no more than that.

The engine is the one that ``$ANEW_BUILDER`` names, or the first of docker, podman and buildah that answers. It is given
a copy of the context as anew sees it, uses no cache, and keeps nothing: the image is taken out, layer by layer, and
removed. What a server has of it is written down first, so that the next build removes what a killed one left; an engine
without a server works in a folder of ours, and ends with us.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from anew.build.archive import plain
from anew.build.context import Context, Item, gather
from anew.build.debian import SHARED
from anew.build.drafts import abandoned, disk_errors, scratch, start_time, sweep, write
from anew.build.entries import Entry
from anew.build.epoch import EPOCH, PATH
from anew.build.filecache import FileDigests
from anew.build.flatten import flattened
from anew.build.programs import streamed
from anew.errors import Conflict, EngineError, SpecError, Unsupported
from anew.model import CHUNK, BuiltHead, Copy, Service
from anew.ports import Say

REPOSITORY = "anew-head"
VARIABLE = "ANEW_BUILDER"
NOTES = "engine-heads"  # below the state folder: what is to be removed from an engine with a server
_PASSED_ON = re.compile(
    r"(?:https?|no|ftp)_proxy|HOME|USER|XDG_\w+|DOCKER_\w+|CONTAINER_\w+|BUILDAH_\w+|SSL_CERT_\w+", re.IGNORECASE
)
_STEP = re.compile(r"Step \d+/\d+ : (\w+)")
_MADE = re.compile(r" ---> ([0-9a-f]{12,64})")


@dataclass(frozen=True, slots=True)
class _Program:
    """How an engine is asked; `{…}` are filled in. One without a server keeps what it makes in a folder of ours."""

    name: str
    build: tuple[str, ...]
    save: tuple[str, ...]
    has_server: bool = False


_FLAGS = ("--no-cache", "--force-rm", "--tag={tag}", "--file={recipe}", "{context}")
_LIBPOD = ("--layers=false", f"--timestamp={EPOCH}")
_PROGRAMS: Mapping[str, _Program] = MappingProxyType(
    {
        "docker": _Program("docker", ("build", *_FLAGS), ("save", "--output={out}", "{tag}"), has_server=True),
        "podman": _Program(
            "podman", ("build", *_LIBPOD, *_FLAGS), ("save", "--format=docker-archive", "--output={out}", "{tag}")
        ),
        "buildah": _Program("buildah", ("bud", *_LIBPOD, *_FLAGS), ("push", "{tag}", "docker-archive:{out}")),
    }
)
# So that what an engine without a server runs, and mounts, ends with us however we end.
_TIED = ("setpriv", "--pdeathsig", "KILL")
_TIED_AS_ROOT = (*_TIED, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


def context_of(head: BuiltHead, project: Path, cache: Path) -> Context:
    """Return what the engine is given besides the recipe. Raises SpecError as `anew.build.context.gather`."""
    service = Service("", head.name, (), copy=(Copy(f"{head.context}/" if head.context != "." else ".", "/"),))
    try:
        return gather(project, service, FileDigests(cache, project / head.context))
    except SpecError as error:
        raise SpecError(error.what, where=f"anew.yaml os.{head.name}.context", hint=error.hint) from error


def recipe_of(head: BuiltHead, project: Path) -> bytes:
    """Return the text of a head's recipe. Raises SpecError if it is not there."""
    try:
        return (project / head.recipe).read_bytes()
    except OSError as cause:
        raise SpecError(
            f"{head.recipe} can't be read: {cause.strerror}",
            where=f"anew.yaml os.{head.name}.dockerfile",
            hint=f"put it there, or correct the path (in {project})",
        ) from cause


@contextmanager
def made(head: BuiltHead, recipe: bytes, context: Context, work: Path, say: Say) -> Iterator[tuple[Entry, ...]]:
    """Let the engine at hand build the head; its entries, whose contents lie in archives, are valid inside the block.

    Raises  Unsupported without an engine that answers; EngineError with its last lines if it fails; Conflict if a file
            is not what `context` says: it changed meanwhile.
    """
    where = f"anew.yaml os.{head.name}.dockerfile"
    program = _at_hand(where)
    notes = work.parent / NOTES
    _sweep(notes)
    short = Path(tempfile.gettempdir())
    sweep(short, SHARED)
    with scratch(work) as folder, scratch(short, SHARED) as runtime:
        (folder / "recipe").write_bytes(recipe)
        _laid_out(context, folder / "context")
        say(f"head {head.name}: {program.name} builds {head.recipe}; it is only as reproducible as that")
        order = _Order(
            program, folder, runtime, notes / f"{os.getpid()}-{start_time(os.getpid())}-{os.urandom(4).hex()}"
        )
        try:
            order.run("build", where, say)
            order.run("save", where, say)
        finally:
            order.clear()
        yield flattened(_layers(folder, where), where)


@dataclass(frozen=True, slots=True)
class _Order:
    """One image that is built, taken out and removed; `note` is where it is written down what there is to remove."""

    program: _Program
    folder: Path
    runtime: Path  # with a short name, as podman wants it
    note: Path

    @property
    def tag(self) -> str:
        """The name of the image while it is there."""
        return f"{REPOSITORY}:{self.note.name}"

    def run(self, verb: str, where: str, say: Say) -> None:
        """Let the engine do its part. Raises EngineError if it fails."""
        words = self.program.build if verb == "build" else self.program.save
        places = {
            "recipe": self.folder / "recipe",
            "context": self.folder / "context",
            "out": self.folder / "image.tar",
        }
        argv = [*self._program(), *(word.format(tag=self.tag, **places) for word in words)]
        told = say
        if self.program.has_server:
            # The draft lies elsewhere: beside the note it would be taken for one.
            write(self.note, f"{self.tag}\n".encode("ascii"), folder=self.folder)
            told = _Made(say, self.note).say
        ended = streamed(argv, _environment(), told, self.folder)
        if ended.code != 0:
            raise EngineError(
                f"{self.program.name} {verb} ended with exit code {ended.code}",
                where=where,
                hint="see its last lines",
                facts={"command": shlex.join(argv), "exit": str(ended.code), "output": ended.output},
            )

    def _program(self) -> tuple[str, ...]:
        if self.program.has_server:
            return (self.program.name,)
        tied = _TIED_AS_ROOT if os.geteuid() == 0 else _TIED
        place = (f"--root={self.folder}/storage", f"--runroot={self.runtime}")
        root, driver = _store(self.program.name)
        shared = (f"--storage-opt=additionalimagestore={root}",) if Path(root).is_dir() else ()
        return (*tied, self.program.name, *place, f"--storage-driver={driver}", *shared)

    def clear(self) -> None:
        """Remove the image, and what only it needs; success if there is none."""
        if self.program.has_server:
            _remove(self.program.name, self.note)


def _store(name: str) -> tuple[str, str]:
    """Return where an engine without a server has its user's images, and how; they may be built upon."""
    words = ("--format", "json") if name == "podman" else ()
    done = subprocess.run([name, "info", *words], capture_output=True, text=True, check=False, env=_environment())
    found = json.loads(done.stdout).get("store", {}) if done.returncode == 0 else {}
    known = {key.lower(): str(value) for key, value in found.items()}
    return known.get("graphroot", ""), known.get("graphdrivername", "overlay")


class _Made:
    """Passes lines on, and writes down the images that steps leave: a build that fails leaves those before it."""

    def __init__(self, say: Say, note: Path) -> None:
        self._say = say
        self._note = note
        self._verb = ""

    def say(self, line: str) -> None:
        """Take a line of the engine's."""
        self._say(line)
        step, made = _STEP.match(line), _MADE.fullmatch(line)
        if step:
            self._verb = step[1].upper()
        elif made and self._verb != "FROM":  # which is somebody else's
            with self._note.open("a", encoding="ascii") as file:
                file.write(f"{made[1]}\n")


def _at_hand(where: str) -> _Program:
    silent = []
    named = os.environ.get(VARIABLE)
    if named and named not in _PROGRAMS:
        raise SpecError(f"${VARIABLE} names {named!r}", where=where, hint=f"name one of {', '.join(_PROGRAMS)}")
    for name, program in _PROGRAMS.items():
        if named and name != named:
            continue
        if shutil.which(name) is None:
            continue
        if _quietly(name, "info") == 0:
            return program
        silent.append(name)
    found = f"{' and '.join(silent)} {'is' if len(silent) == 1 else 'are'} installed, and no engine answers"
    raise Unsupported(
        found if silent else "no container engine is installed, and it builds what a Dockerfile says",
        where=where,
        hint="start the engine" if silent else f"install {named or 'docker, podman or buildah'}",
    )


def _sweep(notes: Path) -> None:
    """Remove the images that killed builds left in an engine with a server."""
    for note in abandoned(notes):
        _remove("docker", note)


def _remove(name: str, note: Path) -> None:
    """Remove what a note names, the newest first, and then the note; kept for the next time if nobody answers."""
    try:
        images = note.read_text(encoding="ascii").split()
    except FileNotFoundError:  # somebody else was faster
        return
    if images:  # its maker may have been killed before it had written any
        _quietly(name, "rmi", "--force", images[0], *reversed(images[1:]))
    if _quietly(name, "info") == 0:
        note.unlink(missing_ok=True)


def _quietly(name: str, *words: str) -> int:
    """Run one command whose failure changes nothing: what it is about is gone then, or is found by the next sweep."""
    done = subprocess.run(
        [name, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
        env=_environment(),
    )
    return done.returncode


def _environment() -> dict[str, str]:
    passed = {name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name)}
    return {"PATH": os.environ.get("PATH", PATH), "LC_ALL": "C.UTF-8", "TZ": "UTC", **passed}


def _laid_out(context: Context, folder: Path) -> None:
    """Write the context as the digest has it: modes and times are the same on every machine."""
    folder.mkdir()
    folders = [folder]
    for item in context.items:
        there = folder / item.target
        if item.kind == "dir":
            there.mkdir(exist_ok=True)
            folders.append(there)
        elif item.kind == "symlink":
            there.symlink_to(item.content)
        else:
            shutil.copyfile(item.source, there)
            _require_content(item, there)
            there.chmod(item.mode)
            os.utime(there, (EPOCH, EPOCH))
    for one in reversed(folders):
        one.chmod(0o755)
        os.utime(one, (EPOCH, EPOCH))


def _require_content(item: Item, copy: Path) -> None:
    with copy.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != item.content:
            what = f"{item.target!r} changed while it was being copied"
            raise Conflict(what, where=item.source, hint="build again when nothing writes to it")


def _layers(folder: Path, where: str) -> Sequence[Path]:
    """Return the layers of the archive that an engine wrote, lowest first."""
    out = []
    try:
        with disk_errors(folder), tarfile.open(folder / "image.tar", "r:") as tar:
            text = tar.extractfile("manifest.json")
            (image,) = json.load(text) if text else [{}]
            for number, name in enumerate(image["Layers"]):
                source = tar.extractfile(name)
                if source is None:
                    raise KeyError(name)  # noqa: TRY301 - as the archive itself says it
                path = folder / f"layer{number}.tar"
                with source, path.open("wb") as target:
                    shutil.copyfileobj(source, target, CHUNK)
                place = folder / f"layer{number}"
                place.mkdir()
                out.append(plain(path, place, where))
    except (tarfile.TarError, KeyError, ValueError, TypeError) as cause:
        raise EngineError(
            f"what the container engine gave is no image: {cause}", where=where, hint="look at its version"
        ) from cause
    (folder / "image.tar").unlink()
    return out
