"""Training a denoiser of single frames on its own frames: each step's answer becomes context of the next.

DIAMOND's ``num_autoregressive_steps`` (arXiv 2405.12399, its csgo branch): along a clip, the one-evaluation answer at
the level that was drawn takes the place of the real frame in the context, as it would be shown, and no gradient flows
through it. Errors then do not compound when dreaming, and every step is a training sample of its own. Part of the
contexts is noisy, of a level that is told (GameNGen, arXiv 2408.14837).

An answer at a low level was told most of the real frame, so that such contexts hardly leave it, where a dream of twenty
frames has long left. ``follow`` puts in the answer's place what dreaming would: the sampler's own frame, from pure
noise, at the cost of its evaluations (Self Forcing, arXiv 2506.08009, trains on such rollouts too, with another loss).

The levels are a mixture: pure noise, where every sampler starts, and EDM's log-normal (arXiv 2206.00364), which here,
where data and noise share a straight line, is a normal distribution of the level's logit.
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp

from prowl_jax.diffusion import flow
from prowl_jax.diffusion.shortcut import draw_mixed, mixed_loss
from prowl_jax.settings import FINITE, POSITIVE, SHARE, Check, check, setting

LEVEL = Check(lambda v: 0 < v < 1, "is not a level above 0 and below 1")


@dataclasses.dataclass(frozen=True)
class FrameLevels:
    """How the levels of single frames and of their contexts are drawn.

    Attributes:
      pure: share of the frames at level 1, pure noise: what a sampler's first evaluation sees.
      mean, std: of the other levels' logit. DIAMOND's log-normal is .293 and 1.2 for data of deviation 1; for a
        residual of deviation r the mean is lower by -ln r.
      lowest: no level is below, since the loss divides by it.
      context_share: share of the contexts that are noisy. context_noise: their highest level, drawn uniformly.
    """

    pure: float = setting(0.25, "share of the frames at pure noise, where every sampler starts", SHARE)
    mean: float = setting(-0.9, "of the other levels' logit", FINITE, source="DIAMOND: .3, here + ln residual")
    std: float = setting(1.2, "of the other levels' logit", POSITIVE, source="DIAMOND: 1.2")
    lowest: float = setting(0.002, "no level is below", LEVEL)
    context_share: float = setting(0.5, "of the contexts that are noisy", SHARE)
    context_noise: float = setting(0.3, "highest level of a noisy context", SHARE)

    def __post_init__(self):
        check(self)

    def frame(self, key, batch):
        """Levels ``[batch]`` of frames to predict."""
        share_key, level_key = jax.random.split(key)
        level = jax.nn.sigmoid(self.mean + self.std * jax.random.normal(level_key, (batch,)))
        pure = jax.random.uniform(share_key, (batch,)) < self.pure
        return jnp.where(pure, 1.0, jnp.maximum(level, self.lowest))

    def context(self, key, batch):
        """Levels ``[batch]`` of contexts."""
        share_key, level_key = jax.random.split(key)
        level = self.context_noise * jax.random.uniform(level_key, (batch,))
        return jnp.where(jax.random.uniform(share_key, (batch,)) < self.context_share, level, 0.0)


def autoregressive_loss(
    denoise, latents, actions, key, *, context, levels, error, auxiliary, shown, own=None, follow=None
):
    """The mean over ``L - context`` steps of the weighted error of xhat, and of an auxiliary loss.

    Args:
      denoise: ``f(z [B, h, w, C], sigma [B], context [B, n, h, w, C], context_sigma [B, n], actions [B, n, A]) ->
        (xhat [B, h, w, C], extra)``.
      latents: float ``[B, L, h, w, C]``, L > n. actions: int32 ``[B, T, A]``; action t leads from frame t to t + 1.
      context: n. levels: ``FrameLevels``.
      error: ``f(xhat, real, sigma [B], extra) -> [B]``, what an answer costs.
      auxiliary: ``f(extra, real [B, h, w, C]) -> [B]``, added to the loss.
      shown: ``f(xhat) -> latents``, as the next step sees them: within range, 8-bit.
      own: after so many frames of its own (int, which may be traced) the context is real again: clips of one length,
        and one program, for every stage of a training that begins with few. None: never within a clip.
      follow: ``f(seen [B, n, h, w, C], actions [B, n, A], key) -> [B, h, w, C]``, what the next step sees, without a
        gradient. None: xhat, as ``shown`` gives it.

    Returns:
      The scalar loss and metrics: ``loss``, ``loss_auxiliary``, ``loss_first`` and ``loss_last`` (the weighted error
      of the first and last step), ``error_pure`` (mean square of xhat where sigma is 1).
    """
    batch = len(latents)

    def frame(seen, real, led, key):
        level_key, context_key, noise_key, context_noise_key = jax.random.split(key, 4)
        sigma = levels.frame(level_key, batch)
        blur = levels.context(context_key, batch)
        noise = jax.random.normal(noise_key, real.shape)
        z = flow.interpolate(real, noise, sigma[:, None, None, None])
        noisy = _blurred(seen, blur, context_noise_key)
        xhat, extra = denoise(z, sigma, noisy, jnp.broadcast_to(blur[:, None], (batch, context)), led)
        square = jnp.square(xhat - real).mean((1, 2, 3))
        off, aside = jnp.mean(error(xhat, real, sigma, extra)), jnp.mean(auxiliary(extra, real))
        pure = sigma == 1.0
        return xhat, (off, aside, jnp.sum(square * pure), jnp.sum(pure))

    off, aside, pure, count = _along(frame, latents, actions, key, context, shown, own, follow)
    loss = jnp.mean(off) + jnp.mean(aside)
    metrics = {
        "loss": loss,
        "loss_auxiliary": jnp.mean(aside),
        "loss_first": off[0],
        "loss_last": off[-1],
        "error_pure": pure.sum() / jnp.maximum(count.sum(), 1),
    }
    return loss, metrics


def autoregressive_shortcut_loss(
    guess, predict, latents, actions, key, *, context, levels, auxiliary, shown, settings, own=None
):
    """Shortcut forcing of single frames (``diffusion/shortcut.py``) along a clip; arguments as above, and:

    Args:
      guess: ``f(context, context_sigma, actions) -> extra``, what is known before a frame is denoised.
      predict: ``f(z [b, h, w, C], sigma [b], length [b], extra, context, context_sigma, actions) -> x^`` of the first
        b rows of the rest.
      levels: says how contexts are blurred. settings: a ``Shortcut``.

    What takes a real frame's place in the context is one step from pure noise, as a sampler of one step would show it.
    """
    batch = len(latents)
    coarse = settings.coarse(batch)

    def frame(seen, real, led, key):
        draw_key, context_key, noise_key, context_noise_key, own_key = jax.random.split(key, 5)
        length, signal = draw_mixed(draw_key, (batch,), settings)
        blur = levels.context(context_key, batch)
        noisy, told = _blurred(seen, blur, context_noise_key), jnp.broadcast_to(blur[:, None], (batch, context))
        extra = guess(noisy, told, led)

        def of_rows(z, signal, length):
            return predict(z, 1.0 - signal, length, extra, noisy, told, led)

        noise = jax.random.normal(noise_key, real.shape)
        losses, _ = mixed_loss(of_rows, real, noise, signal, length, coarse)
        start = jax.random.normal(own_key, real.shape)
        shown_next = of_rows(start, jnp.zeros(batch), jnp.ones(batch))
        return shown_next, (losses, jnp.mean(auxiliary(extra, real)))

    losses, aside = _along(frame, latents, actions, key, context, shown, own)
    loss = jnp.mean(losses) + jnp.mean(aside)
    metrics = {"loss": loss, "loss_auxiliary": jnp.mean(aside), "loss_fine": jnp.mean(losses[:, coarse:])}
    return loss, metrics | ({"loss_coarse": jnp.mean(losses[:, :coarse])} if coarse else {})


def _blurred(seen, blur, key):
    """A context with noise of the level ``blur [B]``."""
    return flow.interpolate(seen, jax.random.normal(key, seen.shape), blur[:, None, None, None, None])


def _along(frame, latents, actions, key, context, shown, own, follow=None):
    """Frame after frame of a clip: ``frame(seen, real, led, key) -> (xhat, outputs)``; the outputs ``[steps, ...]``."""
    chex.assert_rank([latents, actions], [5, 3])
    length = latents.shape[1]
    steps = length - context
    if steps < 1:
        raise ValueError(f"a clip of {length} latents has nothing to predict after a context of {context}")

    def step(seen, inputs):
        real, led, key, followed, *again = inputs
        if again:
            afresh, clean = again
            seen = jnp.where(afresh, clean, seen)
        xhat, outputs = frame(seen, real, led, key)
        if follow is None:
            after = shown(xhat)
        else:  # only where it will be seen: it costs as much as what is learned from it
            follow_key = jax.random.fold_in(key, 4)
            after = jax.lax.cond(followed, lambda: follow(seen, led, follow_key), lambda: seen[:, -1])
        return jnp.concatenate([seen[:, 1:], jax.lax.stop_gradient(after)[:, None]], axis=1), outputs

    windows = jnp.arange(steps)[:, None] + jnp.arange(context)
    inputs = (
        jnp.moveaxis(latents[:, context:], 1, 0),
        jnp.moveaxis(actions[:, windows], 1, 0),
        jax.random.split(key, steps),
    )
    ends = jnp.arange(1, steps + 1)
    inputs += ((ends < steps) & (ends % (steps if own is None else own) != 0),)
    if own is not None:
        inputs += (jnp.arange(steps) % own == 0, jnp.moveaxis(latents[:, windows], 1, 0))
    return jax.lax.scan(step, latents[:, :context], inputs)[1]
