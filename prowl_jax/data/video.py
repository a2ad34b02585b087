"""Frames of Minecraft recordings: decoded by FFmpeg (PyAV), resized by area.

A frame is first converted to RGB at its full size and then averaged over the area of every new
pixel. Doing both in one step, as ``VideoFrame.reformat`` offers, is several times off where colours
change (63 of 255 at worst on a recording), because FFmpeg then samples the colours coarsely. The
conversion is FFmpeg's own, the one OpenCV gives too. The three colours are resized as three grey
pictures, which FFmpeg does in half the time it takes for RGB, and rounds to the nearest.

PyAV is an extra (``pip install prowl_jax[data]``) and imported when a file is opened.
"""

import contextlib
import pathlib

import numpy as np

from prowl_jax.data.vpt import WINDOW_HEIGHT
from prowl_jax.data.vpt_records import RecordingError

FRAME_SHAPE = (360, 640)
"""Height and width of every recording."""
FRAME_RATE = 20
"""Frames, and ticks, a second."""

# A pointer of our own in the 16x16 pixels that VPT's takes: o is white, # black, . transparent.
_POINTER = """
#...............
##..............
#o#.............
#oo#............
#ooo#...........
#oooo#..........
#ooooo#.........
#oooooo#........
#ooooooo#.......
#oooooooo#......
#ooooo####......
#oo#oo#.........
#o#.#oo#........
##..#oo#........
.....#oo#.......
......##........
"""
_POINTER_PIXELS = np.array([list(row) for row in _POINTER.split()])


def read_frames(path, size, *, wanted=None, cursor=None, threads=1, shape=FRAME_SHAPE):
    """Decode a recording from its first frame to its last, each frame once.

    Args:
      path: the .mp4 file, 640x360 pixels at 20 frames a second.
      size: ``(H, W)`` of the frames to give.
      wanted: bool ``[T]`` or None for all: which frames to convert; the others, and those after T,
        are decoded only.
      cursor: float ``[T, 2]`` or None: x and y, in pixels of the 720-pixel window, of a mouse cursor
        to draw; rows of NaN draw none.
      threads: of the decoder.
      shape: height and width that the video must have, at 20 frames a second; None: any, at any rate.

    Yields:
      uint8 ``[H, W, 3]`` RGB for a wanted frame, else None.

    Raises:
      RecordingError: the file is empty, not a video, cut off, damaged, of another size or rate.
        It may come after some frames.
      ImportError: PyAV is not installed.
    """
    path = pathlib.Path(path)
    resizers, decoded, packets = {}, 0, 0
    with _open(path) as container:
        stream = _stream(container, path.name, shape)
        shape = shape or (stream.height, stream.width)
        declared = stream.frames
        stream.thread_type, stream.thread_count = ("FRAME" if threads > 1 else "NONE"), threads
        try:
            for packet in container.demux(stream):
                packets += packet.dts is not None
                for frame in packet.decode():
                    if frame.is_corrupt:
                        raise RecordingError(_cut_off(path.name, decoded, declared))
                    if (frame.height, frame.width) != shape:
                        raise RecordingError(another_size(path.name, decoded, (frame.height, frame.width), shape))
                    drawn = cursor is not None and decoded < len(cursor) and np.isfinite(cursor[decoded]).all()
                    if wanted is not None and not (decoded < len(wanted) and wanted[decoded]):
                        yield None
                    else:
                        if drawn:
                            frame = _with_pointer(frame, *cursor[decoded])
                        name = frame.format.name
                        if name not in resizers:
                            resizers[name] = Resizer(name, size, shape)
                        yield resizers[name](frame)
                    decoded += 1
        except _av().FFmpegError:
            raise RecordingError(_cut_off(path.name, decoded, declared)) from None
    if packets < declared or not decoded:
        raise RecordingError(_cut_off(path.name, decoded, declared))


