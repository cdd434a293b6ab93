"""A keeper that systemd runs: killed, restarted, rebooted and without power, and what it keeps comes back.

``script/prove service [--kvm] [--tree FOLDER]``: as root, with mmdebstrap and qemu-system-x86, a virtual machine of
Debian packages is made and started. Inside, `anew install` is tried on the real thing, under requests all the time.
Without `--kvm` the processor is emulated, which takes long. `--tree` keeps the packages for the next time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anew
from anew.build import apt
from anew.errors import AnewError, EngineError
from anew.testing.rig import Rig, show

PACKAGES = (
    *("systemd", "systemd-sysv", "udev", "dbus", "linux-image-cloud-amd64", "iproute2", "procps"),
    *("python3", "python3-venv", "libpam-systemd", "dbus-user-session", "uidmap"),
)
SUITE = "bookworm"
CONSOLE = """[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin root --noissue 115200 ttyS0 dumb
"""
SLOWER = 15.0  # is an emulated processor
PYTHON = "/opt/anew/bin/python"
UNIT = "anew-rig.local.service"
ASKER = r"""
import json, time, urllib.request
failed = []
asked = 0
while True:
    try:
        with urllib.request.urlopen("http://127.0.0.1:8080/", timeout=60) as one:
            one.read()
    except Exception as error:
        failed.append([time.time(), repr(error)])
    asked += 1
    with open("/run/asked.new", "w") as out:
        json.dump({"asked": asked, "failed": failed}, out)
    import os; os.replace("/run/asked.new", "/run/asked")
    time.sleep(0.02)
"""


def main() -> int:
    """Run the proof; 0 if every line of it holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tree", type=Path, help="where the packages are kept")
    parser.add_argument("--kvm", action="store_true", help="use the machine's own processor")
    asked = parser.parse_args()
    print("seed none: nothing here is random", flush=True)
    top = Path(tempfile.mkdtemp(prefix="anew-machine-", dir="/var/tmp"))
    try:
        tree = asked.tree or top / "tree"
        made(tree)
        with started(disk(tree, top), tree, is_fast=asked.kvm) as machine:
            prove(machine)
            prove_of_a_user(machine)
    except (AnewError, AssertionError) as error:
        print(f"FAILED: {show(error) if isinstance(error, AnewError) else error}")
        return 1
    finally:
        shutil.rmtree(top)
    return 0


# ------------------------------------------------------------ the machine


def made(tree: Path) -> None:
    """Make the tree of packages, unless it is there, and put this anew into it."""
    if not (tree / "etc" / "debian_version").exists():
        print(f"making {tree} of Debian packages", flush=True)
        options = [f"--aptopt={one}" for one in apt.proxy_options()]
        line = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}", *options]
        subprocess.run([*line, SUITE, str(tree), *apt.source_lines(SUITE)], check=True, stderr=subprocess.DEVNULL)
    write(tree / "etc/hostname", "machine\n")
    write(tree / "etc/fstab", "/dev/vda / ext4 defaults 0 1\n")
    write(tree / "etc/systemd/system/serial-getty@ttyS0.service.d/own.conf", CONSOLE)
    write(tree / "root/.profile", "export PATH=/opt/anew/bin:$PATH TERM=dumb\n")
    subprocess.run(["chroot", str(tree), "passwd", "--quiet", "--delete", "root"], check=True)
    if not (tree / "etc/passwd").read_text().count("\nada:"):
        subprocess.run(["chroot", str(tree), "useradd", "--create-home", "--shell", "/bin/sh", "ada"], check=True)
    opt = tree / "opt" / "anew"
    shutil.rmtree(opt, ignore_errors=True)
    subprocess.run(["chroot", str(tree), "python3", "-m", "venv", "--without-pip", "/opt/anew"], check=True)
    package = Path(anew.__file__).parent
    target = opt / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    left_out = shutil.ignore_patterns("__pycache__", "*.pth", "mypy*", "ruff*", "hypothesis*", "anew")
    shutil.copytree(sysconfig.get_path("purelib"), target, dirs_exist_ok=True, ignore=left_out, symlinks=True)
    shutil.copytree(package, target / "anew", ignore=shutil.ignore_patterns("__pycache__"))
    write(opt / "bin" / "anew", f"#!{PYTHON}\nimport sys\nfrom anew.__main__ import main\nsys.exit(main())\n")
    (opt / "bin" / "anew").chmod(0o755)
    write(opt / "asker.py", ASKER)
    Rig(tree / "srv", 8080, each="1s", at_most="2s", ready="300s", warm="2s").write("r1")


