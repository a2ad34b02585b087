"""Actions of videos that have none, as VPT's inverse dynamics model reads them off the frames."""

import jax
import numpy as np

from experiments.run.files import write_json_lines
from experiments.run.progress import Progress
from prowl_jax.data.sources import find
from prowl_jax.data.video import FRAME_SHAPE, read_frames
from prowl_jax.data.vpt import RecordingError, as_records
from prowl_jax.minecraft import CAMERA, vpt_to_minerl
from prowl_jax.models.policies.vpt_frames import resize
from prowl_jax.models.policies.vpt_idm import KEYS
from prowl_jax.models.published.vpt_weights import load_inverse_dynamics
from prowl_jax.rl import categorical

WINDOW = 128
"""Frames that the model sees at once, in steps of half of it (arXiv 2206.11795, the appendix on the model)."""


def label_videos(source, weights, window=WINDOW):
    """Write a .jsonl beside every video under ``source`` that has none; returns lines that say what was done.

    Raises:
      FileNotFoundError: there is no video, or there are no weights; the message says where to get them.
      ValueError: the file holds other weights. ImportError: PyAV or safetensors is not installed.
    """
    recordings = [recording for recording in find(source)[0] if recording.video is not None]
    without = [recording for recording in recordings if recording.ticks is None]
    model, params = load_inverse_dynamics(weights)
    if model.network.bins != CAMERA.bins:
        bins = model.network.bins
        raise ValueError(f"{weights} has {bins} bins a camera axis; Minecraft's actions have {CAMERA.bins}")
    predict = jax.jit(lambda frames: categorical.mode(model.apply(params, frames[None]), model.sizes)[0])
    shrink = jax.jit(lambda frame: resize(frame, model.network.image))
    lines, frames = [], 0
    with Progress("videos", len(without)) as progress:
        for i, recording in enumerate(without, 1):
            try:
                seen = np.stack([shrink(frame) for frame in read_frames(recording.video, FRAME_SHAPE)])
            except RecordingError as error:
                lines.append(f"skipped {error}")
                continue
            actions = in_windows(predict, seen, window)
            records = as_records(vpt_to_minerl(actions[:, :KEYS], actions[:, KEYS:]))
            write_json_lines(recording.video.with_suffix(".jsonl"), records)
            frames += len(seen)
            progress.update(i, frames=frames)
    labelled, had = len(without) - len(lines), len(recordings) - len(without)
    lines.append(f"labelled: {labelled} videos, {frames} frames; had actions: {had}; skipped: {len(lines)}")
    return "\n".join(lines)


def in_windows(predict, frames, window):
    """``predict`` over a video of any length ``T``: ``[window, ...] -> [window, A]`` becomes ``[T, ...] -> [T, A]``.

    Of a window only its middle half is taken, but for the beginning of the first and the end of the last.
    """
    total, stride = len(frames), window // 2
    starts = [*range(0, max(total - window, 0), stride), max(total - window, 0)]
    parts, taken = [], 0
    for start in starts:
        last = start == starts[-1]
        stop = total if last else start + window - stride // 2
        parts.append(np.asarray(predict(frames[start : start + window]))[taken - start : stop - start])
        taken = stop
    return np.concatenate(parts)
