"""What a clip store holds, in figures: for a terminal and for a page."""

import dataclasses

import numpy as np

from prowl_jax.data.movement import lags_of, warnings_of


@dataclasses.dataclass(frozen=True)
class Overview:
    """A store in figures.

    Attributes:
      recordings: how many. lengths: int64 ``[E]``, frames of each episode. size: ``(H, W)``.
      shares: ``(factor's name, how many values it has, [(label, % of the frames), ...])``, values that occur alone.
      lags: ``(factor's name, {lag: share of the movement})``. warnings: sentences, where a lag is off.
    """

    recordings: int
    lengths: np.ndarray
    size: tuple[int, int]
    shares: list
    lags: list
    warnings: list


def overview(store):
    """``Overview`` of a ``ClipStore``; of a large one some thousand frames tell the lags."""
    shares = [_shares(factor, store.actions[:, i]) for i, factor in enumerate(store.spec.factors)]
    lags = lags_of(store)
    recordings = len({origin.recording for origin in store.origins})
    return Overview(recordings, store.lengths, store.frame_shape[:2], shares, lags, warnings_of(lags))


def _shares(factor, values):
    shares = 100 * np.bincount(values, minlength=factor.size) / len(values)
    used = [(factor.labels[v] or "nothing", float(share)) for v, share in enumerate(shares) if share > 0]
    return factor.name, factor.size, used


def percent(share):
    """A share as whole per cent; a dash where it is no number, as of an action that never changes."""
    return f"{100 * share:.0f}" if np.isfinite(share) else "\N{EN DASH}"
