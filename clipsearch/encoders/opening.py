"""Opens encoders: from the model cache where that has what is needed, else through torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from clipsearch.encoders import registry
from clipsearch.errors import LibraryDamagedError, ModelMismatchError
from clipsearch.machine import may_have_gpu
from clipsearch.types import Listeners

if TYPE_CHECKING:
    from clipsearch.encoders import ImageEncoder, TextEncoder
    from clipsearch.encoders.cache import CachedModel
    from clipsearch.types import Model, ModelSource


# Preparing takes 5 s for the built-in model and 20 s for ViT-B/32, on two cores.
_WORTH_PREPARING = 500


@dataclass(frozen=True, slots=True)
class AvailableModel:
    """A line of `clipsearch models`.

    Attributes:
        name: Canonical.
        preset: The recommendation it belongs to, or None.
    """

    name: str
    preset: registry.Preset | None = None


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """A model that was prepared on this machine: its text queries need neither network nor preparation.

    Attributes:
        name: Its source.
        text_queries: `onnx`, or `torch` where its text tower cannot be exported and every query loads the
            whole model, which takes seconds.
        size: Of what is kept for it in the model cache, in bytes.
    """

    name: str
    text_queries: str
    size: int


def prepared_models() -> list[PreparedModel]:
    """What the model cache holds, by name."""
    from clipsearch.encoders import cache

    return [
        PreparedModel(str(source), "onnx" if has_text else "torch", size)
        for source, has_text, size in cache.prepared()
    ]


def available_models() -> list[AvailableModel]:
    """All models with published weights: the presets first, then OpenCLIP's list by name."""
    presets = [AvailableModel(preset.model, preset) for preset in registry.PRESETS.values()]
    listed = {f"{name}/{tag}" for name, tags in registry.pretrained_tags().items() for tag in tags}
    return presets + [AvailableModel(name) for name in sorted(listed - {model.name for model in presets})]


def open_image_encoder(
    source: ModelSource,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    pictures: int | None = None,
    listeners: Listeners | None = None,
) -> ImageEncoder:
    """Load a model for indexing, and see to it that text queries will find it in the cache.

    On a CPU, from the model cache in tenths of a second; else torch and OpenCLIP are imported, which takes
    seconds. The first time for a model takes longer: its files are downloaded, its towers are exported,
    and it is measured what runs fastest on this device.

    Args:
        source: From `registry.resolve`.
        device: `auto`, `cuda`, `mps` or `cpu`.
        batch_size: Pictures in one forward pass; None for a size that suits the device.
        pictures: How many are to be embedded now, if known: the first few of a model do not wait until it
            is known what embeds fastest.
        listeners: Told about downloads and what is done once.

    Raises:
        UsageError: There is no such device here.
        ModelError: Its subclasses say why the model cannot be had or used.
    """
    listeners = listeners or Listeners()
    if device == "cpu" or (device == "auto" and not may_have_gpu()):
        prepared = _open_prepared(source, batch_size)
        if prepared is not None:
            return prepared
    from clipsearch.encoders import cache
    from clipsearch.encoders.images import TowerEncoder
    from clipsearch.encoders.openclip import choose_device, load

    chosen = choose_device(device)  # an error now, not after a download
    loaded = load(source, listeners)
    from clipsearch.encoders.export import ensure_exported
    from clipsearch.encoders.precision import exact_tower, fastest_tower

    fingerprint = loaded.model.fingerprint
    is_new = cache.read(fingerprint) is None
    ensure_exported(loaded, listeners)
    cache.remember_model(source, loaded.checkpoint.files, fingerprint)
    if is_new and chosen.type == "cpu" and pictures is not None and pictures < _WORTH_PREPARING:
        tower = exact_tower(loaded, chosen)
    else:
        tower = fastest_tower(loaded, chosen, listeners)
    return TowerEncoder(loaded.model, tower, batch_size)


def foretold_model(source: ModelSource) -> Model | None:
    """The model that `open_image_encoder` will open, where the model cache can tell."""
    cached = _cached(source)
    return None if cached is None else cached.model


