from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageDraw

from clipsearch.errors import PhotoError
from clipsearch.photos.decode import decode, open_upright
from clipsearch.types import Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARED = Path(__file__).parents[2] / "shared"
MODES = ("shortest", "longest", "squash")

pillow_heif.register_heif_opener()


def shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"needs ../shared/{name}")
    return folder


def preprocessing(size: int | tuple[int, int] = 224, **options: Any) -> Preprocessing:
    size = (size, size) if isinstance(size, int) else size
    return Preprocessing(size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), **options)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def scene(width: int, height: int) -> Image.Image:
    """Something without symmetry: a gradient, with shapes that differ from corner to corner."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    pixels = np.stack([200 * x, 200 * y, 100 + 80 * np.sin(9 * x + 5 * y)], axis=-1).astype(np.uint8)
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    draw.ellipse((width * 0.1, height * 0.15, width * 0.4, height * 0.5), fill="yellow")
    draw.rectangle((width * 0.6, height * 0.7, width * 0.9, height * 0.8), fill="white")
    return image


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    return Image.fromarray(np.random.default_rng(width * height).integers(0, 256, shape, dtype=np.uint8))


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def as_open_clip(image: Image.Image, wanted: Preprocessing) -> NDArray[np.uint8]:
    """OpenCLIP's own inference transform, without its normalisation."""
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from torchvision.transforms import Normalize

    transform = image_transform_v2(
        PreprocessCfg(
            size=wanted.size,
            interpolation=wanted.interpolation,
            resize_mode=wanted.resize_mode,
            fill_color=wanted.fill_color,
        ),
        is_train=False,
    )
    value: Any = image
    for step in transform.transforms:
        value = value if isinstance(step, Normalize) else step(value)
    return (value * 255).round().byte().permute(1, 2, 0).numpy()


def reason(data: bytes) -> str:
    with pytest.raises(PhotoError) as caught:
        decode(data, preprocessing(32))
    assert caught.value.message
    assert "\n" not in caught.value.message
    return caught.value.message


# -- the model's input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [224, (240, 320), (320, 240)])
def test_pixels_are_those_of_open_clip_for_every_shape(mode: str, size: int | tuple[int, int]) -> None:
    shapes = [(224, 224), (225, 224), (333, 500), (1500, 224), (45, 47), (8, 9)]
    for interpolation in ("bicubic", "bilinear"):
        wanted = preprocessing(size, resize_mode=mode, interpolation=interpolation, fill_color=93)
        for width, height in shapes:
            image = noise(width, height)
            decoded = decode(saved(image, "PPM"), wanted)
            np.testing.assert_array_equal(decoded.pixels, as_open_clip(image, wanted), f"{width}x{height}")
            assert (decoded.width, decoded.height, decoded.metadata.taken) == (width, height, None)
            assert decoded.pixels.dtype == np.uint8


@pytest.mark.parametrize("mode", MODES)
def test_pixels_of_real_photographs_are_those_of_open_clip(mode: str) -> None:
    files = sorted(path for path in shared("photos").rglob("*") if path.suffix in {".jpg", ".png", ".webp"})
    wanted = preprocessing(256, resize_mode=mode)
    for path in random.Random(7).sample(files, 12):
        with Image.open(path) as image:
            if image.getexif().get(274, 1) != 1 or min(image.size) >= 1024:
                continue
            expected = as_open_clip(image.convert("RGB"), wanted)
        np.testing.assert_array_equal(decode(path.read_bytes(), wanted).pixels, expected, str(path))


def test_a_large_photograph_is_decoded_at_reduced_size_and_stays_close() -> None:
    for path in sorted(shared("camera").glob("*.JPG")):
        with Image.open(path) as image:
            full = image.convert("RGB")
        for size, bound in ((224, 1.5), (384, 0.8)):  # measured: 0.9-1.0 and 0.4-0.5
            decoded = decode(path.read_bytes(), preprocessing(size))
            assert (decoded.width, decoded.height) == full.size
            assert difference(decoded.pixels, as_open_clip(full, preprocessing(size))) < bound


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("turn", range(1, 9))
def test_reduced_decoding_shifts_nothing_however_the_picture_lies(turn: int, mode: str) -> None:
    # Sides that no power of two divides: the decoder pads them, at an end that the turn moves.
    exif = Image.Exif()
    exif[274] = turn
    data = saved(scene(1803, 1205), "JPEG", quality=95, exif=exif)
    exact = saved(open_upright(data, at_least=None), "PNG")
    wanted = preprocessing(100, resize_mode=mode)
    assert (
        difference(decode(data, wanted).pixels, decode(exact, wanted).pixels) < 0.5
    )  # shifted: 0.9 and more


