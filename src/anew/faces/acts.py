"""What each command does: ask one use case, show its answer. The options stand in `anew.faces.cli`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anew import views
from anew.errors import Conflict, GateClosed, NotFound, SpecError, Unsupported
from anew.faces import blocks, screen
from anew.faces.render import plain
from anew.faces.report import INTERRUPTED

if TYPE_CHECKING:
    from anew.cases import Anew, Starter
    from anew.faces.blocks import Block
    from anew.faces.watch import Ended, Wanted, Watch
    from anew.model import Manner

_GENERATION = re.compile(r"g([1-9][0-9]{0,8})\Z")
_GROUP = re.compile(r"\b[a-z][a-z0-9-]*-g[1-9][0-9]*(?:b[1-9][0-9]*)?\b")
_RELEASE = re.compile(r"r[1-9][0-9]*\Z")
DIFFERS = 1  # the exit code of a verdict that came out otherwise
LAST_WORDS = 10  # lines of the groups that failed, shown with the failure


@dataclass(frozen=True, slots=True)
class Session:
    """What every command of one call shares."""

    open_anew: Callable[[Path | None], Anew]
    project: Path | None
    environment: str = "local"
    is_json: bool = False

    def anew(self) -> Anew:
        """Open the project."""
        return self.open_anew(self.project)

    def say(self, text: str) -> None:
        """Show a line of progress; it is no answer, so JSON keeps standard output for itself."""
        (screen.note if self.is_json else screen.say)(blocks.visible(text))

    def answer(self, value: object, shown: Iterable[Block]) -> None:
        """Show the answer of a command, as JSON or for people."""
        if self.is_json:
            screen.show_json(value)
        else:
            screen.show(shown)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of `init`: where, and what is chosen rather than found ("": found)."""

    folder: Path
    kind: str
    command: str
    is_printing: bool


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked of `up`: a release, or the environment whose release it is; neither: what the file says."""

    release: str
    source: str
    is_again: bool
    may_supersede: bool


def init(session: Session, starter: Starter, asked: Asked) -> int:
    """Write the spec of a folder; or print it, and then all else goes to standard error."""
    made = starter(asked.folder, asked.kind, asked.command, is_writing=not asked.is_printing)
    shown = blocks.of_start(made)
    if asked.is_printing and not session.is_json:
        screen.note(plain(shown))
        screen.say(made.spec.removesuffix("\n"))
    else:
        session.answer(made, shown)
    return 0


def plan(session: Session) -> int:
    """Show what `up` would do."""
    found = session.anew().plan(session.environment, screen.note)
    session.answer(found, blocks.of_plan(found))
    return 0


def build(session: Session, services: Sequence[str], manner: Manner, *, is_update: bool) -> int:
    """Build images."""
    if manner.until and is_update:
        what = "`--step` makes no image, and `--update` is about what images are made of"
        raise SpecError(what, where="command line", hint="leave one of them out; `anew lock --update` moves the heads")
    if manner.is_debugging and not (sys.stdin.isatty() and sys.stdout.isatty()):
        hint = "run it by hand in a terminal, without a pipe"
        raise Unsupported("`--debug` opens a shell, and there is no terminal", where="command line", hint=hint)
    built = session.anew().build(services, session.say, update=is_update, manner=manner)
    session.answer(built, blocks.of_built(built))
    return 0


def test(session: Session, services: Sequence[str]) -> int:
    """Build images and pass them through the image gate."""
    tested = session.anew().test(services, session.say)
    session.answer(tested, blocks.of_tested(tested))
    return 0 if all(one.is_passed for one in tested) else GateClosed.exit_code


def up(session: Session, wish: Wish, *, is_detached: bool) -> int:
    """Make a release the wish, and follow it."""
    if wish.release and not _RELEASE.match(wish.release):
        what = f"`{wish.release}` names no release"
        raise SpecError(what, where="command line", hint="write `r1`; see `anew releases`")
    if wish.release and wish.source:
        what = f"`{wish.release}` and `--from {wish.source}` are two releases"
        raise SpecError(what, where="command line", hint="name one of them")
    anew = session.anew()
    before = anew.status(session.environment).rollout
    number = anew.up(
        session.environment, wish.release or wish.source, session.say, again=wish.is_again, supersede=wish.may_supersede
    )
    return _follow(session, anew, _watch(session, number, "serves", before), is_detached=is_detached)


def rollback(session: Session, generation: str, *, is_detached: bool) -> int:
    """Make an earlier generation the wish, and follow it."""
    asked = _number(generation)
    anew = session.anew()
    before = anew.status(session.environment).rollout
    number = anew.rollback(session.environment, asked)
    wanted: Wanted = "serves" if asked else "either"
    return _follow(session, anew, _watch(session, number, wanted, before), is_detached=is_detached)


def _number(generation: str) -> int:
    """Return the number of a generation's name; 0 if none is named."""
    match = _GENERATION.match(generation)
    if generation and not match:
        hint = "write `g1`; `anew status` shows which are warm, `anew releases` all of them"
        raise SpecError(f"`{generation}` names no generation", where="command line", hint=hint)
    return int(match[1]) if match else 0


