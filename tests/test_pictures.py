"""Pictures and videos: what files become, what is refused, what the encoders compute, what is answered and drawn."""

from __future__ import annotations

import io
import os
import random
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import seq2att
from seq2att import api, cli, drawing, registry
from seq2att.drawing.pictures import highlighted, region_text
from seq2att.encoder import CNNEncoder, PatchEncoder
from seq2att.errors import UserError
from seq2att.field import FramesField, ImageField, VectorsField
from seq2att.files import picture
from seq2att.testing import check
from tests.refusals import refused

ROOT = Path(__file__).resolve().parent.parent
RED, WHITE, BLACK = (255, 0, 0), (255, 255, 255), (0, 0, 0)
Pixels = np.ndarray[Any, np.dtype[Any]]


def noise(height: int = 6, width: int = 8, seed: int = 1) -> Pixels:
    """A picture of coloured noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def content(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of a file of the picture."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def read(data: bytes) -> Pixels:
    """The pixels of a file."""
    return np.asarray(picture.read_picture(data))


def save(path: Path, pixels: Pixels) -> None:
    """Write a PNG, its folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


# --- files ---


def test_every_kind_of_pixel_becomes_red_green_and_blue() -> None:
    grey = noise()[:, :, 0]
    three = np.repeat(grey[:, :, None], 3, 2)
    assert np.array_equal(read(content(Image.fromarray(grey))), three)
    assert np.array_equal(read(content(Image.fromarray(grey.astype(np.uint16) * 257))), three)  # 16 bits
    assert np.array_equal(read(content(Image.fromarray(grey.astype(np.uint16) * 257), "TIFF")), three)
    assert np.array_equal(read(content(Image.fromarray(grey / np.float32(255)), "TIFF")), three)
    two = np.where(grey > 127, 255, 0).astype(np.uint8)
    assert np.array_equal(read(content(Image.fromarray(two).convert("1")))[:, :, 1], two)
    few = Image.fromarray(noise()).quantize(16)
    assert np.array_equal(read(content(few)), np.asarray(few.convert("RGB")))  # a palette
    printed = Image.fromarray(noise()).convert("CMYK")
    assert np.abs(read(content(printed, "TIFF")).astype(int) - noise()).max() <= 2


def test_transparency_is_laid_over_white() -> None:
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = 0, 255, 51  # nothing, black, a fifth of black
    assert read(content(Image.fromarray(pixels)))[0, :, 0].tolist() == [255, 0, 204]
    grey = Image.fromarray(pixels[:, :, 2:])  # grey with transparency
    assert grey.mode == "LA"
    assert read(content(grey))[0, :, 0].tolist() == [255, 0, 204]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([255, 0, 0, 0, 0, 0])
    assert read(content(palette, transparency=1)).tolist() == [[list(RED), list(WHITE)]]


def test_a_picture_is_turned_as_its_camera_was() -> None:
    pixels = noise(2, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    turned = read(content(Image.fromarray(pixels), exif=exif))
    assert np.array_equal(turned, np.rot90(pixels, -1))


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises so many pixels and whose data are a few bytes."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" * 1000)),
        (b"IEND", b""),
    ]
    chunks = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("size", [(8193, 8193), (40_000, 40_000), (2**31 - 1, 2**31 - 1)])
def test_a_picture_that_would_fill_the_memory_is_not_decoded(size: tuple[int, int]) -> None:
    with refused("E-picture", "a picture of"):
        read(bomb(*size))


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    whole = content(Image.fromarray(noise(40, 40)))
    for name, data in {
        "truncated.png": whole[: len(whole) // 2],
        "text.png": b"no picture",
        "empty.png": b"",
        "script.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "page.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    }.items():
        (tmp_path / name).write_bytes(data)
        with refused("E-picture", str(tmp_path / name)) as caught:
            ImageField().encode(str(tmp_path / name))
        assert "\n" not in str(caught.value)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    places = [tmp_path / "folder.png", tmp_path / "none.png", tmp_path / "a\0b.png", tmp_path / ("x" * 300)]
    if os.name == "posix":
        os.mkfifo(tmp_path / "pipe.png")
        places += [tmp_path / "pipe.png", Path("/dev/null"), Path("/dev/zero")]
    for place in places:
        with refused("E-file", str(place)):
            ImageField().encode(place)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_no_damage_raises_anything_else(kind: str) -> None:
    draw, whole, field = (
        random.Random(kind),
        content(Image.fromarray(noise(12, 12)), kind),
        ImageField(height=8, width=8),
    )
    for _ in range(40):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 8)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        damaged = damaged[: draw.choice([len(damaged), draw.randrange(len(damaged))])]
        code = ""
        try:
            assert field.encode(bytes(damaged)).shape == (8, 24)
        except UserError as error:
            code = error.code
        assert code in ("", "E-picture")


