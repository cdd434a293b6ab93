"""What moves a rollout: from what is seen to an event of the machine, with one sentence of reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from anew.core import aside, control, judging, measures, staffing, tasks, traffic, undecided, verdict
from anew.core.machine import Event
from anew.core.world import World
from anew.model import Member, Rollout, Sample, Seconds, Verdict

DEATHS = 3  # of the instances of one new group, until the rollout goes back
FALLS = 3  # times that one new instance may have become unready before the rollout goes back
LOST: Seconds = 10.0  # a group that has all the traffic may be without a ready instance this long
TESTING: Seconds = 60.0  # preview tests may take this long beyond their own bounds


@dataclass(frozen=True, slots=True)
class Happening:
    """What happened to a rollout (`event` None: nothing yet), why, and when to look again at the latest."""

    event: Event | None
    reason: str
    until: float | None = None
    wants_test: bool = False


def look(world: World, rollout: Rollout) -> Happening:
    """Return what happened to the rollout under way."""
    view = _View.of(world, rollout)
    match rollout.phase:
        case "prepare":
            return _prepare(view)
        case "preview":
            return _preview(view)
        case "stage":
            return _stage(view)
        case "full":
            return _full(view)
        case "warm":
            return _warm(view)
        case _:
            wanted = control.weights(world, rollout)
            if traffic.is_set(world, wanted):
                return Happening("back", rollout.reason)
            # What can't take its traffic back in time gets it once it can; until then another wish can be acted on.
            bound = rollout.since + max((m.policy.ready for m in view.old.values()), default=0.0)
            if world.now >= bound and traffic.is_set(world, traffic.guarded(world, wanted)):
                return Happening("back", rollout.reason)
            return Happening(None, f"going back: {rollout.reason}", max(world.now, bound))


@dataclass(frozen=True)
class _View:
    world: World
    rollout: Rollout
    old: Mapping[str, Member]
    new: Mapping[str, Member]

    @classmethod
    def of(cls, world: World, rollout: Rollout) -> _View:
        return cls(world, rollout, world.members(rollout.old), world.members(rollout.new))

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """How many instances each group shall have now."""
        return staffing.sizes(self.world)

    @cached_property
    def apart(self) -> frozenset[str]:
        """Which groups can't be compared just now; see `control.apart`."""
        edge = self.world.edge
        return control.apart(self.rollout, self.world.generations, edge.weights) if edge.is_up else frozenset()

    @property
    def fresh(self) -> tuple[Member, ...]:
        """The members of the new generation whose groups the old one does not have."""
        have = {m.group for m in self.old.values()}
        return tuple(m for _, m in sorted(self.new.items()) if m.group not in have)


def is_at_hand(world: World, number: int) -> bool:
    """Say whether all groups of a generation are at full size, ready, and known to the edge: traffic can go there."""
    rollout = world.rollout
    other = world.serving if rollout is None or number != rollout.new else rollout.old
    members = world.members(number).values()
    groups = {m.group: m.size for m in members if not staffing.is_taken_in_turn(world, m, other)}
    is_told = all(world.reachable(m.group) == world.ready(m.group) for m in members if m.kind in traffic.LISTENING)
    has_edge = world.edge.is_up or not any(m.kind in traffic.LISTENING for m in members)
    return has_edge and is_told and all(world.ready(group) >= size for group, size in groups.items())


def _is_routed(world: World, number: int) -> bool:
    declared, wanted = world.edge.declaration, traffic.declaration(world)
    hosts = {h for m in world.members(number).values() for h in m.hosts}
    if declared is None:
        return not wanted.groups
    return hosts <= {r.host for r in declared.routes} and declared.listeners == wanted.listeners


def _prepare(view: _View) -> Happening:
    world, rollout = view.world, view.rollout
    gone = next(_against(view), None)
    if gone is not None:
        return gone
    failed = tasks.failure(world, rollout)
    if failed:
        return Happening("failed", failed)
    undone, allowed = tasks.waiting(world, rollout)
    baselines = control.wanted(world)
    is_comparable = all(world.reachable(m.group) >= m.size for m in baselines)
    if not undone and is_comparable and is_at_hand(world, rollout.new) and _is_routed(world, rollout.new):
        event: Event = "unjudged" if rollout.kind == "rollback" else "ready"
        return Happening(event, f"all instances of g{rollout.new} are ready")
    first = [m for m in baselines if world.ready(m.group) < m.size]
    short = [*first, *(m for m in view.new.values() if world.ready(m.group) < m.size)]
    waiting = [m for m in short if not staffing.is_taken_in_turn(world, m, rollout.old)]
    if undone and first:
        waiting = first  # no command begins before they are ready
    elif undone:  # it may wait for one of those that run already
        waiting = [m for m in waiting if tasks.is_prepared(world, rollout, m)]
    said = [f"{undone} has not ended"] if undone and not first else []
    says = "; ".join([*said, *(f"{m.group} has {world.ready(m.group)} of {m.size} instances ready" for m in waiting)])
    bound = rollout.since + _preparing(view, baselines, allowed)
    if world.now >= bound:
        why = "; ".join(filter(None, (_unready(world, m) for m in waiting)))
        return Happening("late", f"not ready in time: {says or 'the edge does not answer'}{why and ' (' + why + ')'}")
    return Happening(None, f"waiting: {says or 'for the edge'}", bound)


