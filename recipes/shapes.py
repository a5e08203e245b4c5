"""Small pictures of coloured shapes, drawn in place: to be described in words, or to move and be followed.

A picture as a file, to be described by a trained model:

    from seq2att.registry import load_plugin, build
    load_plugin("recipes/shapes.py")
    row = next(build("reader", {"reader": {"name": "shapes"}}).read("test", None))
    open("picture.png", "wb").write(row.values[0])
    print(row.values[1])
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from seq2att.errors import UserError
from seq2att.files.picture import check_pillow
from seq2att.reader import SPLITS, Reader, Row, digest
from seq2att.registry import Seed, Size, register

Language = Literal["en", "ko"]
SIDE = 32  # pixels of a picture
FINE = 4  # drawn so many times larger, and then reduced, so that edges are smooth
COLORS = {"red": (214, 39, 40), "green": (44, 160, 44), "blue": (31, 119, 180), "yellow": (240, 190, 20)}
CORNERS = {"circle": 0, "square": 4, "triangle": 3}
RELATIONS = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
MOVES = {**{name: RELATIONS[name] for name in ("left", "right")}, "up": (0, -1), "down": (0, 1), "still": (0, 0)}
ENGLISH = {"left": "left of", "right": "right of"}
KOREAN = {
    **{"red": "빨간", "green": "초록", "blue": "파란", "yellow": "노란"},
    **{"circle": "원", "square": "사각형", "triangle": "삼각형"},
    **{"left": "왼쪽", "right": "오른쪽", "above": "위", "below": "아래"},
    **{"up": "위", "down": "아래", "still": "정지"},
}


class Shape(NamedTuple):
    """A shape in a picture."""

    color: str
    form: str
    x: float  # pixels from the left to its middle
    y: float  # pixels from the top
    radius: float

    def moved(self, x: float, y: float) -> Shape:
        """The shape so many pixels to the right and down."""
        return self._replace(x=self.x + x, y=self.y + y)


class ShapesReader(Reader):
    """A reader of made rows.

    Args:
        language: the language of the words: English or Korean.
        train: pictures or videos of the training split.
        validation: those of the validation split.
        test: those of the test split.
        seed: the seed of all that is drawn; each split has numbers of its own.
    """

    names_data = False

    def __init__(
        self,
        *,
        language: Language = "en",
        train: Size = 2000,
        validation: Size = 200,
        test: Size = 400,
        seed: Seed = 1,
    ) -> None:
        self.language, self.seed = language, seed
        self.rows = dict(zip(SPLITS, (train, validation, test), strict=True))

    def check(self, root: Path | None) -> None:
        check_pillow("reader=shapes")

    def splits(self) -> tuple[str, ...]:
        return SPLITS

    def use(self, split: str, name: str) -> None:
        """So many pictures or videos: `seq2att evaluate RUN --test 1000`."""
        if not name.isdigit() or int(name) < 1:
            raise UserError("E-size", f"{split}={name}", "must be the number of pictures or videos, at least 1")
        self.rows[split] = int(name)

    def fingerprint(self, split: str, root: Path | None) -> str:
        return digest(self, split, [])


@register("reader", "shapes")
class Shapes(ShapesReader):
    """Pictures of one or two shapes, each with every sentence that describes it: two shapes have two, from either side.

    "a red circle left of a blue square" and "a blue square right of a red circle" are two rows of one picture, so both
    are right answers.
    """

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        draw = random.Random(f"{self.seed} {split}")
        for line in range(1, self.rows[split] + 1):
            shapes, relation = draw_scene(draw)
            content = png(shapes)
            for sentence in sentences(shapes, relation, self.language):
                yield Row((content, sentence), f"shapes-{split}", line)


def draw_scene(draw: random.Random) -> tuple[list[Shape], str]:
    """One shape in four pictures, else two shapes, and where the first one is, seen from the second."""
    if draw.random() < 0.25:
        radius = draw.uniform(4, 7)
        places = [(draw.uniform(radius + 1, SIDE - radius - 1), draw.uniform(radius + 1, SIDE - radius - 1), radius)]
        return [shape_of(draw, place) for place in places], ""
    relation = draw.choice(list(RELATIONS))
    one, other = draw.uniform(4, 6.5), draw.uniform(4, 6.5)
    low = draw.uniform(one + 1, SIDE - one - 2 * other - 3)  # the one that is nearer to the origin along the axis
    high = draw.uniform(low + one + other + 1, SIDE - other - 1)
    middle, drift = draw.uniform(9, SIDE - 9), draw.uniform(-2, 2)
    along = [(low, middle + drift, one), (high, middle - drift, other)]
    if relation in ("right", "below"):
        along.reverse()
    places = along if relation in ("left", "right") else [(y, x, radius) for x, y, radius in along]
    shapes = [shape_of(draw, place) for place in places]
    while shapes[1][:2] == shapes[0][:2]:  # two alike would say nothing
        shapes[1] = shape_of(draw, places[1])
    return shapes, relation


def shape_of(draw: random.Random, place: tuple[float, float, float]) -> Shape:
    """A shape of a random colour and form at a place."""
    return Shape(draw.choice(list(COLORS)), draw.choice(list(CORNERS)), *place)


def sentences(shapes: list[Shape], relation: str, language: Language) -> list[str]:
    """What can be said of the shapes: of one that it is there, of two where each is."""
    if len(shapes) == 1:
        return [f"{named(shapes[0], language)}이 있다" if language == "ko" else named(shapes[0], language)]
    pairs = [(shapes[0], relation, shapes[1]), (shapes[1], OPPOSITE[relation], shapes[0])]
    if language == "ko":
        return [f"{named(one, 'ko')}이 {named(other, 'ko')} {KOREAN[where]}에 있다" for one, where, other in pairs]
    return [f"{named(one, 'en')} {ENGLISH.get(where, where)} {named(other, 'en')}" for one, where, other in pairs]


def named(shape: Shape, language: Language) -> str:
    """A shape in words."""
    if language == "ko":
        return f"{KOREAN[shape.color]} {KOREAN[shape.form]}"
    return f"a {shape.color} {shape.form}"


def png(shapes: list[Shape], side: int = SIDE) -> bytes:
    """The picture of the shapes as the bytes of a PNG file."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (side * FINE, side * FINE), "white")
    pen = ImageDraw.Draw(image)
    for shape in shapes:
        corners = CORNERS[shape.form]
        turn = math.pi / 4 if corners == 4 else math.pi / 2
        angles = [turn + 2 * math.pi * number / (corners or 40) for number in range(corners or 40)]
        points = [
            (FINE * (shape.x + shape.radius * math.cos(angle)), FINE * (shape.y - shape.radius * math.sin(angle)))
            for angle in angles
        ]
        pen.polygon(points, fill=COLORS[shape.color])
    content = io.BytesIO()
    image.resize((side, side), Image.Resampling.BOX).save(content, "PNG")
    return content.getvalue()