def promote(session: Session, *, is_detached: bool) -> int:
    """Skip the stages that remain."""
    anew = session.anew()
    number = anew.promote(session.environment)
    return _follow(session, anew, _watch(session, number), is_detached=is_detached)


def abort(session: Session, *, is_detached: bool) -> int:
    """Take the rollout back."""
    anew = session.anew()
    number = anew.abort(session.environment)
    return _follow(session, anew, _watch(session, number, "leaves"), is_detached=is_detached)


def dispose(session: Session) -> int:
    """End all that runs in the environment."""
    anew = session.anew()
    anew.dispose(session.environment, session.say)
    status = anew.status(session.environment)
    session.answer(status, [blocks.line(f"nothing of {session.environment} runs any more", "good")])
    return 0


def status(session: Session) -> int:
    """Show what there is now."""
    found = session.anew().status(session.environment)
    session.answer(found, blocks.of_status(found))
    return 0


def releases(session: Session) -> int:
    """Show all releases."""
    found = session.anew().releases()
    session.answer(found, blocks.of_releases(found))
    return 0


def history(session: Session, limit: int) -> int:
    """Show the newest events of the ledger."""
    found = session.anew().history(session.environment, limit)
    session.answer(found, blocks.of_history(found))
    return 0


def verify(session: Session) -> int:
    """Walk the chain of the ledger; a broken one is no success."""
    found = session.anew().verify(session.environment)
    session.answer(found, blocks.of_verified(found))
    return Conflict.exit_code if found.wrong else 0


def why(session: Session, generation: str) -> int:
    """Tell why a generation is what it is."""
    from anew.faces import autopsies

    found = session.anew().why(session.environment, _number(generation))
    session.answer(found, autopsies.of_why(found))
    return 0


def recompute(session: Session, generation: str, other: str) -> int:
    """Judge a generation again; another answer than at the time is no success."""
    from anew.faces import charts

    if other:
        raise SpecError("`--recompute` is about one generation", where="command line", hint=f"leave `{other}` out")
    found = session.anew().recompute(session.environment, _number(generation))
    session.answer(found, charts.of_recomputed(found))
    return 0 if all(one.is_same for one in found) else DIFFERS


def compare(session: Session, before: str, after: str, *, is_all: bool) -> int:
    """Tell what differs between two releases or generations."""
    from anew.faces import comparisons

    found = session.anew().compare(session.environment, before, after)
    session.answer(found, comparisons.of_comparison(found, is_all=is_all))
    return 0


