"""How a playbook or a manifest is applied to an image: by a program that is mounted beside it and stays nowhere.

Rules

1. The program comes from a tool head, mounted read-only at `TOOLS`, and is started through that head's own dynamic
   linker, whose library path no child inherits: programs of the image run with the image's own libraries.
2. All that it writes for itself (caches, facts, temporary files) is below /tmp, which is no part of the image.
3. Services are enabled and disabled by the links that systemd would make, and neither started nor stopped: `systemctl`
   and `service` are ours (`shims`), and process 1 is called systemd, as roles written for machines want it.
4. What differs from machine to machine is no fact: what is not blocked here is named in the guide.
"""

from __future__ import annotations

import json
import posixpath
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from anew.build.definition import Job
from anew.build.epoch import ENVIRONMENT, EPOCH
from anew.errors import EngineError
from anew.model import BuildStep

PLACE = "/run/control"  # in the sandbox; what the step is given lies below
TOOLS, INPUTS, PROGRAMS, SHIMS = (f"{PLACE}/{name}" for name in ("tools", "inputs", "bin", "shims"))
TOLD = "/run/anew-told"  # what services were asked to do
POLICY = "usr/sbin/policy-rc.d"
_SHIMS = Path(__file__).parent / "shims"
_FACTS = Path(__file__).parent / "facts"

_FIRST = f"""#!/bin/sh
# Process 1 of the step, so that its name is systemd's: applies, then tells what services were asked to do.
mkdir -p /tmp/control /tmp/puppet/code
"$@"
code=$?
if [ -e {TOLD} ]; then
  sort {TOLD} | uniq | while read -r line; do echo "services are not started while building: $line"; done
fi
exit "$code"
"""

_ANSIBLE = f"""[defaults]
home = /tmp/control
local_tmp = /tmp/control/tmp
remote_tmp = /tmp/control/tmp
remote_user = root
interpreter_python = {PROGRAMS}/python3
roles_path = ROLES
collections_path = COLLECTIONS
action_plugins = {PROGRAMS}/actions
gather_subset = !all
allow_world_readable_tmpfiles = True
deprecation_warnings = False
retry_files_enabled = False
nocows = True
nocolor = True
host_key_checking = False
[inventory]
host_pattern_mismatch = error
[privilege_escalation]
become_method = su
"""

_PUPPET = f"""[main]
confdir = /tmp/puppet
vardir = /tmp/puppet/var
codedir = /tmp/puppet/code
rundir = /tmp/puppet/run
logdir = /tmp/puppet/log
ssldir = /tmp/puppet/ssl
publicdir = /tmp/puppet/public
statedir = /tmp/puppet/state
vendormoduledir = {TOOLS}/usr/share/puppet/vendor_modules
strict_variables = true
color = false
hiera_config = HIERA
"""


@dataclass(frozen=True, slots=True)
class Applied:
    """What a step needs to be applied: files to be written, by their path below `PROGRAMS`, and a command."""

    files: Mapping[str, str]
    command: tuple[str, ...]
    environment: Mapping[str, str]


def applied(job: Job, tool: Path, inputs: Path) -> Applied:
    """Return how a playbook or a manifest is applied; `tool` and `inputs` are folders of this machine.

    Raises  EngineError if the tool head has no such program.
    """
    made = _ansible(job.step, tool, inputs) if job.step.kind == "ansible" else _puppet(job.step, tool, inputs)
    path = f"{SHIMS}:{ENVIRONMENT['PATH']}"
    return Applied({"systemd": _FIRST, **made.files}, made.command, {"PATH": path, **made.environment})


def write(applied: Applied, folder: Path) -> Path:
    """Write the files that a step needs into a new folder; return the folder to be mounted at `PROGRAMS`."""
    place = folder / "control"
    for name, text in applied.files.items():
        path = place / name
        for parent in (place, *(p for p in reversed(path.parents) if p.is_relative_to(place))):
            parent.mkdir(mode=0o755, exist_ok=True)
            parent.chmod(0o755)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
    return place


def write_shims(folder: Path) -> Path:
    """Copy the shims into a new folder, whatever the rights are where anew is installed; return it."""
    place = folder / "shims"
    place.mkdir()
    place.chmod(0o755)
    for path in sorted(_SHIMS.iterdir()):
        copy = place / path.name
        copy.write_bytes(path.read_bytes())
        copy.chmod(0o755)
    return place


