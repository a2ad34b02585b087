"""PMPO with an anchor, as Dreamer 4 learns from dreams (arXiv 2509.24527; PMPO: arXiv 2410.04166).

    L = (1 - a) mean_{A < 0} ln pi(a|s) - a mean_{A >= 0} ln pi(a|s) + b mean KL(pi || prior)

The sign of an advantage says whether a step is to be done more or less often, its size nothing: returns of any scale
and any goal weigh alike. The prior, which was cloned, keeps the second term, that has no bound, from running away.
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp

from prowl_jax.rl import categorical
from prowl_jax.rl.ppo import masked_mean
from prowl_jax.settings import NOT_NEGATIVE, SHARE, check, setting


@dataclasses.dataclass(frozen=True)
class PMPOConfig:
    """Weights of the loss; Dreamer 4's are the defaults.

    Attributes:
      good_share: a. prior_cost: b.
    """

    good_share: float = setting(0.5, "a of pmpo, the weight of steps that were good", SHARE, source="Dreamer 4: 0.5")
    prior_cost: float = setting(0.3, "b of pmpo, the KL to the cloned policy", NOT_NEGATIVE, source="Dreamer 4: 0.3")

    def __post_init__(self):
        check(self)


def pmpo_loss(logits, value, ref_logits, actions, advantage, target_value, sizes, config=PMPOConfig(), value_cost=0.5):
    """The loss on the steps that the policy took.

    Args:
      logits, ref_logits: float ``[..., sum(sizes)]``. value, advantage, target_value: float ``[...]``; of the
        advantage, which is not to be centred, the sign counts. actions: int ``[..., A]``. sizes: static tuple.
      value_cost: weight of half the value's squared error.

    Returns:
      (loss, metrics): scalars; metrics has policy_loss, value_loss, entropy, kl_to_reference and good (their share).
    """
    chex.assert_equal_shape([logits, ref_logits])
    chex.assert_equal_shape([value, advantage, target_value, actions[..., 0]])
    ref_logits, target_value = jax.lax.stop_gradient((ref_logits, target_value))
    said, good = categorical.log_prob(logits, actions, sizes), jax.lax.stop_gradient(advantage) >= 0
    share = config.good_share
    metrics = {
        "policy_loss": (1.0 - share) * masked_mean(said, ~good) - share * masked_mean(said, good),
        "value_loss": 0.5 * jnp.mean(jnp.square(value - target_value)),
        "entropy": jnp.mean(categorical.entropy(logits, sizes)),
        "kl_to_reference": jnp.mean(categorical.kl(logits, ref_logits, sizes)),
        "good": jnp.mean(good.astype(jnp.float32)),
    }
    loss = metrics["policy_loss"] + value_cost * metrics["value_loss"] + config.prior_cost * metrics["kl_to_reference"]
    return loss, metrics
