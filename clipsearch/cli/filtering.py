"""The options that say which photos may answer, shared by every command that asks the library."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - evaluated for Typer
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipsearch.cli.option_groups import with_options
from clipsearch.errors import UsageError
from clipsearch.matches import Filters

if TYPE_CHECKING:
    from collections.abc import Callable

    from clipsearch.matches import Shape

_PANEL = "Which photos"
NO_FILTERS = Filters()
Filtered = Annotated[Filters, "the options of `_filters`"]
"""A command's parameter in whose place `filtered` puts them."""


def _option(*names: str, metavar: str | None = None, help: str) -> Any:  # noqa: A002 - Typer's word
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=_PANEL)


def _filters(
    *,
    inside: Annotated[Path | None, _option("--in", metavar="DIR", help="In this folder and below.")] = None,
    glob: Annotated[
        str | None,
        _option(metavar="PATTERN", help='Named like this: [cyan]"*.heic"[/cyan], [cyan]"2023/*"[/cyan].'),
    ] = None,
    after: Annotated[
        str | None,
        _option(metavar="DATE", help="Taken then or later: [cyan]2023[/cyan], 2023-05, 2023-05-17T18:30."),
    ] = None,
    before: Annotated[str | None, _option(metavar="DATE", help="Taken before then.")] = None,
    on: Annotated[str | None, _option(metavar="DATE", help="Taken in that year, month or day.")] = None,
    camera: Annotated[str | None, _option(metavar="NAME", help="By a camera with this in its name.")] = None,
    lens: Annotated[str | None, _option(metavar="NAME", help="With a lens with this in its name.")] = None,
    near: Annotated[
        str | None, _option(metavar="LAT,LON", help="Taken near a place: [cyan]38.7,-9.1[/cyan].")
    ] = None,
    within: Annotated[
        str | None, _option(metavar="DISTANCE", help="How near, without it [cyan]10km[/cyan].")
    ] = None,
    landscape: Annotated[bool, _option("--landscape", help="Wider than high.")] = False,
    portrait: Annotated[bool, _option("--portrait", help="Higher than wide.")] = False,
    square: Annotated[bool, _option("--square", help="Neither.")] = False,
    min_size: Annotated[
        str | None,
        _option(metavar="SIZE", help="At least [cyan]1920x1080[/cyan], 3000 (the longer side) or 8MP."),
    ] = None,
    tag: Annotated[
        list[str] | None, _option(metavar="TAG", help="Has this tag; of several, all (see clipsearch tag).")
    ] = None,
) -> Filters:
    words = (inside, glob, after, before, on, camera, lens, near, within, min_size, tag or None)
    if all(word is None for word in words) and not (landscape or portrait or square):
        return NO_FILTERS
    from clipsearch.filters import parse

    flags: dict[Shape, bool] = {"landscape": landscape, "portrait": portrait, "square": square}
    shapes = [shape for shape, wanted in flags.items() if wanted]
    if len(shapes) > 1:
        raise UsageError(f"no photo is {' and '.join(shapes)}", "leave all but one away")
    return parse(
        inside=inside,
        glob=glob,
        after=after,
        before=before,
        on=on,
        camera=camera,
        lens=lens,
        near=near,
        within=within,
        shape=shapes[0] if shapes else None,
        min_size=min_size,
        tags=tag or (),
    )


def filtered(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command these options in the place of its parameter `filters`."""
    return with_options(command, "filters", _filters)
