"""`anew.yaml` from text to `model.Spec`, with all complaints at once.

Three readings, none of which stops the others: the tree (is it YAML, where stands what), the shapes (is each mapping
made of the right keys and values), the references (do the parts go together). Text in, values out: no file is opened.
"""

from __future__ import annotations

from pydantic import ValidationError

from anew import model
from anew.core.digest import canonical
from anew.core.spec import fetches, references, shapes
from anew.core.spec.complaints import of_shape
from anew.core.spec.fields import address
from anew.core.spec.head_shapes import HeadShape
from anew.core.spec.rollout_shapes import RolloutShape, WarmShape
from anew.core.spec.tree import read
from anew.errors import Complaint, SpecError, Unsupported


def parse(text: str, file: str = "anew.yaml") -> model.Spec:
    """Return what the text of a spec says; `file` is the name that complaints use.

    Raises  SpecError with every complaint, each with ``file:line path`` and a hint; Unsupported if all that is wrong is
            not there yet.
    """
    tree = read(text, file)
    found: list[tuple[Complaint, bool]] = [(one, False) for one in tree.complaints]
    shape = None
    try:
        shape = shapes.ProjectShape.model_validate(tree.value)
    except ValidationError as error:
        found += of_shape(error, tree)
    found += ((one, False) for one in references.check(tree))
    if found or shape is None:
        raise _error(found)
    return _spec(shape)


def _error(found: list[tuple[Complaint, bool]]) -> SpecError | Unsupported:
    complaints = sorted(dict.fromkeys(one for one, _ in found), key=_line)
    return Unsupported.of(complaints) if all(is_later for _, is_later in found) else SpecError.of(complaints)


def _line(complaint: Complaint) -> int:
    place = complaint.where.split(" ", 1)[0].split(":")
    return next((int(part) for part in place[1:] if part.isdecimal()), 0)


def _spec(shape: shapes.ProjectShape) -> model.Spec:
    local = {"local": shapes.EnvironmentShape()}
    environments = local if shape.environments is None else shape.environments
    return model.Spec(
        project=shape.project,
        heads=tuple(_head(name, head) for name, head in shape.os.items()),
        services=tuple(_service(name, service) for name, service in shape.services.items()),
        environments=tuple(_environment(name, one, shape) for name, one in environments.items()),
        allowances=tuple(
            model.Allowance(name, one.allow, one.path, one.why)
            for name, service in shape.services.items()
            for one in service.hygiene
        ),
        registry=shape.registry or "",
    )


def _head(name: str, head: HeadShape) -> model.Head:
    packages, mirror, keyring = tuple(head.packages or ()), tuple(head.mirror or ()), head.keyring or ""
    if head.debian is not None:
        return model.DebianHead(name, head.debian, packages, "debian", mirror, keyring)
    if head.ubuntu is not None:
        return model.DebianHead(name, head.ubuntu, packages, "ubuntu", mirror, keyring)
    if head.recipe is not None:
        return model.BuiltHead(name, head.recipe, (head.context or head.recipe.rpartition("/")[0]).rstrip("/") or ".")
    if head.tar is not None:
        return model.TarHead(name, head.tar)
    if head.image is not None:
        return model.ImageHead(name, head.image)
    return model.HostHead(name)


def _service(name: str, service: shapes.ServiceShape) -> model.Service:
    default, expose = model.Service("", "", ()), service.expose or shapes.ExposeShape()
    return model.Service(
        name=name,
        os=service.os,
        command=tuple(service.command),
        copy=tuple(model.Copy(source, target) for source, target in service.files.items()),
        fetch=tuple(_fetch(url, service.fetch[url]) for url in sorted(service.fetch)),
        build=tuple(_step(step) for step in service.build),
        http=None if service.http is None else model.Http(service.http.health),
        hosts=tuple(expose.hosts or ()),
        is_exposed=service.expose is not None,
        size=service.size,
        flags=tuple(sorted(service.flags.items())),
        writable=tuple(service.writable),
        tests=tuple(_test(test) for test in service.tests),
        policy=_policy(service.rollout or RolloutShape()),
        is_tcp=service.tcp is not None,
        port=expose.port or default.port,
        needs=tuple(sorted(service.needs)),
        secrets=tuple(sorted(service.secrets)),
        volumes=tuple(_volume(volume, one) for volume, one in sorted(service.volumes.items())),
        before=tuple(_task(task) for task in service.before),
        is_singleton=bool(service.singleton),
        ready_after=default.ready_after if service.ready_after is None else service.ready_after,
        schedule=service.schedule or default.schedule,
        within=default.within if service.within is None else service.within,
        limits=_limits(service) or default.limits,
        max_age=service.max_age or default.max_age,
        outcomes=service.outcomes.outcomes() if service.outcomes else None,
    )


