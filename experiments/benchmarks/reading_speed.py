"""How fast recordings are read: as here, and as OpenAI's loader does, in turns within one run.

OpenAI's way (``data_loader.py`` of openai/Video-Pre-Training): a frame from ``cv2.VideoCapture``, BGR
to RGB, ``cv2.resize`` bilinear, all in one thread. Both read every frame of every recording and
resize it; neither writes anything.
"""

import functools
import statistics
import time

from prowl_jax.data import pool
from prowl_jax.data.sources import find
from prowl_jax.data.video import check_installed, read_frames
from prowl_jax.data.vpt import RecordingError


def compare(source, size, workers=None, turns=7, least_frames=2000):
    """Text that tells the frames a second of both ways: medians of ``turns`` turns in alternation.

    Few recordings are read repeatedly, as if there were more of them, until a turn has
    ``least_frames`` frames and every worker something to do.

    Raises:
      ImportError: PyAV or OpenCV is missing.
      RuntimeError: one of the ways did not read every frame.
      ValueError, FileNotFoundError: there is no recording to read.
    """
    check_installed()
    try:
        import cv2
    except ImportError:
        raise ImportError("--compare-speed needs OpenCV: pip install opencv-python-headless") from None
    workers = workers or pool.cores()
    counts = {}
    for recording in find(source)[0]:
        try:
            recording.check()
            counts[str(recording.video)] = count_frames(str(recording.video), size)
        except RecordingError:
            pass
    if not counts:
        raise ValueError(f"no video in {source} can be read")
    paths = list(counts) * -(-least_frames // sum(counts.values()))
    paths *= -(-2 * workers // len(paths))
    frames = sum(counts[path] for path in paths)
    seconds = {"ours": [], "opencv": []}
    with pool.processes(workers) as executor:
        ours = functools.partial(_ours, executor, paths, size, workers)
        ours()  # the processes start
        for _ in range(turns):
            seconds["ours"].append(_time(ours, frames))
            seconds["opencv"].append(_time(functools.partial(_opencv, cv2, paths, size), frames))
    ours, opencv = (frames / statistics.median(seconds[way]) for way in ("ours", "opencv"))
    what = f"decode and resize to {size[0]}x{size[1]}, {frames} frames of {len(counts)} recordings a turn"
    return "\n".join(
        (
            f"{what}, median of {turns} turns in alternation",
            f"here ({workers} processes, area): {ours:.0f} frames/s",
            f"OpenAI's way (OpenCV, bilinear, 1 thread): {opencv:.0f} frames/s",
            f"ratio: {ours / opencv:.2f}",
        )
    )


def count_frames(path, size):
    """Decode and resize every frame of a recording; returns how many there were."""
    return sum(1 for _ in read_frames(path, size))


def _ours(executor, paths, size, workers):
    return sum(pool.in_order(executor, count_frames, ((path, size) for path in paths), 2 * workers))


def _opencv(cv2, paths, size):
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return sum(_opencv_frames(cv2, path, size) for path in paths)
    finally:
        cv2.setNumThreads(threads)


def _opencv_frames(cv2, path, size):
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    count = 0
    while True:
        there, frame = capture.read()
        if not there:
            capture.release()
            return count
        cv2.cvtColor(frame, code=cv2.COLOR_BGR2RGB, dst=frame)
        cv2.resize(frame, size[::-1], interpolation=cv2.INTER_LINEAR)
        count += 1


def _time(read, frames):
    """Seconds that ``read()`` takes, which returns how many frames it has read."""
    began = time.perf_counter()
    count = read()
    seconds = time.perf_counter() - began
    if count != frames:
        raise RuntimeError(f"{count} frames were read, and there are {frames}: the two ways cannot be compared")
    return seconds
