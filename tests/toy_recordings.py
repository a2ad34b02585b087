"""Recordings in the format of VPT that the tests write themselves, and where the real ones are."""

import itertools
import json
import pathlib

import numpy as np
import pytest

SHARED = pathlib.Path(__file__).parents[2] / "shared" / "data"
PIXELS_PER_DEGREE = 4.0


def real_recording():
    """The (.mp4, .jsonl) of a real recording, or the calling test is skipped."""
    videos = sorted((SHARED / "vpt").glob("*.mp4"))
    if not videos:
        pytest.skip("no real recording: ../shared/data/vpt is absent")
    return videos[0], videos[0].with_suffix(".jsonl")


def real_ticks():
    """Every real .jsonl, or the calling test is skipped."""
    files = sorted(SHARED.glob("vpt*/*.jsonl"))
    if not files:
        pytest.skip("no real recordings: ../shared/data/vpt_actions is absent")
    return files


def tick(dx=0.0, dy=0.0, keys=(), buttons=(), new=(), gui=False, hotbar=0, x=640.0, y=360.0, **more):
    """One line of a .jsonl, with no more fields than the stripped files of BASALT have."""
    mouse = {"x": x, "y": y, "dx": dx, "dy": dy, "scaledX": 0.0, "scaledY": 0.0}
    mouse |= {"buttons": list(buttons), "newButtons": list(new)}
    keyboard = {"keys": [f"key.keyboard.{key}" for key in keys], "newKeys": [], "chars": ""}
    return {"mouse": mouse, "keyboard": keyboard, "isGuiOpen": gui, "hotbar": hotbar, **more}


def write_ticks(path, ticks):
    """Write ``ticks`` as a .jsonl; returns its path."""
    path.write_text("".join(json.dumps(t) + "\n" for t in ticks))
    return path


def write_video(path, frames, rate=20, codec="mpeg4", options=None):
    """Encode uint8 frames ``[H, W, 3]``; returns the path."""
    import av

    with av.open(str(path), "w", options=options or {}) as container:
        stream = None
        for frame in frames:
            if stream is None:
                stream = container.add_stream(codec, rate=rate)
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt, stream.bit_rate = "yuv420p", 8_000_000
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path


def grey_of(t):
    """The grey of frame ``t`` of ``write_recording``, far enough from the next to survive the codec."""
    return 30 + 4 * (t % 50)


def grey(values, size=(360, 640)):
    """Frames of one grey each."""
    return [np.full((*size, 3), value, np.uint8) for value in values]


def panorama(yaws):
    """What a camera sees that turns to ``yaws`` degrees in front of a wide picture: frames of 360x640."""
    rng = np.random.default_rng(0)
    wall = rng.integers(30, 220, (23, 200, 3)).astype(np.uint8).repeat(16, 0).repeat(16, 1)[:360]
    lefts = np.round(1000 + PIXELS_PER_DEGREE * np.asarray(yaws)).astype(int)
    return [np.ascontiguousarray(wall[:, left : left + 640]) for left in lefts]


def write_recording(folder, name, count=30, ticks=None, **video):
    """A pair NAME.mp4 and NAME.jsonl of ``count`` frames, frame t of one ``grey_of(t)``; returns the .mp4's path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_ticks(folder / f"{name}.jsonl", [tick(keys="w")] * count if ticks is None else ticks)
    return write_video(folder / f"{name}.mp4", grey(grey_of(np.arange(count))), **video)


def flow_to_the_right(frames):
    """Median horizontal flow from each frame to the next, in pixels: uint8 ``[T, H, W, 3]`` -> ``[T-1]``.

    By OpenCV's DIS flow, which shares nothing with this project.
    """
    import cv2

    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    greys = [cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in frames]
    return np.array([np.median(dis.calc(a, b, None)[..., 0]) for a, b in itertools.pairwise(greys)])


def correlation_at(lag, flow, turn):
    """Correlation of ``flow[t]`` (frame t to t+1) with ``turn[t + lag]``."""
    t = np.arange(max(0, -lag), min(len(flow), len(turn) - lag))
    return np.corrcoef(flow[t], turn[t + lag])[0, 1]
