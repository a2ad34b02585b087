"""KL-anchored PPO: the adversary's loss in PROWL (arXiv 2605.18803, section on the adversary).

    L = L_clip + c_v L_value - c_e H(pi_phi) + c_kl E_s[ KL(pi_phi(.|s) || pi_ref(.|s)) ]

The clipped objective is equation 7 of PPO (arXiv 1707.06347). The divergence is exact: the
policy is a product of categoricals, over which it sums in closed form.
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp

from prowl_jax.rl import categorical
from prowl_jax.settings import NOT_NEGATIVE, POSITIVE, check, setting


@dataclasses.dataclass(frozen=True)
class PPOConfig:
    """Weights of the loss. The paper gives only ``kl_cost`` (0.5, 1.0 or 1.5).

    Attributes:
      clip: epsilon, how far the probability ratio may leave 1.
      value_cost: c_v.
      entropy_cost: c_e.
      kl_cost: c_kl, the strength of the anchor.
    """

    clip: float = setting(0.2, "how far the probability ratio may leave 1", POSITIVE, source="PPO: 0.2")
    value_cost: float = setting(0.5, "c_v, weight of the value's loss", NOT_NEGATIVE)
    entropy_cost: float = setting(0.0, "c_e, weight of the entropy", NOT_NEGATIVE)
    kl_cost: float = setting(
        1.0, "c_kl, the strength of the anchor to the reference", NOT_NEGATIVE, source="paper: 0.5, 1.0 or 1.5"
    )

    def __post_init__(self):
        check(self)


def ppo_loss(
    logits,
    value,
    ref_logits,
    actions,
    old_log_prob,
    advantage,
    target_value,
    mask,
    sizes,
    config=PPOConfig(),
    kl_cost=None,
):
    """The loss of the adversary on the steps it took.

    Gradients flow into ``logits`` and ``value`` only. Means are over the steps in ``mask``.

    Args:
      logits: float ``[..., sum(sizes)]``, of the policy in training, pi_phi.
      value: float ``[...]``, its value estimate.
      ref_logits: float ``[..., sum(sizes)]``, of the frozen reference, pi_ref.
      actions: int ``[..., A]``, what was done.
      old_log_prob: float ``[...]``, of the actions under the policy that acted.
      advantage: float ``[...]``.
      target_value: float ``[...]``, what ``value`` regresses to.
      mask: bool or float ``[...]``, the weight of each step.
      sizes: static tuple, values of each factor.
      config: ``PPOConfig``.
      kl_cost: float scalar, may be traced; overrides ``config.kl_cost`` (for a schedule).

    Returns:
      (loss, metrics): scalars; metrics has policy_loss, value_loss (half the mean squared
      error), entropy, kl_to_reference, clip_fraction, and approx_kl, the estimate
      E[r - 1 - log r] of how far the update has moved from the policy that acted.
    """
    chex.assert_equal_shape([logits, ref_logits])
    chex.assert_equal_shape([value, old_log_prob, advantage, target_value, mask, actions[..., 0]])
    kl_cost = config.kl_cost if kl_cost is None else kl_cost
    ref_logits, old_log_prob, advantage, target_value = jax.lax.stop_gradient(
        (ref_logits, old_log_prob, advantage, target_value)
    )

    log_ratio = categorical.log_prob(logits, actions, sizes) - old_log_prob
    ratio = jnp.exp(log_ratio)
    clipped = jnp.clip(ratio, 1.0 - config.clip, 1.0 + config.clip)
    surrogate = jnp.minimum(ratio * advantage, clipped * advantage)

    metrics = {
        "policy_loss": -masked_mean(surrogate, mask),
        "value_loss": 0.5 * masked_mean(jnp.square(value - target_value), mask),
        "entropy": masked_mean(categorical.entropy(logits, sizes), mask),
        "kl_to_reference": masked_mean(categorical.kl(logits, ref_logits, sizes), mask),
        "clip_fraction": masked_mean((jnp.abs(ratio - 1.0) > config.clip).astype(jnp.float32), mask),
        "approx_kl": masked_mean(ratio - 1.0 - log_ratio, mask),
    }
    loss = (
        metrics["policy_loss"]
        + config.value_cost * metrics["value_loss"]
        - config.entropy_cost * metrics["entropy"]
        + kl_cost * metrics["kl_to_reference"]
    )
    return loss, metrics


def masked_mean(x, mask):
    """Mean of ``x`` weighted by ``mask`` (same shape); 0 where the mask is all 0.

    What stands where the mask is 0 has no part in it, NaN included.
    """
    chex.assert_equal_shape([x, mask])
    weight = jnp.asarray(mask).astype(jnp.float32)
    total = jnp.sum(weight)
    return jnp.sum(jnp.where(weight > 0, x * weight, 0.0)) / jnp.where(total > 0, total, 1.0)


def annealed(cycle, start, end, cycles):
    """Linear from ``start`` at cycle 0 to ``end`` at cycle ``cycles``, constant after it."""
    return start + (end - start) * jnp.clip(cycle / max(cycles, 1), 0.0, 1.0)
