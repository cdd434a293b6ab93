"""Ways of touching a running instance from outside, as people and programs with root have them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from subjects.touched import client, docker

from anew.errors import EngineError
from anew.testing.rig import Rig

TRIES = 5
QUICK = 30.0  # seconds that any of it may take
SEIZE = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
if libc.ptrace(0x4206, int(sys.argv[1]), None, None):
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
print("done", flush=True)
time.sleep(600)
"""
JOIN = """
import os, sys, time, ctypes
sys.stdin.readline()
space = os.open(f"/proc/{sys.argv[1]}/ns/mnt", os.O_RDONLY)
if ctypes.CDLL(None, use_errno=True).setns(space, 0x20000):
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
print("done", flush=True)
time.sleep(600)
"""


@dataclass(frozen=True, slots=True)
class Victim:
    """An instance that is about to be touched."""

    project: Rig
    name: str
    pid: int  # of its first process, as this machine counts

    @property
    def application(self) -> int:
        """The pid of its program."""
        return int(Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text("ascii").split()[0])


Act = Callable[[Victim, ExitStack], str]  # returns what was refused before, if something was


@dataclass(frozen=True, slots=True)
class Way:
    """A way of touching an instance, and what the evidence says of it."""

    name: str
    act: Act
    says: str
    is_end: bool = False  # what was there goes by it: it counts as a death, and nothing is kept
    may_break: bool = False  # requests that are inside at that moment may be cut off by the act itself


def victim(project: Rig, name: str) -> Victim:
    """Return an instance with its first process."""
    if project.engine == "docker":
        return Victim(project, name, int(docker("inspect", "-f", "{{.State.Pid}}", name, limit=QUICK)))
    status = (project.home / "instances" / name / "status.json").read_text("utf-8")
    return Victim(project, name, int(json.loads(status.splitlines()[0])["child-pid"]))


def _line(*arguments: str) -> str:
    """Run a command of this machine. Raises  EngineError with what it said if it fails."""
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=QUICK, check=False)
    if done.returncode:
        line = " ".join(arguments)
        raise EngineError(f"{line}: {done.stderr.strip()}", facts={"command": line})
    return done.stdout


def _stays(stack: ExitStack, *command: str, is_told: bool = False) -> None:
    """Start a process that stays until the end; with `is_told` it is let go on, and says when it is there."""
    pipe = subprocess.PIPE
    one = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True))
    stack.callback(one.kill)
    if is_told and one.stdin is not None and one.stdout is not None:
        one.stdin.write("\n")
        one.stdin.flush()
        said = one.stdout.readline()
        if said != "done\n":
            raise EngineError(f"{command[0]} {command[1]}: {said}")


