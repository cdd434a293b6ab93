"""What commands take: options and arguments that several of them share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import click
from click.core import ParameterSource

F = TypeVar("F", bound=Callable[..., int])

COUNT = click.IntRange(min=1, max=1_000_000)


def _is_json(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click calls it so
    if value:
        ctx.obj = replace(ctx.obj, is_json=True)


def _in_environment(ctx: click.Context, parameter: click.Parameter, value: str) -> None:
    # What was said before the name of a subcommand stands, unless it is said again after it.
    if ctx.get_parameter_source(parameter.name or "") is not ParameterSource.DEFAULT:
        ctx.obj = replace(ctx.obj, environment=value)


as_json = click.option(
    "--json", is_flag=True, expose_value=False, callback=_is_json, help="Answer with one JSON document, errors too."
)
environment = click.option(
    "-e",
    "--environment",
    default="local",
    show_default=True,
    metavar="NAME",
    expose_value=False,
    callback=_in_environment,
    help="The environment to act in.",
)
detach = click.option(
    "--detach", "--no-watch", "is_detached", is_flag=True, help="Do not wait for the end; it goes on by itself."
)
services = click.argument("services", nargs=-1, metavar="[SERVICE]...")


def shared(function: F) -> F:
    """Add what every command that acts in an environment takes."""
    return environment(as_json(function))
