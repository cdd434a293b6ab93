"""`anew demo`: the command, its options, and the order of things."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from rich.console import Console

from anew.cases import Anew
from anew.errors import SpecError
from anew.faces.demo.project import Engine, Os, opened
from anew.faces.demo.scenario import Scenario
from anew.faces.demo.screen import Screen, console_for_people, print_summary
from anew.faces.demo.story import Story, complaints, report

OpenAnew = Callable[[Path], Anew]
UNHAPPY = 1


def run(open_anew: OpenAnew, arguments: Sequence[str]) -> int:
    """Play the demo as `arguments` say; return 0 only if everything happened that should.

    Raises  what anew raises where the story does not expect it; click.UsageError for wrong arguments.
    """
    code = command.main(list(arguments), prog_name="anew demo", standalone_mode=False, obj=open_anew)
    return int(code or 0)


@click.command()
@click.option("--report", "target", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures as JSON.")
@click.option("--keep", "is_kept", is_flag=True, help="Leave it running in the end.")
@click.option(
    "--os",
    "system",
    type=click.Choice(["debian", "host"]),
    default="debian",
    show_default=True,
    help="What the head is made of; `host` is this machine's own root and needs no packages.",
)
@click.option(
    "--engine",
    type=click.Choice(["embedded", "docker"]),
    default="embedded",
    show_default=True,
    help="Where the instances run; `docker` is Docker or Podman on this machine.",
)
@click.pass_obj
def command(open_anew: OpenAnew, target: Path | None, *, is_kept: bool, system: Os, engine: Engine) -> int:
    """Show replacement under load: two good releases, one bad, one sick, one that fails its test."""
    if target is not None and not target.absolute().parent.is_dir():
        raise SpecError(f"{target.parent} is no folder", where="--report", hint="make the folder first")
    console = console_for_people()
    story, begun = Story(), time.monotonic()
    with opened(system, engine, is_kept=is_kept) as project:
        project.lay("")
        anew = open_anew(project.root)
        try:
            with Screen(console) as screen:
                scenario = Scenario(anew, project, screen, story)
                scenario.clear()
                try:
                    scenario.play()
                finally:
                    story.seconds = time.monotonic() - begun
                    if not is_kept:
                        scenario.leave()
        finally:
            if target is not None:
                target.write_text(json.dumps(report(story), indent=2) + "\n", "utf-8")
        print_summary(console, story)
        if is_kept:
            _say_what_is_left(console, story, project.root)
    return UNHAPPY if complaints(story) else 0


def _say_what_is_left(console: Console, story: Story, root: Path) -> None:
    console.print(f"It still runs at {story.url}; its project is {root}", markup=False, highlight=False)
    console.print(f"Look at it:  anew -C '{root}' status    End it:  anew -C '{root}' dispose", markup=False)