@register("reader", "moving_shapes")
class MovingShapes(ShapesReader):
    """Videos of one shape, each frame with how the shape has moved since the frame before; the first is still.

    No frame by itself says how its shape moves: a model must remember the frame before.

    Args:
        shortest: frames of the shortest video.
        longest: frames of the longest video.
        side: pixels of a side of a frame.
    """

    def __init__(
        self,
        *,
        language: Language = "en",
        train: Size = 1000,
        validation: Size = 100,
        test: Size = 200,
        seed: Seed = 1,
        shortest: Size = 8,
        longest: Size = 16,
        side: Size = 20,
    ) -> None:
        super().__init__(language=language, train=train, validation=validation, test=test, seed=seed)
        self.shortest, self.longest, self.side = shortest, longest, side
        if shortest > longest:
            problem, remedy = f"must be at most reader.longest={longest}", f"set reader.shortest={longest}"
            raise UserError("E-size", f"reader.shortest={shortest}", problem, remedy)
        if side < 14:
            raise UserError("E-size", f"reader.side={side}", "must be at least 14, so that a shape has room to move")

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        draw = random.Random(f"{self.seed} {split}")
        for line in range(1, self.rows[split] + 1):
            shapes, moves = draw_video(draw, draw.randint(self.shortest, self.longest), self.side)
            frames: list[Any] = [png([shape], self.side) for shape in shapes]
            tags = [KOREAN[move] if self.language == "ko" else move for move in moves]
            yield Row((frames, " ".join(tags)), f"moving-shapes-{split}", line)


def draw_video(draw: random.Random, length: int, side: int) -> tuple[list[Shape], list[str]]:
    """The shape of each frame, and how it came there; it goes on in a direction for a while, where there is room."""
    radius = draw.uniform(3, 4.5)
    low, high = radius + 1, side - radius - 1
    shape = shape_of(draw, (draw.uniform(low, high), draw.uniform(low, high), radius))
    shapes, moves, move = [shape], ["still"], "still"
    while len(shapes) < length:
        speed = draw.uniform(1.5, 2.5)
        fitting = [
            name
            for name, (x, y) in MOVES.items()
            if all(low <= at <= high for at in shape.moved(x * speed, y * speed)[2:4])
        ]
        if move not in fitting or draw.random() < 0.35:
            move = draw.choice(fitting)
        x, y = MOVES[move]
        shape = shape.moved(x * speed, y * speed)
        shapes.append(shape)
        moves.append(move)
    return shapes, moves
