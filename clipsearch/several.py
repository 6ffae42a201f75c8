"""Several models in one library: which of them is meant, which one answers, and taking one out.

One model is the default: it answers where none is named, and `index` and `watch` keep it up to date. The
others stand beside it, each with its own embeddings, vector files, concepts and tags; photos, metadata and
likenesses are the library's own.
"""

from __future__ import annotations

import shlex
from contextlib import suppress
from typing import TYPE_CHECKING

from clipsearch import vector_files
from clipsearch.catalog import checks
from clipsearch.catalog.models import (
    count_missing,
    count_tagged,
    describe,
    drop_model,
    give_back,
    held_models,
)
from clipsearch.encoders.registry import resolve
from clipsearch.errors import LibraryWriteError, UnknownModelError, UsageError
from clipsearch.types import LibraryModel, RemovedModel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from clipsearch.catalog.catalog import Catalog
    from clipsearch.types import Listeners, Model, ModelSource


def name_of(source: ModelSource) -> str:
    """What a user types to name a model of the library, as one word of a shell."""
    return shlex.quote(str(source))


def option_of(source: ModelSource) -> str:
    """What a user adds to `clipsearch index` to have this model; with a space before it."""
    weights = "" if source.weights is None else f" --weights {shlex.quote(str(source.weights))}"
    return f" --model {shlex.quote(source.name)}{weights}"


def find(catalog: Catalog, name: str) -> tuple[int, Model]:
    """Id and identity of a model of the library, by any of the names it goes by.

    These are what `index --model` takes; of a checkpoint, the architecture alone, or the file.

    Raises:
        UnknownModelError: The library has none of this name.
    """
    held = held_models(catalog)
    source = None
    with suppress(UnknownModelError):
        source = resolve(name)
    found = [one for one in held if one[1].source == source or str(one[1].source) == name]
    found = found or [one for one in held if name in _further_names(one[1].source)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownModelError(
            f"{name!r} may be any of {len(found)} models of this library", f"one of: {_listed(found)}"
        )
    raise UnknownModelError(
        f"this library has no model {name!r}",
        f"it has {_listed(held)}; to embed its photos with another: clipsearch index --model NAME",
    )


def _further_names(source: ModelSource) -> Sequence[str]:
    if source.weights is None:
        return ()
    return (source.name, str(source.weights), source.weights.name)


def _listed(held: Sequence[tuple[int, Model]]) -> str:
    return ", ".join(name_of(model.source) for _, model in held)


def library_models(catalog: Catalog) -> list[LibraryModel]:
    """The models of a library, the default one first."""
    current = catalog.current_model()
    return [
        describe(catalog, key, model, is_default=current is not None and key == current[0])
        for key, model in held_models(catalog)
    ]


def use(catalog: Catalog, name: str) -> LibraryModel:
    """Make a model the one that answers where none is named.

    Args:
        catalog: Opened for writing, under the writer's lock.
        name: See `find`.

    Raises:
        UnknownModelError: The library has none of this name.
    """
    key, model = find(catalog, name)
    catalog.use_model(key)
    return describe(catalog, key, model, is_default=True)


def remove(catalog: Catalog, folder: Path, name: str, listeners: Listeners) -> RemovedModel:
    """Take a model out, with its embeddings, vector files, concepts and tags; all at once, or not at all.

    Args:
        catalog: Opened for writing, under the writer's lock.
        folder: The library's.
        name: See `find`.
        listeners: Told when the room cannot be given back.

    Raises:
        UnknownModelError: The library has none of this name.
        UsageError: It is the default one.
    """
    key, model = find(catalog, name)
    current = catalog.current_model()
    if current is not None and key == current[0]:
        others = [other for other in held_models(catalog) if other[0] != key]
        raise UsageError(
            f"{model.source} is the model that answers, and stays",
            f"let another one answer first: clipsearch models use {name_of(others[0][1].source)}"
            if others
            else "a library without a model is one to delete; or embed its photos with another one first:"
            " clipsearch index --model NAME",
        )
    gone = describe(catalog, key, model, is_default=False)
    tagged = count_tagged(catalog, key)
    drop_model(catalog, key)
    vector_files.sweep(folder, key, ())
    if current is not None and count_missing(catalog, current[0]):
        checks.read_again(catalog, current[0])  # who is alone is asked no more what it lacks
    try:
        give_back(catalog)
    except LibraryWriteError as error:
        listeners.tell(f"{error.message}; its room in the catalog is used for what comes next")
    return RemovedModel(gone, tagged)
