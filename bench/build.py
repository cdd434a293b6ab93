"""Builds beside `docker build` and `buildah bud`: nothing, one file or all of it changed; and packing itself."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from figures import page
from figures.apart import rig_apart
from figures.figure import Count, Figure, Goal, Section

from anew.build import lock, packages
from anew.build.entries import scanned
from anew.build.layer import pack
from anew.build.store import ImageStore
from anew.errors import EngineError, Unsupported
from anew.testing.rig import Rig

FILES, FOLDERS = 400, 20
LARGE = 1000  # files of a million bytes each
MOST_MEMORY = 150.0  # MB
LEAST_SPEED = 150.0  # MB/s
MEMORY = Path("/dev/shm")
UNCHANGED = 300.0  # milliseconds
HEAD = "base: {debian: bookworm, packages: [python3]}"
STEPS = (
    "python3 -m compileall -q --invalidation-mode unchecked-hash /srv/app",
    "find /srv/app -name '*.py' > /srv/made",
)
METHOD = f"""One recipe for all three, each run as a command of its own, in turn: a Debian head with Python,
{FILES} files of Python copied, and two steps that compile and list them. anew makes the head; its very files
are imported as the base image of the others. *docker build* is the classic builder of the engine that is
there, *buildah bud* runs with `--layers`, in a storage of its own on overlayfs, and without a sandbox of its
own (`--isolation chroot`): the fastest that it has. *Nothing changed*: the same again. *One file changed*: a
line in one of the sources. *All changed*: every source and the text of every step, with the base at hand, so
that no layer is found. *Cold*: all of it, head and image, of packages that are kept, in a store that has
nothing else; the peers have their base made by mmdebstrap of the same packages in a folder, piped into
`docker import`, or added to an empty image by buildah. anew checks, hashes and names each layer as it makes
it; what the others leave for `push` is not counted. *Packing* is `build.layer.pack` of
the unpacked head, read from memory and written to it, with the look at all of its files; the peer does the
same with GNU tar, sorted, and `sha256sum` beside it. *Memory* is the most that one process of a whole `anew
build` ever had, of an image with {LARGE} files of 1 MB on top of the head."""


@dataclass(slots=True)
class Turns:
    """Milliseconds by who built, in the order of the turns."""

    spans: dict[str, list[float]] = field(default_factory=dict)

    def take(self, who: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Run one command, and note how long it took. Raises EngineError if it fails."""
        began = time.perf_counter()
        done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
        self.spans.setdefault(who, []).append(1000 * (time.perf_counter() - began))
        if done.returncode:
            facts = {"command": " ".join(command), "output": done.stdout + done.stderr}
            raise EngineError(f"{who} failed", facts=facts)

    def figures(self, name: str, ours: str, goal: Goal | None) -> list[Figure]:
        """Return a row for each peer; without a goal of its own, ours shall be no slower than the peer."""
        own = tuple(self.spans[ours])
        rows = []
        for peer, spans in self.spans.items():
            if peer != ours:
                bound = goal or Goal(median=statistics.median(spans))
                rows.append(Figure(name, "ms", own, bound, peer, tuple(spans)))
        return rows


