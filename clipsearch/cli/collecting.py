"""The options that collect photos in a folder, as copies or as links."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - evaluated for Typer
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipsearch.cli.option_groups import with_options
from clipsearch.cli.progress import Reporter
from clipsearch.cli.terminal import remark, shown
from clipsearch.cli.wording import count
from clipsearch.errors import PhotoError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PANEL = "To collect photos"


def _option(*names: str, metavar: str | None = None, help: str) -> Any:  # noqa: A002 - Typer's word
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=_PANEL)


DryRun = Annotated[bool, _option("--dry-run", help="Say what would be copied or linked, and do nothing.")]


@dataclass(frozen=True, slots=True)
class Collecting:
    """Where photos are to be collected, and how.

    Attributes:
        folder: None for nowhere.
        link: Links instead of copies.
        dry_run: Only say it.
    """

    folder: Path | None = None
    link: bool = False
    dry_run: bool = False

    def __bool__(self) -> bool:
        return self.folder is not None

    def collect(self, photos: Sequence[tuple[str, Path]]) -> None:
        """Collect photos, each in a folder below of its own name, `""` for the folder itself.

        Raises:
            OutputError: A folder cannot be written.
            PhotoError: A photo cannot be read; all others have their places.
        """
        if self.folder is None:
            return
        from clipsearch.collection import Collection

        collections: dict[str, Collection] = {}
        verb = "link" if self.link else "copy"
        done = "linked" if self.link else "copied"
        new = failed = 0
        with Reporter() as reporter:
            for number, (name, photo) in enumerate(photos, 1):
                if name not in collections:
                    folder = self.folder / name
                    collections[name] = Collection(folder, link=self.link, dry_run=self.dry_run)
                try:
                    place = collections[name].add(photo)
                except PhotoError as error:
                    reporter.notice(f"not {done}: {shown(photo)} ({error.message})")
                    failed += 1
                    continue
                new += place.new
                if not self.dry_run:
                    reporter.work(f"{verb}ing", "photos", number, len(photos))
                elif place.new:
                    reporter.notice(f"would {verb} {shown(photo)} to {shown(place.target)}")
        there = len(photos) - new - failed
        would = "would be " if self.dry_run else ""
        what = f"{count(new, 'photo')} {would}{done} into {shown(self.folder)}"
        remark(what + (f"; {there:,} there already" if there else ""))
        if failed:
            raise PhotoError(
                f"{failed:,} of {count(len(photos), 'photo')} could not be {done}", "the lines above say why"
            )


NOT_COLLECTED = Collecting()
Collected = Annotated[Collecting, "the options of `_collecting`"]
"""A command's parameter in whose place `collected` puts them."""


def _checked_folder(folder: Path | None) -> Path | None:
    """A folder as typed, made absolute.

    Raises:
        UsageError: What is there is no folder.
    """
    if folder is None:
        return None
    wanted = folder.expanduser().absolute()
    if wanted.exists() and not wanted.is_dir():
        raise UsageError(f"not a folder: {wanted}", "name a folder, there or not there yet")
    return wanted


def _collecting(
    *,
    copy_to: Annotated[
        Path | None, _option("--copy-to", metavar="DIR", help="Copy the photos found into a folder.")
    ] = None,
    link_to: Annotated[
        Path | None, _option("--link-to", metavar="DIR", help="Put symbolic links to them there instead.")
    ] = None,
    dry_run: DryRun = False,
) -> Collecting:
    if copy_to and link_to:
        raise UsageError("--copy-to and --link-to together", "leave one of them out")
    if dry_run and not (copy_to or link_to):
        raise UsageError("--dry-run without anything to do", "add --copy-to DIR or --link-to DIR")
    return Collecting(_checked_folder(copy_to or link_to), link=link_to is not None, dry_run=dry_run)


def _sorting(
    *,
    into: Annotated[
        Path | None, _option("--into", metavar="DIR", help="Sort copies of the photos into a folder a label.")
    ] = None,
    link: Annotated[bool, _option("--link", help="With --into: symbolic links instead of copies.")] = False,
    dry_run: DryRun = False,
) -> Collecting:
    if into is None and (link or dry_run):
        raise UsageError(f"--{'link' if link else 'dry-run'} without --into", "add --into DIR")
    return Collecting(_checked_folder(into), link=link, dry_run=dry_run)


def sorted_out(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options that sort photos by label in the place of its parameter `sorting`."""
    return with_options(command, "sorting", _sorting)


def collected(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command these options in the place of its parameter `collecting`."""
    return with_options(command, "collecting", _collecting)
