"""`clipsearch cluster`: embedding on many machines."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path  # noqa: TC003 - Typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.exits import Exit
from clipsearch.cli.index import Device, batch_size_of
from clipsearch.cli.options import AsJson, examples
from clipsearch.cli.progress import Reporter
from clipsearch.cli.render import write_json
from clipsearch.cli.terminal import console, remark, shown
from clipsearch.cli.wording import count, duration, size
from clipsearch.errors import UsageError

if TYPE_CHECKING:
    from clipsearch.cluster.job import Estimate, JobReport


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    group = typer.Typer(
        help="Embed photos on a Ray cluster, for collections that outgrow one machine.",
        no_args_is_help=True,
        rich_markup_mode="rich",
    )
    group.command(
        epilog=examples(
            "clipsearch cluster index /mnt/photos --to /mnt/embedded",
            "clipsearch cluster index s3://bucket/photos --ray 10.0.0.1:6379 --to s3://bucket/embedded",
            'clipsearch cluster index "laion/*.parquet" --column url --to embedded --dry-run',
            'clipsearch cluster index "shards/*.tar" --to embedded',
            "clipsearch cluster index s3://bucket/photos --staging s3://bucket/embedded "
            "--to milvus://db:19530/photos",
        )
    )(index)
    # Without it, Typer would take the only command of a group for the group.
    group.callback()(lambda: None)
    app.add_typer(group, name="cluster")


def index(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Folder, glob or URL of photos; a .parquet or .csv list of paths or URLs; WebDataset tars.",
        ),
    ],
    to: Annotated[
        list[str],
        typer.Option(
            "--to",
            metavar="WHERE",
            help="Folder or URL for Parquet files of the embedded photos, or milvus://HOST:PORT/COLLECTION; "
            "may be given twice, for both.",
        ),
    ],
    *,
    ray: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Ray cluster to use: HOST:PORT, auto, ray://HOST:PORT, or local for this machine.",
        ),
    ] = "local",
    model: Annotated[
        str | None,
        typer.Option(
            help="Model of a new DIR: a preset of [cyan]clipsearch models[/cyan], NAME/PRETRAINED, "
            "hf-hub:ORG/REPO or a folder.",
            metavar="NAME",
            rich_help_panel="Model",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Local checkpoint, on every node; --model then names its architecture.",
            metavar="FILE",
            rich_help_panel="Model",
        ),
    ] = None,
    device: Annotated[
        Device, typer.Option(help="Where the model runs.", rich_help_panel="Model", case_sensitive=False)
    ] = Device.AUTO,
    batch_size: Annotated[
        str, typer.Option(help="Photos a batch.", metavar="auto|N", rich_help_panel="Model")
    ] = "auto",
    column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column of a list that holds the paths or URLs.")
    ] = None,
    retry_skipped: Annotated[
        bool, typer.Option("--retry-skipped", help="Try photos again that could not be read before.")
    ] = False,
    staging: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the files on their way to Milvus, where no other is named.",
            rich_help_panel="Cluster",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Count, and embed a sample to tell how long it takes; write nothing."),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="How many; as many as the cluster has room for.",
            rich_help_panel="Cluster",
        ),
    ] = None,
    cores: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Of each worker; its share of a node.", rich_help_panel="Cluster"
        ),
    ] = None,
    shard: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Photos that are done, or done again, as a whole.",
            rich_help_panel="Cluster",
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Embed photos on a Ray cluster, into Parquet files and from them into Milvus.

    Run it again after a crash or with more photos: only what is missing is
    embedded. [cyan]clipsearch import[/cyan] makes a library of the files.
    """
    from clipsearch.cluster import job
    from clipsearch.cluster.nodes import LOCAL
    from clipsearch.cluster.source import source_of
    from clipsearch.cluster.targets import targets_of
    from clipsearch.encoders.registry import resolve

    if weights is not None and model is None:
        raise UsageError("weights without an architecture", "name it: --model ViT-B-32-256")
    settings = job.Settings(
        model=None if model is None else resolve(model, weights),
        device=device.value,
        batch_size=batch_size_of(batch_size),
        shard=shard,
        workers=workers,
        cores=cores,
        retry_skipped=retry_skipped,
    )
    photos = source_of(source, column)
    targets = targets_of(to, photos, staging=staging, alone=ray == LOCAL)
    targets.check()
    sent = None
    with Reporter() as reporter:
        driver = job.Driver(ray, settings, reporter.listeners, reporter.work)
        if not dry_run:
            report = driver.run(photos, targets.shards)
            if not report.interrupted:
                sent = targets.load(
                    tell=reporter.notice, progress=partial(reporter.work, "loading into Milvus", "photos")
                )
        else:
            expected = driver.estimate(photos, targets.shards)
    if dry_run:
        write_json(expected) if as_json else _foretell(expected)
        return Exit.DONE if expected.photos or expected.tars or expected.finished else _nothing()
    if as_json:
        write_json({**asdict(report), "milvus": sent and sent._asdict()})
    else:
        _summarise(report, targets.shards.place)
        if sent is not None:
            console().print(
                f"{count(sent.new, 'photo')} sent to {targets.collection}; {sent.unchanged:,} were there."
            )
    if report.interrupted:
        return Exit.INTERRUPTED
    return Exit.DONE if report.shards or report.finished else _nothing()


def _nothing() -> int:
    remark("no photos found")
    return Exit.NOTHING_FOUND


def _summarise(report: JobReport, place: str) -> None:
    out = console()
    if report.interrupted:
        out.print(
            "Stopped early; every finished shard is kept. Run the same command again to go on.",
            style="yellow",
        )
    if report.shards:
        rate = report.photos / report.steady if report.steady else 0.0
        out.print(
            f"Embedded {count(report.photos, 'photo')} in {duration(report.seconds)}"
            f" ({rate:,.1f} a second on {count(report.workers, 'worker')}) into {shown(place)}.",
            style="bold green",
        )
    elif report.finished:
        out.print(f"Nothing to do: {shown(place)} is complete.", style="bold green")
    for name, number in (("skipped", report.skipped), ("there before", report.finished)):
        if number:
            out.print(f"  {name}  {number:,}")


def _foretell(expected: Estimate) -> None:
    out = console()
    if expected.tars:
        out.print(f"To embed: {count(expected.tars, 'tar')}{_of(expected.bytes)}.")
    else:
        out.print(f"To embed: {count(expected.photos or 0, 'photo')}{_of(expected.bytes)}.")
    if expected.finished:
        out.print(f"There already: {expected.finished:,}.")
    if expected.sample:
        out.print(
            f"{count(expected.workers, 'worker')} would embed {expected.rate:,.1f} photos a second,"
            f" by a sample of {expected.sample}."
        )
    if expected.seconds is not None and expected.written is not None and expected.photos:
        out.print(f"That takes {duration(expected.seconds)} and writes {size(expected.written)}.")


def _of(number: int | None) -> str:
    return "" if number is None else f" of {size(number)}"
