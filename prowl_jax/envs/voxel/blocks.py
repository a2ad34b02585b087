"""What the world is made of, and how it lies in memory: one byte a cell, one flat array a world.

The byte of a solid cell is ``128 + block``. That of a clear cell (air or water) tells three things:
``64 * block + 16 * room + light``. Light (0..15) is what falls into the cell. Room (0..3) means that
all cells within that many steps, diagonal ones too, hold the same as this one, so that a ray may cross
them in one stride; after a change of the world room may be less than it could be, and never more.

Cell (x, y, z) lies at ``(x * WIDTH + y) * HEIGHT + z`` modulo ``CELLS``, for all ints x and y: the
world has no edge. Walking ``WIDTH`` cells along x leads back to the start, and along y to one cell
further along x (a twisted torus). So an index needs one ``&`` and no bounds, a neighbour is a
``roll``, and what ``terrain`` generates fits together at the seams.

Axes: x and y are level, z is up; one cell is one metre. z = 0 is bedrock, and the topmost layer is
``EDGE``, which cannot be entered and looks like the sky.
"""

import numpy as np

WIDTH, HEIGHT = 64, 32
CELLS = WIDTH * WIDTH * HEIGHT
STRIDES = (WIDTH * HEIGHT, HEIGHT, 1)
"""Distance in memory of neighbours along x, y and z."""

# Its name; red, green and blue (0..255) in full light; ticks (1/20 s) of holding attack until it gives way, 0: never.
_BLOCKS = (
    ("air", (0, 0, 0), 0),
    ("water", (44, 92, 168), 0),
    ("grass", (98, 158, 62), 6),
    ("dirt", (126, 92, 62), 5),
    ("stone", (124, 124, 128), 12),
    ("sand", (216, 203, 150), 5),
    ("log", (98, 74, 46), 10),
    ("leaves", (58, 112, 40), 3),
    ("coal", (124, 124, 128), 14),
    ("gold", (124, 124, 128), 14),
    ("bedrock", (54, 54, 58), 0),
    ("snow", (238, 244, 248), 4),
    ("planks", (178, 142, 88), 8),
    ("cactus", (70, 128, 60), 4),
    ("clay", (176, 106, 70), 8),
    ("edge", (0, 0, 0), 0),
)
(AIR, WATER, GRASS, DIRT, STONE, SAND, LOG, LEAVES, COAL, GOLD, BEDROCK, SNOW, PLANKS, CACTUS, CLAY, EDGE) = range(16)
NAMES = tuple(name for name, _, _ in _BLOCKS)
COLOURS = np.array([colour for _, colour, _ in _BLOCKS], np.float32)
HARDNESS = np.array([ticks for _, _, ticks in _BLOCKS], np.int32)

SOLID = 128
"""Bytes from here on are solid and hide what is behind; below are air and water."""
LIGHT = 15
"""The brightest light, and the bits of a clear cell that hold it."""
MOST_ROOM = 3
FADE = 2
"""How much light is lost from one cell to the next, but straight down from the sky."""


def block_of(byte):
    """The kind of block (0..15) in a cell, for numpy and JAX ints of any shape."""
    return (byte >= SOLID) * (byte & 15) + (byte < SOLID) * (byte >> 6)