def _refused(*command: str) -> str:
    """Try what must not work; return how it was refused."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=QUICK, check=False)
    if not done.returncode:
        raise EngineError(f"{' '.join(command)}: nobody has refused it")
    return f"{' '.join(command[:3])} …: {done.stderr.strip().splitlines()[-1]}"


def _inside(one: Victim, *command: str) -> None:
    """Do something in the mount namespace of an instance, and be gone."""
    _line("nsenter", f"--target={one.pid}", "--mount", *command)


def _of_docker(*arguments: str) -> Act:
    def act(one: Victim, _stack: ExitStack) -> str:
        docker(*(part.replace("NAME", one.name) for part in arguments), limit=QUICK)
        return ""

    return act


def _enters(one: Victim, stack: ExitStack) -> str:
    _stays(stack, "nsenter", f"--target={one.pid}", "--mount", "--pid", "--root", "sleep", "600")
    return ""


def _shell(one: Victim, stack: ExitStack) -> str:
    _stays(stack, client(), "exec", "-i", one.name, "sh")
    return ""


def _debugs(one: Victim, stack: ExitStack) -> str:
    _stays(stack, sys.executable, "-c", SEIZE, str(one.application), is_told=True)
    return ""


def _joins(one: Victim, stack: ExitStack) -> str:
    _stays(stack, sys.executable, "-c", JOIN, str(one.pid), is_told=True)
    return ""


def _changes(one: Victim, _stack: ExitStack) -> str:
    said = _refused("sh", "-c", f"echo >> /proc/{one.pid}/root/srv/app/server.py")
    _inside(one, "mount", "-o", "remount,rw", "/")
    _inside(one, "sh", "-c", "echo '# other' >> /srv/app/server.py")
    _inside(one, "mount", "-o", "remount,ro", "/")
    return said


def _copies(one: Victim, _stack: ExitStack) -> str:
    said = _refused(client(), "cp", "/etc/hostname", f"{one.name}:/srv/app/more")
    upper = Path(docker("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", one.name, limit=QUICK).strip())
    (upper / "opt").mkdir(exist_ok=True)
    (upper / "opt" / "more").write_text("more\n")
    return said


def _deletes(one: Victim, _stack: ExitStack) -> str:
    said = _refused("rm", f"/proc/{one.pid}/root/srv/app/busy.py")
    _inside(one, "mount", "-o", "remount,rw", "/")
    _inside(one, "rm", "/srv/app/busy.py")
    _inside(one, "mount", "-o", "remount,ro", "/")
    return said


def _mounts(one: Victim, _stack: ExitStack) -> str:
    _inside(one, "mount", "-t", "tmpfs", "somebody", "/srv/app")
    return ""


def _opens(one: Victim, _stack: ExitStack) -> str:
    said = _refused("sh", "-c", f"echo > /proc/{one.pid}/root/srv/app/more")
    _inside(one, "mount", "-o", "remount,bind,rw", "/")
    return said


def _limits(one: Victim, _stack: ExitStack) -> str:
    """Change the limit of processes where the kernel has it, past everybody."""
    for line in Path(f"/proc/{one.application}/cgroup").read_text("ascii").splitlines():
        _, kinds, path = line.split(":", 2)
        folder = Path("/sys/fs/cgroup/pids" if kinds else "/sys/fs/cgroup") / path.lstrip("/")
        if kinds in {"", "pids"} and (folder / "pids.max").is_file():
            (folder / "pids.max").write_text("max\n", "ascii")
            return ""
    raise EngineError(f"{one.name} is in no control group that limits processes")


def _pauses(one: Victim, _stack: ExitStack) -> str:
    """Pause it; where processes are born all the time, the kernel of version 1 may fail to freeze them all at once."""
    for _ in range(TRIES - 1):
        try:
            docker("pause", one.name, limit=QUICK)
        except EngineError as error:
            if "unable to freeze" not in error.what:
                raise
        else:
            return ""
    docker("pause", one.name, limit=QUICK)
    return ""


def _networks(one: Victim, stack: ExitStack) -> str:
    name = f"{one.project.project}-theirs"
    docker("network", "create", name, limit=QUICK)
    stack.callback(docker, "network", "rm", name, limit=QUICK)
    docker("network", "connect", name, one.name, limit=QUICK)
    stack.callback(docker, "network", "disconnect", "-f", name, one.name, limit=QUICK)
    return ""


def _cut_off(one: Victim, _stack: ExitStack) -> str:
    docker("network", "disconnect", f"anew-{one.project.project}-local", one.name, limit=QUICK)
    return ""


ANYWHERE = (
    Way("a process enters it with nsenter, and stays", _enters, "has entered from outside"),
    Way("a process that is older than it joins its mounts", _joins, "has entered from outside"),
    Way("a debugger takes hold of its program", _debugs, "is debugged by"),
    Way("something is mounted over its program, from outside", _mounts, "something was mounted at /srv/app"),
    Way("its limit of processes is changed in the kernel", _limits, "its limit of processes was changed"),
)
BY_ENGINE = {
    "embedded": (
        *ANYWHERE,
        Way("its root is made writable, from outside", _opens, "can be written to"),
    ),
    "docker": (
        Way("docker pause", _pauses, "it is paused", may_break=True),
        Way("docker network disconnect", _cut_off, "it was disconnected from the network", may_break=True),
        Way("docker restart", _of_docker("restart", "--time=5", "NAME"), "died", is_end=True),
        Way("docker exec, and gone at once", _of_docker("exec", "NAME", "true"), "a command was run in it: true"),
        Way("docker exec -i, a shell that stays", _shell, "a command was run in it: sh"),
        *ANYWHERE,
        Way("a file is changed, through its mounts", _changes, "changed: /srv/app/server.py"),
        Way("a file is added, in the engine's storage", _copies, "added: /opt"),
        Way("a file is deleted, through its mounts", _deletes, "removed: /srv/app/busy.py"),
        Way("docker cp, out of it", _of_docker("cp", "NAME:/etc/debian_version", "-"), "were copied out of it"),
        Way(
            "docker update --memory",
            _of_docker("update", "--memory=512m", "--memory-swap=512m", "NAME"),
            "its limit of memory was changed",
        ),
        Way("docker update --cpus", _of_docker("update", "--cpus=0.5", "NAME"), "its limit of processors was changed"),
        Way("docker network connect, to another", _networks, "it was connected to the network"),
        Way("docker rename", _of_docker("rename", "NAME", "another-name"), "it was renamed"),
        Way("docker kill --signal=CONT", _of_docker("kill", "--signal=CONT", "NAME"), "it was sent a signal"),
    ),
}