def _preparing(view: _View, baselines: Sequence[Member], allowed: Seconds) -> Seconds:
    """Return how long all may take until they are ready; commands, which may take what is `allowed`, stand between."""
    new = max((m.policy.ready for m in view.new.values()), default=0.0)
    beside = max((m.policy.ready for m in baselines), default=0.0)
    return beside + allowed + new if allowed else max(beside, new)


def _unready(world: World, member: Member) -> str:
    state = world.groups.get(member.group)
    if state is None:
        return ""
    if state.outcome and state.deaths:
        return state.outcome
    return f"{state.group.seal.health or 'its port'} does not answer as it should"


def _preview(view: _View) -> Happening:
    world, rollout = view.world, view.rollout
    gone = next(_against(view), None) or next(_lost(view, 0.0), None)
    if gone is not None:
        return gone
    tests = [t for m in view.fresh for t in m.tests]
    if tests and rollout.tested not in {"", "passed"}:
        return Happening("failed", rollout.tested)
    if rollout.asked == "promote":
        return Happening("promote", "promoted by hand")
    if tests and not rollout.tested:
        bound = rollout.since + sum(t.eventually for t in tests) + TESTING
        if world.now >= bound:
            return Happening("late", "the preview tests did not end in time")
        wants = not world.is_testing
        return Happening(None, f"testing g{rollout.new} at its preview", bound, wants_test=wants)
    passed = f"{len(tests)} preview tests passed" if tests else f"g{rollout.new} is ready"
    if traffic.stage_count(view.old, view.new):
        return Happening("passed", passed)
    return Happening("unjudged", f"{passed}, and there is nothing to compare it with")


def _stage(view: _View) -> Happening:
    world, rollout = view.world, view.rollout
    gone = next(_against(view), None) or next(_lost(view, 0.0), None)
    if gone is not None:
        return gone
    if rollout.asked == "promote":
        return Happening("promote", "promoted by hand")
    services = traffic.judged(view.old, view.new)
    count = traffic.stage_count(view.old, view.new)
    where = f"stage {rollout.stage + 1} of {count}"
    found = verdicts(world, rollout)
    fails = [f"{view.new[s].group}: {v.reason}" for s, v in found.items() if v.kind == "fail"]
    for says in (*fails, *_hopeless(view)):
        return Happening("failed", f"{where}: {says}")
    says = "; ".join(f"{view.new[s].group}: {v.reason}" for s, v in found.items())
    policies = [view.new[s].policy for s in services]
    least = rollout.since + max((p.each for p in policies), default=0.0)
    most = max(least, rollout.since + max((p.at_most for p in policies), default=0.0))
    onward: Event = "last" if rollout.stage + 1 >= count else "passed"
    wanted = control.weights(world, rollout)
    if world.edge.is_up and world.edge.declaration is not None:  # one that knows nobody could move nothing
        wanted = traffic.guarded(world, wanted)
    if not traffic.is_set(world, wanted):
        return Happening(None, f"{where}: waiting for the edge", most)
    if all(v.kind == "pass" for v in found.values()):
        return Happening(onward if world.now >= least else None, f"{where}: {says}", least)
    if world.now < most:
        return Happening(None, f"{where}: {says}", most)
    unsure = [view.new[s].policy for s in services if found[s].kind != "pass"]
    then = undecided.overtime(unsure, world.environment, rollout.since, most, world.now)
    if then.is_over:
        return Happening("late", f"{where}: {then.says}: {says}")
    return Happening(onward if then.until is None else None, f"{where}: {then.says}: {says}", then.until)


