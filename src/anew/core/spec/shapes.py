"""What a spec looks like: one pydantic model per mapping. The JSON Schema for editors comes from these models.

A shape checks what can be seen in one place; what spans places is checked in `anew.core.spec.references`. Defaults of a
rollout are those of `model.Policy`, so a shape leaves out what the file leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from anew.core.spec import amounts as a
from anew.core.spec import fields as f
from anew.core.spec.cron import Schedule
from anew.core.spec.head_shapes import HeadShape, Shape
from anew.core.spec.measure_shapes import OutcomesShape
from anew.core.spec.rollout_shapes import MAPPING, TEXT, RolloutShape
from anew.core.spec.wrong import wrong
from anew.model import OnUndecided

Size = Annotated[int, Field(ge=1, le=100)]
STEP_KINDS = ("run", "ansible", "puppet", "files")
STEP_KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(  # of a step, and with which kinds of it they go
    {
        "network": ("run", "ansible", "puppet"),
        "inputs": ("ansible", "puppet", "files"),
        "vars": ("ansible", "files"),
        "secrets": ("run", "ansible", "puppet"),
        "mode": ("files",),
        "owner": ("files",),
    }
)


class BuildShape(Shape):
    """One step of `build`: exactly one of `run`, `ansible`, `puppet` and `files`."""

    run: f.Maybe[f.Text] = None
    """A command, run by `/bin/sh -c` in a sandbox over the image so far."""
    ansible: f.Maybe[f.RelativePath] = None
    """A playbook, relative to the project; it is applied to the image so far, in the same sandbox."""
    puppet: f.Maybe[f.RelativePath] = None
    """A manifest, relative to the project; it is applied to the image so far, in the same sandbox."""
    files: f.Maybe[dict[f.RelativePath, f.ShippedPath]] = None
    """Templates of Jinja: path in the project, then absolute path of the file in the image."""
    name: f.Maybe[f.Label] = None
    """A name for `--step`; each is given once in a service."""
    network: bool = False
    """Lets the step use the network; the image is then marked as not reproducible."""
    inputs: f.Maybe[list[f.RelativePath]] = None
    """Files and folders that the step may read; if left out, a playbook or manifest has its own folder."""
    vars: f.Maybe[dict[f.VariableName, f.Plain]] = None
    """Variables of a playbook or of templates: texts, numbers, true and false, lists and mappings."""
    secrets: list[f.SecretName] = []
    """Secrets of builds that the step may read, each from the file `/run/secrets/NAME`; none may get into the image."""
    mode: f.Maybe[f.Mode] = None
    """The mode of the files that templates become; `'0644'` if left out."""
    owner: f.Maybe[f.Owner] = None
    """The owner of the files that templates become, `USER` or `USER:GROUP`; `root` if left out."""

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        kinds = [k for k in STEP_KINDS if getattr(self, k) is not None]
        if len(kinds) != 1:
            what = f"a step of `build` is of one kind, and this has {' and '.join(kinds) or 'none'}"
            raise wrong(what, "write one of `run: COMMAND`, `ansible: site.yml`, `puppet: site.pp`, `files: {A: /B}`")
        for key, of in STEP_KEYS.items():
            if getattr(self, key) and kinds[0] not in of:
                known = " and ".join(f"`{one}`" for one in of)
                raise wrong(f"`{key}` goes with {known}, and this is `{kinds[0]}`", f"remove `{key}`")
        if self.files is not None and not self.files:
            raise wrong("`files` names no template", "write `files: {nginx.conf.j2: /etc/nginx/nginx.conf}`")
        return self


class HttpShape(Shape):
    """The service answers HTTP on `$HOST:$PORT`."""

    health: f.UrlPath = "/"
    """The path that answers 200 when an instance is ready; `/` if left out."""


class TcpShape(Shape):
    """The service accepts TCP connections on `$HOST:$PORT`."""


class ExposeShape(Shape):
    """The service is reached from outside: HTTP under `hosts`, TCP on `port`."""

    hosts: f.Maybe[list[f.Host]] = None
    """Host names that lead to the service, if it answers HTTP; `*` is every name that no other service has."""
    port: f.Maybe[f.Port] = None
    """The public port of a TCP service, on the host of `listen`."""


class VolumeShape(Shape):
    """A folder that outlives every instance."""

    path: f.VolumePath
    """Where instances see it: an absolute path."""
    shared: bool = False
    """Lets several groups have it at once, the old and the new; else the old one is ended before the new one starts."""


def _way(value: object) -> str:
    return MAPPING if isinstance(value, (dict, VolumeShape)) else TEXT


Volume = Annotated[
    Annotated[f.VolumePath, Tag(TEXT)] | Annotated[VolumeShape, Tag(MAPPING)],
    Discriminator(_way),
]


class TaskShape(Shape):
    """One command of `before`."""

    run: f.Command
    """What is run in a fresh instance: a program and its arguments; exit code 0 is success."""
    within: f.Maybe[a.Wait] = None
    """The bound within which it must end; `10m` if left out."""


class HttpTestShape(Shape):
    """A request and what must come back."""

    get: f.UrlPath
    """The path to ask for."""
    status: Annotated[int, Field(ge=100, le=599)] = 200
    """The status wanted; 200 if left out."""
    contains: str = ""
    """A text that the body must contain."""


class TestShape(Shape):
    """One test: exactly one of `http` and `run`."""

    __test__ = False  # pytest must not take it for a test of its own

    http: f.Maybe[HttpTestShape] = None
    """A request to a fresh instance."""
    run: f.Maybe[f.Command] = None
    """A command in a fresh instance; it passes with exit code 0."""
    at: Literal["image", "preview"] = "image"
    """When: of the packed image alone (`image`), or of the sealed generation before its first stage (`preview`)."""
    eventually: f.Maybe[a.Wait] = None
    """The bound within which it must pass; `10s` if left out."""

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if (self.http is None) == (self.run is None):
            what = "a test is either `http` or `run`, and this has " + ("both" if self.http else "neither")
            raise wrong(what, "write `- http: {get: /}` or `- run: [program, argument]`")
        return self


class FetchShape(Shape):
    """A file from an address."""

    to: f.ShippedPath
    """Where it lies in the image: an absolute path; a trailing slash means a folder."""
    sha256: f.Maybe[f.Sha256] = None
    """The digest of the file; then it never moves, and may come without encryption."""
    executable: bool = False
    """Gives it the mode 0755 instead of 0644."""


def _fetch_way(value: object) -> str:
    return MAPPING if isinstance(value, (dict, FetchShape)) else TEXT


FetchTo = Annotated[
    Annotated[f.ShippedPath, Tag(TEXT)] | Annotated[FetchShape, Tag(MAPPING)],
    Discriminator(_fetch_way),
]


class AllowanceShape(Shape):
    """Something that the rules of hygiene find in the image, and that may be there."""

    allow: f.RuleId
    """The id of the rule, from the list in the reference."""
    path: f.FoundPath
    """Where: an absolute path; `*` is any name, `**` any number of them."""
    why: f.Text
    """The reason, for whoever reads it later."""


class ServiceShape(Shape):
    """A role that other parts know by one name."""

    os: str
    """The name of its head, from the mapping `os` of the project."""
    files: Annotated[dict[f.RelativePath, f.ShippedPath], Field(alias="copy")] = {}
    """What is copied into the image: path in the project, then absolute path; a trailing slash means a folder."""
    fetch: dict[f.FetchUrl, FetchTo] = {}
    """What is fetched into the image: an address, then an absolute path or a mapping; pinned in `anew.lock`."""
    build: list[BuildShape] = []
    """Steps that finish the image, in order; each result is kept and used again while its inputs are the same."""
    hygiene: list[AllowanceShape] = []
    """What the image may have though images should not, each with a reason."""
    command: f.Command
    """What an instance runs: a program and its arguments."""
    http: f.Maybe[HttpShape] = None
    """The service answers HTTP on `$HOST:$PORT`. Without `http`, `tcp` and `schedule` it is a worker."""
    tcp: f.Tcp[TcpShape] = None
    """The service accepts TCP connections on `$HOST:$PORT`; written as `{}`."""
    expose: f.Maybe[ExposeShape] = None
    """The service is reached from outside; if left out, it is internal."""
    needs: list[str] = []
    """Services that it calls: it gets `NAME_URL` of one that answers HTTP, `NAME_HOST` and `NAME_PORT` of a TCP one."""
    size: Size = 1
    """How many instances run."""
    singleton: f.Maybe[bool] = None
    """Two of this worker never run at once: the old one is ended, then the new one starts."""
    ready_after: f.Maybe[a.Duration] = None
    """A worker that is alive this long is ready; `1s` if left out."""
    outcomes: f.Maybe[OutcomesShape] = None
    """How it says what became of its work; if left out, a worker is judged by whether it runs."""
    schedule: f.Maybe[Schedule] = None
    """When it runs, to its end: the five fields of cron, in UTC."""
    within: f.Maybe[a.Wait] = None
    """A scheduled run may take this long; `1h` if left out."""
    memory: f.Maybe[a.Memory] = None
    """What an instance may use at most, with what it writes to `/tmp` and `writable`; above it is killed."""
    cpu: f.Maybe[a.Processors] = None
    """How many processors an instance may use at most; `0.5` is half of one."""
    pids: f.Maybe[a.Pids] = None
    """How many processes and threads an instance may have at most."""
    max_age: f.Maybe[a.Age] = None
    """An instance is replaced before it is older; if left out, it may grow as old as it likes."""
    flags: f.Flags = {}
    """Environment variables of every instance; an environment can override them."""
    writable: list[f.WritablePath] = []
    """Folders that an instance may write to; they begin empty and end with it. `/tmp` always is one."""
    secrets: list[f.SecretName] = []
    """Secrets of the environment that it reads, each from the file `/run/secrets/NAME`."""
    volumes: dict[f.Label, Volume] = {}
    """Folders that outlive every instance, by name: an absolute path, or a mapping. Each belongs to this service."""
    tests: list[TestShape] = []
    """What must pass before the image may be released."""
    before: list[TaskShape] = []
    """Commands that are run once per generation, in order, before its first traffic; they are never undone."""
    rollout: f.Maybe[RolloutShape] = None
    """How a new generation comes into traffic."""


class OsAgeShape(Shape):
    """How old a head may be: two bounds."""

    warn: f.Maybe[a.OsAge] = None
    """`up` says so when a head is older."""
    refuse: f.Maybe[a.OsAge] = None
    """`up` brings no release there whose head is older."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.warn is None and self.refuse is None:
            raise wrong("neither `warn` nor `refuse` is written here", "write `max_os_age: 30d`")
        if self.warn is not None and self.refuse is not None and self.refuse <= self.warn:
            raise wrong("what is refused would never be warned of", "write `warn` smaller than `refuse`")
        return self