class Recipe:
    """One project, and the same recipe for the peers."""

    def __init__(self, project: Rig) -> None:
        self.project = project
        self.root = project.root
        self.nonce = 0
        self.builds = 0  # each gets a name of its own, or the engine would keep what has none any more
        self.tag = f"anew-bench-{os.getpid()}"
        self.storage = project.folder / "buildah"
        self.environment = {
            **os.environ,
            "ANEW_HOME": str(project.home),
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": str(project.folder / "compiled"),
            "DOCKER_BUILDKIT": "0",
            "BUILDAH_ISOLATION": "chroot",
        }

    def write(self, base: str = "") -> None:
        """Write everything anew, so that no cache of anybody knows any of it; `base` is what the peers build on."""
        self.nonce += 1
        app = self.root / "app"
        shutil.rmtree(app, ignore_errors=True)
        for number in range(FILES):
            self.source(number)
        steps = [f"{step} # {self.tag} {self.nonce}" for step in STEPS]
        quoted = "".join(f'      - run: "{step}"\n' for step in steps)
        (self.root / "anew.yaml").write_text(
            f"project: {self.project.project}\nos:\n  {HEAD}\nservices:\n  web:\n    os: base\n"
            "    copy: {app/: /srv/app/}\n"
            f"    build:\n{quoted}    command: [python3, -m, http.server]\n    http: {{}}\n"
        )
        run = "".join(f"RUN {step}\n" for step in steps)
        (self.root / "Dockerfile").write_text(f"FROM {base or f'{self.tag}-base'}\nCOPY app/ /srv/app/\n{run}")

    def source(self, number: int, more: str = "") -> None:
        """Write one source; its text differs from that of any other turn."""
        folder = self.root / "app" / f"part{number % FOLDERS}"
        folder.mkdir(parents=True, exist_ok=True)
        body = "".join(f"def f{n}(x):\n    return x + {n * number + self.nonce}\n\n\n" for n in range(40))
        (folder / f"module{number}.py").write_text(f"# {self.nonce}\n{body}{more}")

    @property
    def builders(self) -> dict[str, list[str]]:
        """The three commands, to be run once."""
        root = str(self.root)
        self.builds += 1
        return {
            "anew build": [sys.executable, "-m", "anew", "-C", root, "build"],
            "docker build": ["docker", "build", "--quiet", "--tag", f"{self.tag}:{self.builds}", root],
            "buildah bud": [*self.buildah, "bud", "--quiet", "--layers", "--tag", self.tag, root],
        }

    def cold(self, base: str, source: str, archive: Path) -> dict[str, list[str]]:
        """The commands that make base and image of the packages of `source`."""
        head = f"mmdebstrap --quiet --variant=minbase --include=apt,python3 --format=tar bookworm - '{source}'"
        buildah = shlex.join(self.buildah)
        scripts = {
            "docker build": f"{head} | docker import --message bench - {base}",
            "buildah bud": f"{head} > {archive}; made=$({buildah} from scratch); {buildah} add $made {archive} /; "
            f"{buildah} commit --rm $made {base}",
        }
        build = self.builders
        return {
            who: ["bash", "-euo", "pipefail", "-c", f"{scripts[who]}; {shlex.join(command)}"]
            if who in scripts
            else command
            for who, command in build.items()
        }

    @property
    def buildah(self) -> list[str]:
        """The beginning of each of its commands: a storage of its own, that nobody else sees."""
        places = ["--root", str(self.storage / "root"), "--runroot", str(self.storage / "run")]
        return ["buildah", *places, "--storage-driver", "overlay"]

    def expect(self, *command: str) -> str:
        """Run a command that has to succeed; return what it says."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            facts = {"command": " ".join(command), "output": done.stdout + done.stderr}
            raise EngineError(f"{command[0]} failed", facts=facts)
        return done.stdout.strip()

    def prepare(self) -> Path:
        """Make the head, and hand it to the peers; return its layer, a tar archive."""
        self.write()
        self.project.expect("build", limit=1200)
        head = self.store.blobs.path(lock.read(self.root).heads["base"].layer)
        self.expect("docker", "import", str(head), f"{self.tag}-base")
        container = self.expect(*self.buildah, "from", "scratch")
        self.expect(*self.buildah, "add", container, str(head), "/")
        self.expect(*self.buildah, "commit", "--rm", container, f"{self.tag}-base")
        return head

    @property
    def store(self) -> ImageStore:
        """The image store of the project."""
        return ImageStore(self.project.home / "images")

    def remove(self) -> None:
        """Remove what the peers keep; of the engine only what has our name."""
        listed = ["docker", "image", "ls", "--quiet", "--filter", f"reference={self.tag}*"]
        made = subprocess.run(listed, capture_output=True, text=True, check=False).stdout.split()
        if made:
            subprocess.run(["docker", "rmi", "--force", *dict.fromkeys(made)], capture_output=True, check=False)
        subprocess.run([*self.buildah, "rmi", "--all", "--force"], capture_output=True, check=False)


def measure(arguments: argparse.Namespace) -> Section:
    """Build in turns, then pack, then build something large."""
    for program in ("docker", "buildah", "mmdebstrap"):
        if shutil.which(program) is None:
            raise Unsupported(f"{program} is missing", hint=f"apt-get install {program}")
    figures: list[Figure] = []
    with rig_apart() as project:
        recipe = Recipe(project)
        try:
            head = recipe.prepare()
            figures += unchanged(recipe, arguments.times).figures("nothing changed", "anew build", Goal(UNCHANGED))
            figures += one_changed(recipe, arguments.times).figures("one file changed", "anew build", None)
            figures += all_changed(recipe, arguments.times).figures("all changed", "anew build", None)
            figures += cold(recipe, arguments.heads).figures("cold, packages at hand", "anew build", None)
            speeds, peers = packing(recipe, head, arguments.times)
            memory = peak(recipe)
        finally:
            recipe.remove()
    speed = statistics.median(speeds)
    counts = (
        Count("MB/s of packing, median", f"{speed:.0f}", f"≥ {LEAST_SPEED:.0f}", speed >= LEAST_SPEED),
        Count("MB/s of GNU tar and sha256sum, median", f"{statistics.median(peers):.0f}"),
        Count("MB of memory at most, 1 GB built", f"{memory:.0f}", f"≤ {MOST_MEMORY:.0f}", memory <= MOST_MEMORY),
    )
    return Section("build", "Builds", METHOD, tuple(figures), counts)


def in_turn(recipe: Recipe, times: int, change: Callable[[int], None]) -> Turns:
    """Let each builder build after each change, beginning with another one each time."""
    turns = Turns()
    for turn in range(times):
        change(turn)
        builders = list(recipe.builders.items())
        for who, command in (*builders[turn % 3 :], *builders[: turn % 3]):
            turns.take(who, command, recipe.environment)
    return turns


def unchanged(recipe: Recipe, times: int) -> Turns:
    """Build what is built."""
    for who, command in recipe.builders.items():
        Turns().take(who, command, recipe.environment)
    time.sleep(2.5)  # what was just written is not trusted yet by caches that go by times
    for who, command in recipe.builders.items():
        Turns().take(who, command, recipe.environment)
    return in_turn(recipe, times, lambda _: None)


def one_changed(recipe: Recipe, times: int) -> Turns:
    """Build with another line in one of the sources."""
    return in_turn(recipe, times, lambda turn: recipe.source(7, f"LAST = {turn}\n"))


def all_changed(recipe: Recipe, times: int) -> Turns:
    """Build with everything changed."""
    return in_turn(recipe, times, lambda _: recipe.write())


def cold(recipe: Recipe, times: int) -> Turns:
    """Build the whole recipe of packages that are at hand; the peers have their base made by mmdebstrap."""
    turns = Turns()
    kept = lock.read(recipe.root).heads["base"].packages
    for turn in range(times):
        place = recipe.project.folder / f"cold{turn}"
        store = ImageStore(place / "home" / "images")
        for one in kept:
            store.blobs.add_file(recipe.store.blobs.path(one.digest))
        pool = place / "pool"
        pool.mkdir()
        source = packages.repository(kept, store.blobs, "bookworm", pool)
        pool.chmod(0o755)
        recipe.write(base := f"{recipe.tag}-cold{turn}")
        commands = recipe.cold(base, source, place / "base.tar")
        for number in range(len(commands)):
            who, command = list(commands.items())[(turn + number) % len(commands)]
            home = {"ANEW_HOME": str(place / "home"), "SOURCE_DATE_EPOCH": "1735689600"}
            turns.take(who, command, recipe.environment | home)
        shutil.rmtree(place)
    return turns


def packing(recipe: Recipe, head: Path, times: int) -> tuple[list[float], list[float]]:
    """Pack the unpacked head; return MB/s of anew and of GNU tar, in turn."""
    layer = lock.read(recipe.root).heads["base"].layer
    tree = recipe.store.tree(layer)
    target = MEMORY / f"{recipe.tag}.tar"
    size = head.stat().st_size / 1e6
    tar = f"tar --sort=name --format=pax --numeric-owner -C {tree} -cf - . | tee {target} | sha256sum"
    ours, peers = [], []
    for turn in range(times + 1):
        began = time.perf_counter()
        entries = scanned(tree)
        with target.open("wb") as file:
            packed = pack(entries, file)
        middle = time.perf_counter()
        subprocess.run(["bash", "-c", tar], check=True, capture_output=True)
        if turn:  # the first one reads from the disk
            ours.append(packed.size / 1e6 / (middle - began))
            peers.append(size / (time.perf_counter() - middle))
        target.unlink()
    return ours, peers


def peak(recipe: Recipe) -> float:
    """Return the most memory, in MB, of any process of a build that copies a thousand million bytes."""
    root = recipe.project.folder / "large"
    for number in range(LARGE):
        folder = root / "data" / str(number % 10)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / str(number)).write_bytes(os.urandom(1000) * 1000)
    shutil.copyfile(recipe.root / "anew.lock", root / "anew.lock")
    (root / "anew.yaml").write_text(
        f"project: large\nos:\n  {HEAD}\nservices:\n  web:\n    os: base\n    copy: {{data/: /srv/data/}}\n"
        "    build: [{run: cp -r /srv/data/0 /srv/more}]\n    command: [python3]\n    http: {}\n"
    )
    pid = os.fork()
    if not pid:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.execve(sys.executable, [sys.executable, "-m", "anew", "-C", str(root), "build"], recipe.environment)
    _, status, used = os.wait4(pid, 0)
    shutil.rmtree(root)
    if os.waitstatus_to_exitcode(status):
        raise EngineError("the build of something large failed")
    return used.ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    sys.exit(page.run(measure, page.options(__doc__, times=7, heads=3)))
