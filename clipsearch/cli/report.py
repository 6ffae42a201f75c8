"""The longer answers of `status`, `doctor` and `models`, for reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsearch.cli.progress import counted
from clipsearch.cli.table import Column, Table, linked
from clipsearch.cli.terminal import console, harmless, on_terminal, shown
from clipsearch.cli.wording import count, duration, moment, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clipsearch.encoders.opening import PreparedModel
    from clipsearch.encoders.registry import Preset
    from clipsearch.types import Examination, IndexReport, LibraryModel, LibraryStatus, Model, SkippedFile


def print_status(held: LibraryStatus) -> None:
    """What a library holds: a few facts, then its folders."""
    from rich.text import Text

    out = console()
    facts = {
        "library": shown(held.path),
        "model": _model(held.model),
        "beside it": "; ".join(map(_other, held.others)),
        "photos": _photos(held),
        "skipped": f"{count(held.skipped, 'file')}, see `clipsearch status --skipped`"
        if held.skipped
        else "",
        "on disk": _sizes(held) if held.catalog_bytes else "",
        "last run": _run(held.last_run) if held.last_run else "",
    }
    for name, fact in facts.items():
        if fact:
            out.print(Text.assemble((f"{name:<10}", "bold"), fact))
    if not held.roots:
        return
    out.print()
    table = Table(
        [
            Column("photos", max(len(f"{root.photos:,}") for root in held.roots), "cyan", right=True),
            Column("state", len("offline")),
            Column("indexed", len("2024-12-31 23:59")),
        ],
        "folder",
        aligned=True,
    )
    for root in held.roots:
        state = "online" if root.online else "offline"
        table.row([f"{root.photos:,}", state, moment(root.last_indexed)], root.path)


def print_skipped(files: Sequence[SkippedFile]) -> None:
    """Each skipped file and, below it, why; in a pipe: reason, tab, path."""
    from rich.text import Text

    if not on_terminal():
        table = Table([Column("reason", 0)])
        for file in files:
            table.row([harmless(file.reason)], file.path)
        return
    out = console()
    for file in files:
        out.print(linked(file.path))
        out.print(Text(f"    {harmless(file.reason)} ({size(file.size)})", "yellow"))


def print_examination(examination: Examination) -> None:
    """What was looked at and, a line each, what was found; in a pipe, only the findings."""
    from rich.text import Text

    findings = examination.findings
    if on_terminal():
        out = console()
        for checked in examination.checked:
            out.print(Text.assemble((f"{checked.part:<10}", "bold"), count(checked.count, checked.thing)))
        wrong = sum(not finding.harmless for finding in findings)
        out.print(f"\n{count(wrong, 'thing')} wrong." if wrong else "\nSound.")
        if findings:
            out.print()
    rows = [
        ("note" if finding.harmless else "wrong", finding.part, harmless(finding.what), finding.remedy)
        for finding in findings
    ]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)] or [0] * 4
    titles = ("state", "part", "found", "what to do")
    table = Table([Column(title, width) for title, width in zip(titles, widths, strict=True)], "where")
    for row, finding in zip(rows, findings, strict=True):
        table.row(row, finding.where)


def print_models(presets: Sequence[Preset], prepared: Sequence[PreparedModel]) -> None:
    """The recommended models, two or three lines each, and a line for each that is prepared here."""
    from rich.text import Text

    out = console()
    names = max(len(preset.name) for preset in presets)
    for preset in presets:
        facts = [preset.languages, preset.license]
        if preset.imagenet is not None:
            facts.append(f"{preset.imagenet:.1f} % ImageNet zero-shot")
        if preset.gflops is not None:
            facts.append(f"{preset.gflops:g} GFLOP a photo")
        indent = " " * (names + 2)
        out.print(Text.assemble((f"{preset.name:<{names}}  ", "bold cyan"), preset.summary))
        if preset.model != preset.name:
            out.print(indent + preset.model)
        out.print(Text(indent + ", ".join(facts), "dim"))
    if prepared:
        out.print("\nprepared on this machine")
    for model in prepared:
        slow = (
            "" if model.text_queries == "onnx" else "; cannot be exported, so that text queries take seconds"
        )
        out.print(f"  {harmless(model.name)}", Text(f"{size(model.size)}{slow}", "dim"))


def print_library_models(models: Sequence[LibraryModel]) -> None:
    """The models of a library, the default one first."""
    if not models:
        return
    console().print("\nof this library")
    states = [_state(one) for one in models]
    table = Table(
        [
            Column("photos", max(len(f"{one.photos:,}") for one in models), "cyan", right=True),
            Column("size", max(len(size(one.bytes)) for one in models), right=True),
            Column("state", max(map(len, states))),
        ],
        "model",
        aligned=True,
    )
    for one, state in zip(models, states, strict=True):
        table.row([f"{one.photos:,}", size(one.bytes), state], harmless(str(one.source)))


def _state(model: LibraryModel) -> str:
    lacks = f"lacks {model.missing:,}" if model.missing else ""
    return ", ".join(filter(None, ["default" if model.is_default else "", lacks])) or "complete"


def _photos(held: LibraryStatus) -> str:
    copies = held.photos - held.contents
    parts = [count(copies, "copy", "copies")] if copies > 0 else []
    parts += [count(held.videos, "video")] if held.videos else []
    return f"{held.photos:,}" + (f", of which {' and '.join(parts)}" if parts else "")


def _sizes(held: LibraryStatus) -> str:
    index = f", {size(held.store_bytes)} vector index" if held.store_bytes else ""
    part = "" if held.grouped_rows == held.store_rows else f" for {count(held.grouped_rows, 'photo')}"
    note = f", searched approximately{part}" if held.grouped_rows else ""
    return f"{size(held.catalog_bytes)} catalog{index}{note}"


def _model(model: Model | None) -> str:
    return "" if model is None else f"{harmless(str(model.source))}, {model.dim} dimensions"


def _other(model: LibraryModel) -> str:
    lacks = f", lacks {count(model.missing, 'photo')}" if model.missing else ""
    return f"{harmless(str(model.source))}, {model.dim} dimensions, {size(model.bytes)}{lacks}"


def _run(run: IndexReport) -> str:
    counts = ", ".join(f"{number:,} {name}" for name, number in counted(run).items()) or "nothing to do"
    stopped = ", stopped early" if run.interrupted else ""
    return f"{moment(run.started)}, {duration(run.seconds)}{stopped}: {counts}"
