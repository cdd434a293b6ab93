"""The composition root: the only place that knows every concrete class.

Imports stand inside the functions that need them, so that a command pays only for what it uses.
"""

from __future__ import annotations

import os
import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anew.build.builder import Builder
    from anew.build.edge_image import EdgeImage
    from anew.build.store import ImageStore
    from anew.cases import Anew
    from anew.edge.runtime import HaproxyEdge
    from anew.engines.docker.client import Client
    from anew.engines.docker.compute import Docker
    from anew.engines.docker.edge import ContainerProgram
    from anew.engines.embedded.compute import Embedded
    from anew.model import Image, Pin, Scope, Spec, Test, Trial
    from anew.ports import Compute, Inspection, Say
    from anew.shell.journal import Journal
    from anew.shell.parts import Copies, Parts
    from anew.views import Check, Start

SPEC = "anew.yaml"
GARBAGE = 100_000  # objects until the collector looks; at its usual 700 it takes a twentieth of a short command


def main() -> int:
    """Run the command line; return its exit code."""
    import gc

    from anew.faces.entry import main as command_line

    gc.set_threshold(GARBAGE)
    try:
        return command_line(sys.argv[1:], open_anew, _demo, _start)
    finally:
        gc.freeze()  # what is left goes with the process; to look through all of it takes a tenth of a short command


def _demo(arguments: Sequence[str]) -> int:
    from anew.faces.demo.command import run

    return run(open_anew, arguments)


def _start(folder: Path, kind: str = "", command: str = "", *, is_writing: bool = True) -> Start:
    from anew.starter.start import start
    from anew.trust.keys import signing_key

    made = start(folder, kind, command, is_writing=is_writing)
    if made.is_written:
        _prepare(home())
        signing_key(home() / "keys", made.project)  # what is built from now on is signed with it
    return made


def home() -> Path:
    """Return the folder of anew's state: one for the machine as root, one for each user otherwise."""
    named = os.environ.get("ANEW_HOME")
    if named:
        return Path(named).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/anew")
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "anew"


def open_anew(project: Path | None) -> Anew:
    """Wire anew for the project in a folder; None is the current one."""
    from anew.shell.clock import SystemClock
    from anew.shell.installing import InstallableApp
    from anew.shell.journal import Journal

    root = (project or Path()).absolute()
    folder = home()
    _prepare(folder)
    clock = SystemClock()
    journal = Journal(folder / "state.db", clock)
    return InstallableApp(folder, root, clock, journal, _parts(folder, root, journal))


def _prepare(folder: Path) -> None:
    from anew.errors import Unsupported

    try:
        (folder / "keepers").mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            folder.chmod(0o755)  # instances run under other uids, and read their images below it
    except OSError as cause:
        raise Unsupported(
            f"the state folder can't be used: {cause.strerror}",
            where=str(folder),
            hint="make it writable, or name another one in $ANEW_HOME",
        ) from cause