def _fetch(url: str, said: str | shapes.FetchShape) -> model.Fetch:
    target = said if isinstance(said, str) else said.to
    target += fetches.file_name(url) if target.endswith("/") else ""
    if isinstance(said, str):
        return model.Fetch(url, target)
    return model.Fetch(url, target, said.sha256 or "", said.executable)


def _step(step: shapes.BuildShape) -> model.BuildStep:
    default = model.BuildStep()
    return model.BuildStep(
        run=step.run or "",
        network=step.network,
        name=step.name or "",
        ansible=step.ansible or "",
        puppet=step.puppet or "",
        files=tuple(sorted((step.files or {}).items())),
        vars=canonical(step.vars).decode() if step.vars else "",
        inputs=tuple(dict.fromkeys(step.inputs or ())),
        secrets=tuple(sorted(set(step.secrets))),
        mode=int(step.mode, 8) if step.mode else default.mode,
        owner=step.owner or "",
    )


def _limits(said: shapes.ServiceShape | shapes.OverrideShape) -> model.Limits | None:
    """Return what is said of limits; None if nothing is."""
    found = model.Limits(said.memory or 0, said.cpu or 0.0, said.pids or 0)
    return None if found == model.Limits() else found


def _volume(name: str, volume: str | shapes.VolumeShape) -> model.Volume:
    return model.Volume(name, volume) if isinstance(volume, str) else model.Volume(name, volume.path, volume.shared)


def _task(task: shapes.TaskShape) -> model.Task:
    run = tuple(task.run)
    return model.Task(run) if task.within is None else model.Task(run, task.within)


def _test(test: shapes.TestShape) -> model.Test:
    http, default = test.http, model.Test()
    return model.Test(
        get=http.get if http else "",
        status=http.status if http else default.status,
        contains=http.contains if http else "",
        run=tuple(test.run or ()),
        at=test.at,
        eventually=default.eventually if test.eventually is None else test.eventually,
    )


def _policy(rollout: RolloutShape) -> model.Policy:
    default = model.Policy()
    criteria = (rollout.judge.criteria if rollout.judge else None) or {}

    def said(value: float | None, otherwise: float) -> float:
        return otherwise if value is None else value

    warm = rollout.warm
    return model.Policy(
        stages=default.stages if rollout.stages is None else tuple(w for w in rollout.stages if w < model.FULL),
        each=said(rollout.each, default.each),
        at_most=said(rollout.at_most, default.at_most),
        on_undecided=rollout.on_undecided or default.on_undecided,
        ready=said(rollout.ready, default.ready),
        warm=said(warm.for_ if isinstance(warm, WarmShape) else warm, default.warm),
        drain=said(rollout.drain, default.drain),
        grace=said(rollout.grace, default.grace),
        control=default.control if rollout.control is None else rollout.control,
        judge=rollout.judge.judge() if rollout.judge else default.judge,
        sticky=rollout.sticky,
        probes=tuple(one.probe() for one in rollout.probes or ()),
        criteria=tuple(one.criterion(name) for name, one in sorted(criteria.items())),
        baseline=rollout.baseline,
        warm_control=warm.control if isinstance(warm, WarmShape) else default.warm_control,
    )


def _environment(name: str, environment: shapes.EnvironmentShape, project: shapes.ProjectShape) -> model.Environment:
    host, port = address(environment.listen)
    quarantine = environment.quarantine
    return model.Environment(
        name=name,
        engine=environment.engine,
        host=host,
        port=port,
        keep=environment.keep,
        overrides=tuple(_override(service, one) for service, one in environment.services.items()),
        taint=environment.taint,
        quarantine=model.Environment("").quarantine if quarantine is None else quarantine,
        trust=tuple(environment.trust or project.trust or ()),
        max_os_age=_os_age(project.max_os_age if environment.max_os_age is None else environment.max_os_age),
        on_undecided=environment.on_undecided or "",
    )


def _os_age(said: float | shapes.OsAgeShape | None) -> model.OsAge:
    if isinstance(said, shapes.OsAgeShape):
        return model.OsAge(said.warn or 0.0, said.refuse or 0.0)
    return model.OsAge(said or 0.0)


def _override(service: str, said: shapes.OverrideShape) -> model.Override:
    flags = tuple(sorted(said.flags.items()))
    return model.Override(service, said.size, flags, said.port, _limits(said), said.max_age)
