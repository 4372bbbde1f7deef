"""Scenes to pictures: drawn large and reduced, so that edges are smooth and bytes reproducible."""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image, ImageDraw

from data_tools.building.collection import Picture
from data_tools.world.scenes import Scene, Spot, make_scene, outline

_FINER = 4  # drawn this many times larger
_PAINT = {
    "red": (214, 30, 30),
    "green": (28, 140, 50),
    "blue": (30, 60, 210),
    "yellow": (245, 220, 40),
    "purple": (125, 35, 160),
    "orange": (245, 130, 20),
    "black": (12, 12, 12),
    "white": (252, 252, 252),
}
_GROUND = {
    "grey": (150, 150, 150),
    "brown": (150, 110, 78),
    "pink": (236, 170, 186),
    "cyan": (130, 205, 205),
}
_RING_HOLE = 0.5  # of the ring's radius


def draw_scene(scene: Scene, size: int) -> bytes:
    """A scene as a PNG of size x size pixels."""
    side = size * _FINER
    image = _ground(scene, side)
    pen = ImageDraw.Draw(image)
    behind = image.copy()
    for spot in scene.spots:
        _draw(pen, spot, side)
        if spot.thing.shape == "ring":
            _punch(image, behind, spot, side)
    buffer = io.BytesIO()
    image.reduce(_FINER).save(buffer, "PNG")
    return buffer.getvalue()


def _ground(scene: Scene, side: int) -> Image.Image:
    shift = scene.grain % 21 - 10
    base = tuple(channel + shift for channel in _GROUND[scene.background])
    marks = tuple(channel - 22 for channel in base)
    image = Image.new("RGB", (side, side), base)
    pen = ImageDraw.Draw(image)
    cell = side // 8
    start = -(scene.grain * 7) % cell - cell
    steps = range(start, side + cell, cell)
    if scene.texture == "striped":
        for x in steps:
            pen.rectangle((x, 0, x + cell // 2, side), fill=marks)
    elif scene.texture == "dotted":
        for x in steps:
            for y in steps:
                pen.ellipse((x, y, x + cell // 2, y + cell // 2), fill=marks)
    elif scene.texture == "checked":
        for column, x in enumerate(steps):
            for y in steps[column % 2 :: 2]:
                pen.rectangle((x, y, x + cell - 1, y + cell - 1), fill=marks)
    return image


def _draw(pen: ImageDraw.ImageDraw, spot: Spot, side: int) -> None:
    x, y, radius = spot.x * side, spot.y * side, spot.radius * side
    paint = _PAINT[spot.thing.colour]
    corners = outline(spot.thing.shape)
    if corners:
        pen.polygon([(x + radius * a, y + radius * b) for a, b in corners], fill=paint)
    else:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=paint)


def _punch(image: Image.Image, behind: Image.Image, spot: Spot, side: int) -> None:
    """Show the background through the middle of a ring."""
    x, y, radius = spot.x * side, spot.y * side, spot.radius * side * _RING_HOLE
    left, top, right, bottom = (round(v) for v in (x - radius, y - radius, x + radius, y + radius))
    width, height = right - left, bottom - top
    hole = Image.new("1", (width, height))
    ImageDraw.Draw(hole).ellipse((0, 0, width - 1, height - 1), fill=1)
    image.paste(behind.crop((left, top, right, bottom)), (left, top), hole)


@dataclass(frozen=True, kw_only=True)
class SceneReader:
    """Draws a picture when a shard asks for it; sources are `shapes://SEED/STREAM/NUMBER`."""

    image_size: int  # pixels
    kinds: Mapping[str, float]  # relative weights

    def read(self, picture: Picture) -> bytes:
        match = re.fullmatch(r"shapes://(\d+)/(\w+)/(\d+)", picture.source)
        if match is None:
            raise ValueError(f"{picture.source!r} names no scene")
        scene = make_scene(int(match[1]), match[2], int(match[3]), self.kinds)
        return draw_scene(scene, self.image_size)

    def size(self, picture: Picture) -> int:
        return self.image_size
