"""A recording of the panels side by side, as an animated WebP or as MP4."""

import io

import numpy as np

from experiments.live.played import SECOND

WIDTH, GAP = 256, 8


def beside(panels, scale):
    """Panels uint8 ``[H, W, 3]`` side by side, each pixel ``scale`` times, a gap between them; even sizes."""
    parts = []
    for panel in panels:
        if parts:
            parts.append(np.full((panel.shape[0] * scale, GAP, 3), 24, np.uint8))
        parts.append(panel.repeat(scale, 0).repeat(scale, 1))
    whole = np.concatenate(parts, 1)
    return whole[: whole.shape[0] // 2 * 2, : whole.shape[1] // 2 * 2]


def titled(frames, names):
    """Recorded panels with their names above them, as the page has them: a list of one picture a frame."""
    from PIL import Image, ImageDraw, ImageFont

    font, out = ImageFont.load_default(16), []
    for picture in _pictures(frames):
        whole = Image.new("RGB", (picture.shape[1], picture.shape[0] + 26), (24, 24, 24))
        whole.paste(Image.fromarray(picture), (0, 26))
        for i, name in enumerate(names):
            ImageDraw.Draw(whole).text((i * (WIDTH + GAP) + 4, 3), name, (235, 235, 235), font)
        out.append([np.asarray(whole)])
    return out


def _pictures(frames):
    scale = max(1, WIDTH // frames[0][0].shape[1])  # of a wide picture each pixel stays one
    return [beside(panels, scale) for panels in frames]


def webp(frames):
    """Recorded panels, a list a frame, as the bytes of an animated WebP at half the frames."""
    from PIL import Image

    first, *rest = [Image.fromarray(x) for x in _pictures(frames[::2])]
    file = io.BytesIO()
    first.save(
        file, "WEBP", save_all=True, append_images=rest, duration=2000 // SECOND, loop=0, quality=75, method=2
    )
    return file.getvalue()


def mp4(frames):
    """Recorded panels as the bytes of an MP4 (H.264)."""
    import av

    pictures, file = _pictures(frames), io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=SECOND)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "20", "preset": "veryfast"}
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


ENCODERS = {"webp": webp, "mp4": mp4}
MIMES = {"webp": "image/webp", "mp4": "video/mp4"}