def _hopeless(view: _View) -> Iterator[str]:
    """Yield which new groups answer no traffic well while they can't be compared, though the old ones answer."""
    for service in traffic.judged(view.old, view.new):
        group = view.new[service].group
        if group not in view.apart or not view.world.weight(service, group):
            continue
        old, new = (_lately(view.world, one[service].group) for one in (view.old, view.new))
        if old.requests and verdict.is_hopeless(old, new):
            yield f"{group}: none of its last {new.requests} requests was answered well"


def _lately(world: World, group: str) -> Sample:
    """Return what a group answered in the last seconds, without its probes: they may go to one side alone."""
    every, probes = (world.recent.get(key, verdict.NOTHING) for key in (group, group + measures.PROBES))
    return Sample(max(0, every.requests - probes.requests), max(0, every.failures - probes.failures))


def verdicts(world: World, rollout: Rollout) -> Mapping[str, Verdict]:
    """Return what is to be said now of each service of a rollout that is compared with another group."""
    view = _View.of(world, rollout)
    found = control.watched(rollout, view.old, view.new)
    return {service: _verdict(view, old, view.new[service]) for service, old in found.items()}


def _verdict(view: _View, old: Member, new: Member) -> Verdict:
    service, world = new.service, view.world
    slow = dict(view.rollout.slow).get(service, 0)
    compared = judging.criteria(old, new, world.samples, is_timed=bool(slow))
    counted = judging.verdict_by(compared, new.policy) if compared else None
    found = _of_workers(view, new, counted) if new.kind == "worker" or counted is None else counted
    keys = (key for key in measures.keys(new, old.group, new.group) if key in world.unread)
    unread = [f"{key} can't be counted: {world.unread[key]}" for key in keys]
    if new.kind == "http" and new.policy.judge.slow and not slow:
        unread.append("time is not judged: the old group had too few answers to know what is slow")
    if new.group in view.apart:
        unread.append(f"nothing is compared just now, for {old.group} has no traffic")
        found = replace(found, reason="") if found.reason == verdict.NO_TRAFFIC else found
    return replace(found, reason="; ".join(filter(None, (found.reason, *unread)))) if unread else found


def _of_workers(view: _View, member: Member, counted: Verdict | None) -> Verdict:
    """Judge workers by whether they run, and by what is counted of their work, if anything is.

    One that is started again and again runs too, most of the time.
    """
    if counted is not None and counted.kind == "fail":
        return counted
    wanted, ready = view.sizes.get(member.group, 0), view.world.ready(member.group)
    says = f"{ready} of {wanted} workers run"
    state = view.world.groups.get(member.group)
    begun = view.rollout.since
    if undecided.chosen(member.policy, view.world.environment) == "extend":  # what counts is how it runs by now
        begun = max(begun, view.world.now - member.policy.at_most)
    died = sum(at >= begun for at in state.deaths) if state else 0
    if died:
        return Verdict("undecided", f"{says}, and {died} died in this stage: {state.outcome if state else ''}")
    if ready < wanted or counted is None:
        return Verdict("pass" if ready >= wanted else "undecided", says)
    return replace(counted, reason=f"{says}, {counted.reason}")


def _full(view: _View) -> Happening:
    gone = next(_against_all(view), None)
    if gone is not None:
        return gone
    world, rollout = view.world, view.rollout
    wanted = control.weights(world, rollout)
    is_moved = traffic.is_set(world, wanted) and _is_routed(world, rollout.new)
    if is_moved and (rollout.kind == "rollback" or not rollout.old or staffing.is_staffed(world, rollout.new)):
        left = " but what stays behind to be compared with" if control.watched(rollout, view.old, view.new) else ""
        return Happening("confirmed", f"g{rollout.new} has all the traffic{left}")
    bound = rollout.since + max((_patience(view, m) for m in view.new.values()), default=0.0)
    if world.now < bound:
        return Happening(None, f"g{rollout.new} takes all the traffic", world.now)
    allowed = f"{bound - rollout.since:g} s"
    if rollout.kind == "rollback":  # nothing takes it back; but then another wish can be acted on
        return Happening("confirmed", f"g{rollout.new} has all the traffic that could be moved within {allowed}")
    says = f"the edge has not confirmed within {allowed} that g{rollout.new} has all the traffic"
    if is_moved:
        short = (m for m in view.new.values() if world.ready(m.group) < m.size)
        has = "; ".join(f"{m.group} has {world.ready(m.group)} of {m.size} instances ready" for m in short)
        says = f"not ready within {allowed}: {has}"
    return Happening("late", says)


def _patience(view: _View, member: Member) -> Seconds:
    """Return how long a group may take to be ready at `full`; what is handed over waits for the end of another."""
    if not staffing.is_taken_in_turn(view.world, member, view.rollout.old):
        return member.policy.ready
    before = view.old.get(member.service)
    return member.policy.ready + (before.policy.drain + before.policy.grace if before else 0.0)