def logs(session: Session, target: str, lines: int) -> int:
    """Show the last lines that instances wrote."""
    found = session.anew().logs(session.environment, target, lines)
    if session.is_json:
        screen.show_json([views.LogLine(instance, text) for instance, text in found])
        return 0
    width = max((len(instance) for instance, _ in found), default=0)
    for instance, text in found:
        screen.say(f"{instance:<{width}} | {screen.log_line(text)}")
    if not found:
        screen.note("nothing was written yet")
    return 0


def doctor(session: Session) -> int:
    """Show what the machine has and lacks; something that is missing is not success."""
    found = session.anew().doctor()
    session.answer(found, blocks.of_checks(found))
    return Unsupported.exit_code if any(one.state == "missing" for one in found) else 0


def serve(session: Session, *, is_until_idle: bool) -> int:
    """Be the keeper of the environment."""
    anew = session.anew()
    anew.serve(session.environment, until_idle=is_until_idle, say=session.say)
    if session.is_json:
        screen.show_json(anew.status(session.environment))
    return 0


def _watch(session: Session, number: int, wanted: Wanted = "serves", before: views.RolloutView | None = None) -> Watch:
    from anew.faces.watch import Watch  # only what changes something is followed

    return Watch(session.environment, f"g{number}", wanted, before)


def _follow(session: Session, anew: Anew, watch: Watch, *, is_detached: bool) -> int:
    """Follow a rollout to its end, or say that it goes on without anybody looking."""

    def read() -> views.Status:
        return anew.status(watch.environment)

    go_on = f"`anew status -e {watch.environment}` shows how it goes on"
    if is_detached:
        session.answer(_answer(watch, read()), [blocks.line(f"{watch.generation} is on its way; {go_on}")])
        return 0
    try:
        end = _watched(session, read, watch)
    except KeyboardInterrupt:
        screen.note(f"\nonly the watching has stopped: {watch.generation} goes on without it; {go_on}, and")
        screen.note(f"`anew abort -e {watch.environment}` takes it back")
        if session.is_json:
            screen.show_json(_answer(watch, read()))
        return INTERRUPTED
    return _finish(session, anew, watch, end)


def _watched(session: Session, read: Callable[[], views.Status], watch: Watch) -> Ended:
    from anew.faces.watch import Changes, follow

    if session.is_json or not screen.is_terminal(sys.stdout):
        return follow(read, watch, Changes(session.say, watch))
    from anew.faces import terminal  # only a terminal pays for Rich

    with terminal.Follower() as show:
        return follow(read, watch, show)


def _finish(session: Session, anew: Anew, watch: Watch, end: Ended) -> int:
    status = anew.status(watch.environment)
    if not end.is_good:
        missed = "has all traffic, and was not taken back" if watch.wanted == "leaves" else "was rolled back"
        raise GateClosed(
            f"{watch.generation} {missed}: {end.reason}",
            hint=f"`anew history -e {watch.environment}` and `anew logs -e {watch.environment}` tell more",
            facts=_last_words(anew, watch.environment, end.reason),
        )
    urls = [url for service in status.services for url in service.urls]
    shown = f"{status.serving} serves {watch.environment}" + (f" at {' '.join(urls)}" if urls else "")
    session.answer(_answer(watch, status), [blocks.line(shown, "good")])
    return 0


def _last_words(anew: Anew, environment: str, reason: str) -> dict[str, str]:
    """Return the last lines that each group wrote which `reason` names; none where a group never ran."""
    found: dict[str, str] = {}
    for group in dict.fromkeys(_GROUP.findall(reason)):
        try:
            lines = anew.logs(environment, group, LAST_WORDS)
        except NotFound:
            continue  # none of its instances was ever started, so there is nothing to add to the reason
        if lines:
            found[f"last lines of {group}"] = "\n".join(f"{name} | {line}" for name, line in lines[-LAST_WORDS:])
    return found


def _answer(watch: Watch, status: views.Status) -> views.Moved:
    return views.Moved(watch.generation, status)