@pytest.mark.parametrize("shape", [(3, 20_000), (20_000, 3), (1, 1), (1, 5000), (1, 60_000)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("mode", MODES)
def test_a_strip_costs_no_more_than_a_picture(shape: tuple[int, int], kind: str, mode: str) -> None:
    # Resized whole, 1 x 60,000 would become 224 x 13,440,000 first: 12 GB.
    decoded = decode(saved(Image.new("RGB", shape, "teal"), kind), preprocessing(resize_mode=mode))
    assert decoded.pixels.shape == (224, 224, 3)
    assert difference(decoded.pixels[111, 111], np.array([0, 128, 128], np.uint8)) < 3


# -- upright ----------------------------------------------------------------------------------------------


def test_all_orientations_of_a_photograph_look_alike() -> None:
    files = sorted(shared("nasty").joinpath("exif-orientation").glob("Portrait_[1-8].jpg"))
    pictures = [decode(path.read_bytes(), preprocessing()) for path in files]
    assert len(pictures) == 8
    for picture in pictures:
        assert (picture.width, picture.height) == (pictures[0].width, pictures[0].height)
        assert picture.height > picture.width
        assert difference(picture.pixels, pictures[0].pixels) < 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_every_format_is_turned_upright_once(kind: str, turn: int) -> None:
    upright = scene(120, 80)
    back = [None, 0, 3, 1, 5, 2, 6, 4][turn - 1]  # the transposition that undoes each orientation
    exif = Image.Exif()
    exif[274] = turn
    stored = upright if back is None else upright.transpose(Image.Transpose(back))
    decoded = decode(saved(stored, kind, exif=exif.tobytes()), preprocessing(80, resize_mode="squash"))
    expected = decode(saved(upright, "PNG"), preprocessing(80, resize_mode="squash"))
    assert (decoded.width, decoded.height) == (120, 80)
    assert difference(decoded.pixels, expected.pixels) < 4


@pytest.mark.parametrize("turn", [1, 6])
def test_a_preview_is_upright_and_large_enough(turn: int) -> None:
    exif = Image.Exif()
    exif[274] = turn
    data = saved(scene(2000, 1500), "JPEG", exif=exif)
    shape = (2000, 1500) if turn == 1 else (1500, 2000)
    assert open_upright(data, at_least=None).size == shape
    assert open_upright(data, at_least=9999).size == shape
    preview = open_upright(data, at_least=500)
    assert preview.mode == "RGB"
    assert preview.size == (shape[0] // 4, shape[1] // 4)
    assert max(open_upright(data, at_least=501).size) == 1000


# -- colours ----------------------------------------------------------------------------------------------


def one_color(image: Image.Image, kind: str, **options: Any) -> list[int]:
    pixels = decode(saved(image, kind, **options), preprocessing(16)).pixels
    assert pixels.min(axis=(0, 1)).tolist() == pixels.max(axis=(0, 1)).tolist()
    return [int(level) for level in pixels[8, 8]]


def of(mode: str, color: Any) -> Image.Image:
    return Image.new(mode, (20, 20), color)


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (of("RGBA", (255, 0, 0, 128)), "PNG", [255, 127, 127]),
        (of("RGBA", (255, 0, 0, 0)), "PNG", [255, 255, 255]),
        (of("RGBA", (0, 0, 255, 0)), "WEBP", [255, 255, 255]),
        (of("LA", (0, 128)), "PNG", [127, 127, 127]),
        (of("L", 77), "PNG", [77, 77, 77]),
        (of("1", 1), "PNG", [255, 255, 255]),
        (of("1", 0), "TIFF", [0, 0, 0]),
        (of("CMYK", (0, 255, 255, 0)), "TIFF", [255, 0, 0]),
        (of("CMYK", (255, 255, 255, 255)), "TIFF", [0, 0, 0]),
        (of("I;16", 32768), "PNG", [128, 128, 128]),
        (of("I;16", 2048), "TIFF", [128, 128, 128]),  # 12 bits
        (of("I;16", 200), "TIFF", [200, 200, 200]),  # 8 bits in 16
        (of("I", 65535), "TIFF", [255, 255, 255]),
        (of("F", 0.5), "TIFF", [128, 128, 128]),
        (of("F", 128.0), "TIFF", [128, 128, 128]),
        (of("F", float("nan")), "TIFF", [0, 0, 0]),
    ],
)
def test_every_mode_becomes_rgb(image: Image.Image, kind: str, expected: list[int]) -> None:
    assert one_color(image, kind) == expected


def test_transparent_palette_and_grey_lie_over_white() -> None:
    image = of("P", 3)
    image.putpalette([0, 0, 0, 9, 9, 9, 5, 5, 5, 10, 20, 30])
    assert one_color(image, "PNG") == [10, 20, 30]
    assert one_color(image, "PNG", transparency=3) == [255, 255, 255]
    assert one_color(image, "GIF", transparency=3) == [255, 255, 255]
    assert one_color(of("L", 50), "PNG", transparency=50) == [255, 255, 255]
    assert one_color(of("RGB", (1, 2, 3)), "PNG", transparency=(1, 2, 3)) == [255, 255, 255]


def test_cmyk_jpegs_are_not_inverted() -> None:
    red, green, blue = one_color(of("CMYK", (0, 255, 255, 0)), "JPEG", quality=100)
    assert red > 245
    assert max(green, blue) < 10


def test_values_beyond_16_bits_are_stretched() -> None:
    values = np.linspace(-1e6, 3e6, 400, dtype=np.float32).reshape(20, 20)
    for image in (Image.fromarray(values), Image.fromarray(values.astype(np.int32))):
        grey = np.asarray(open_upright(saved(image, "TIFF"), at_least=None))[..., 0]
        assert (grey.min(), grey.max()) == (0, 255)
        assert np.all(np.diff(grey.ravel().astype(int)) >= 0)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    frames = [of("RGB", color) for color in ("red", "lime", "blue")]
    pixels = decode(saved(frames[0], kind, save_all=True, append_images=frames[1:]), preprocessing(16)).pixels
    assert difference(pixels[8, 8], np.array([255, 0, 0], np.uint8)) < 5


@pytest.mark.parametrize(
    "kind",
    [
        "JPEG",
        "MPO",
        "PNG",
        "WEBP",
        "AVIF",
        "HEIF",
        "GIF",
        "TIFF",
        "BMP",
        "DIB",
        "JPEG2000",
        "PPM",
        "TGA",
        "PCX",
    ],
)
def test_every_promised_format_is_read(kind: str) -> None:
    image = scene(64, 48)
    decoded = decode(saved(image, kind), preprocessing(48))
    assert (decoded.width, decoded.height) == (64, 48)
    assert difference(decoded.pixels, decode(saved(image, "PNG"), preprocessing(48)).pixels) < 8


# -- bad files --------------------------------------------------------------------------------------------


def test_reasons_are_true_and_short() -> None:
    picture = saved(noise(200, 200), "JPEG")
    assert reason(b"") == "empty file"
    assert reason(bytes(5000)) == "nothing but zero bytes"
    assert reason(b"Dear diary, ...") == "not an image of a known format"
    assert reason(b"%PDF-1.7 ...") == "not an image of a known format"
    assert reason(picture[: len(picture) // 2]) == "truncated JPEG"
    assert reason(saved(noise(64, 64), "PNG")[:300]) == "truncated PNG"
    assert reason(saved(of("RGB", "red"), "ICO")) == "not an image of a known format"
    assert "PNG" in reason(b"\x89PNG\r\n\x1a\n" + bytes(100))


def resized_header(data: bytes, marker: bytes, width: int, height: int) -> bytes:
    """A JPEG that claims another size."""
    at = data.index(marker) + 5
    return data[:at] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + data[at + 4 :]


def test_a_bomb_is_refused_by_its_header() -> None:
    png = bytearray(saved(of("RGB", "red"), "PNG"))
    png[16:24] = (13_304).to_bytes(4, "big") * 2
    png[29:33] = zlib.crc32(png[12:29]).to_bytes(4, "big")
    assert "177 megapixels" in reason(bytes(png))
    assert "160" in reason(bytes(png))
    ppm = b"P6\n90000 90000\n255\n"
    assert "8,100 megapixels" in reason(ppm + bytes(100))
    plain = b"P3\n4000 4000\n255\n"  # decoded in Python: seconds a megapixel
    assert "16 megapixels" in reason(plain + b"1 " * 100)


def test_of_jpegs_only_those_that_must_be_held_whole_have_the_low_limit() -> None:
    sequential, progressive = saved(scene(64, 64), "JPEG"), saved(scene(64, 64), "JPEG", progressive=True)
    assert decode(resized_header(sequential, b"\xff\xc0", 13_000, 13_000), preprocessing(32)).width == 13_000
    assert "169 megapixels" in reason(resized_header(progressive, b"\xff\xc2", 13_000, 13_000))
    assert "1,260 megapixels" in reason(resized_header(sequential, b"\xff\xc0", 42_000, 30_000))
    with pytest.raises(PhotoError, match="169 megapixels"):  # at full size it has to be held
        open_upright(resized_header(sequential, b"\xff\xc0", 13_000, 13_000), at_least=None)


def test_no_warning_of_the_decoder_reaches_the_screen(capfd: pytest.CaptureFixture[str]) -> None:
    jpeg = saved(scene(64, 64), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(40))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(jpeg, preprocessing(32))
    assert capfd.readouterr() == ("", "")


def test_many_threads_decode_as_one_does() -> None:
    kinds = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "HEIF", "AVIF", "JPEG2000")
    files = [saved(scene(200 + 10 * i, 150), kind) for i in range(3) for kind in kinds]
    files += [data[:200] for data in files[:4]]

    def outcome(data: bytes) -> bytes | str:
        try:
            return decode(data, preprocessing(64)).pixels.tobytes()
        except PhotoError as error:
            return error.message

    alone = [outcome(data) for data in files]
    with ThreadPoolExecutor(8) as pool:
        for together in (list(pool.map(outcome, files)) for _ in range(3)):
            assert together == alone


def test_large_pictures_wait_for_each_other_without_locking_up() -> None:
    data = saved(Image.new("L", (6400, 6400)), "PNG", compress_level=1)  # over the bound of one at a time
    broken = data[: len(data) // 2]
    errors: list[str] = []

    def work(data: bytes) -> None:
        try:
            decode(data, preprocessing(32))
        except PhotoError as error:
            errors.append(error.message)

    threads = [threading.Thread(target=work, args=(item,)) for item in (broken, data, broken, data)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert errors == ["truncated PNG"] * 2


DECODE_ALL = """
import json, sys
from pathlib import Path
from clipsearch.errors import PhotoError
from clipsearch.photos.decode import decode
from clipsearch.types import Preprocessing
wanted = Preprocessing((224, 224), (0.0,) * 3, (1.0,) * 3)
results = []
for path in sorted(path for path in Path(sys.argv[1]).rglob("*") if path.is_file()):
    try:
        found = decode(path.read_bytes(), wanted)
        outcome = [list(found.pixels.shape), str(found.pixels.dtype), found.width, found.height]
    except PhotoError as error:
        outcome = error.message
    except BaseException as error:
        outcome = [repr(error)]
    results.append([str(path), outcome])
# Not getrusage: its figure begins with that of the process that started this one.
status = Path("/proc/self/status")
peak = int(status.read_text().split("VmHWM:")[1].split()[0]) if status.exists() else 0
print(json.dumps({"results": results, "peak": peak}))
"""


def test_every_nasty_file_is_a_picture_or_has_a_reason_in_little_memory() -> None:
    folder = shared("nasty")
    run = subprocess.run(
        [sys.executable, "-c", DECODE_ALL, str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    report = json.loads(run.stdout)
    assert len(report["results"]) == sum(path.is_file() for path in folder.rglob("*"))
    pictures = 0
    for path, outcome in report["results"]:
        if isinstance(outcome, str):
            assert outcome.strip(), path
            assert outcome.isprintable(), path
            assert len(outcome) < 200, path
            assert "object at 0x" not in outcome, path
        else:
            assert outcome[:2] == [[224, 224, 3], "uint8"], (path, outcome)
            assert min(outcome[2:]) > 0, path
            pictures += 1
    print(f"{pictures} of {len(report['results'])} files decode, peak {report['peak'] / 1e3:.0f} MB")  # noqa: T201
    assert pictures >= 870
    # Python with numpy and the decoders takes 60 MB, the largest honest picture (15 megapixels) 120 more; a
    # bomb that got through would take 700 to 900.
    assert report["peak"] / 1e3 < 400


@pytest.mark.parametrize(
    "data",
    [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\x89HDF\r\n\x1a\n" + bytes(64), b"GRIB" * 20],
)
def test_formats_that_run_programs_or_are_no_pictures_are_left_alone(data: bytes) -> None:
    assert reason(data) == "not an image of a known format"
