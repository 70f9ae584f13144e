"""Drawn pictures to try models on: ten digits (MNIST), four scenes (CIFAR-10), four things (Tiny-ImageNet)."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from zoo.errors import InputError
from zoo.files import write_whole

FINE = 8  # pictures are drawn this many times larger, then reduced, for smooth edges
DIGIT, SCENE, THING = 28, 32, 64  # sides in pixels


def digit(number: int) -> Image.Image:
    """A white digit of 20 pixels on black, in the middle of 28 x 28, grey, slightly slanted."""
    side = DIGIT * FINE
    canvas = Image.new("L", (side, side))
    font = ImageFont.load_default(24 * FINE)
    middle = (side // 2, side // 2)
    ImageDraw.Draw(canvas).text(middle, str(number), fill=255, font=font, anchor="mm", stroke_width=FINE // 2)
    slanted = canvas.transform(canvas.size, Image.Transform.AFFINE, (1, 0.15, -0.075 * side, 0, 1, 0))
    return slanted.filter(ImageFilter.GaussianBlur(FINE * 0.4)).resize((DIGIT, DIGIT), Image.Resampling.BOX)


def scene(name: str) -> Image.Image:
    """A picture of 32 x 32 of an airplane, automobile, ship or truck."""
    ground = (90, 90, 95) if name in ("automobile", "truck") else (40, 80, 140)
    canvas = Image.new("RGB", (SCENE * FINE, SCENE * FINE), (160, 200, 240))
    draw = ImageDraw.Draw(canvas)

    def box(left: float, top: float, right: float, bottom: float, fill: tuple[int, int, int]) -> None:
        draw.rectangle([left * FINE, top * FINE, right * FINE, bottom * FINE], fill=fill)

    def shape(points: list[tuple[float, float]], fill: tuple[int, int, int]) -> None:
        draw.polygon([(x * FINE, y * FINE) for x, y in points], fill=fill)

    def wheel(x: float, y: float, radius: float) -> None:
        draw.circle((x * FINE, y * FINE), radius * FINE, fill=(20, 20, 20))
        draw.circle((x * FINE, y * FINE), radius * FINE * 0.45, fill=(150, 150, 150))

    if name == "airplane":
        shape([(2, 17), (6, 15), (27, 14), (30, 16), (27, 18), (6, 19)], (235, 235, 240))
        shape([(14, 16), (20, 16), (12, 26), (9, 26)], (200, 200, 210))
        shape([(15, 15), (19, 15), (14, 8), (12, 8)], (210, 210, 220))
        shape([(3, 17), (7, 16), (4, 9), (2, 9)], (190, 60, 60))
    elif name == "ship":
        box(0, 21, 32, 32, ground)
        shape([(3, 18), (29, 18), (25, 24), (7, 24)], (60, 60, 70))
        box(9, 13, 22, 18, (235, 235, 235))
        box(13, 8, 17, 13, (200, 60, 50))
    elif name == "truck":
        box(0, 24, 32, 32, ground)
        box(2, 8, 21, 23, (225, 225, 225))
        box(21, 13, 29, 23, (190, 50, 40))
        box(24, 14, 28, 18, (120, 160, 190))
        for x in (7, 16, 25):
            wheel(x, 24, 3)
    elif name == "automobile":
        box(0, 22, 32, 32, ground)
        shape([(2, 22), (2, 17), (8, 16), (12, 11), (22, 11), (26, 16), (30, 17), (30, 22)], (190, 30, 30))
        shape([(10, 16), (13, 12), (21, 12), (24, 16)], (130, 170, 200))
        for x in (8.5, 23.5):
            wheel(x, 22, 3.2)
    return canvas.resize((SCENE, SCENE), Image.Resampling.BOX)


def thing(name: str) -> Image.Image:
    """A picture of 64 x 64 of a goldfish, lemon, orange or school bus."""
    grounds = {"goldfish": (60, 110, 170), "school bus": (170, 205, 240)}
    canvas = Image.new("RGB", (THING * FINE, THING * FINE), grounds.get(name, (250, 250, 250)))
    draw = ImageDraw.Draw(canvas)

    def box(left: float, top: float, right: float, bottom: float, fill: tuple[int, int, int]) -> None:
        draw.rectangle([left * FINE, top * FINE, right * FINE, bottom * FINE], fill=fill)

    def oval(left: float, top: float, right: float, bottom: float, fill: tuple[int, int, int]) -> None:
        draw.ellipse([left * FINE, top * FINE, right * FINE, bottom * FINE], fill=fill)

    if name == "goldfish":
        oval(12, 20, 48, 44, (250, 130, 20))
        draw.polygon([(46 * FINE, 32 * FINE), (62 * FINE, 18 * FINE), (62 * FINE, 46 * FINE)], fill=(250, 150, 40))
        oval(18, 26, 22, 30, (0, 0, 0))
    elif name == "lemon":
        oval(8, 16, 56, 48, (250, 220, 40))
        oval(52, 28, 60, 36, (240, 205, 40))
    elif name == "orange":
        oval(10, 10, 54, 54, (245, 140, 20))
        oval(20, 16, 30, 24, (255, 180, 80))
    elif name == "school bus":
        box(0, 46, 64, 64, (90, 90, 95))
        box(4, 16, 60, 46, (250, 190, 20))
        for x in (8, 20, 32, 44):
            box(x, 20, x + 9, 30, (40, 50, 70))
        box(4, 34, 60, 36, (20, 20, 20))
        for x in (16, 48):
            oval(x - 6, 42, x + 6, 54, (20, 20, 20))
    return canvas.resize((THING, THING), Image.Resampling.BOX)


def draw(folder: Path) -> None:
    """Write all eighteen into the folder, which is made, as PNG files.

    Raises InputError, before anything is written, where a file with other contents has one of their names.
    """
    pictures = {
        **{f"digit-{number}": digit(number) for number in range(10)},
        **{name: scene(name) for name in ("airplane", "automobile", "ship", "truck")},
        **{name.replace(" ", "-"): thing(name) for name in ("goldfish", "lemon", "orange", "school bus")},
    }
    files = {folder / f"{name}.png": png(picture) for name, picture in pictures.items()}
    for path, content in files.items():
        if path.exists() and (not path.is_file() or path.read_bytes() != content):
            raise InputError(f"{path} is there already, and is something else: name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        write_whole(path, content)


def png(picture: Image.Image) -> bytes:
    """The bytes of the picture's PNG file."""
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
