"""What else is committed together with a phase: who serves, what is wanted, how generations fared.

A preview assumes it and the journal commits it, in the same transaction as the phase.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from anew.core.world import World
from anew.model import Rollout


@dataclass(frozen=True, slots=True)
class Consequences:
    """Changes to the environment (None: as it is) and to generations (number → field → value)."""

    serving: int | None = None
    wish: int | None = None
    generations: dict[int, dict[str, object]] = field(default_factory=dict)


def consequences(world: World, rollout: Rollout) -> Consequences:
    """Return what follows from `rollout` having entered its phase now."""
    match rollout.phase:
        case "warm":
            return _served(world, rollout)
        case "rolling back":
            # An automatic rollback sets the wish back; the failed generation is no way back for anybody.
            failed = {"outcome": "rolled back", "reason": rollout.reason, "warm_until": 0.0}
            # What an operator has wished meanwhile stays.
            wish = rollout.old if world.wish == rollout.new else None
            return Consequences(wish=wish, generations={rollout.new: failed})
        case "rolled back":
            back: dict[int, dict[str, object]] = {rollout.old: {"warm_until": 0.0}} if rollout.old else {}
            return Consequences(serving=rollout.old, generations=back)
        case _:
            return Consequences()


def _served(world: World, rollout: Rollout) -> Consequences:
    window = max((m.policy.warm for m in world.members(rollout.new).values()), default=0.0)
    generations: dict[int, dict[str, object]] = {
        rollout.new: {"outcome": "promoted", "reason": rollout.reason, "warm_until": 0.0}
    }
    if rollout.old:
        left: dict[str, object] = {"warm_until": world.now + window}
        if rollout.kind == "rollback":
            left |= {"outcome": "rolled back", "reason": f"taken back by hand, to g{rollout.new}"}
        generations[rollout.old] = left
    return Consequences(serving=rollout.new, generations=generations)