# --- fields ---


def test_a_file_its_bytes_an_array_and_an_image_are_one_picture(tmp_path: Path) -> None:
    pixels, field = noise(6, 8), ImageField(height=6, width=None)
    save(tmp_path / "a.png", pixels)
    expected = pixels.transpose(1, 0, 2).reshape(8, 18)
    image = Image.fromarray(pixels)
    same = [tmp_path / "a.png", str(tmp_path / "a.png"), content(image), image, pixels, pixels.tolist(), pixels / 255]
    same += [pixels.astype(np.uint16) * np.uint16(257), torch.from_numpy(pixels).permute(2, 0, 1)]
    for value in same:
        assert np.array_equal(field.encode(value), expected), type(value)
    assert np.array_equal(field.decode(field.encode(pixels)), pixels)
    assert field.encode("").shape == (0, 18)
    assert not field.is_single([pixels])
    assert all(map(field.is_single, [pixels, pixels[:, :, 0], image, tmp_path]))


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        {"a": 1},
        [[1, 2], [3]],
        np.zeros((2, 2, 2)),
        np.zeros((0, 4)),
        np.full((2, 2), np.nan),
        np.full((2, 2), 300),
        np.full((2, 2), -1),
        np.full((2, 2), 1.5),
        [["a"]],
        Image.new("RGB", (5, 0)),
        Image.open(io.BytesIO(content(Image.fromarray(noise(300, 300)), "JPEG")[:1000])),
    ],
)
def test_what_is_no_picture(value: Any) -> None:
    with refused("E-picture"):
        ImageField().encode(value)


def test_a_picture_of_other_proportions() -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 9:21] = RED  # the middle
    shapes = {mode: ImageField(height=4, width=4, resize=mode) for mode in ("stretch", "pad", "crop")}
    found = {mode: field.decode(field.encode(wide)) for mode, field in shapes.items()}
    assert found["stretch"][:, 0].max() < 80
    assert found["crop"].tolist() == [[list(RED)] * 4] * 4
    assert found["pad"][0, 0].tolist() == found["pad"][3, 3].tolist() == list(WHITE)
    assert ImageField(height=5, width=None).encode(wide).shape == (15, 15)


def test_a_video_is_a_folder_a_file_or_a_list(tmp_path: Path) -> None:
    field, frames = FramesField(height=6, width=8), [noise(seed=seed) for seed in range(3)]
    for name, pixels in zip(["1.png", "2.png", "10.png"], frames, strict=True):
        save(tmp_path / "video" / name, pixels)
    images = [Image.fromarray(pixels) for pixels in frames]
    images[0].save(tmp_path / "video.png", save_all=True, append_images=images[1:])
    expected = np.stack(frames).reshape(3, -1)
    for value in (
        tmp_path / "video",
        str(tmp_path / "video.png"),
        frames,
        np.stack(frames),
        [content(i) for i in images],
    ):
        assert np.array_equal(field.encode(value), expected)
    assert all(map(field.is_single, [np.stack(frames), np.stack(frames)[..., 0]]))
    assert np.array_equal(field.picture(expected), np.concatenate(frames, 1))
    (tmp_path / "video" / "labels.txt").write_text("a")
    for broken in (tmp_path / "video", tmp_path / "none"):
        with refused("E-file", str(broken)):
            field.encode(broken)
    with refused("E-picture"):
        field.encode(5)


def test_options_that_make_no_network() -> None:
    for options, key in [
        ({"channels": ()}, "encoder.channels=[]"),
        ({"kernel": 4}, "encoder.kernel=4"),
        ({"channels": (4,), "pools": 2}, "encoder.pools=2"),
    ]:
        with refused("E-size", key):
            CNNEncoder(6, **options)
    with refused("E-conflict", "encoder=patches"):
        PatchEncoder(8)


def test_the_setting_names_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with refused("E-package", "source=image"):
        ImageField().check("source", None)


# --- encoders ---


def test_the_laws_hold_around_pictures_of_any_width() -> None:
    around = {"source": {"name": "image", "height": 6, "width": None}}
    check("encoder", "cnn", {"channels": (5, 8), "pools": 2}, around=around)
    small = {"name": "frames", "height": 4, "width": 4, "channels": (4,), "embedding_size": 5}
    check("head", "tagging", {"transitions": True, "hidden": 3}, around={"source": small})


