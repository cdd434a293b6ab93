"""Each invariant's test catches a core that breaks it: the core is broken once for each, and the test must fail.

``script/prove invariants [--worlds N] [--seed S]``: first the tests pass on the core as it is; then, for each mutation,
the one test is run on a copy of the sources with that mutation. Prints seed, invariant, mutation, whether it was
caught, and the worlds within which it was: a test that does not notice gets another seed, at most `BATCHES` times.
Exit code 0 only if all are caught.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = "tests/core/test_invariants.py"
SINGLE = "test_no_step_breaks_an_invariant"  # checks one invariant by its name, or all
BATCHES = 4
LIMIT = 600.0  # seconds that one run of tests may take


@dataclass(frozen=True, slots=True)
class Mutation:
    """A small replacement in one file of the core, and what must notice it: an invariant by its name, or a test."""

    test: str
    says: str
    file: str
    before: str
    after: str


MUTATIONS = (
    Mutation(
        "last ready",
        "traffic goes back to groups with nothing ready",
        "traffic.py",
        "out[service] = dict(weights) if may else has",
        "out[service] = dict(weights)",
    ),
    Mutation(
        "last ready",
        "of too many instances the ready ones go",
        "placement.py",
        "key=lambda a: (not world.is_ready(a.name), a.ordinal)",
        "key=lambda a: (world.is_ready(a.name), a.ordinal)",
    ),
    Mutation(
        "last ready",
        "what drains stops though nothing else serves",
        "placement.py",
        " or world.is_last(one):",
        ":",
    ),
    Mutation(
        "raised",
        "a ready instance that the edge does not know counts",
        "traffic.py",
        "or world.reachable(g) for g, w",
        "or world.ready(g) for g, w",
    ),
    Mutation(
        "tested",
        "surplus is counted from one instance too few",
        "placement.py",
        "for one in ranked[size:]]",
        "for one in ranked[size - 1 :]]",
    ),
    Mutation(
        "last ready",
        "what is tainted goes though nothing takes its place",
        "placement.py",
        "        if ready or is_alone or not world.is_ready(one.name):",
        "        if one:",
    ),
    Mutation(
        "gap",
        "who is to be reborn waits for one ready instance, whatever the size",
        "placement.py",
        "one_more is not None and (ready >= size or",
        "one_more is not None and (ready or",
    ),
    Mutation(
        "touched",
        "a tainted canary speaks against nothing",
        "progress.py",
        "if aside.must_go(world, one) and rollout.kind",
        "if not one and rollout.kind",
    ),
    Mutation(
        "held",
        "what somebody looks into is ended",
        "aside.py",
        "        return one.hold",
        "        return 0.0",
    ),
    Mutation(
        "sums",
        "a stage gives the new group its weight and takes nothing from the old one",
        "traffic.py",
        "before.group: FULL - weight}",
        "before.group: FULL}",
    ),
    Mutation(
        "zero",
        "groups get traffic before the first stage",
        "traffic.py",
        'before.group or phase != "stage":',
        'before.group or phase == "prepare":',
    ),
    Mutation(
        "drained",
        "requests in flight are not waited for",
        "placement.py",
        "elif not world.edge.in_flight.get(one.name, 0) or world.now",
        "elif True or world.now",
    ),
    Mutation(
        "drained",
        "the edge is not asked whether it still sends requests",
        "placement.py",
        "return world.told.get(name, True)",
        "return True",
    ),
    Mutation(
        "in place",
        "an instance that was launched is launched again",
        "placement.py",
        "[k for k in kept if k.name not in world.seen]",
        "[k for k in kept if not world.is_ready(k.name)]",
    ),
    Mutation(
        "test_no_ordinal_is_used_twice",
        "ordinals are counted from the instances there are",
        "placement.py",
        "first = world.groups[group].next_ordinal",
        "first = len(world.by_group.get(group, ()))",
    ),
    Mutation(
        "together",
        "one prepared group is enough",
        "progress.py",
        "is_told and all(",
        "is_told and any(",
    ),
    Mutation(
        "control",
        "a stage may take all the traffic",
        "traffic.py",
        "return min(weight, FULL - member.policy.control)",
        "return weight",
    ),
    Mutation(
        "machine",
        "a rollback is rolled back",
        "progress.py",
        '    if rollout.kind == "rollback":\n        return\n',
        "",
    ),
    Mutation(
        "test_what_failed_is_not_the_way_back",
        "the way back is the one before, however it fared",
        "retention.py",
        'if one.outcome == "promoted" and not one.is_retired and number not in lost:',
        "if not one.is_retired and number not in lost:",
    ),
    Mutation(
        "way back",
        "a failure is not remembered",
        "consequences.py",
        'failed = Change(rollout.new, "rolled back", ',
        'failed = Change(rollout.new, "promoted", ',
    ),
    Mutation(
        "test_what_failed_is_not_begun_again",
        "an automatic rollback leaves the wish",
        "consequences.py",
        "wish = rollout.old if world.wish == rollout.new else None",
        "wish = None",
    ),
    Mutation(
        "test_one_fails_and_all_go_back",
        "only the first service goes back",
        "traffic.py",
        'after.group == before.group or phase != "stage":',
        'after.group == before.group or (phase != "stage" and service == min(old)):',
    ),
    Mutation(
        "test_rolling_back_by_hand_to_a_warm_generation_is_only_shifts",
        "a rollback prepares what is warm",
        "decide.py",
        'if kind == "rollback" and is_at_hand(',
        'if kind == "never" and is_at_hand(',
    ),
    Mutation(
        "test_rolling_back_automatically_to_a_warm_generation_is_only_shifts",
        "what failed is cleared away before the traffic is back",
        "decide.py",
        '    if phase in {"stage", "full", "rolling back"}:',
        '    if phase in {"stage", "full"}:',
    ),
    Mutation(
        "test_the_tested_instances_become_the_generation",
        "a group is prepared anew when all traffic moves",
        "decide.py",
        "steps += placed.steps",
        'steps += placed.steps if world.rollout is None or world.rollout.phase != "warm" else '
        "placement.clear(world, name, policy).steps",
    ),
    Mutation(
        "test_a_fixed_point_is_reached_and_nothing_is_orphaned",
        "groups that nothing needs are left running",
        "decide.py",
        "placed = placement.clear(world, name, policy)",
        "continue",
    ),
    Mutation(
        "test_decide_is_deterministic_and_total",
        "the order of the instances is the order in which they were read",
        "world.py",
        "for one in sorted(self.allotments, key=lambda a: (a.group, a.ordinal)):",
        "for one in self.allotments:",
    ),
    Mutation(
        "test_a_preview_is_what_a_run_does",
        "a preview forgets what is committed with a phase",
        "preview.py",
        "wish=world.wish if also.wish is None else also.wish,",
        "wish=world.wish,",
    ),
    Mutation(
        "test_a_keeper_killed_at_any_effect_changes_nothing_in_the_end",
        "traffic is moved only in the breath in which the phase is committed",
        "decide.py",
        "shifted = () if told else _shift(world)",
        "shifted = () if told or world.rollout is not None else _shift(world)",
    ),
    Mutation(
        "test_effects_that_happen_twice_change_nothing_in_the_end",
        "a phase is entered on the word of an older world",
        "decide.py",
        "enter = Enter(rollout.id, rollout.version, phase,",
        "enter = Enter(rollout.id, rollout.version + 1, phase,",
    ),
    Mutation(
        "test_the_way_back_is_the_last_that_served_before",
        "the search for the way back ends at the first failure",
        "retention.py",
        "        number = one.previous\n",
        "        number = 0\n",
    ),
    Mutation(
        "skew",
        "callers follow the weights",
        "doors.py",
        "    return meant[0].group if meant[0].group in known else None\n",
        "    return FOLLOWS\n",
    ),
    Mutation(
        "skew",
        "a generation that is only warm has a say in whom a caller reaches",
        "doors.py",
        "    now = (world.serving,) if rollout is None else (rollout.old, rollout.new)\n    meant",
        "    now = needed(world)\n    meant",
    ),
    Mutation(
        "callers",
        "callees leave whoever calls them",
        "decide.py",
        "elif name not in sizes and name in called:",
        "elif False:",
    ),
    Mutation(
        "early",
        "a worker is prepared like a server",
        "staffing.py",
        'return member.kind == "worker" or traffic',
        "return traffic",
    ),
    Mutation(
        "working",
        "the new workers of a stage take the place of all the old ones",
        "staffing.py",
        "min(member.size, max(1, member.size - count))",
        "max(0, member.size - count)",
    ),
    Mutation(
        "alone",
        "what must be alone does not look for others of its service",
        "placement.py",
        "    if others or service in world.haunted:\n        return 0\n",
        "",
    ),
    Mutation(
        "alone",
        "a successor within the group starts before the predecessor has ended",
        "placement.py",
        "return max(0, size - sum(1 for one in seen if one is not None and one.is_alive))",
        "return size",
    ),
    Mutation(
        "before",
        "nobody waits for the commands",
        "staffing.py",
        "if is_new and not tasks.is_prepared(world, rollout, member):",
        "if False:",
    ),
    Mutation(
        "before",
        "a command that failed is no failure, and one that runs is done",
        "progress.py",
        "if not undone and is_at_hand",
        "if is_at_hand",
    ),
    Mutation(
        "before",
        "a command is begun as often as somebody looks",
        "tasks.py",
        "if key not in world.tasks:",
        "if key not in world.running:",
    ),
    Mutation(
        "schedule",
        "a run begins though the last one goes on",
        "tasks.py",
        "> max(state.due, serving.at) and key not in world.running:",
        "> serving.at:",
    ),
    Mutation(
        "superseded",
        "what is wanted now begins while something else has traffic",
        "decide.py",
        "    if _has_foreign_traffic(world):\n        return ()\n",
        "",
    ),
    Mutation(
        "superseded",
        "what was overtaken is remembered as failed",
        "consequences.py",
        "if world.wish != rollout.new:\n                failed =",
        "if not rollout.new:\n                failed =",
    ),
    Mutation(
        "superseded",
        "a rollout is back as soon as it goes back",
        "progress.py",
        'if traffic.is_set(world, wanted):\n                return Happening("back"',
        'if wanted is not None:\n                return Happening("back"',
    ),
)


def main() -> int:
    """Run the proof; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--worlds", type=int, default=500, help="random worlds for each test")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--only", default="", help="a word of the mutations to try")
    options = parser.parse_args()
    print(f"seed {options.seed}, at most {options.worlds} worlds for each test")
    begun = time.monotonic()
    is_good = passes(ROOT / "src", "", options.worlds, options.seed)
    print(f"{'the core as it is':<72} {'passes' if is_good else 'FAILS'}", flush=True)
    missed = 0
    chosen = [one for one in MUTATIONS if options.only in f"{one.test} {one.says}"]
    for one in chosen:
        batch = next((n for n in range(BATCHES) if not passes_mutated(one, options.worlds, options.seed + n)), None)
        missed += batch is None
        caught = "MISSED" if batch is None else f"caught within {(batch + 1) * options.worlds} worlds"
        print(f"{one.test.removeprefix('test_').replace('_', ' '):<72} {caught}", flush=True)
        print(f"    {one.file}: {one.says}")
    seconds = time.monotonic() - begun
    print(f"{len(chosen) - missed} of {len(chosen)} mutations caught, in {seconds:.0f} s")
    return 0 if is_good and not missed else 1


