"""Does a long dream stay alive? What its last frames are like, beside what real ones can be like (numpy).

Three faults, each judged on a dream's last ``window`` frames:

  frozen      it moves less than a fifth as much as the real clip does meanwhile, under the same actions
  drifted     the mean of a colour, or the contrast, is one that real windows hardly ever have
  washed out  its sharpness for its contrast (gradient energy over variance) is lower than real windows' hardly ever is

Hardly ever is fewer than one in 200 of all windows of the real clips, at either end. The dream is not held against
its own real clip there, since it may well be elsewhere by then.
"""

import dataclasses

import numpy as np

from prowl_jax.metrics.image import gradient_energy


@dataclasses.dataclass(frozen=True)
class Windows:
    """What windows of frames are like, float ``[B, n]`` each; ``colours`` ``[B, n, 3]``.

    Attributes:
      motion: mean absolute change from frame to frame. colours: mean of each channel. contrast: deviation over the
        pixels of a frame. sharpness: gradient energy over the variance of the pixels, whatever the contrast is.
    """

    motion: np.ndarray
    colours: np.ndarray
    contrast: np.ndarray
    sharpness: np.ndarray


def windows_of(clips, window):
    """The whole windows of clips, counted from their ends.

    Args:
      clips: uint8 ``[B, T, H, W, 3]``. window: frames, at least 2 and at most T.

    Raises:
      ValueError: a window that the clips do not hold.
    """
    if not 2 <= window <= clips.shape[1]:
        raise ValueError(f"clips of {clips.shape[1]} frames have no windows of {window}")
    rows = [_windows_of_clip(clip[len(clip) % window :], window) for clip in clips]
    return Windows(*map(np.stack, zip(*rows, strict=True)))


def _windows_of_clip(clip, window):
    frames = clip.reshape(-1, window, *clip.shape[1:]).astype(np.float32) / 255.0
    motion = np.abs(np.diff(frames, axis=1)).mean(axis=(1, 2, 3, 4))
    variance = frames.var(axis=(2, 3)).mean(axis=(1, 2))
    energy = np.asarray(gradient_energy(frames)).mean(axis=1)
    return motion, frames.mean(axis=(1, 2, 3)), np.sqrt(variance), energy / np.maximum(variance, 1e-6)


def faults(dreamt, real, *, window=20, still=0.2, seldom=0.005):
    """What is wrong with each dream at its end; see above.

    Args:
      dreamt: uint8 ``[B, T, H, W, 3]``, as long as the real clips. real: the same shape.
      window: frames at the end that are judged. still: share of the real motion below which a dream is frozen.
      seldom: share of the real windows beyond a limit, at either end.

    Returns:
      dict of bool ``[B]``: frozen, drifted, washed_out.
    """
    if dreamt.shape != real.shape:
        raise ValueError(f"dreams {dreamt.shape} and real clips {real.shape} are no pairs")
    like, end = windows_of(real, window), windows_of(dreamt[:, -window:], window)

    def limits(values):
        values = values.reshape(-1, *values.shape[2:])
        # A window that is there is no limit to itself: of few windows all are within.
        ends = (seldom, "lower"), (1 - seldom, "higher")
        return [np.quantile(values, share, axis=0, method=method) for share, method in ends]

    def beyond(values, all_values):
        low, high = limits(all_values)
        return (values[:, -1] < low) | (values[:, -1] > high)

    colours = beyond(end.colours, like.colours).any(axis=-1)
    return {
        "frozen": end.motion[:, -1] < still * like.motion[:, -1],
        "drifted": colours | beyond(end.contrast, like.contrast),
        "washed_out": end.sharpness[:, -1] < limits(like.sharpness)[0],
    }