def write(path: Path, text: str) -> None:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def disk(tree: Path, top: Path) -> Path:
    """Make a disk of the tree."""
    image = top / "disk.img"
    with image.open("wb") as out:
        out.truncate(4 << 30)
    subprocess.run(["mkfs.ext4", "-q", "-d", str(tree), str(image)], check=True)
    return image


class Machine:
    """A virtual machine, driven by its serial console as a person would."""

    def __init__(self, process: subprocess.Popen[bytes], patience: float) -> None:
        self._process = process
        self._patience = patience  # by which all limits are longer
        self._heard = b""
        self._count = 0

    def boot(self, limit: float = 120.0) -> None:
        """Wait for the prompt of root, and make the console quiet."""
        self._wait(re.compile(rb"root@machine:[^\n]*# "), limit)
        self.run("stty -echo cols 1000; PS1=; dmesg --console-off")

    def run(self, command: str, limit: float = 120.0, code: int | None = 0) -> str:
        """Run a command; return what it printed, and fail if it ends otherwise than with `code` (None: no matter)."""
        self._count += 1
        mark = f"-end-{self._count}-"
        self._type(f"{command}\necho '{mark[:3]}''{mark[3:]}' $?\n")
        heard = self._wait(re.compile(mark.encode() + rb" (\d+)\r?\n"), limit)
        text, _, ended = heard.decode(errors="replace").replace("\r", "").rpartition(mark)
        if code is not None and int(ended) != code:
            raise EngineError(f"`{command}` ended with {ended.strip()}, not {code}", facts={"output": text[-4000:]})
        return text.strip()

    def type(self, text: str) -> None:
        """Type something, and do not wait."""
        self._type(text + "\n")

    def until(self, what: str, condition: Callable[[], bool], limit: float) -> float:
        """Wait until something is so; return after how many seconds it was."""
        begin = time.monotonic()
        while not condition():
            if time.monotonic() - begin > limit * self._patience:
                log = self.run(f"journalctl -b -u {UNIT} -n 40 --no-pager", code=None)
                raise EngineError(f"{what}: not within {limit:g} s", facts={"journal": log})
            time.sleep(0.1)
        return time.monotonic() - begin

    def _type(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    def _wait(self, wanted: re.Pattern[bytes], limit: float) -> bytes:
        end = time.monotonic() + limit * self._patience
        while not (found := wanted.search(self._heard)):
            piece = self._more(end)
            if not piece:
                raise EngineError("the machine says nothing more", facts={"console": self._heard.decode()[-4000:]})
            self._heard += piece
        heard, self._heard = self._heard[: found.end()], self._heard[found.end() :]
        return heard

    def _more(self, end: float) -> bytes:
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        is_ready = bool(select.select([handle], [], [], max(0.0, end - time.monotonic()))[0])
        return os.read(handle, 65536) if is_ready else b""


@contextmanager
def started(image: Path, tree: Path, *, is_fast: bool) -> Iterator[Machine]:
    """Start a machine of the disk; it is gone at the end."""
    kernel, initrd = (max((tree / "boot").glob(f"{name}-*")) for name in ("vmlinuz", "initrd.img"))
    line = ["qemu-system-x86_64", "-cpu", "max", "-accel", "kvm" if is_fast else "tcg,thread=multi", "-m", "1024"]
    line += ["-nodefaults", "-display", "none", "-serial", "stdio", "-smp", "2"]
    line += ["-kernel", str(kernel), "-initrd", str(initrd), "-append", "root=/dev/vda rw console=ttyS0 quiet panic=5"]
    line += ["-drive", f"file={image},format=raw,if=virtio,cache=writeback", "-device", "virtio-rng-pci"]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    machine = Machine(process, 1 if is_fast else SLOWER)
    try:
        machine.boot()
        yield machine
    finally:
        process.kill()
        process.wait()


# ------------------------------------------------------------ what is proven


def said(text: str) -> None:
    """Print a line that holds."""
    print(f"ok  {text}", flush=True)


def status(machine: Machine, prefix: str = "") -> dict[str, Any]:
    """Return the status of the environment."""
    return dict(json.loads(machine.run(f"{prefix}anew -C /srv/project status --json 2>/dev/null")))


def instances(machine: Machine) -> frozenset[str]:
    """Return the instances that live, by pid and name."""
    found = machine.run("pgrep -af '^python3 /srv/app/server.py' || true")
    return frozenset(re.findall(r"^(\d+) ", found, re.MULTILINE))


def main_pid(machine: Machine) -> int:
    """Return the process id of the service."""
    return int(machine.run(f"systemctl show -P MainPID {UNIT}"))


def keeper(machine: Machine) -> int:
    """Return the process id of the keeper, whoever started it."""
    return int(status(machine)["keeper"])


def asked(machine: Machine) -> tuple[int, list[Any]]:
    """Return how many requests were sent, and those that failed."""
    found = json.loads(machine.run("cat /run/asked"))
    return int(found["asked"]), list(found["failed"])


def begin_to_ask(machine: Machine) -> None:
    """Send requests from now on."""
    machine.run(f"systemd-run --quiet --unit asker {PYTHON} /opt/anew/asker.py")


def serves(machine: Machine) -> bool:
    """Say whether the service answers."""
    line = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/', timeout=2).status)"
    return machine.run(f'{PYTHON} -c "{line}" 2>/dev/null', code=None) == "200"


def is_kept_by_the_service(machine: Machine) -> bool:
    """Say whether the keeper is the service, and all that serves is ready."""
    now = status(machine)
    groups = [group for service in now["services"] for group in service["groups"] if group["weight"]]
    is_ready = bool(groups) and all(group["ready"] == group["size"] for group in groups)
    return is_ready and 0 != now["keeper"] == main_pid(machine)


def expect(condition: object, what: str) -> None:
    """Fail unless `condition` holds."""
    if not condition:
        raise EngineError(f"it does not hold: {what}")
    said(what)


def prove(machine: Machine) -> None:
    """Install the keeper, and do to it and to its machine what can happen to them."""
    machine.run("systemctl is-system-running --wait", code=None)
    said(machine.run("uname -r; systemctl --version | head -1; stat -fc %T /sys/fs/cgroup").replace("\n", ", "))
    machine.run("anew -C /srv/project install", code=3)
    machine.run("anew -C /srv/project up --detach", 240)
    machine.until("the first rollout", lambda: serves(machine), 60)
    print(machine.run("anew -C /srv/project install"))
    expect(is_kept_by_the_service(machine), "the environment is kept by the service; the keeper of `up` was ended")
    machine.run("anew -C /srv/project install")
    before = instances(machine), main_pid(machine)
    expect(len(before[0]) == 2, "there are two instances")
    machine.run("anew -C /srv/project install")
    expect((instances(machine), main_pid(machine)) == before, "`install` again changes nothing")
    begin_to_ask(machine)
    of_the_keeper(machine)
    of_instances(machine)
    of_commands(machine)
    of_the_machine(machine)
    of_the_end(machine)


def of_the_keeper(machine: Machine) -> None:
    """Kill it, restart it, stop it."""
    before, pid = instances(machine), main_pid(machine)
    machine.run(f"kill -9 {pid}")
    took = machine.until("another keeper", lambda: is_kept_by_the_service(machine) and main_pid(machine) != pid, 60)
    expect(instances(machine) == before, f"the keeper was killed; {took:.1f} s later systemd's next one keeps the same")
    machine.run(f"systemctl restart {UNIT}")
    machine.until("the keeper after a restart", lambda: is_kept_by_the_service(machine), 30)
    expect(instances(machine) == before, "`systemctl restart` touches no instance")
    machine.run(f"systemctl stop {UNIT}")
    expect(not keeper(machine) and instances(machine) == before and serves(machine), "`systemctl stop` neither")
    machine.run(f"systemctl start {UNIT}")
    machine.until("the keeper after a start", lambda: is_kept_by_the_service(machine), 30)
    expect(instances(machine) == before, "nor does `systemctl start`")
    sent, failed = asked(machine)
    expect(not failed, f"{sent} requests were sent meanwhile, and none failed")


def of_instances(machine: Machine) -> None:
    """Kill one, and let the kernel kill one for want of memory."""
    before, pid = instances(machine), main_pid(machine)
    victim = min(before)
    machine.run(f"kill -9 {victim}")
    machine.until("a successor", lambda: victim not in instances(machine) and len(instances(machine)) == 2, 30)
    expect(victim not in instances(machine), "an instance that was killed has a successor")
    machine.until("its readiness", lambda: is_kept_by_the_service(machine), 30)
    victim = min(instances(machine))
    machine.run(f"echo 1000 > /proc/{victim}/oom_score_adj; echo f > /proc/sysrq-trigger")
    machine.until("a successor", lambda: victim not in instances(machine) and len(instances(machine)) == 2, 30)
    expect(main_pid(machine) == pid, "one that the kernel ended for want of memory has one; the keeper is the same")
    machine.until("its readiness", lambda: is_kept_by_the_service(machine), 30)


def of_commands(machine: Machine) -> None:
    """Roll out, dispose, and come back: the keeper is always the service."""
    machine.run("sed -i \"s/RELEASE = 'r1'/RELEASE = 'r2'/\" /srv/project/app/server.py")
    pid = main_pid(machine)
    machine.run("anew -C /srv/project up", 240)
    expect(main_pid(machine) == pid == keeper(machine), "the service rolls out what `anew up` wants")
    machine.run("systemctl stop asker")
    machine.run("anew -C /srv/project dispose", 60)
    expect(not instances(machine), "`anew dispose` ends all of it")
    expect(machine.run(f"systemctl show -P ActiveState {UNIT}") == "inactive", "and the service")
    machine.run("anew -C /srv/project up", 240)
    expect(is_kept_by_the_service(machine), "`anew up` starts the service again")


def of_the_machine(machine: Machine) -> None:
    """Reboot it; take the power away."""
    for how, command in (("a reboot", "systemctl reboot"), ("no power", "sync; echo b > /proc/sysrq-trigger")):
        before = status(machine)
        old = set(machine.run("ls /var/lib/anew/instances").split())
        machine.type(command)
        machine.boot()
        took = machine.until(f"all of it after {how}", lambda: serves(machine) and is_kept_by_the_service(machine), 90)
        now = status(machine)
        since = machine.run("cut -d' ' -f1 /proc/uptime")
        new = set(machine.run("ls /var/lib/anew/instances").split()) - old
        expect(now["serving"] == before["serving"], f"after {how} {now['serving']} serves again")
        expect(
            len(new) >= 2, f"with new instances: {', '.join(sorted(new))}, {since} s after the kernel ({took:.1f} s)"
        )


def of_the_end(machine: Machine) -> None:
    """Uninstall it; a unit of somebody else stays."""
    before = instances(machine)
    machine.run("anew -C /srv/project uninstall")
    expect(instances(machine) == before and serves(machine), "`anew uninstall` touches no instance")
    machine.until("the end of the keeper", lambda: not keeper(machine), 30)
    expect("anew" not in machine.run("ls /etc/systemd/system /etc/systemd/system/*.wants"), "nothing of it is left")
    machine.run(f"printf '[Service]\\nExecStart=/bin/true\\n' > /etc/systemd/system/{UNIT}")
    machine.run("anew -C /srv/project install", code=4)
    machine.run("anew -C /srv/project uninstall", code=4)
    machine.run(f"rm /etc/systemd/system/{UNIT}")
    said("a unit of that name that anew did not make is a conflict")
    machine.run("anew -C /srv/project dispose", 60)


def prove_of_a_user(machine: Machine) -> None:
    """The same for an ordinary user, whose services end when nobody of that name is there any more."""
    machine.run("cp -r /srv/project /home/ada/rig && chown -R ada: /home/ada/rig; loginctl enable-linger ada")
    machine.run("sed -i 's/^project: rig/project: own/' /home/ada/rig/anew.yaml")
    here = "runuser -u ada -- env XDG_RUNTIME_DIR=/run/user/$(id -u ada) HOME=/home/ada PATH=$PATH "
    machine.until("the manager of ada", lambda: "ada" in machine.run("loginctl list-users"), 30)
    machine.run(f"{here} anew -C /home/ada/rig up --detach", 240)
    machine.until("the first rollout", lambda: serves(machine), 60)
    print(machine.run(f"{here} anew -C /home/ada/rig install"))
    pid = machine.run(f"{here} systemctl --user show -P MainPID anew-own.local.service")
    before = instances(machine)
    machine.run(f"kill -9 {pid}")

    def is_back() -> bool:
        found = machine.run(f"{here} systemctl --user show -P MainPID anew-own.local.service")
        return found not in {"0", pid}

    machine.until("another keeper of ada", is_back, 60)
    expect(instances(machine) == before, "a user's own service: killed, started again, and the instances are the same")
    machine.type("systemctl reboot")
    machine.boot()
    took = machine.until("all of it after a reboot", lambda: serves(machine), 90)
    expect(not instances(machine) & before, f"and after a reboot it is back, {took:.1f} s after the prompt")


if __name__ == "__main__":
    sys.exit(main())