def _ansible(step: BuildStep, tool: Path, inputs: Path) -> Applied:
    version = _only(tool, "usr/bin/python3.*[0-9]").name
    folder = posixpath.dirname(posixpath.normpath(step.ansible))
    homes = [posixpath.join(INPUTS, folder), INPUTS] if folder else [INPUTS]
    settings = _ANSIBLE.replace("ROLES", ":".join(f"{home}/roles" for home in homes))
    settings = settings.replace("COLLECTIONS", ":".join(f"{home}/collections" for home in homes))
    files = {
        "python3": _started(tool, f"{TOOLS}/usr/bin/{version}", f"{PROGRAMS}/python3", "-s -B"),
        # It makes of the wrapper what a virtual environment is to Python: a name for an interpreter elsewhere.
        "pyvenv.cfg": f"home = {TOOLS}/usr/bin\ninclude-system-site-packages = true\n",
        "ansible.cfg": settings,
        "inventory": "localhost ansible_connection=local\n",
        "actions/gather_facts.py": (_FACTS / "gather_facts").read_text(encoding="utf-8"),
        "epoch.json": json.dumps({"epoch": EPOCH}),
    }
    command = [f"{PROGRAMS}/python3", f"{TOOLS}/usr/bin/ansible-playbook", "-i", f"{PROGRAMS}/inventory"]
    if step.vars:
        files["vars.json"] = step.vars
        command += ["--extra-vars", f"@{PROGRAMS}/vars.json"]
    del inputs
    # Facts come out of sets, whose order is another one in each process unless it is told not to be.
    environment = {"ANSIBLE_CONFIG": f"{PROGRAMS}/ansible.cfg", "PYTHONHASHSEED": "0"}
    return Applied(files, (*command, "--", step.ansible), environment)


def _puppet(step: BuildStep, tool: Path, inputs: Path) -> Applied:
    program = _only(tool, "usr/bin/ruby[0-9]*")
    folder = posixpath.dirname(posixpath.normpath(step.puppet))
    known = [posixpath.normpath(posixpath.join(folder, one)) for one in ("modules", "../modules")]
    modules = [f"{INPUTS}/{one}" for one in dict.fromkeys((*known, "modules")) if (inputs / one).is_dir()]
    hiera = [
        one for one in dict.fromkeys((posixpath.join(folder, "hiera.yaml"), "hiera.yaml")) if (inputs / one).is_file()
    ]
    none = "/tmp/puppet/hiera.yaml"  # noqa: S108 - inside, where there is none
    settings = _PUPPET.replace("HIERA", f"{INPUTS}/{hiera[0]}" if hiera else none)
    files = {
        "ruby": _started(tool, f"{TOOLS}/usr/bin/{program.name}", f"{PROGRAMS}/ruby", " ".join(_ruby_paths(tool))),
        "puppet.conf": settings,
        "puppet": f"{_exit_codes()}",
        "facter.conf": (_FACTS / "facter.conf").read_text(encoding="utf-8"),
        "facts.rb": (_FACTS / "facts.rb").read_text(encoding="utf-8"),
    }
    shared = [f"{TOOLS}/usr/share/puppet/{one}" for one in ("modules", "modules.available")]
    command = [
        f"{PROGRAMS}/puppet",
        *("--config", f"{PROGRAMS}/puppet.conf", "--modulepath", ":".join((*modules, *shared))),
        *("--detailed-exitcodes", "--", step.puppet),
    ]
    return Applied(files, tuple(command), {})


def _exit_codes() -> str:
    """Return a script that runs puppet, and makes of its exit codes what others mean by theirs: 2 is no failure."""
    return (
        f'#!/bin/sh\n{PROGRAMS}/ruby -r{PROGRAMS}/facts.rb {TOOLS}/usr/bin/puppet apply "$@"\n'
        'code=$?\n[ "$code" != 2 ] || code=0\nexit "$code"\n'
    )


def _ruby_paths(tool: Path) -> Iterator[str]:
    """Yield where Ruby finds its own parts in the tool head: they are built into it, for another place."""
    patterns = (
        "usr/lib/ruby/vendor_ruby",
        "usr/lib/ruby/vendor_ruby/[0-9]*",
        "usr/lib/*/ruby/vendor_ruby/[0-9]*",
        "usr/lib/ruby/[0-9]*",
        "usr/lib/*/ruby/[0-9]*",
        "usr/share/rubygems-integration/all/gems/*/lib",
        "usr/share/rubygems-integration/all/gems/concurrent-ruby-*/lib/concurrent-ruby",
    )
    for pattern in patterns:
        for path in sorted(tool.glob(pattern)):
            yield f"-I {TOOLS}/{path.relative_to(tool)}"


def _started(tool: Path, program: str, name: str, options: str) -> str:
    """Return a script that starts a program of the tool head through its own dynamic linker."""
    linker = _only(tool, "usr/lib/*-linux-gnu*/ld-linux*.so.*")
    libraries = f"{TOOLS}/{linker.parent.relative_to(tool)}"
    return (
        "#!/bin/sh\n"
        f"export OPENSSL_MODULES={shlex.quote(f'{libraries}/ossl-modules')}\n"
        f'exec {libraries}/{linker.name} --library-path {libraries} --argv0 {name} {program} {options} "$@"\n'
    )


def _only(tool: Path, pattern: str) -> Path:
    found = sorted(tool.glob(pattern))
    if not found:
        raise EngineError(
            f"the tool head has no {pattern}",
            where=str(tool),
            hint="`anew lock --update` makes it again; if that does not help, it is of a suite that nobody tried",
        )
    return found[0]
