"""Indexing photos from a cold shell: whole processes, and the steady rate without their start-up.

python -m benchmarks.index ~/Photos
python -m benchmarks.index ~/Photos --large
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.libraries import Sides
from benchmarks.limits import decode_rate, forward_rates
from benchmarks.photos import large_set, photo_set
from benchmarks.process import Contender, in_turns
from benchmarks.report import Row, Wanted, parser, show

if TYPE_CHECKING:
    from benchmarks.process import Usage

_DECODED = 200  # photos for the decoder's own rate


def main() -> int:
    """Measure and print; returns the exit code."""
    options = parser(__doc__, rounds=3)
    options.add_argument("photos", type=Path, metavar="PHOTOS", help="folder of JPEGs")
    options.add_argument("--photos", dest="count", type=int, metavar="N", help="how many (1000; large: 200)")
    options.add_argument(
        "--steady",
        type=int,
        default=5000,
        metavar="N",
        help="photos of the longer run that tells the steady rate, 0 for none (default %(default)s)",
    )
    options.add_argument("--large", action="store_true", help="photos of 12 megapixels made from PHOTOS")
    chosen = options.parse_args()
    sides = Sides(chosen.cache)
    gather = large_set if chosen.large else photo_set
    count = chosen.count or (200 if chosen.large else 1000)
    steady = 0 if chosen.large else chosen.steady
    wanted = Wanted("at least", 3 if chosen.large else 2)

    folder = gather(chosen.cache, chosen.photos, count)
    paths = sorted(folder.rglob("*.jpg"))[:_DECODED]
    scaled, whole = decode_rate(paths, scaled=True), decode_rate(paths, scaled=False)
    forward = forward_rates(
        sides.ours.model_folder, sides.theirs.visual, (sides.ours.cache, sides.ours.model.source)
    )
    # Decoder and model share the cores: their times for a photo add up.
    limit = 1 / (1 / scaled + 1 / max(forward.values()))

    theirs, ours = _measured(sides, folder, count, chosen.rounds)
    what = f"{count:,} photos"
    rows = [
        Row(f"{what}: whole process", "s", theirs.seconds, ours.seconds),
        Row("   photos a second", "photos/s", count / theirs.seconds, count / ours.seconds, wanted, limit),
        Row("   peak private memory", "MB", theirs.private, ours.private),
    ]
    if steady > count:
        longer = gather(chosen.cache, chosen.photos, steady)
        their_long, our_long = _measured(sides, longer, steady, 1)
        more = steady - count
        their_rate = more / (their_long.seconds - theirs.seconds)
        our_rate = more / (our_long.seconds - ours.seconds)
        rows += [
            Row(f"{steady:,} photos: steady rate", "photos/s", their_rate, our_rate, wanted, limit),
            Row("   peak private memory", "MB", their_long.private, our_long.private),
        ]
    passes = ", ".join(f"{name} {rate:,.1f}" for name, rate in forward.items())
    notes = [
        f"Whole processes, warm page cache, model prepared, in turns, medians of {chosen.rounds} rounds.",
        "Steady rate: the photos by which the longer run (one round) is longer, by the time it takes longer.",
        f"Pillow alone decodes {whole:,.0f} photos/s, reduced to the model's size {scaled:,.0f}.",
        f"Forward pass alone, photos/s: {passes}.",
        "limit: reduced decoding and the fastest forward pass, one after the other on all cores.",
    ]
    title = "Indexing photos of 12 megapixels" if chosen.large else "Indexing"
    return show(title, sides.names, rows, notes=notes, versions=[sides.theirs.versions()])


def _measured(sides: Sides, photos: Path, count: int, rounds: int) -> list[Usage]:
    """Index a folder into new libraries."""
    library, data = sides.cache / "index-clipsearch", sides.cache / "index-rclip"

    def no_library() -> None:
        shutil.rmtree(library, ignore_errors=True)

    def no_data() -> None:
        shutil.rmtree(data, ignore_errors=True)
        sides.theirs.data_folder(data)

    usages = in_turns(
        [
            Contender(sides.theirs.index(data, photos), prepare=no_data),
            Contender(sides.ours.index(library, photos), prepare=no_library),
        ],
        rounds,
        warm_up=False,  # the decoder has just read the photos, and minutes are long
    )
    both = sides.theirs.count(data), sides.ours.count(library)
    if both != (count, count):
        raise SystemExit(f"indexed {both[0]:,} and {both[1]:,} of {count:,} photos")
    return usages


if __name__ == "__main__":
    sys.exit(main())