class _Engines:
    """Which engine each environment runs on, and its parts; the gate's throwaway instances run on `embedded`."""

    def __init__(self, folder: Path, journal: Journal, store: Callable[[], ImageStore]) -> None:
        self._folder = folder
        self._journal = journal
        self._store = store
        self.reveal = _reveal(journal)

    def _is_docker(self, scope: Scope) -> bool:
        row = self._journal.environment(scope.project, scope.environment)
        return row is not None and row.settings.engine == "docker"

    @cached_property
    def _docker(self) -> Docker:
        from anew.engines.docker.compute import Docker

        return Docker(self._folder, self._store().blobs, self._journal.owner, self.reveal, self._client)

    @cached_property
    def _client(self) -> Client:
        from anew.engines.docker.client import Client

        return Client(note=self._folder / "container-engine")

    @property
    def _embedded(self) -> Embedded:
        from anew.engines.embedded.compute import Embedded

        return Embedded(
            self._folder, lambda digest: self._store().tree(digest), self._journal.owner, reveal=self.reveal
        )

    def compute(self, scope: Scope) -> Docker | Embedded:
        """Return where the instances of an environment live."""
        return self._docker if self._is_docker(scope) else self._embedded

    def inspection(self, scope: Scope) -> Inspection:
        """Return who tells of instances more than whether they live."""
        if self._is_docker(scope):
            from anew.engines.docker.inspection import DockerInspection

            return DockerInspection(self._docker)
        from anew.engines.embedded.inspection import EmbeddedInspection

        return EmbeddedInspection(self._embedded)

    def edge(self, scope: Scope) -> HaproxyEdge:
        """Return the load balancer of an environment."""
        from anew.edge.runtime import HaproxyEdge

        program = self._edge_container(scope) if self._is_docker(scope) else None
        return HaproxyEdge(self._folder / "edges" / _place(scope), _sockets(self._folder, scope), program)

    def _edge_container(self, scope: Scope) -> ContainerProgram:
        from anew.engines.docker.edge import ContainerProgram, Place, Supply

        folders = (self._folder / "edges" / _place(scope), _sockets(self._folder, scope))
        place = Place(scope, self._journal.owner, folders, self._folder / "bin")
        made = self._edge_image
        supply = Supply(lambda: made.image(_tell), made.tree)
        return ContainerProgram(self._client, self._docker.images, supply, place, _tell)

    @property
    def _edge_image(self) -> EdgeImage:
        from anew.build.edge_image import EdgeImage

        return EdgeImage(self._folder, self._store())

    def own_images(self) -> tuple[tuple[Image, str], ...]:
        """Return the images that no release names, and why they stay."""
        known = self._edge_image.known()
        return ((known, "the edge runs from it"),) if known else ()

    def update_edge(self, say: Say) -> None:
        """Make the image of the edge of today's packages, if there is one; keepers bring it to their edges."""
        if self._edge_image.known():
            self._edge_image.image(say, update=True)

    def copies(self) -> tuple[Copies, ...]:
        """Return what engines keep of images; nothing is brought to one before there is an image of the edge."""
        from anew.engines.docker.copies import DockerCopies

        made = DockerCopies(self._client, self._docker, self._folder)
        return (made,) if (self._folder / "edge-image").is_dir() else ()

    def unheld(self, scope: Scope) -> Mapping[str, str]:
        """Return which limits can't be held, and why."""
        from anew.engines.docker import doctor
        from anew.engines.embedded.cgroup_places import unheld

        return doctor.unheld(self._client) if self._is_docker(scope) else unheld()

    def require(self, engine: str) -> None:
        """Raise Unsupported where an engine can't run here."""
        if engine == "docker":
            self._client.require_reach()

    def prepare(self, scope: Scope, images: Sequence[Image], say: Say) -> None:
        """Bring to an engine what takes long, before anybody waits for a rollout."""
        if self._is_docker(scope):
            self._docker.inside(scope)  # who else has its network is said before anything is sealed
            for image in (self._edge_image.image(say), *images):
                if not self._docker.images.has(image.digest):
                    say(f"the container engine gets the image {image.digest.removeprefix('sha256:')[:12]}")
                    self._docker.images.admit(image)

    def leave(self, scope: Scope) -> None:
        """Remove what an engine has for an environment in which nothing runs any more."""
        if self._is_docker(scope):
            self._edge_container(scope).clear()
            self._docker.leave(scope)


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _parts(folder: Path, root: Path, journal: Journal) -> Parts:
    from functools import cache

    from anew.shell import wiring
    from anew.shell.parts import Parts

    @cache
    def store() -> ImageStore:
        from anew.build.store import ImageStore

        return ImageStore(folder / "images")

    engines = _Engines(folder, journal, store)
    return Parts(
        compute=engines.compute,
        volumes=engines.compute,
        require_engine=engines.require,
        prepare=engines.prepare,
        leave=engines.leave,
        inspection=engines.inspection,
        edge=engines.edge,
        images=store,
        stockroom=lambda: wiring.stockroom(folder, store()),
        archive=lambda: wiring.archive(folder, journal),
        own_images=engines.own_images,
        copies=engines.copies,
        sweep=lambda scope: engines.compute(scope).sweep(),
        update_edge=engines.update_edge,
        unheld=engines.unheld,
        wrong_with_lock=wiring.wrong_with_lock,
        notary=lambda project: wiring.notary(folder, store(), project),
        witness=lambda scope: wiring.witness(folder, scope),
        making=lambda project: _making(folder, store(), project, journal),
        carriage=lambda: wiring.carriage(folder, store()),
        try_image=_try_image,
        company=wiring.company,
        workbench=lambda: wiring.workbench(folder, store(), journal.owner, engines.reveal),
        source_tree=lambda project, service: wiring.source_tree(store(), project, service),
        compare_images=lambda before, after: wiring.compare_images(store(), before, after),
        http_failure=_http_failure,
        is_free=wiring.is_free,
        require_address=lambda scope, host, port: engines.edge(scope).require_address(host, port),
        doctor=lambda: _doctor(folder),
        schema=_schema,
        parse=lambda project: _parse(folder, project),
        project=lambda project: _project(folder, project),
        start_keeper=lambda scope: _start_keeper(folder, root, scope),
        around=wiring.faults(),
    )