def _os_way(value: object) -> str:
    return MAPPING if isinstance(value, (dict, OsAgeShape)) else TEXT


MaxOsAge = Annotated[
    Annotated[a.OsAge, Tag(TEXT)] | Annotated[OsAgeShape, Tag(MAPPING)],
    Discriminator(_os_way),
]


class OverrideShape(Shape):
    """What an environment says differently of one service."""

    size: f.Maybe[Size] = None
    """How many instances run here."""
    port: f.Maybe[f.Port] = None
    """The public port of a TCP service here."""
    memory: f.Maybe[a.Memory] = None
    """What an instance may use at most here."""
    cpu: f.Maybe[a.Processors] = None
    """How many processors an instance may use at most here."""
    pids: f.Maybe[a.Pids] = None
    """How many processes and threads an instance may have at most here."""
    max_age: f.Maybe[a.Age] = None
    """An instance is replaced here before it is older."""
    flags: f.Flags = {}
    """Flags that are added here, or have another value here."""


class EnvironmentShape(Shape):
    """Where the project runs."""

    engine: f.Engine = "embedded"
    """The platform that runs instances."""
    listen: f.Listen = "127.0.0.1:8080"
    """IP address and port of the public listener."""
    keep: Annotated[int, Field(ge=1, le=100)] = 5
    """How many generations are kept as a way back."""
    taint: Literal["ignore", "report", "replace"] = "replace"
    """What is done about an instance that something touched: nothing, a word about it, or another in its place."""
    quarantine: f.Maybe[a.Duration] = None
    """A tainted instance that was replaced is kept this long for inspection; `1h` if left out."""
    trust: f.Maybe[Annotated[list[f.PublicKey], Field(min_length=1)]] = None
    """Public keys whose word on images is taken here; if left out, those of the project."""
    max_os_age: f.Maybe[MaxOsAge] = None
    """As in the project, for this environment alone."""
    on_undecided: f.Maybe[OnUndecided] = None
    """That of services that do not say it in `rollout`; if left out, `promote` in `local`, and `extend` elsewhere."""
    services: dict[str, OverrideShape] = {}
    """What is different here, by service."""


class ProjectShape(Shape):
    """The whole of `anew.yaml`."""

    project: f.PartName
    """The name of the project; it begins every instance's name."""
    os: dict[f.Label, HeadShape]
    """Operating-system heads by name."""
    services: dict[f.ServiceName, ServiceShape]
    """Services by name."""
    max_os_age: f.Maybe[MaxOsAge] = None
    """How long ago a head may have been resolved: `up` warns of an older one; `{warn: 20d, refuse: 40d}` has both."""
    registry: f.Maybe[f.Repository] = None
    """The repository to which `anew push` brings releases, and from which `anew pull` fetches them."""
    environments: f.Maybe[dict[f.EnvironmentName, EnvironmentShape]] = None
    """Environments by name; if left out, there is `local`."""
    trust: f.Maybe[Annotated[list[f.PublicKey], Field(min_length=1)]] = None
    """Public keys whose word on images is taken; if left out, the project's own one on this machine."""