def test_convolutions_are_those_of_the_whole_picture() -> None:
    encoder = CNNEncoder(3 * 7, channels=(4, 6), pools=1, positions=False).double()
    pixels = torch.randn(1, 3, 7, 9, dtype=torch.float64)
    first, second = encoder.convolutions.layers
    expected = second(torch.nn.functional.max_pool2d(first(pixels).relu(), 2, ceil_mode=True)).relu()[0]  # [M, 4, 5]
    columns = pixels.permute(0, 3, 2, 1).reshape(1, 9, 21)
    encoding = encoder(columns, torch.tensor([9]))
    rows, across = encoder.grid(9)
    assert (rows, across) == (4, 5)
    for row in range(rows):
        for column in range(across):
            torch.testing.assert_close(encoding.outputs[0, column * rows + row], expected[:, row, column])
    assert encoding.mask.all()
    assert encoding.final == ()


def test_a_patch_is_read_by_itself() -> None:
    encoder = PatchEncoder(3 * 5, patch=4, size=6, positions=False).double()
    pixels = torch.randn(3, 5, 6, dtype=torch.float64)
    assert encoder.grid(6) == (2, 2)
    outputs = encoder(pixels.permute(2, 1, 0).reshape(1, 6, 15), torch.tensor([6])).outputs[0]  # [4, M]
    padded = torch.nn.functional.pad(pixels, (0, 2, 0, 3))
    for number, (row, column) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):  # column by column
        square = padded[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].permute(1, 2, 0).flatten()
        torch.testing.assert_close(outputs[number], encoder.layer(square).relu())


# --- from data to answers ---


