"""Metrics of dreamt frames that need more than the frames: weights that are given, or a model trained here.

Each is a ``Part``, made where the configuration asks for it: LPIPS (``metrics.lpips_weights``), action
recovery (``inverse_dynamics.steps``), a Frechet distance (``metrics.frechet``). ``evaluate`` knows none of
them by name.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.stages import build
from experiments.stages.inverse_dynamics import load_inverse_dynamics
from prowl_jax.metrics import frechet
from prowl_jax.metrics import lpips as lpips_metric
from prowl_jax.metrics.action_recovery import action_recovery
from prowl_jax.train.inverse_dynamics import make_recover


@dataclasses.dataclass(frozen=True)
class Part:
    """One family of metrics.

    Attributes:
      rows: ``f(dreamt, items) -> {name: [B, ...]}``: dreamt frames uint8 ``[B, H, ...]`` that follow the
        context of the clips, a ``RealClip``.
      per_clip: those of the names that are a number for each clip, metrics as they are.
      of_set: ``f(rows, items) -> {metric: float}`` for metrics of a whole set, from all its rows.
      ceiling: whether the metrics of real frames are worth telling.
    """

    rows: Callable
    per_clip: tuple = ()
    of_set: Callable = lambda rows, items: {}
    ceiling: bool = False


class FrameMetrics:
    """All configured parts as one."""

    def __init__(self, parts):
        self.parts = tuple(parts)
        self.per_clip = tuple(name for part in self.parts for name in part.per_clip)

    def rows(self, dreamt, items):
        """What every part says of a batch of clips: ``{name: numpy [B, ...]}``."""
        rows = {}
        for part in self.parts:
            rows |= {name: np.asarray(value) for name, value in part.rows(dreamt, items).items()}
        return rows

    def of_set(self, rows, items):
        """Metrics of a whole set, as the tables have them: ``{metric: {"all": float}}``."""
        return {name: {"all": value} for part in self.parts for name, value in part.of_set(rows, items).items()}

    def ceilings(self, items, batch):
        """The metrics of a set's real frames, ``{metric: float}``, of the parts that have a ceiling."""
        found = {}
        for part in (part for part in self.parts if part.ceiling):
            rows = []
            for start in range(0, len(items.actions), batch):
                some = jax.tree.map(lambda x, s=start: x[s : s + batch], items)
                rows.append(part.rows(some.frames[:, -some.flow.shape[1] :], some))
            rows = {name: np.concatenate([np.asarray(r[name]) for r in rows]) for name in rows[0]}
            found |= part.of_set(rows, items)
        return found


def make_frame_metrics(run):
    """The ``FrameMetrics`` that the configuration asks for; none by default."""
    config, parts = run.config, []
    if config.metrics.lpips_weights:
        parts.append(_lpips(config))
    if build.has_judge(config):
        params, recover = load_inverse_dynamics(run), make_recover(build.make_inverse_dynamics(config))
        parts.append(action_recovery_part(build.spec_of(config), functools.partial(recover, params)))
    if config.metrics.frechet == "inverse_dynamics":
        parts.append(_frechet("inverse_dynamics", _step_features(run)))
    if config.metrics.frechet == "lpips_trunk":
        trunk, _ = build.load_lpips(config)
        parts.append(_frechet(trunk.name, _trunk_features(config)))
    return FrameMetrics(parts)


def _real(dreamt, items):
    """The real frames that ``dreamt`` stands for, and the last one before them."""
    horizon = dreamt.shape[1]
    return items.frames[:, -horizon:], items.frames[:, -horizon - 1 : -horizon]


def _lpips(config):
    """Mean LPIPS over the predicted frames of a clip, called after its trunk."""
    trunk, params = build.load_lpips(config)

    @jax.jit
    def distance(params, dreamt, real):
        def of_clip(pair):
            return jnp.mean(lpips_metric.lpips(trunk, params, *(x.astype(jnp.float32) / 255.0 for x in pair)))

        return jax.lax.map(of_clip, (dreamt, real))  # a clip at a time: the first features are large

    name = f"lpips_{trunk.name}"
    return Part(lambda dreamt, items: {name: distance(params, dreamt, _real(dreamt, items)[0])}, (name,))


def action_recovery_part(spec, recover):
    """A reading of each step, the one from the last real frame into the dream included.

    Args:
      spec: of the actions. recover: ``f(frames uint8 [B, T, H, W, 3]) -> int32 [B, T-1, A]``, what led from each frame
        to the next, as ``make_recover`` gives it of a trained model.
    """

    def rows(dreamt, items):
        return {"recovered_actions": recover(jnp.concatenate([_real(dreamt, items)[1], dreamt], axis=1))}

    def of_set(rows, items):
        recovered = rows["recovered_actions"]
        given = items.actions[:, -recovered.shape[1] - 1 : -1]
        return {k: v for k, v in action_recovery(spec, given, recovered).items() if k != "tasks"}

    return Part(rows, of_set=of_set, ceiling=True)


def _frechet(network, features):
    """Frechet distance of dreamt to real frames; ``features(frames, before)`` is ``[B, n, F]``."""
    names = f"features_of_dreamt_{network}", f"features_of_real_{network}"

    def rows(dreamt, items):
        real, before = _real(dreamt, items)
        return dict(zip(names, (features(dreamt, before), features(real, before)), strict=True))

    def of_set(rows, items):
        moments = [frechet.moments_of(lambda x: x.reshape(-1, x.shape[-1]), [rows[name]]) for name in names]
        if min(m.count for m in moments) <= len(moments[0].mean):
            return {}  # a small set: a dash in its table
        return {f"frechet_{network}": frechet.frechet_distance(*moments)}

    return Part(rows, of_set=of_set)


def _step_features(run):
    """The inverse dynamics model's summary of each step."""
    model, params = build.make_inverse_dynamics(run.config), load_inverse_dynamics(run)
    of_clips = jax.jit(model.features)
    return lambda frames, before: of_clips(params, jnp.concatenate([before, frames], axis=1))


def _trunk_features(config):
    """The mean over a frame of the last features of LPIPS's trunk."""
    trunk, params = build.load_lpips(config)

    @jax.jit
    def of_clips(params, frames):
        def of_clip(clip):
            return jnp.mean(lpips_metric.features(trunk, params, clip.astype(jnp.float32) / 255.0)[-1], axis=(-3, -2))

        return jax.lax.map(of_clip, frames)

    return lambda frames, before: of_clips(params, frames)
