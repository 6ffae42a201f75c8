"""The options that collect photos in a folder, as copies or as links."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from clipsearch.cli.option_groups import with_options
from clipsearch.cli.progress import Reporter
from clipsearch.cli.terminal import remark, shown
from clipsearch.cli.wording import count
from clipsearch.errors import PhotoError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from clipsearch.collection import Placement, Way

_PANEL = "To collect photos"


def _option(*names: str, metavar: str | None = None, help: str) -> Any:  # noqa: A002 - Typer's word
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=_PANEL)


DryRun = Annotated[bool, _option("--dry-run", help="Say what would be copied or linked, and do nothing.")]


_WORDS = {"copy": ("copying", "copied"), "link": ("linking", "linked"), "move": ("moving", "moved")}


class Collecting(NamedTuple):
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

        way: Way = "link" if self.link else "copy"
        collection = Collection(self.folder, way, dry_run=self.dry_run)
        placements: Iterable[Placement] = (
            collection.add(photo, Path(name, photo.name)) for name, photo in photos
        )
        with Reporter() as reporter:
            if self.dry_run:
                placements = _foretold(placements, way, reporter)
            put(placements, way, self.folder, len(photos), reporter, dry_run=self.dry_run)


def _foretold(placements: Iterable[Placement], way: Way, reporter: Reporter) -> Iterator[Placement]:
    for placement in placements:
        if placement.target is not None and placement.new:
            reporter.notice(f"would {way} {shown(placement.source)} to {shown(placement.target)}")
        yield placement


def put(
    placements: Iterable[Placement], way: Way, folder: Path, total: int, reporter: Reporter, *, dry_run: bool
) -> None:
    """Have photos put in their places, and say how many were, and why others were not.

    Args:
        placements: Each is done when it is asked for.
        way: How.
        folder: Where.
        total: How many there will be.
        reporter: Where to say it.
        dry_run: None is really done.

    Raises:
        OutputError: A folder cannot be written.
        PhotoError: Some have no place; all others do.
    """
    doing, done = _WORDS[way]
    new = failed = 0
    for number, placement in enumerate(placements, 1):
        if placement.failure is not None:
            reporter.notice(f"not {done}: {shown(placement.source)} ({placement.failure})")
        failed += placement.failure is not None
        new += placement.new
        if not dry_run:
            reporter.work(doing, "photos", number, total)
    reporter.rest()
    there = total - new - failed
    what = f"{count(new, 'photo')} {'would be ' if dry_run else ''}{done} into {shown(folder)}"
    remark(what + (f"; {there:,} there already" if there else ""))
    if failed:
        raise PhotoError(
            f"{failed:,} of {count(total, 'photo')} could not be {done}", "the lines above say why"
        )


NOT_COLLECTED = Collecting()
Collected = Annotated[Collecting, "the options of `_collecting`"]
"""A command's parameter in whose place `collected` puts them."""


def chosen_folder(options: Mapping[str, Path | None], *, dry_run: bool) -> Path | None:
    """The one folder that photos are to be put into, made absolute; None for none.

    Args:
        options: What was typed for each of them.
        dry_run: Needs one of them.

    Raises:
        UsageError: More than one, or what is there is no folder.
    """
    named = {name: folder for name, folder in options.items() if folder is not None}
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} together", "leave one of them out")
    if not named:
        if dry_run:
            raise UsageError(
                f"--dry-run without {' or '.join(options)}", f"add {' DIR or '.join(options)} DIR"
            )
        return None
    from clipsearch.roots import absolute

    (folder,) = map(absolute, named.values())
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"not a folder: {folder}", "name a folder, there or not there yet")
    return folder


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
    folder = chosen_folder({"--copy-to": copy_to, "--link-to": link_to}, dry_run=dry_run)
    return Collecting(folder, link=link_to is not None, dry_run=dry_run)


def _sorting(
    *,
    into: Annotated[
        Path | None, _option("--into", metavar="DIR", help="Sort copies of the photos into a folder a label.")
    ] = None,
    link: Annotated[bool, _option("--link", help="With --into: symbolic links instead of copies.")] = False,
    dry_run: DryRun = False,
) -> Collecting:
    if link and into is None:
        raise UsageError("--link without --into", "add --into DIR")
    return Collecting(chosen_folder({"--into": into}, dry_run=dry_run), link=link, dry_run=dry_run)


def sorted_out(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options that sort photos by label in the place of its parameter `sorting`."""
    return with_options(command, "sorting", _sorting)


def collected(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command these options in the place of its parameter `collecting`."""
    return with_options(command, "collecting", _collecting)
