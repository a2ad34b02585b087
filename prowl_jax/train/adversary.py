"""The adversary: KL-anchored PPO on what it did in the real environment (``methods/acting.py``).

PROWL section 3: ``L = L_clip + c_v L_value - c_e H + c_kl E[KL(pi_phi || pi_ref)]`` with the
composite score as terminal reward.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from prowl_jax.rl.gae import gae
from prowl_jax.rl.ppo import PPOConfig, annealed, ppo_loss
from prowl_jax.settings import COUNT, FINITE, POSITIVE, SHARE, check, setting
from prowl_jax.train.behaviour import previous_actions
from prowl_jax.train.state import TrainState, apply_gradients


@dataclasses.dataclass(frozen=True)
class Adversary:
    """How the adversary learns. The paper gives lr 3e-5 and c_kl in {0.5, 1.0, 1.5}.

    Attributes:
      learning_rate: of Adam. max_norm: a longer gradient is clipped to it.
      ppo: the loss's weights, ``ppo.kl_cost`` being c_kl.
      epochs, minibatches: passes over the trajectories of a cycle, and parts of each pass.
      lambda_: of GAE; the discount is 1, the reward terminal.
      final_kl_cost: c_kl at the last of ``cycles`` cycles, linearly from ``ppo.kl_cost``; below 0
        it stays constant (the paper's choice).
      cycles: length of that schedule.
      kl_bound: a policy whose KL to the reference ends a cycle above this many nats a step is
        discarded for the last one that did not; below 0 none is.
    """

    learning_rate: float = setting(3e-5, "of Adam", POSITIVE, source="paper: 3e-5, for VPT's 248 M parameters")
    max_norm: float = setting(1.0, "largest global norm of a gradient", POSITIVE)
    ppo: PPOConfig = PPOConfig()
    epochs: int = setting(2, "passes over the trajectories of a cycle", COUNT)
    minibatches: int = setting(2, "parts of each pass", COUNT)
    lambda_: float = setting(0.95, "of GAE", SHARE)
    final_kl_cost: float = setting(-1.0, "c_kl at the last cycle, linearly from kl_cost; < 0: constant", FINITE)
    cycles: int = 1
    kl_bound: float = setting(-1.0, "nats a step above which a policy is discarded; < 0: none is", FINITE)

    def __post_init__(self):
        check(self)

    @property
    def optimizer(self):
        """Adam at a constant rate with clipping, PPO's usual choice."""
        return optax.chain(optax.clip_by_global_norm(self.max_norm), optax.adam(self.learning_rate, eps=1e-5))


def advantages(trajectory, reward, lambda_):
    """GAE of a terminal reward ``[B]``, discount 1.

    The last action leads out of the trajectory, so steps ``0..T-2`` are learned from and the
    reward arrives with step T-2.

    Returns:
      advantage, target value, mask, each ``[B, T]``; advantages are normalised over the mask.
    """
    batch, time = trajectory.value.shape
    rewards = jnp.zeros((batch, time - 1)).at[:, -1].set(reward)
    values = trajectory.value.at[:, -1].set(0.0)
    discounts = jnp.ones((batch, time - 1)).at[:, -1].set(0.0)
    advantage = jax.vmap(gae, (0, 0, 0, None))(rewards, values, discounts, lambda_)
    target = advantage + values[:, :-1]
    mask = jnp.broadcast_to(trajectory.valid[:, None], advantage.shape).astype(jnp.float32)
    total = jnp.maximum(mask.sum(), 1.0)
    mean = jnp.sum(advantage * mask) / total
    std = jnp.sqrt(jnp.sum(jnp.square(advantage - mean) * mask) / total)
    advantage = (advantage - mean) / (std + 1e-6)
    return tuple(jnp.pad(x, ((0, 0), (0, 1))) for x in (advantage, target, mask))


def make_update(policy, adversary):
    """KL-anchored PPO on one cycle's trajectories.

    Returns:
      ``update(state, safe_params, reference, trajectory, reward [B], key, cycle) ->
      (state, safe_params, metrics)``, jitted, state and safe_params donated. ``metrics`` are
      those of ``ppo_loss`` after the update over all trajectories, and ``restored`` (1 where
      ``kl_bound`` put the last safe policy back).
    """

    def evaluate(params, reference_logits, part):
        trajectory, advantage, target, mask = part
        logits, value, _ = policy.apply(
            params,
            policy.initial_state(trajectory.actions.shape[0]),
            trajectory.frames,
            previous_actions(trajectory.actions),
            trajectory.first,
        )
        return lambda kl_cost: ppo_loss(
            logits, value, reference_logits, trajectory.actions, trajectory.log_prob, advantage, target,
            mask, policy.sizes, adversary.ppo, kl_cost,
        )  # fmt: skip

    def update(state, safe_params, reference, trajectory, reward, key, cycle):
        kl_cost = adversary.ppo.kl_cost
        if adversary.final_kl_cost >= 0:
            kl_cost = annealed(cycle, kl_cost, adversary.final_kl_cost, adversary.cycles)
        whole = (trajectory, *advantages(trajectory, reward, adversary.lambda_))
        batch = trajectory.actions.shape[0]
        reference_logits, _, _ = policy.apply(
            reference,
            policy.initial_state(batch),
            trajectory.frames,
            previous_actions(trajectory.actions),
            trajectory.first,
        )

        def minibatch(state, rows):
            part, ref_logits = jax.tree.map(lambda x: x[rows], (whole, reference_logits))
            gradients = jax.grad(lambda p: evaluate(p, ref_logits, part)(kl_cost)[0])(state.params)
            return apply_gradients(state, gradients, adversary.optimizer), None

        orders = jax.vmap(lambda k: jax.random.permutation(k, batch))(jax.random.split(key, adversary.epochs))
        state, _ = jax.lax.scan(minibatch, state, orders.reshape(adversary.epochs * adversary.minibatches, -1))
        _, metrics = evaluate(state.params, reference_logits, whole)(kl_cost)

        safe = jnp.bool_(True)
        if adversary.kl_bound >= 0:
            safe = metrics["kl_to_reference"] <= adversary.kl_bound
        params = jax.tree.map(lambda new, old: jnp.where(safe, new, old), state.params, safe_params)
        state = TrainState(params, state.ema, state.opt_state, state.step)
        metrics = {**metrics, "restored": 1.0 - safe.astype(jnp.float32), "kl_cost": jnp.asarray(kl_cost)}
        return state, jax.tree.map(jnp.copy, params), metrics

    return jax.jit(update, donate_argnums=(0, 1))
