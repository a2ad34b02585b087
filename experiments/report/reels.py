"""The reels of the report: a clip's frames as one sheet that the page plays, several clips as a moving picture."""

import base64
import io
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from experiments.run.files import write_bytes
from prowl_jax.spans import span

FRAMES_PER_SECOND = 8
MOST_PIXELS = 320
"""Of a frame's longer side in the page; larger frames are made smaller: a report is sent by mail."""


@span("pictures")
def sheet(reel):
    """A reel as one picture, from which the page cuts its frames (``templates/reels.js``).

    The page can show any frame of any panel at once, which no moving picture lets it do, and a picture needs no more
    room than a moving one: from frame to frame nearly all of it moves.

    Args:
      reel: ``page.Reel``.

    Returns:
      ``uri`` (WebP); ``size``, width and height of a frame in it; ``columns``: frame t of panel p begins at column
      ``t % columns`` and row ``t // columns * panels + p``, panels being the real frames and then each prediction.

    Raises:
      ValueError: a prediction or the actions do not fit the real frames.
    """
    panels = _panels(reel)
    frames, height, width = panels.shape[1:4]
    columns = math.ceil(math.sqrt(frames * len(panels)))
    rows = -(-frames // columns)
    filled = np.zeros((rows * columns, len(panels), height, width, 3), np.uint8)
    filled[:frames] = panels.swapaxes(0, 1)
    whole = filled.reshape(rows, columns, len(panels), height, width, 3).transpose(0, 2, 3, 1, 4, 5)
    picture = Image.fromarray(whole.reshape(rows * len(panels) * height, columns * width, 3))
    if 2 * max(height, width) <= MOST_PIXELS:  # WebP halves the resolution of colours: so none is lost
        height, width = 2 * height, 2 * width
        picture = picture.resize((columns * width, rows * len(panels) * height), Image.Resampling.NEAREST)
    content = io.BytesIO()
    picture.save(content, "WEBP", quality=75, method=4)
    uri = "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode()
    return {"uri": uri, "size": (width, height), "columns": columns}


def _panels(reel):
    """uint8 ``[P, T, H, W, 3]``, real first, at most ``MOST_PIXELS`` high and wide."""
    panels = [np.asarray(reel.real), *(np.asarray(p) for p in reel.predicted.values())]
    for panel in panels:
        if panel.dtype != np.uint8 or panel.shape != panels[0].shape or panel.shape[-1:] != (3,):
            raise ValueError(
                f"a reel's frames must be uint8 and all {panels[0].shape}, got {panel.dtype} {panel.shape}"
            )
    if len(reel.actions) != len(panels[0]):
        raise ValueError(f"a reel of {len(panels[0])} frames has {len(reel.actions)} actions")
    panels = np.stack(panels)
    times = -(-max(panels.shape[2:4]) // MOST_PIXELS)
    height, width = (n // times * times for n in panels.shape[2:4])
    blocks = panels[:, :, :height, :width].reshape(*panels.shape[:2], height // times, times, width // times, times, 3)
    return np.round(blocks.mean(axis=(3, 5))).astype(np.uint8)


@span("pictures")
def save_stacked(path, reels, columns=1, named=None):
    """Several reels of equal shape, row by row in so many columns, as one animated WebP file, for a README.

    ``named`` is what stands above the first panel, ``"real"`` say, the others then being named as the reel names its
    predictions; None leaves names out. A reel whose ``context`` is None has nothing that was given or dreamt.
    """
    pictures = []
    for t in range(len(reels[0].real)):
        cells = [_frame(reel, {named: reel.real, **reel.predicted}, t, named is not None) for reel in reels]
        width, height = cells[0].size
        width += _APART if columns > 1 else 0
        picture = Image.new("RGB", (columns * width, -(-len(cells) // columns) * height), _AROUND)
        for i, cell in enumerate(cells):
            picture.paste(cell, (i % columns * width, i // columns * height))
        pictures.append(picture)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, _animate(pictures))


def _animate(frames):
    """PIL images as the bytes of a looping WebP that rests on its last frame."""
    moving = io.BytesIO()
    pause = 1000 // FRAMES_PER_SECOND
    frames[0].save(
        moving,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=[pause] * (len(frames) - 1) + [6 * pause],
        loop=0,
        quality=60,
        method=3,
    )
    return moving.getvalue()


_GIVEN = (235, 160, 40)
_AROUND = (96, 96, 96)
_WORDS = (240, 240, 240)
_APART = 12


def _frame(reel, panels, t, named):
    """Frame ``t`` of every panel, upscaled, bordered and captioned."""
    height, width = reel.real.shape[1:3]
    scale = max(1, min(3, 288 // max(height, width)))
    height, width, border, bar = height * scale, width * scale, 3, 18
    top = bar if named else 0
    step = width + 2 * border + 2  # 2 pixels lie between the panels
    picture = Image.new("RGB", (step * len(panels) - 2, top + height + 2 * border + bar), _AROUND)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=12)
    given = reel.context is not None and t < reel.context
    for i, (name, panel) in enumerate(panels.items()):
        image = Image.fromarray(panel[t]).resize((width, height), Image.Resampling.BICUBIC)
        if named:
            draw.text((i * step + 5, 1), name, _WORDS, font)
        if given:
            draw.rectangle((i * step, top, i * step + width + 2 * border - 1, top + height + 2 * border - 1), _GIVEN)
        picture.paste(image, (i * step + border, top + border))
    words = "" if reel.context is None else "given" if given else "dreamt"
    words = f"{t}  {words}   {reel.actions[t]}"
    draw.text((5, top + height + 2 * border + 1), words.replace("\N{MINUS SIGN}", "-"), _WORDS, font)
    return picture