def _warm(view: _View) -> Happening:
    world, rollout = view.world, view.rollout
    if world.wish != rollout.new:
        return Happening("over", f"g{world.wish} is wanted now")
    gone = next(_against_all(view), None)
    if gone is not None:
        return gone
    # What only changes sizes has nothing to prove, and a first generation no way back.
    is_changed = bool(view.old) and {m.group for m in view.old.values()} != {m.group for m in view.new.values()}
    window = max((m.policy.warm for m in view.new.values()), default=0.0) if is_changed else 0.0
    if world.now >= rollout.since + window:
        return Happening("over", f"g{rollout.new} serves" + (", the warm window is over" if is_changed else ""))
    return Happening(None, f"g{rollout.new} serves; g{rollout.old} is warm", rollout.since + window)


def _against(view: _View) -> Iterator[Happening]:
    """Yield what speaks against going on, in any phase before all traffic is on the new groups."""
    world, rollout = view.world, view.rollout
    if rollout.asked == "abort":
        yield Happening("abort", "taken back by hand")
    if world.wish != rollout.new and world.wish in world.generations:
        yield Happening("abort", f"superseded by g{world.wish}")
    if world.trouble:
        yield Happening("failed", world.trouble)
    for member in view.fresh:
        # What an earlier rollout of the same group left speaks of that one.
        ones = [a for a in world.by_group.get(member.group, ()) if not 0 < a.draining < rollout.begun]
        for one in ones:
            if aside.must_go(world, one) and rollout.kind == "rollout" and rollout.phase != "warm":
                yield Happening(
                    "tainted", f"{one.name} is tainted, and what was touched is never promoted: {one.tainted}"
                )
        state = world.groups.get(member.group)
        deaths = [at for at in state.deaths if at >= rollout.begun] if state else []
        if state and len(deaths) >= DEATHS:
            yield Happening("died", f"instances of {member.group} died {len(deaths)} times: {state.outcome}")
        for one in ones:
            seen = world.seen.get(one.name)
            if seen is not None and seen.falls >= FALLS:
                says = f"the health of {one.name} flaps: it answered, and then no longer, {seen.falls} times"
                yield Happening("lost", says)


def _lost(view: _View, patience: Seconds) -> Iterator[Happening]:
    world = view.world
    for member in view.fresh:
        if world.ready(member.group) or not view.sizes.get(member.group):
            continue
        is_starting = staffing.is_taken_in_turn(world, member, view.rollout.old)
        allowed = max(patience, _patience(view, member)) if is_starting else patience
        since = [s.since for a in world.by_group.get(member.group, ()) if (s := world.seen.get(a.name))]
        state = world.groups.get(member.group)
        deaths = [at for at in state.deaths[-1:] if at >= view.rollout.begun] if state else []
        if is_starting or not (since or deaths):  # it could not be ready before this phase began
            since.append(view.rollout.since)
        if not allowed or max((*since, *deaths)) + allowed <= world.now:
            why = state.outcome if state and deaths else "it is not ready any more"
            yield Happening("lost", f"{member.group} has no ready instance left ({why})")


def _against_all(view: _View) -> Iterator[Happening]:
    """Yield what speaks against a generation that has all the traffic; nothing rolls a rollback back."""
    world, rollout = view.world, view.rollout
    if rollout.kind == "rollback":
        return
    if not rollout.old:
        yield from (h for h in _against(view) if h.event == "abort" and rollout.phase == "full")
        return
    staying = (m for m in view.old.values() if m.size and not staffing.is_taken_in_turn(world, m, rollout.new))
    if not all(world.ready(m.group) for m in staying):
        return
    yield from (h for h in _against(view) if h.event != "failed")
    yield from _lost(view, LOST)
    for member in view.fresh:  # going back changes nothing for those that both generations share
        recent = world.recent.get(member.group)
        if recent is not None and verdict.has_tripped(recent):
            yield Happening(
                "failed", f"{member.group}: {recent.failures} of the last {recent.requests} requests failed"
            )
        for name, end in judging.own(member):
            recent = world.recent.get(member.group + end)
            if recent is not None and verdict.has_tripped(recent):
                says = f"{recent.failures} of the last {recent.requests} were bad by {name}"
                yield Happening("failed", f"{member.group}: {says}")
    for service, one in verdicts(world, rollout).items() if rollout.phase == "warm" else ():
        if one.kind == "fail":
            yield Happening("failed", f"after all stages: {view.new[service].group}: {one.reason}")
