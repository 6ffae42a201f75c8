"""`clipsearch score`: how similar pictures and texts are."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from clipsearch.cli.exits import Exit
from clipsearch.cli.index import Device  # noqa: TC001 - Typer reads annotations at run time
from clipsearch.cli.options import Format, LibraryFolder, MinScore, Null, OutputFormat, examples
from clipsearch.cli.progress import Reporter, open_library
from clipsearch.cli.render import CsvOutput, chosen, write_records
from clipsearch.cli.table import Column, Table
from clipsearch.cli.terminal import harmless, remark
from clipsearch.cli.wording import count
from clipsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from clipsearch.library import Library
    from clipsearch.pairs_file import PairsFile
    from clipsearch.scoring import Score

_ADDED = ("score", "reason")
_TEXT_WIDTH = 32
_STDIN = "-"


class _Split(TyperCommand):
    """Texts before `--`, pictures behind it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--" in args:
            place = args.index("--")
            ctx.obj = args[place + 1 :]
            args = args[:place]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        cls=_Split,
        epilog=examples(
            'clipsearch score "a red fox in snow" -- fox-*.png',
            "clipsearch score --texts prompts.txt --images files.txt --format csv",
            "clipsearch score --pairs pairs.csv > scored.csv",
            "clipsearch score --pairs pairs.csv --min-score 0.28 > kept.csv",
        ),
    )(score)


def score(
    context: typer.Context,
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT]... -- [FILE]...", help="Texts; behind --, pictures or folders of them."
        ),
    ] = None,
    *,
    texts_file: Annotated[
        Path | None, typer.Option("--texts", metavar="FILE", help="Texts, one a line.")
    ] = None,
    images_file: Annotated[
        Path | None, typer.Option("--images", metavar="FILE", help="Paths of pictures, one a line (or NUL).")
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Rows of path,text, CSV or TSV, - for standard input: the same rows are written, with"
            " their score and, where there is none, the reason.",
        ),
    ] = None,
    min_score: MinScore = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, metavar="N", help="At most this many a text.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="As for index; without it, the library's.", rich_help_panel="Model"
        ),
    ] = None,
    device: Annotated[
        Device | None, typer.Option(help="Where it runs.", rich_help_panel="Model", case_sensitive=False)
    ] = None,
    output: OutputFormat = None,
    null: Null = False,
    library: LibraryFolder = None,
) -> int:
    """Tell how similar pictures are to texts.

    Text by text, the pictures that fit best first, with their score (cosine
    similarity). With --pairs, each picture with the text of its own row.
    """
    form = chosen(output, null=null)
    files: list[str] = context.obj or []
    with Reporter() as reporter, open_library(library, reporter) as opened:
        if pairs is not None:
            if texts or files or texts_file or images_file or limit:
                raise UsageError("--pairs has the texts and pictures itself", "leave the others away")
            if output not in {None, Format.CSV}:
                raise UsageError(f"--pairs writes CSV, not {form}", "leave --format away")
            return _score_pairs(
                opened, reporter, pairs, min_score=min_score, model=model, device=device or "auto"
            )
        wanted = [*(texts or ()), *_lines(texts_file)]
        pictures = [*files, *_lines(images_file)]
        if not pictures:
            raise UsageError("no pictures to score", 'put them behind --: clipsearch score "a dog" -- *.jpg')
        if not wanted:
            raise UsageError(
                "no texts to score pictures with", "put them before the --, or name --texts FILE"
            )
        scores, refused = opened.score(
            wanted, pictures, model=model, device=device or "auto", progress=reporter.work
        )
    for one in refused:
        remark(f"left out: {one.path}: {one.reason}")
    kept = _best(scores, min_score, limit)
    if form is Format.TABLE:
        _write_table(kept, texts=len({one.text for one in scores}))
    else:
        records = (
            {"path": str(one.path), "text": one.text, "score": round(one.score or 0.0, 6)} for one in kept
        )
        write_records(records, form, null=null)
    if not kept:
        remark("no picture scores that high" if scores else "none of these pictures could be read")
        return Exit.NOTHING_FOUND if scores else Exit.FAILED
    return Exit.DONE


def _lines(file: Path | None) -> list[str]:
    from clipsearch.pairs_file import open_text

    if file is None:
        return []
    with open_text(file) as stream:
        text = stream.read().removeprefix("\ufeff")
    # Other ends of lines may be part of a name. NUL is that of `find -print0`.
    lines = text.split("\0") if "\0" in text else text.replace("\r\n", "\n").split("\n")
    return [line for line in lines if line.strip()]


def _best(scores: Sequence[Score], least: float | None, limit: int | None) -> list[Score]:
    kept: list[Score] = []
    seen: Counter[str] = Counter()
    for one in scores:
        seen[one.text] += 1
        is_enough = least is None or (one.score or 0.0) >= least
        if is_enough and (limit is None or seen[one.text] <= limit):
            kept.append(one)
    return kept


def _write_table(scores: Sequence[Score], *, texts: int) -> None:
    columns = [Column("score", 6, "cyan", right=True)]
    several = [Column("text", _TEXT_WIDTH)] if texts > 1 else []
    table = Table(columns + several)
    for one in scores:
        table.row([f"{one.score:.3f}", harmless(one.text)][: 1 + len(several)], one.path)


def _score_pairs(
    opened: Library,
    reporter: Reporter,
    name: str,
    *,
    min_score: float | None,
    model: str | None,
    device: str,
) -> int:
    from clipsearch.pairs_file import PairsFile, open_text

    with ExitStack() as stack:
        if name == _STDIN:
            base, total = Path.cwd(), None
            stream: TextIO = stack.enter_context(_standard_input())
        else:
            base = Path(name).expanduser().absolute().parent
            with open_text(Path(name)) as counted:
                total = sum(1 for _ in PairsFile(counted, name, base))
            stream = stack.enter_context(open_text(Path(name)))
        table = PairsFile(stream, name, base)
        writer = _writer(table)
        written, low = 0, 0
        reasons: Counter[str] = Counter()
        for row in opened.score_rows(table, total=total, model=model, device=device, progress=reporter.work):
            reasons[row.reason] += row.score is None
            low += row.score is not None and min_score is not None and row.score < min_score
            if min_score is None or (row.score is not None and row.score >= min_score):
                padding = [""] * (table.width - len(row.cells))
                figure = "" if row.score is None else f"{row.score:.6f}"
                writer.writerow([*row.cells, *padding, figure, row.reason])
                written += 1
    bad = sum(reasons.values())
    reporter.rest()
    told = [f"{count(written, 'row')} written"]
    if low:
        told.append(f"{low:,} below {min_score:g} left out")
    if bad:
        why = ", ".join(f"{reason} ({number:,})" for reason, number in reasons.most_common(3) if reason)
        told.append(
            f"{bad:,} {'without a score' if min_score is None else 'without a score left out'}: {why}"
        )
    remark(", ".join(told))
    return Exit.DONE if written else Exit.NOTHING_FOUND


def _standard_input() -> TextIO:
    import io

    return io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="surrogateescape", newline="")


def _writer(table: PairsFile) -> Any:
    """Writes rows as they were read, below the same header.

    Raises:
        UsageError: One of the new columns is there already.
    """
    writer = csv.writer(CsvOutput(), delimiter=table.delimiter)
    if table.header is not None:
        taken = [name for name in _ADDED if name in table.header]
        if taken:
            raise UsageError(f"there is a column {taken[0]!r} already", "rename it, or take it out")
        writer.writerow([*table.header, *_ADDED])
    return writer
