"""Drawn pictures with captions: plain shapes for the small model's base, one character for the demo.

Pure functions of a random.Random: the same seed draws the same pixels.
"""

import random
from typing import Any

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 48, 49),
    "yellow": (249, 202, 36),
    "green": (46, 160, 67),
    "blue": (41, 98, 255),
    "white": (245, 246, 250),
}
SHAPES = ("circle", "square", "triangle")
TRIGGER = "ohwx robot"

# Drawn this many times larger and then reduced, so that edges are smooth.
OVERSAMPLING = 4


def _canvas(size: int, background: str) -> Any:  # noqa: ANN401 - PIL.Image
    from PIL import Image

    side = size * OVERSAMPLING
    return Image.new("RGB", (side, side), COLOURS[background])


def _finished(image: Any, size: int) -> Any:  # noqa: ANN401 - PIL.Image
    return image.reduce(OVERSAMPLING) if image.width != size else image


def _two_colours(rng: random.Random) -> tuple[str, str]:
    first, second = rng.sample(list(COLOURS), 2)
    return first, second


def draw_shape(rng: random.Random, size: int) -> tuple[Any, str]:
    """Return (RGB image of size x size pixels, caption): one shape of one colour on a plain background."""
    from PIL import ImageDraw

    shape = rng.choice(SHAPES)
    colour, background = _two_colours(rng)
    image = _canvas(size, background)
    side = image.width
    radius = side * rng.uniform(0.3, 0.34)
    x, y = (side * rng.uniform(0.48, 0.52) for _ in range(2))
    draw = ImageDraw.Draw(image)
    box = (x - radius, y - radius, x + radius, y + radius)
    if shape == "circle":
        draw.ellipse(box, fill=COLOURS[colour])
    elif shape == "square":
        draw.rectangle(box, fill=COLOURS[colour])
    else:
        points = ((x, y - radius), (x - radius, y + radius), (x + radius, y + radius))
        draw.polygon(points, fill=COLOURS[colour])
    return _finished(image, size), f"a {colour} {shape} on a {background} background"


def draw_robot(rng: random.Random, size: int, background: str | None = None) -> tuple[Any, str]:
    """Return (RGB image of size x size pixels, caption): the demo's character on a plain background."""
    from PIL import ImageDraw

    background = background or rng.choice(sorted(set(COLOURS) - {"white"}))
    image = _canvas(size, background)
    unit = image.width / 16 * rng.uniform(0.94, 1.06)
    x, y = (image.width * rng.uniform(0.48, 0.52) for _ in range(2))
    draw = ImageDraw.Draw(image)

    def box(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
        return (x + left * unit, y + top * unit, x + right * unit, y + bottom * unit)

    steel, dark, glow = (200, 214, 229), (34, 47, 62), (255, 159, 67)
    draw.rectangle(box(-0.4, -7, 0.4, -4), fill=dark)
    draw.ellipse(box(-1.2, -7.6, 1.2, -5.4), fill=glow)
    draw.rounded_rectangle(
        box(-5, -4.5, 5, 3.5), radius=unit * 1.5, fill=steel, outline=dark, width=int(unit * 0.5)
    )
    for eye in (-2.3, 2.3):
        draw.ellipse(box(eye - 1.4, -2.6, eye + 1.4, 0.2), fill=dark)
        draw.ellipse(box(eye - 0.7, -1.9, eye + 0.7, -0.5), fill=glow)
    draw.rectangle(box(-2.5, 1.3, 2.5, 2.3), fill=dark)
    draw.rounded_rectangle(
        box(-3.5, 3.8, 3.5, 7.5), radius=unit, fill=steel, outline=dark, width=int(unit * 0.5)
    )
    return _finished(image, size), f"{TRIGGER} on a {background} background"
