"""A picture of many dreams at a glance: a few real frames above dreamt ones, of clips that a rule has chosen."""

import dataclasses
import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from experiments.run.files import write_bytes
from prowl_jax.metrics.image import psnr
from prowl_jax.spans import span

CLIPS = 16
_MARGIN, _HEADER, _CAPTION, _GAP, _SIDE = 10, 16, 15, 2, 72
_PAPER, _INK = (250, 250, 248), (40, 40, 40)


@dataclasses.dataclass(frozen=True)
class Sheet:
    """What a sheet shows.

    Attributes:
      frames: the number of each column, 0 for the last frame seen.
      real, dreamt: uint8 ``[n, columns, H, W, 3]``, the best dream first.
      places: each clip's place among all, 0 the best and 1 the worst. psnr_db: of each, at ``by``.
      by: the predicted frame whose error they are chosen by.
    """

    frames: tuple
    real: np.ndarray
    dreamt: np.ndarray
    places: tuple
    psnr_db: tuple
    by: int

    @classmethod
    def of(cls, seen, real, dreamt, frames, by):
        """Of all clips ``[B, T, H, W, 3]``, those at ``CLIPS`` even quantiles of their PSNR at a frame.

        Args:
          seen: ``[B, 1, H, W, 3]``, the last frame before the dream. frames: predicted frames, of which those are
            shown that the dreams reach. by: the frame, or the last one if they do not reach it.
        """
        by = min(by, dreamt.shape[1])
        fidelity = np.asarray(psnr(dreamt[:, by - 1] / np.float32(255), real[:, by - 1] / np.float32(255)))
        count = min(CLIPS, len(real))
        places = (np.arange(count) + 0.5) / count
        rows = np.argsort(-fidelity, kind="stable")[(places * len(real)).astype(int)]
        columns = [h for h in frames if h <= dreamt.shape[1]]
        shown = [np.concatenate([seen[rows], of[rows][:, [h - 1 for h in columns]]], axis=1) for of in (real, dreamt)]
        return cls((0, *columns), *shown, tuple(places.tolist()), tuple(fidelity[rows].tolist()), by)

    def picture(self):
        """The sheet as a PIL image: two blocks side by side, best at the top left, worst at the bottom right."""
        clips, columns, height, width = self.real.shape[:4]
        scale = max(1, _SIDE // max(height, width))
        height, width = height * scale, width * scale
        half = -(-clips // 2)
        block = columns * (width + _GAP)
        clip_height = _CAPTION + 2 * (height + _GAP) + _MARGIN
        size = (2 * block + 3 * _MARGIN, _HEADER + half * clip_height + _MARGIN)
        picture, font = Image.new("RGB", size, _PAPER), ImageFont.load_default(size=11)
        draw = ImageDraw.Draw(picture)
        for i in range(clips):
            left, top = _MARGIN + i // half * (block + _MARGIN), _HEADER + i % half * clip_height
            if i % half == 0:
                for j, frame in enumerate(self.frames):
                    words = f"frame {frame}" if frame else "seen"
                    draw.text((left + j * (width + _GAP), 2), words, _INK, font)
            words = f"{self.places[i]:.0%} of the clips are dreamt better; {self.psnr_db[i]:.1f} dB at frame {self.by}"
            draw.text((left, top), f"{words}. Real above, dreamt below", _INK, font)
            for row, of in enumerate((self.real[i], self.dreamt[i])):
                for j, frame in enumerate(of):
                    tile = Image.fromarray(frame).resize((width, height), Image.Resampling.NEAREST)
                    place = left + j * (width + _GAP), top + _CAPTION + row * (height + _GAP)
                    picture.paste(tile, place)
        return picture

    @span("pictures")
    def webp(self):
        """The picture as the bytes of a WebP file."""
        content = io.BytesIO()
        self.picture().save(content, "WEBP", quality=85, method=4)
        return content.getvalue()


def write_sheet(figures, sheet):
    """Write a ``Sheet`` beside its file of figures, ``.webp`` in the place of ``.json``; returns its path."""
    path = figures.with_suffix(".webp")
    write_bytes(path, sheet.webp())
    return path