def _reveal(journal: Journal) -> Callable[[Scope, Pin], bytes]:
    """Return who tells the values of secrets: the vault; those without a version are made up."""
    key = os.urandom(32)

    def reveal(scope: Scope, pin: Pin) -> bytes:
        from anew.build.gate_rehearsal import throwaway_secret

        if not pin.version:
            return throwaway_secret(key, pin)
        return journal.vault.value(scope, pin)

    return reveal


def _making(folder: Path, store: ImageStore, project: Path, journal: Journal) -> Builder:
    from anew.build.builder import Builder

    return Builder(folder, store, project, lambda name: journal.vault.of_builds(_project(folder, project), name))


def _try_image(
    compute: Compute, scope: Scope, trial: Trial, serial: str, port: Callable[[], int], say: Say
) -> tuple[tuple[str, str], ...]:
    from anew.build.gate import check
    from anew.build.gate_rehearsal import Place

    return check(compute, trial, Place(scope, serial, port), say)


def _http_failure(test: Test, port: int, host: str) -> str:
    from anew.build.gate_ready import http_failure

    return http_failure(test, "127.0.0.1", port, host)


def _doctor(folder: Path) -> tuple[Check, ...]:
    from anew.engines.docker import doctor
    from anew.engines.embedded.doctor import checks

    return (*checks(folder), *doctor.checks())


def _place(scope: Scope) -> str:
    return f"{scope.project}.{scope.environment}"


def _sockets(folder: Path, scope: Scope) -> Path:
    """Sockets have short paths: below the state folder if that is short enough, else in a private temporary folder."""
    import tempfile

    from anew.core.digest import digest, short

    near = folder / "edges" / _place(scope)
    far = Path(tempfile.gettempdir()) / f"anew-{os.geteuid()}-{short(digest(str(near)))}"
    return near if len(str(near)) <= 80 else far


def _read(root: Path) -> str:
    from anew.errors import NotFound, SpecError

    try:
        return (root / SPEC).read_text(encoding="utf-8")
    except FileNotFoundError as cause:
        raise NotFound(
            f"there is no {SPEC} in {root}", hint="go to the folder of your project, or name it with -C"
        ) from cause
    except (OSError, UnicodeDecodeError) as cause:
        why = f"it is no UTF-8: byte {cause.start + 1}" if isinstance(cause, UnicodeDecodeError) else cause.strerror
        hint = "it is a text file in UTF-8 that you may read"
        raise SpecError(f"{SPEC} can't be read: {why}", where=str(root / SPEC), hint=hint) from cause


def _schema() -> dict[str, object]:
    from anew.core.spec.schema import schema

    return schema()


def _parse(folder: Path, root: Path) -> Spec:
    import anew
    from anew.shell.parsed import Parsed

    def parse(text: str) -> Spec:
        from anew.core.spec import parse as parser

        return parser.parse(text, SPEC)

    package = Path(anew.__file__).parent
    return Parsed(folder / "specs", (package / "core" / "spec", package / "model")).spec(root, _read(root), parse)


def _project(folder: Path, root: Path) -> str:
    from anew.core.names import project_of

    return project_of(_read(root)) or _parse(folder, root).project


def _start_keeper(folder: Path, root: Path, scope: Scope) -> Callable[[], bool]:
    """Start a keeper that nothing of this process can end: its service, or one that ends when nothing is left to do."""
    import subprocess

    from anew.shell.installing import installed

    service = installed(scope)
    if service is not None:
        return service.start()
    log = folder / "keepers" / f"{_place(scope)}.log"
    command = [sys.executable, "-m", "anew", "-C", str(root), "serve", "-e", scope.environment, "--until-idle"]
    with log.open("ab") as out:
        keeper = subprocess.Popen(
            command,
            cwd="/",
            env={**os.environ, "ANEW_HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    return lambda: keeper.poll() is None


if __name__ == "__main__":
    sys.exit(main())