def check_same(found: Model, stored: Model) -> None:
    """See that a model that was opened is the one whose embeddings a library holds.

    Raises:
        ModelMismatchError: Its weights have changed.
        LibraryDamagedError: It is, but the library says something else of it.
    """
    if found.fingerprint != stored.fingerprint:
        raise ModelMismatchError(
            f"{stored.source} is no longer the model of this library: its weights have changed",
            "put the old weights back, or make a new library: --library DIR",
        )
    if replace(found, source=stored.source) != stored:
        raise LibraryDamagedError(
            f"what the library says of its model is not so: {stored.source}",
            "have it corrected: clipsearch doctor --repair",
        )


def _open_prepared(source: ModelSource, batch_size: int | None) -> ImageEncoder | None:
    """The image encoder as an earlier run has prepared it for this CPU, without torch."""
    cached = _cached(source)
    if cached is None:
        return None
    from clipsearch.encoders import cache
    from clipsearch.encoders.images import TowerEncoder
    from clipsearch.encoders.onnx import cpu_hardware, open_image_tower

    engine = cache.engine_of(cached.model.fingerprint, cpu_hardware())
    if engine is None or not engine.startswith("onnx-"):
        return None
    tower = open_image_tower(cached.model.fingerprint, engine)
    return None if tower is None else TowerEncoder(cached.model, tower, batch_size)


def _cached(source: ModelSource) -> CachedModel | None:
    from clipsearch.encoders import cache

    fingerprint = cache.known_model(source)
    cached = None if fingerprint is None else cache.read(fingerprint)
    # The same weights may have been cached under another source.
    return None if cached is None else replace(cached, model=replace(cached.model, source=source))


def open_text_encoder(
    model: Model, *, listeners: Listeners | None = None, lasting: bool = False
) -> TextEncoder:
    """Open the text tower of a model whose embeddings are in a library, without torch if it is cached.

    Args:
        model: As stored in the library.
        listeners: Told when the cache was deleted and is made again.
        lasting: See `OnnxTextEncoder`.

    Raises:
        ModelError: The cache is gone and the model cannot be loaded again, or its weights have changed
            since the library was made.
    """
    from clipsearch.encoders import cache

    listeners = listeners or Listeners()
    cached = cache.read(model.fingerprint)
    if cached is not None:
        check_same(cached.model, model)
    if cached is not None and cached.has_text:
        from clipsearch.encoders.onnx import OnnxTextEncoder

        try:
            # The same weights may have been cached under another source: the library's counts.
            folder = cache.folder_of(model.fingerprint)
            return OnnxTextEncoder(replace(cached, model=model), folder, lasting=lasting)
        except Exception as error:  # noqa: BLE001 - onnxruntime's and tokenizers' errors have no common base
            listeners.tell(f"the cached text tower of {model.source} is damaged and is made again ({error})")
    elif cached is None:
        listeners.tell(f"{model.source} is not in the model cache any more; it is loaded again")
    return _open_through_torch(model, listeners)


def _open_through_torch(model: Model, listeners: Listeners) -> TextEncoder:
    from clipsearch.encoders import cache
    from clipsearch.encoders.export import ensure_exported
    from clipsearch.encoders.onnx import OnnxTextEncoder
    from clipsearch.encoders.openclip import TorchTextEncoder, load
    from clipsearch.encoders.tokenizer import Tokenizer

    loaded = load(model.source, listeners)
    check_same(loaded.model, model)
    known = cache.read(model.fingerprint)
    if known is not None and known.has_text:
        cache.discard(model.fingerprint)  # it could not be opened
    cached = ensure_exported(loaded, listeners)
    folder = cache.folder_of(model.fingerprint)
    if cached.has_text:
        return OnnxTextEncoder(replace(cached, model=model), folder)
    return TorchTextEncoder(loaded, Tokenizer(folder / cache.TOKENIZER_NAME, cached.tokenizer))