def passes_mutated(one: Mutation, worlds: int, seed: int) -> bool:
    """Say whether the mutation's test passes on a copy of the sources that has the mutation.

    Raises  ValueError if the text that it replaces is not there exactly once.
    """
    with tempfile.TemporaryDirectory(prefix="anew-proof-") as folder:
        sources = Path(folder) / "src"
        shutil.copytree(ROOT / "src", sources, ignore=shutil.ignore_patterns("__pycache__"))
        target = sources / "anew" / "core" / one.file
        text = target.read_text()
        if text.count(one.before) != 1:
            raise ValueError(f"{one.file} has {text.count(one.before)} times what the mutation replaces: {one.before}")
        target.write_text(text.replace(one.before, one.after))
        return passes(sources, one.test, worlds, seed)


def passes(sources: Path, test: str, worlds: int, seed: int) -> bool:
    """Run one test, or all of them, on `sources`; say whether they pass.

    Raises  RuntimeError if they could not be run at all, or did not run on `sources`.
    """
    environment = os.environ | {
        "PYTHONPATH": str(sources),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ANEW_EXAMPLES": str(worlds),
        "ANEW_SEED": str(seed),
        "ANEW_SHRINK": "0",
    }
    where = subprocess.run(
        [sys.executable, "-c", "import anew; print(anew.__file__)"],
        env=environment, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    if not where.stdout.startswith(str(sources)):
        raise RuntimeError(f"the tests would run on {where.stdout.strip()}, not on {sources}")
    is_test = test.startswith("test_")
    environment |= {} if is_test else {"ANEW_INVARIANT": test}
    node = f"{TESTS}::{test if is_test else SINGLE}" if test else TESTS
    argv = [sys.executable, "-m", "pytest", "-x", "--tb=line", "--show-capture=no", f"--timeout={LIMIT:.0f}", node]
    ran = subprocess.run(
        argv, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=2 * LIMIT
    )
    if ran.returncode not in {0, 1}:
        raise RuntimeError(f"{' '.join(argv)} could not run: {ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return ran.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
