"""`clipsearch models`: those that there are, and those of a library."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.address import Address, place_of
from clipsearch.cli.exits import Exit
from clipsearch.cli.options import AsJson, LibraryFolder, examples
from clipsearch.cli.progress import Reporter, open_library
from clipsearch.cli.render import write_json
from clipsearch.cli.report import print_library_models, print_models
from clipsearch.cli.terminal import console, harmless
from clipsearch.cli.wording import count, size
from clipsearch.errors import NoLibraryError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from clipsearch.types import LibraryModel

_NAME = typer.Argument(metavar="NAME", help="A model of the library, as the list has it.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    group = typer.Typer(rich_markup_mode="rich")
    group.callback(
        invoke_without_command=True,
        epilog=examples(
            "clipsearch models",
            "clipsearch index ~/Photos --model multilingual",
            "clipsearch models use multilingual",
            "clipsearch models remove default",
        ),
    )(models)
    group.command(epilog=examples("clipsearch models use multilingual"))(use)
    group.command(epilog=examples("clipsearch models remove builtin"))(remove)
    app.add_typer(group, name="models")


def models(context: typer.Context, as_json: AsJson = False, library: LibraryFolder = None) -> int:
    """List the recommended models, those prepared on this machine, and the library's.

    Any other model that OpenCLIP can load works too: NAME/PRETRAINED,
    hf-hub:ORG/REPO, a local folder, or an architecture with --weights FILE.

    A library may have several, made by `index --model NAME`. One of them answers
    by default; the others do where --model NAME is said.
    """
    if context.invoked_subcommand is not None:
        if as_json or _named_here(context, "library"):
            raise UsageError(
                f"options stand behind {context.invoked_subcommand}",
                f"clipsearch models {context.invoked_subcommand} NAME --library DIR",
            )
        return Exit.DONE
    from clipsearch.encoders.opening import prepared_models
    from clipsearch.encoders.registry import PRESETS

    presets, prepared, held = list(PRESETS.values()), prepared_models(), _held(library)
    if as_json:
        write_json({"presets": presets, "prepared": prepared, "library": held})
    else:
        print_models(presets, prepared)
        print_library_models(held)
    return Exit.DONE


def _named_here(context: typer.Context, option: str) -> bool:
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def _held(library: Path | None) -> list[LibraryModel]:
    """The models of the library; none where there is none, or a collection, which has nothing to choose."""
    place = place_of(library)
    if isinstance(place, Address) or not place.is_dir():
        return []
    with open_library(library) as opened, suppress(NoLibraryError):
        return opened.models()
    return []


def use(name: Annotated[str, _NAME], library: LibraryFolder = None) -> int:
    """Have a model of the library answer by default.

    `index` and `watch` keep it up to date from now on. What was learned by
    example belongs to the model that was taught.
    """
    with open_library(library) as opened:
        used = opened.use_model(name)
    lacking = f" It lacks {count(used.missing, 'photo')}: clipsearch index." if used.missing else ""
    console().print(harmless(f"{used.source} answers by default now.{lacking}"))
    return Exit.DONE


def remove(name: Annotated[str, _NAME], library: LibraryFolder = None) -> int:
    """Take a model out of the library, with all that follows from it.

    That is its embeddings, its vector index, the concepts that it was taught
    and the tags that it has given. Photos are not touched, nor is the model's
    own file, which other libraries may use.
    """
    with Reporter() as reporter, open_library(library, reporter) as opened:
        reporter.work("removing the model", "", 0, 0)
        gone = opened.remove_model(name)
    tags = f" and the tags of {count(gone.tagged, 'photo')}" if gone.tagged else ""
    console().print(
        harmless(
            f"{gone.model.source} left the library, with {count(gone.model.photos, 'embedding')}{tags}:"
            f" {size(gone.model.bytes)}."
        )
    )
    return Exit.DONE
