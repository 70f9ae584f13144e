"""Pictures of circles, squares and triangles: a data set of somebody's own, of all sizes."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image, ImageDraw

SHAPES = ("circle", "square", "triangle")


def draw_shapes(folder: Path, each: int, seed: int = 0, side: tuple[int, int] = (50, 120)) -> Path:
    """The folder, with so many pictures of each shape in a subfolder that is named after it."""
    rng = random.Random(seed)
    for name in SHAPES:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            draw_shape(name, rng, side).save(folder / name / f"{number:04}.png")
    return folder


def draw_shape(name: str, rng: random.Random, side: tuple[int, int] = (50, 120)) -> Image.Image:
    """A dark shape of any colour, size and place on a light ground of any colour."""
    width, height = rng.randint(*side), rng.randint(*side)
    image = Image.new("RGB", (width, height), tuple(rng.randint(150, 255) for _ in range(3)))
    least = min(width, height)
    radius, fill = rng.uniform(0.22, 0.4) * least, tuple(rng.randint(0, 110) for _ in range(3))
    x, y = (middle / 2 + rng.uniform(-0.08, 0.08) * least for middle in (width, height))
    box, draw = (x - radius, y - radius, x + radius, y + radius), ImageDraw.Draw(image)
    match name:
        case "circle":
            draw.ellipse(box, fill=fill)
        case "square":
            draw.rectangle(box, fill=fill)
        case _:
            draw.polygon([(x, box[1]), (box[0], box[3]), (box[2], box[3])], fill=fill)
    return image