def shape_recipe(folder: Path, language: str = "en") -> list[str]:
    """The recipe of shapes, made tiny."""
    small = ["reader.train=12", "reader.validation=6", "reader.test=4", "encoder.channels=[4]", "encoder.pools=1"]
    sizes = ["source.height=8", "source.width=8", "decoder.size=8", "attention.size=4", "target.embedding_size=4"]
    quick = ["trainer.epochs=1", "trainer.progress=false", "trainer.threads=1", f"reader.language={language}"]
    return [*small, *sizes, *quick, f"data.cache={folder / 'cache'}"]


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned nothing about its own pictures: a table of files with several captions each."""
    folder = tmp_path_factory.mktemp("captions")
    for number in range(6):
        save(folder / "data" / "pictures" / f"{number}.png", noise(9, 11, number))
    lines = [f"pictures/{n}.png,{text} {n % 2}\n" for n in range(6) for text in ("a picture", "noise")]
    for name in ("train", "test"):
        (folder / "data" / f"{name}.csv").write_text("file,caption\n" + "".join(lines), "utf-8")
    readers = ["reader=csv", "reader.train=train.csv", "reader.validation=test.csv", "reader.test=test.csv"]
    columns = ["reader.source=file", "reader.target=caption", f"data.root={folder / 'data'}"]
    tiny = [one for one in shape_recipe(folder) if not one.startswith("reader")]
    return seq2att.train("shapes_caption", [*tiny, *readers, *columns, f"run={folder / 'run'}"])


def test_several_captions_of_a_picture_are_several_right_answers(captions: Path) -> None:
    result = api.evaluate(captions, draw=captions.parent / "drawn")
    assert (result["rows"], result["sources"]) == (12, 6)
    assert "nrefs:2" in result["signatures"]["bleu"]
    assert (captions.parent / "drawn" / drawing.EXAMPLES).stat().st_size > 1000
    assert (captions / drawing.EXAMPLES).stat().st_size > 1000


def test_names_arrays_and_many_are_answered_alike(captions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = seq2att.load(captions)
    files = [captions.parent / "data" / "pictures" / f"{number}.png" for number in range(3)]
    expected = [model.generate(str(file)) for file in files]
    arrays = [np.asarray(Image.open(file)) for file in files]
    for many in (list(map(str, files)), files, arrays, np.stack(arrays), [file.read_bytes() for file in files]):
        found = model.generate(many)
        assert [one.text for one in found] == [one.text for one in expected]
    assert model.generate(arrays[0]).text == expected[0].text
    assert model.generate("").text == ""
    attention = expected[0].attention
    assert attention is not None
    assert attention.shape[1] == 16 == len(expected[0].source_tokens)  # 4 x 4 regions
    assert expected[0].source_tokens[:5] == ("1,1", "2,1", "3,1", "4,1", "1,2")
    monkeypatch.chdir(files[0].parent)
    assert model.generate("0.png").text == expected[0].text
    with refused("E-file", "line 2"):
        model.generate(["0.png", "none.png"])


def test_the_commands_take_pictures(captions: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    files = [str(captions.parent / "data" / "pictures" / f"{number}.png") for number in range(3)]
    expected = [one.text for one in seq2att.load(captions).generate(files)]
    assert cli.main(["generate", str(captions), *files, "-o", str(tmp_path / "out.txt")]) in (0, None)
    assert (tmp_path / "out.txt").read_text("utf-8").splitlines() == expected
    assert cli.main(["show", str(captions), files[0], "-o", str(tmp_path / "map.png"), "--beam", "1"]) in (0, None)
    assert (tmp_path / "map.png").stat().st_size > 1000
    assert expected[0].split()[0] in capsys.readouterr().out if expected[0] else True


def test_a_changed_picture_is_read_again(captions: Path, tmp_path: Path) -> None:
    field, rows = ImageField(), [str(tmp_path / "a.png"), b"no name", [str(tmp_path / "b.png")]]
    digests = set()
    for seed in range(2):
        save(tmp_path / "a.png", noise(seed=seed))
        digests.add(field.digest(rows))
    save(tmp_path / "b.png", noise())
    digests.add(field.digest(rows))
    assert len(digests) == 3
    assert VectorsField().digest(rows) == ""


def test_a_missing_picture_is_named_with_its_row(captions: Path, tmp_path: Path) -> None:
    save(tmp_path / "a.png", noise())
    (tmp_path / "train.csv").write_text("file,caption\na.png,one\nnone.png,two\n", "utf-8")
    tiny = [one for one in shape_recipe(tmp_path) if not one.startswith("reader")]
    rows = ["reader=csv", "reader.train=train.csv", "reader.source=file", "reader.target=caption"]
    with refused("E-file", "train.csv:3") as caught:
        seq2att.train("shapes_caption", [*tiny, *rows, f"data.root={tmp_path}", f"run={tmp_path / 'run'}"])
    assert "none.png" in caught.value.problem


# --- recipes ---


def shapes_rows(name: str, **options: Any) -> list[Any]:
    """The rows of a reader of the recipe."""
    registry.load_plugin(str(ROOT / "recipes" / "shapes.py"))
    return list(registry.build("reader", {"reader": {"name": name, **options}}).read("test", None))


def place(pixels: Pixels, color: tuple[int, int, int]) -> tuple[float, float]:
    """The middle of what has a colour: across and down."""
    down, across = np.nonzero(np.abs(pixels.astype(int) - color).max(2) < 40)
    return float(across.mean()), float(down.mean())


def test_sentences_say_where_the_shapes_are(own_registry: None) -> None:
    english, korean = shapes_rows("shapes", test=60), shapes_rows("shapes", test=60, language="ko")
    assert [row.values[0] for row in english] == [row.values[0] for row in korean]
    colors = {"red": (214, 39, 40), "green": (44, 160, 44), "blue": (31, 119, 180), "yellow": (240, 190, 20)}
    relations = {"left": (0, -1), "right": (0, 1), "above": (1, -1), "below": (1, 1)}
    checked = 0
    for row in english:
        words = row.values[1].replace(" of ", " ").split()
        if len(words) == 3 or words[1] == words[5]:
            continue
        pixels = read(row.values[0])
        axis, sign = relations[words[3]]
        assert (place(pixels, colors[words[1]])[axis] - place(pixels, colors[words[5]])[axis]) * sign > 3
        checked += 1
    assert checked > 30
    assert all(row.values[1].endswith("있다") for row in korean)


def test_labels_say_how_the_shape_moved(own_registry: None) -> None:
    steps = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}
    for row in shapes_rows("moving_shapes", test=12):
        frames, labels = [read(frame).astype(int) for frame in row.values[0]], row.values[1].split()
        assert len(frames) == len(labels)
        assert labels[0] == "still"
        middles = [np.argwhere((255 - frame).sum(2) > 100).mean(0)[::-1] for frame in frames]
        for before, after, label in zip(middles[:-1], middles[1:], labels[1:], strict=True):
            moved = after - before
            assert np.array_equal(np.where(np.abs(moved) > 0.8, np.sign(moved), 0), steps[label])


# --- drawing ---


def test_the_region_with_the_greatest_weight_has_its_colours() -> None:
    pixels = np.full((4, 6, 3), 200, np.uint8)
    lit = highlighted(pixels, np.array([[0, 0, 1.0], [0, 0.5, 0]]))
    assert lit[0, 4, 0] == pytest.approx(200 / 255)
    assert lit[3, 2, 0] == pytest.approx(200 / 255 * 0.6)
    assert lit[0, 0, 0] == pytest.approx(200 / 255 * 0.2)
    text = region_text([[[0, 1.0], [0, 0]]], ["word"])
    assert [line.strip() for line in text.splitlines()] == ["word", "· █", "· ·"]


def test_strips_and_pictures_are_drawn_for_any_words(tmp_path: Path) -> None:
    seen = [drawing.Seen(noise(4, 12), "위 아래", ("위", "아래", "$x$"), "위 왼쪽 $x$")]
    drawing.draw_strips(seen, tmp_path / "strip.png")
    maps = np.ones((3, 2, 2))
    drawing.draw_pictures(
        [*(seen[0]._replace(maps=m) for m in (maps, None)), drawing.Seen(noise(), "")], tmp_path / "p.png"
    )
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("strip.png", "p.png"))