def read_stretch(path, size, first, count, rate, wanted=None, threads=1):
    """Decode frames ``first`` to ``first + count - 1`` of a video of any size, from the key frame before them on.

    Args:
      rate: frames a second, by which its clock counts frames; the rest as for ``read_frames``, ``wanted`` from
        ``first`` on.

    Yields:
      as ``read_frames``.

    Raises:
      RecordingError: as ``read_frames``; and the video ends before, or its clock leaves out a frame.
    """
    path = pathlib.Path(path)
    with _open(path) as container:
        stream = _stream(container, path.name, None)
        stream.thread_type, stream.thread_count = ("FRAME" if threads > 1 else "NONE"), threads
        begin, resizers, due = stream.start_time or 0, {}, first
        try:
            container.seek(begin + int(first / rate / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                at = round(float((frame.pts - begin) * stream.time_base) * rate) if frame.pts is not None else due
                if at < first:
                    continue
                if at != due or frame.is_corrupt:
                    raise RecordingError(f"{path.name}: frame {due} is missing or damaged; copy or encode it anew")
                shape = (frame.height, frame.width)
                if shape != (stream.height, stream.width):
                    raise RecordingError(another_size(path.name, due, shape, (stream.height, stream.width)))
                name = frame.format.name
                if wanted is not None and not wanted[due - first]:
                    yield None
                else:
                    if name not in resizers:
                        resizers[name] = Resizer(name, size, shape)
                    yield resizers[name](frame)
                due += 1
                if due == first + count:
                    return
        except _av().FFmpegError:
            pass
    raise RecordingError(_cut_off(path.name, due, first + count))


def another_size(name, index, shape, first):
    """What to say of a frame of another size than the first; sizes are ``(H, W)``."""
    there, before = (f"{height}x{width}" for height, width in (shape, first))
    return f"{name}: frame {index} is {there}, those before it {before}; bring all to one size, or cut it there"


def count_frames(path, shape=FRAME_SHAPE):
    """How many frames a video has, by its packets: none is decoded; ``shape`` as for ``read_frames``.

    Raises:
      RecordingError: as ``read_frames``.
    """
    path = pathlib.Path(path)
    with _open(path) as container:
        stream = _stream(container, path.name, shape)
        try:
            return stream.frames or sum(packet.dts is not None for packet in container.demux(stream))
        except _av().FFmpegError:
            raise RecordingError(_cut_off(path.name, 0, stream.frames)) from None


def write_video(path, frames, size, rate):
    """Write a video: H.264 where this PyAV has it, else MPEG-4, of a quality at which little is lost.

    Args:
      frames: uint8 ``[T, H, W, 3]``. size: ``(H, W)`` of the video, both even. rate: frames a second.

    Raises:
      ImportError: PyAV is not installed. OSError: it cannot be written.
    """
    av = _av()
    encoders = (("libx264", {"crf": "14", "preset": "veryfast"}), ("mpeg4", {"qscale": "2"}))
    codec, options = next(row for row in encoders if row[0] in av.codecs_available)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for image in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
            frame = frame.reformat(size[1], size[0], "yuv420p", interpolation="BICUBIC")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


class Resizer:
    """Frames of one size to RGB arrays of ``size``, by area.

    Args:
      pixel_format: FFmpeg's name of the format of the frames to come, such as ``"yuv420p"``.
      size: ``(H, W)``.
      shape: ``(H, W)`` of the frames to come.
    """

    def __init__(self, pixel_format, size, shape=FRAME_SHAPE):
        av = _av()
        height, width = size
        graph = self._graph = av.filter.Graph()
        graph.threads = 1
        self._source = graph.add_buffer(
            width=shape[1], height=shape[0], format=pixel_format, time_base=f"1/{FRAME_RATE}"
        )
        planes = graph.add("extractplanes", "r+g+b")
        graph.link_nodes(self._source, graph.add("scale"), graph.add("format", "gbrp"), planes)
        merge = graph.add("mergeplanes", "0x102000:gbrp")  # its planes G, B, R are inputs 1, 2, 0
        for i in range(3):
            resize = graph.add("scale", f"{width}:{height}:flags=area+accurate_rnd")
            planes.link_to(resize, i, 0)
            resize.link_to(merge, 0, i)
        self._sink = graph.add("buffersink")
        graph.link_nodes(merge, graph.add("scale"), graph.add("format", "rgb24"), self._sink)
        graph.configure()

    def __call__(self, frame):
        """An ``av.VideoFrame`` as uint8 ``[H, W, 3]``, read-only."""
        self._source.push(frame)
        frame = self._sink.pull()
        rows = np.frombuffer(frame.planes[0], np.uint8).reshape(frame.height, -1)
        return rows[:, : 3 * frame.width].reshape(frame.height, frame.width, 3)


class ArrayResizer:
    """The same of uint8 arrays ``[H, W, 3]``: ``shape`` and ``size`` are ``(H, W)`` before and after."""

    def __init__(self, shape, size):
        self._resize = Resizer("rgb24", size, shape)

    def __call__(self, image):
        """uint8 ``[H, W, 3]`` -> uint8 of the other size."""
        return self._resize(_av().VideoFrame.from_ndarray(image, "rgb24")).copy()


def draw_pointer(image, x, y):
    """Draw a mouse pointer into ``image`` (uint8 ``[360, 640, 3]``, changed) with its tip at pixel (x, y).

    The game draws its pointer into GUI screens, the recorder leaves it out; MineRL's observations
    have it. Of 16x16 pixels, as VPT's; nothing is drawn outside of the image.
    """
    height, width, _ = image.shape
    rows, columns = np.nonzero(_POINTER_PIXELS != ".")
    inside = (rows + y >= 0) & (rows + y < height) & (columns + x >= 0) & (columns + x < width)
    rows, columns = rows[inside], columns[inside]
    image[rows + y, columns + x] = np.where(_POINTER_PIXELS[rows, columns] == "o", 255, 0)[:, None]


def _with_pointer(frame, x, y):
    image = frame.to_ndarray(format="rgb24")
    scale = FRAME_SHAPE[0] / WINDOW_HEIGHT
    draw_pointer(image, int(x * scale), int(y * scale))
    return _av().VideoFrame.from_ndarray(image, "rgb24")


def check_installed():
    """ImportError of one line where PyAV is missing."""
    _av()


def _av():
    try:
        import av
        import av.filter
    except ImportError:
        raise ImportError("reading recordings needs PyAV: pip install 'prowl_jax[data]'") from None
    return av


@contextlib.contextmanager
def _open(path):
    av = _av()
    try:
        container = av.open(str(path))
    except av.FFmpegError:
        head = path.open("rb").read(12) if path.is_file() else b""
        if not path.exists():
            raise RecordingError(f"{path.name} is not there; download it too") from None
        reason = "is cut off: its index is incomplete" if b"ftyp" in head else "is not a video" if head else "is empty"
        raise RecordingError(f"{path.name} {reason}") from None
    with container:
        yield container


def _stream(container, name, shape):
    if not container.streams.video:
        raise RecordingError(f"{name} holds no video")
    stream = container.streams.video[0]
    if stream.codec_context is None:  # half an index does not say how to decode
        raise RecordingError(f"{name} is cut off: its index is incomplete")
    if shape is None:
        if not stream.height or not stream.width:
            raise RecordingError(f"{name} does not say how large its pictures are")
        return stream
    height, width = shape
    if (stream.height, stream.width) != shape:
        raise RecordingError(f"{name} is {stream.width}x{stream.height} pixels, not {width}x{height}")
    rate = stream.average_rate
    if rate is None or abs(rate - FRAME_RATE) > 0.01 * FRAME_RATE:
        said = "no known number of" if rate is None else f"{float(rate):g}"
        raise RecordingError(f"{name} has {said} frames a second, not {FRAME_RATE}")
    return stream


def _cut_off(name, decoded, declared):
    return f"{name} is cut off or damaged: it decodes up to frame {decoded}" + (f" of {declared}" if declared else "")
