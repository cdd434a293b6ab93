"""What else is committed together with a phase: who serves, what is wanted, how generations fared.

A preview assumes it and the journal commits it, in the same transaction as the phase.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from anew.core.world import World
from anew.model import Generation, GenerationOutcome, Rollout


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a generation; None leaves a part as it is. Its members never change."""

    number: int
    outcome: GenerationOutcome | None = None
    reason: str | None = None
    warm_until: float | None = None
    is_retired: bool | None = None

    def applied(self, generation: Generation) -> Generation:
        """Return `generation` as it is after the change."""
        return replace(
            generation,
            outcome=generation.outcome if self.outcome is None else self.outcome,
            reason=generation.reason if self.reason is None else self.reason,
            warm_until=generation.warm_until if self.warm_until is None else self.warm_until,
            is_retired=generation.is_retired if self.is_retired is None else self.is_retired,
        )


@dataclass(frozen=True, slots=True)
class Consequences:
    """Changes to the environment (None: as it is) and to generations."""

    serving: int | None = None
    wish: int | None = None
    generations: tuple[Change, ...] = ()


def consequences(world: World, rollout: Rollout) -> Consequences:
    """Return what follows from `rollout` having entered its phase now."""
    match rollout.phase:
        case "warm":
            return _served(world, rollout)
        case "rolling back":
            # An automatic rollback sets the wish back; the failed generation is no way back for anybody.
            # What another wish has overtaken did not fail, and may be wanted again.
            failed = Change(rollout.new, "rolled back", rollout.reason, warm_until=0.0)
            if world.wish != rollout.new:
                failed = _withdrawn(world, rollout)
            elif rollout.asked == "abort" and _has_served(world, rollout):
                failed = Change(rollout.new, warm_until=0.0)  # an operator's change of mind is no failure of it
            # What an operator has wished meanwhile stays.
            wish = rollout.old if world.wish == rollout.new else None
            return Consequences(wish=wish, generations=(failed,))
        case "rolled back":
            back = (Change(rollout.old, warm_until=0.0),) if rollout.old else ()
            return Consequences(serving=rollout.old, generations=back)
        case _:
            return Consequences()


def _withdrawn(world: World, rollout: Rollout) -> Change:
    """What served before stays a way back, though somebody changed his mind while it was on its way."""
    if _has_served(world, rollout):
        return Change(rollout.new, warm_until=0.0)
    return Change(rollout.new, "withdrawn", rollout.reason, warm_until=0.0)


def _has_served(world: World, rollout: Rollout) -> bool:
    generation = world.generations.get(rollout.new)
    return generation is not None and generation.outcome == "promoted"


def _served(world: World, rollout: Rollout) -> Consequences:
    window = max((m.policy.warm for m in world.members(rollout.new).values()), default=0.0)
    changes = [Change(rollout.new, "promoted", rollout.reason, warm_until=0.0)]
    if rollout.old:
        left = Change(rollout.old, warm_until=world.now + window)
        if rollout.kind == "rollback":
            left = replace(left, outcome="rolled back", reason=f"taken back by hand, to g{rollout.new}")
        changes.append(left)
    return Consequences(serving=rollout.new, generations=tuple(changes))
