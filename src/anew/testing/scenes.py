"""What happens around a simulated keeper: time, traffic, faults, and an operator with good and bad releases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random

from anew.core import names
from anew.core.control import late_stage
from anew.core.machine import BEFORE_FULL
from anew.core.retention import way_back
from anew.model import Environment, Generation, Group, Kind, Member, Policy, Rollout, Sample, Seconds, Task, Test
from anew.testing.groups import fits, group_for
from anew.testing.simulated import Nature, Platform
from anew.testing.worlds import PREVIEW_TEST, SCOPE, SERVICES

START = 1_000_000.0
POLICIES = (
    Policy(stages=(100, 500), each=2.0, at_most=8.0, ready=8.0, warm=20.0, drain=5.0, grace=1.0),
    Policy(stages=(500,), each=0.0, at_most=6.0, ready=8.0, warm=15.0, drain=3.0, control=300, on_undecided="rollback"),
    Policy(stages=(), each=2.0, at_most=8.0, ready=8.0, warm=20.0, drain=0.0, grace=1.0),
    Policy((200, 600), each=1.0, at_most=4.0, ready=8.0, warm=15.0, drain=3.0, grace=1.0, on_undecided="extend"),
    Policy((300,), each=1.0, at_most=4.0, ready=8.0, warm=15.0, drain=3.0, grace=1.0, on_undecided="ask"),
    Policy((100, 500), each=1.0, at_most=4.0, ready=8.0, warm=15.0, drain=3.0, grace=1.0, baseline="fresh"),
    Policy((300,), 1.0, 4.0, "rollback", 8.0, warm=15.0, drain=3.0, grace=1.0, baseline="fresh", warm_control=100),
    Policy((100,), each=1.0, at_most=4.0, ready=8.0, warm=15.0, drain=3.0, grace=1.0, warm_control=50),
)
GOOD = (Nature(), Nature(ready_after=1.5), Nature(takes=2.0))
DYING = (  # of whatever runs
    Nature(ready_after=None),
    Nature(dies_after=0.7),
    Nature(ready_after=0.5, dies_after=2.5),
    Nature(is_refused=True),
)
FAILING = (*DYING, Nature(failures=1.0), Nature(failures=0.7, ready_after=1.0))  # of what listens
UNFIT = Nature(preview="http GET /ready: status 500")
UNPREPARED = (Nature(ends="exit code 3"), Nature(takes=None))  # of what has commands to run before
FLAPPING = Nature(flaps=0.6)
SPELLS = (Task(("/bin/prepare",), 4.0), Task(("/bin/check",), 6.0))
KINDS: tuple[Kind, ...] = ("http", "http", "http", "tcp", "worker", "worker", "job")
MOST = 8  # services
PATIENCE: Seconds = 60.0  # of a stage, until the operator gives his word though he does nothing else


@dataclass(frozen=True, slots=True)
class Faults:
    """How often things go wrong: each a probability, per effect, or per instance and second."""

    lost_reply: float = 0.0  # the effect happened, and it looks as if it failed
    failed: float = 0.0  # the effect did not happen
    late: float = 0.0  # a shift happens seconds after it looked as if it failed
    crash: float = 0.0  # the keeper is killed, before or after an effect
    death: float = 0.0  # an instance dies by itself
    hang: float = 0.0  # an instance does not answer for a while
    edge_death: float = 0.0
    touch: float = 0.0  # something touches an instance
    stuck: float = 0.0  # a request in flight does not end by itself


NONE = Faults()
ROUGH = Faults(
    lost_reply=0.03,
    failed=0.03,
    late=0.05,
    crash=0.03,
    death=0.004,
    hang=0.004,
    edge_death=0.002,
    touch=0.003,
    stuck=0.05,
)


@dataclass(slots=True)
class Scene:
    """A platform, and what befalls it."""

    random: Random
    faults: Faults
    left: int  # rollouts that the operator still begins
    may_act: bool
    platform: Platform
    services: dict[str, Kind]
    rate: float  # requests of each service in a second
    poll: Seconds = 1.0
    is_judged: bool = False  # nothing but the releases decides how a rollout ends
    bad: set[int] = field(default_factory=set)  # generations with a group that is no good
    violations: list[str] = field(default_factory=list)
    superseded: int = 0  # rollouts that were overtaken by another wish
    touches: int = 0
    accidents: int = 0  # instances that died or hung, edges that died

    @classmethod
    def begin(cls, random: Random, faults: Faults, rollouts: int, *, may_act: bool) -> Scene:
        """Return a scene in which a first, good generation is wanted."""
        services = {s: random.choice(KINDS) for s in SERVICES[: random.randint(1, MOST)]}
        environment = Environment(
            "local",
            keep=random.randint(1, 4),
            taint=random.choice(("replace", "replace", "report", "ignore")),
            quarantine=random.choice((0.0, 5.0, 30.0)),
        )
        platform = Platform(SCOPE, environment, START)
        scene = cls(random, faults, rollouts, may_act, platform, services, random.uniform(800.0, 2400.0))
        scene.is_judged = faults == NONE and not may_act
        scene.up(is_good=True)
        return scene

    @property
    def is_over(self) -> bool:
        """Say whether the operator begins nothing more."""
        return self.left <= 0

    def calm(self) -> None:
        """End all faults: what runs is good from now on."""
        self.faults, self.may_act = NONE, False
        self.platform.has_schedules = False
        self.platform.engine.natures.clear()
        for one in self.platform.engine.processes.values():
            one.hangs_until, one.in_flight = 0.0, 0
        for number, generation in self.platform.journal.generations.items():
            ageless = tuple(replace(m, max_age=0.0) for m in generation.members)
            self.platform.journal.generations[number] = replace(generation, members=ageless)

    def go_on(self, until: float) -> None:
        """Let time pass, at least a little, and everything happen that happens meanwhile."""
        platform = self.platform
        span = max(0.02, until - platform.now)
        platform.now += span
        platform.engine.tick(platform.now)
        platform.edge.land(platform.now)
        if platform.testing is not None and platform.now >= platform.testing[1]:
            number, _, result = platform.testing
            if platform.journal.rollout is not None and platform.journal.rollout.id == number:
                platform.journal.ask(tested=result)
            platform.testing = None
        self._answer(span)
        self._befall(span)
        self._operate(span)
        self._judge()

    # ------------------------------------------------------------ the operator

    def up(self, *, is_good: bool) -> None:
        """Seal a generation, and want it."""
        journal = self.platform.journal
        number = len(journal.generations) + 1
        members: dict[str, Member] = {}
        brought: list[Group] = []
        for service in self.services:
            member = self._known(service, members)
            is_left_out = self.random.random() < 0.1 and (members or service != list(self.services)[-1])
            if member is None and not is_left_out:
                member = self._new(service, number, members)
                port = 30_000 + 100 * number + 10 * len(members)
                brought.append(group_for(member, {s: m.kind for s, m in members.items()}, port))
                self.platform.engine.natures[member.group] = self.random.choice(GOOD)
            if member is not None:
                members[service] = member
        fresh = [m for m in members.values() if m.group in {g.name for g in brought}]
        spoilt = [] if is_good else [m for m in fresh if self._spoil(m)]
        if spoilt:
            self.bad.add(number)
        listed = tuple(replace(m, tests=self._tests(m)) for m in members.values())
        journal.seal(Generation(number, f"r{number}", "", listed, journal.serving, at=self.platform.now), brought)
        journal.wish, journal.wish_kind = number, "rollout"
        self.left -= 1

    def _known(self, service: str, calls: Mapping[str, Member]) -> Member | None:
        """Return the member of a service as it serves, or as it served once, if it can be the same here."""
        journal = self.platform.journal
        serving = journal.generations.get(journal.serving)
        served = [g for g in journal.generations.values() if g.outcome == "promoted" and not g.is_retired]
        chance = self.random.random()
        if serving is None or chance > 0.4:
            return None
        generation = serving if chance < 0.35 else self.random.choice([*served, serving])
        member = next((m for m in generation.members if m.service == service), None)
        state = journal.groups.get(member.group) if member else None
        if member is None or state is None or not fits(state.group.seal.needs, calls):
            return None
        return member if member.kind == "job" or member.is_alone else replace(member, size=self.random.randint(1, 3))

    def _new(self, service: str, number: int, calls: Mapping[str, Member]) -> Member:
        kind = self.services[service]
        if self.random.random() < 0.06:
            kind = self.services[service] = self.random.choice(KINDS)
        listening = [s for s, m in calls.items() if m.kind in {"http", "tcp"}]
        is_alone = self.random.random() < 0.2
        public = 5000 + 10 * SERVICES.index(service)
        return Member(
            service,
            names.group_name(service, number),
            0 if kind == "job" else 1 if is_alone else self.random.randint(1, 3),
            self.random.choice(POLICIES),
            hosts=(f"{service}.test",) if kind == "http" else (),
            kind=kind,
            needs=tuple(sorted(self.random.sample(listening, self.random.randint(0, min(2, len(listening)))))),
            port=self.random.choice((0, public, public + 1)) if kind == "tcp" else 0,
            before=SPELLS[: self.random.randint(1, 2)] if self.random.random() < 0.2 else (),
            is_alone=is_alone,
            max_age=self.random.choice((0.0, 0.0, 0.0, 15.0, 60.0)) if self.may_act else 0.0,
        )

    def _spoil(self, member: Member) -> bool:
        """Make a group no good, in a way that shows; return whether there is one."""
        ways: list[Nature] = [*UNPREPARED] if member.before else []
        if member.kind in {"http", "tcp"}:
            ways += [*FAILING]
        elif member.kind == "worker":
            ways += [*DYING]
        if member.kind == "http" and not member.is_alone:
            ways += [UNFIT, FLAPPING]
        if ways:
            self.platform.engine.natures[member.group] = self.random.choice(ways)
        return bool(ways)

    def _tests(self, member: Member) -> tuple[Test, ...]:
        is_unfit = self.platform.engine.nature(member.group).preview != "passed"
        return (PREVIEW_TEST,) if is_unfit or (member.kind == "http" and self.random.random() < 0.3) else ()

    def _operate(self, span: Seconds) -> None:
        rollout, journal = self.platform.journal.rollout, self.platform.journal
        chance = self.random.random() / max(span, 0.02)
        if self.may_act and self.random.random() < 0.01 * min(1.0, span):
            self._set_aside()
        if rollout is None or rollout.phase == "warm":
            may_begin = rollout is None or (self.may_act and chance < 0.05)
            if journal.wish not in {journal.serving, rollout.new if rollout else journal.serving}:
                return
            if self.may_act and journal.serving and chance < 0.02:
                self._roll_back()
            elif may_begin and self.left > 0 and chance < 0.3:
                self.up(is_good=self.random.random() < 0.6)
        elif self._may_answer(rollout) and chance < 0.03:
            journal.ask(asked=self.random.choice(("abort", "promote")))
        elif self.may_act and self._may_supersede() and chance < 0.05:
            self.superseded += 1
            self.up(is_good=self.random.random() < 0.7)

    def _may_answer(self, rollout: Rollout) -> bool:
        """Say whether the operator may end a rollout; who does nothing else answers at least when a stage asks him."""
        if self.may_act or rollout.asked:
            return rollout.phase in BEFORE_FULL and not rollout.asked
        new = self.platform.journal.generations[rollout.new]
        asks = any(member.policy.on_undecided == "ask" for member in new.members)
        return asks and rollout.phase == "stage" and self.platform.now > rollout.since + PATIENCE

    def _set_aside(self) -> None:
        """Look into one instance, or ask for all of what serves to be reborn."""
        journal = self.platform.journal
        serving = journal.generations.get(journal.serving)
        groups = {m.group for m in serving.members} if serving else set()
        living = [a for a in journal.allotments.values() if a.group in groups and not a.task]
        if living and self.random.random() < 0.5:
            hold = self.platform.now + self.random.uniform(0.0, 20.0)
            journal.set_aside(self.random.choice(living).name, "debug", hold)
        else:
            for one in living:
                journal.set_aside(one.name, "rebirth", 0.0)

    def _may_supersede(self) -> bool:
        journal, rollout = self.platform.journal, self.platform.journal.rollout
        is_going = rollout is not None and rollout.kind == "rollout" and rollout.phase in BEFORE_FULL
        return is_going and rollout is not None and journal.wish == rollout.new and self.left > 0

    def _roll_back(self) -> None:
        journal = self.platform.journal
        back = way_back(journal.generations, journal.serving)
        if back:
            if journal.generations[back].outcome != "promoted":
                self.violations.append(f"g{back} is the way back, and it is {journal.generations[back].outcome}")
            journal.wish, journal.wish_kind = back, "rollback"

    # ------------------------------------------------------------ traffic and faults

    def _answer(self, span: Seconds) -> None:
        """Send requests by the weights, and count what fails."""
        platform = self.platform
        window: dict[str, Sample] = {}
        groups = platform.edge.declaration.groups if platform.edge.is_up and platform.edge.declaration else ()
        for group in groups:
            weight = platform.edge.weights.get(group.service, {}).get(group.name, 0)
            requests = int(self.rate * span * weight / 1000 + self.random.random())
            targets = [platform.engine.processes.get(t.name) for t in group.targets if not t.is_draining]
            ready = [p for p in targets if p is not None and p.is_ready]
            failures = requests if not ready else int(requests * platform.engine.nature(group.name).failures)
            window[group.name] = Sample(requests, failures)
            for process in ready:
                process.in_flight = self.random.randint(0, 3) if weight else process.in_flight
        busy = {t.name for g in groups for t in g.targets if not t.is_draining}
        for name, one in platform.engine.processes.items():
            is_stuck = self.random.random() < self.faults.stuck
            if name not in busy and not is_stuck:
                one.in_flight = 0
        rollout = platform.journal.rollout
        is_late = rollout is not None and late_stage(rollout, platform.journal.generations) is not None
        platform.evidence.add(platform.now, rollout, window, is_compared=is_late)

    def _befall(self, span: Seconds) -> None:
        for name, one in self.platform.engine.processes.items():
            if self._chance(self.faults.death, span):
                self.accidents += 1
                self.platform.engine.end(name, "signal 11 (SIGSEGV)")
            elif self._chance(self.faults.hang, span):
                self.accidents += 1
                one.hangs_until = self.platform.now + self.random.uniform(0.5, 12.0)
            if self._chance(self.faults.touch, span) and not one.touched:
                self.touches += 1
                one.touched = "sh (pid 4711) has entered from outside"
        if self._chance(self.faults.edge_death, span):
            self.accidents += 1
            self.platform.edge.fail()

    def _chance(self, probability: float, span: Seconds) -> bool:
        return probability > 0 and self.random.random() < probability * min(1.0, span)

    def _judge(self) -> None:
        """Note a bad generation that was kept, and a good one that was not, where nothing else went wrong."""
        if not self.is_judged:
            return
        journal = self.platform.journal
        for one in journal.ended:
            outcome = journal.generations[one.new].outcome
            says = f"g{one.new} is {'bad' if one.new in self.bad else 'good'}, and it was {outcome}: {one.reason}"
            is_right = (outcome == "rolled back") == (one.new in self.bad)
            if not is_right and says not in self.violations:
                self.violations.append(says)
