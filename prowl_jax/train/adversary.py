"""The adversary: acting in the real environment, and KL-anchored PPO on what it did.

PROWL section 3: ``L = L_clip + c_v L_value - c_e H + c_kl E[KL(pi_phi || pi_ref)]`` with the
composite score as terminal reward.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from prowl_jax.envs.base import grouped
from prowl_jax.rl import categorical
from prowl_jax.rl.gae import gae
from prowl_jax.rl.ppo import PPOConfig, annealed, ppo_loss
from prowl_jax.train.behaviour import previous_actions
from prowl_jax.train.state import TrainState, apply_gradients
from prowl_jax.types import Trajectory


@dataclasses.dataclass(frozen=True)
class Adversary:
    """How the adversary learns. The paper gives lr 3e-5 and c_kl in {0.5, 1.0, 1.5}.

    Attributes:
      ppo: the loss's weights, ``ppo.kl_cost`` being c_kl.
      epochs, minibatches: passes over the trajectories of a cycle, and parts of each pass.
      lambda_: of GAE; the discount is 1, the reward terminal.
      final_kl_cost: c_kl at the last of ``cycles`` cycles, linearly from ``ppo.kl_cost``; None
        keeps it constant (the paper's choice).
      cycles: length of that schedule.
      kl_bound: a policy whose KL to the reference ends a cycle above this many nats a step is
        discarded for the last one that did not; None never does.
    """

    ppo: PPOConfig = PPOConfig()
    epochs: int = 2
    minibatches: int = 2
    lambda_: float = 0.95
    final_kl_cost: float | None = None
    cycles: int = 1
    kl_bound: float | None = None


def make_act(policy):
    """``act(params, state, frames [n,H,W,3], previous [n,A], first [n], key, start=0, total=None)``, jitted.

    The n rows are ``start..start+n-1`` of ``total`` (None: of n), and draw what they would draw if all were
    there: chance does not depend on how rows are grouped. Compiled once for each n.

    Returns (actions ``[n, A]``, log_prob ``[n]``, value ``[n]``, state).
    """

    @functools.partial(jax.jit, static_argnames="total")
    def act(params, state, frames, previous, first, key, start=0, total=None):
        logits, value, state = policy.apply(
            params, state, frames[:, None], previous[:, None], first[:, None]
        )
        logits = logits[:, 0]
        whole = jnp.zeros((total or len(logits), logits.shape[1]), logits.dtype)
        whole = jax.lax.dynamic_update_slice_in_dim(whole, logits, start, axis=0)
        actions = categorical.sample(key, whole, policy.sizes)
        actions = jax.lax.dynamic_slice_in_dim(actions, start, len(logits))
        return actions, categorical.log_prob(logits, actions, policy.sizes), value[:, 0], state

    return act


def collect(
    env, act, policy, params, key, *, seeds, length, warm_up=0, warm_up_params=None, to_env=None, check=None
):
    """Let a policy act in the real environments for one trajectory each.

    Every environment is reset from ``seeds``, so that a cycle can be repeated exactly. During
    ``warm_up`` steps the reference (``warm_up_params``) acts and nothing is kept but its
    actions; then the trajectory begins and the policy's memory with it. Where the environment
    reports ``info["broken"]``, in the warm-up or later, the trajectory is not valid. ``to_env``
    turns the policy's actions into those of ``env.spec``, where the policy has factors of its own
    (VPT's joint indices); the trajectory holds the policy's. ``check()`` is called before every step;
    what it raises ends the collection.

    Where the environments come in groups (``envs.base.GroupedEnv``), the others step while the policy acts
    in one. The trajectories are the same, but for the rounding of another batch size.

    Returns:
      (``Trajectory`` of ``length`` frames as numpy arrays ``[N, T, ...]``,
       warm-up actions int32 ``[N, warm_up, A]``).
    """
    env = grouped(env)
    start = env.reset(seeds)
    players = [_Player(act, policy, rows, env.num_envs, start.frames[rows]) for rows in env.groups]
    steps = warm_up + length
    for t in range(steps):
        if check is not None:
            check()
        kept = t >= warm_up
        for group, player in enumerate(players):
            if t > 0:
                player.see(env.receive(group), t > warm_up)
            if t == warm_up:
                player.forget()
            actions = player.act(params if kept else warm_up_params, jax.random.fold_in(key, t), kept)
            if t < steps - 1:
                env.send(actions if to_env is None else to_env(actions), group)
    trajectories = [player.trajectory() for player in players]
    return jax.tree.map(lambda *parts: np.concatenate(parts), *trajectories)


class _Player:
    """The policy in one group of environments: what it remembers, and what it has seen and done."""

    def __init__(self, act, policy, rows, total, frames):
        self._act, self._policy, self._start, self._total = act, policy, rows.start, total
        self._n, self._frames = rows.stop - rows.start, frames
        self._columns, self._events, self._warm_up_actions = [], [], []
        self._valid, self._broken = np.ones(self._n, bool), np.zeros(self._n, bool)
        self.forget()

    def forget(self):
        """Clear the memory, as at the beginning of an episode."""
        self._state, self._first = self._policy.initial_state(self._n), np.ones(self._n, bool)
        self._previous = np.full((self._n, len(self._policy.sizes)), -1, np.int32)

    def see(self, step, kept):
        """What the last action led to; ``kept`` where that belongs to the trajectory."""
        self._frames, self._first = step.frames, step.done
        self._broken |= step.info.get("broken", False)
        if kept:
            self._valid &= ~step.done
            self._events.append({name: what for name, what in step.info.items() if name.startswith("event_")})

    def act(self, params, key, kept):
        """The next actions, int32 ``[n, A]``."""
        actions, log_prob, value, self._state = self._act(
            params, self._state, self._frames, self._previous, self._first, key, self._start, total=self._total
        )
        actions = np.asarray(actions)
        if kept:
            row = self._frames, actions, self._first, np.asarray(log_prob), np.asarray(value)
            self._columns.append(row)
        else:
            self._warm_up_actions.append(actions)
        self._previous = actions
        return actions

    def trajectory(self):
        """(``Trajectory`` of the group, warm-up actions)."""
        columns = (np.stack(column, axis=1) for column in zip(*self._columns, strict=True))
        frames, actions, firsts, log_probs, values = columns
        warm = np.stack(self._warm_up_actions, axis=1) if self._warm_up_actions else actions[:, :0]
        valid = self._valid & ~self._broken
        events = _by_name(self._events)
        return Trajectory(frames, actions, firsts, log_probs, values, valid, self._broken, events), warm


def _by_name(events):
    """Events of each step ``{name: [N]}`` -> ``{name: [N, T]}``, nothing after the last frame; None for none."""
    names = events[0] if events else {}
    nothing = {name: np.zeros_like(happened) for name, happened in names.items()}
    return {name: np.stack([e[name] for e in (*events, nothing)], axis=1) for name in names} or None


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


def make_update(policy, optimizer, adversary):
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
        if adversary.final_kl_cost is not None:
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
            return apply_gradients(state, gradients, optimizer), None

        orders = jax.vmap(lambda k: jax.random.permutation(k, batch))(jax.random.split(key, adversary.epochs))
        state, _ = jax.lax.scan(minibatch, state, orders.reshape(adversary.epochs * adversary.minibatches, -1))
        _, metrics = evaluate(state.params, reference_logits, whole)(kl_cost)

        safe = jnp.bool_(True)
        if adversary.kl_bound is not None:
            safe = metrics["kl_to_reference"] <= adversary.kl_bound
        params = jax.tree.map(lambda new, old: jnp.where(safe, new, old), state.params, safe_params)
        state = TrainState(params, state.ema, state.opt_state, state.step)
        metrics = {**metrics, "restored": 1.0 - safe.astype(jnp.float32), "kl_cost": jnp.asarray(kl_cost)}
        return state, jax.tree.map(jnp.copy, params), metrics

    return jax.jit(update, donate_argnums=(0, 1))


def make_optimizer(learning_rate, clip=1.0):
    """Adam at a constant rate with clipping, PPO's usual choice."""
    return optax.chain(optax.clip_by_global_norm(clip), optax.adam(learning_rate, eps=1e-5))
