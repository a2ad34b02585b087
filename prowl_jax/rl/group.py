"""Advantages within groups: how much better one of several outcomes of the same beginning is than its siblings.

No value function is learned; the mean of the group stands for it (GRPO, arXiv 2402.03300, section 4.1.1).
"""

import chex
import jax
import jax.numpy as jnp

SCALES = ("batch", "group")
"""Whose deviation advantages are divided by (``group_advantages``)."""


def group_advantages(rewards, *, scale="batch", clip=5.0, epsilon=1e-4):
    """Group-relative advantages.

        A_gk = clip((R_gk - mean_k R_gk) / (std + epsilon), -clip, clip)

    With ``scale="batch"`` std is that of all rewards, as the code of DiffusionNFT (arXiv 2509.16117) and of Flow-GRPO
    (arXiv 2505.05470) has it (``global_std``): a group whose members hardly differ then hardly counts. With
    ``"group"`` it is the group's own, as in GRPO and DanceGRPO (arXiv 2505.07818): every group counts alike.

    A group of equal rewards has advantages of exactly 0. A group with a reward that is not finite has them too, and
    its rewards are left out of the batch's deviation, so that one broken outcome spoils no other group.

    Args:
      rewards: float ``[..., G, K]``, K outcomes of each of G beginnings; K at least 2.
      scale: one of ``SCALES``. clip: largest absolute advantage. epsilon: added to the deviation.

    Returns:
      Advantages float32 ``[..., G, K]``, and the share of groups that teach nothing, float32 ``[...]``.

    Raises:
      ValueError: a group of one, which has nothing to be better than; a scale that there is not.
    """
    if scale not in SCALES:
        raise ValueError(f"no scale {scale!r} of advantages; there are {', '.join(SCALES)}")
    if rewards.ndim < 2 or rewards.shape[-1] < 2:
        raise ValueError(f"advantages need groups of at least 2 outcomes, not rewards of shape {rewards.shape}")
    rewards = jnp.asarray(rewards, jnp.float32)
    whole = jnp.isfinite(rewards).all(-1, keepdims=True)
    rewards = jnp.where(whole, rewards, 0.0)
    # Compared with a member and not with the mean, which rounding may set apart from equal rewards.
    differ = whole & (rewards != rewards[..., :1]).any(-1, keepdims=True)
    centred = rewards - rewards.mean(-1, keepdims=True)
    if scale == "batch":
        count = jnp.maximum(whole.sum((-2, -1), keepdims=True), 1) * rewards.shape[-1]
        mean = rewards.sum((-2, -1), keepdims=True) / count
        square = jnp.where(whole, jnp.square(rewards - mean), 0.0)
        std = jnp.sqrt(square.sum((-2, -1), keepdims=True) / count)
    else:
        std = jnp.sqrt(jnp.square(centred).mean(-1, keepdims=True))
    advantages = jnp.where(differ, jnp.clip(centred / (std + epsilon), -clip, clip), 0.0)
    chex.assert_equal_shape([advantages, rewards])
    return advantages, 1.0 - differ[..., 0].mean(-1, dtype=jnp.float32)


def clipped_loss(log_prob, old_log_prob, advantages, clip):
    """PPO's clipped objective (arXiv 1707.06347, equation 7), negative, of each sample, and the ratios.

    Args:
      log_prob, old_log_prob, advantages: float ``[...]``; the last two are constants. clip: how far the ratio counts.

    Returns:
      float ``[...]`` twice: ``-min(ratio A, clip(ratio, 1 - clip, 1 + clip) A)`` and ``ratio``.
    """
    chex.assert_equal_shape([log_prob, old_log_prob, advantages])
    old_log_prob, advantages = jax.lax.stop_gradient((old_log_prob, advantages))
    ratio = jnp.exp(log_prob - old_log_prob)
    return -jnp.minimum(ratio * advantages, jnp.clip(ratio, 1.0 - clip, 1.0 + clip) * advantages), ratio
