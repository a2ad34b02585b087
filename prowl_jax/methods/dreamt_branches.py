"""What learning from rewards begins with: branches of a dream, several continuations of one past under one action.

PersistWorld's first two steps (arXiv 2603.25685): from a real start the world model dreams on for 0..P chunks, so that
what follows begins in a past of its own making, as it does when it is used; from there K branches begin with different
noise and the same actions. The actions are demonstrations', which also tell what really followed.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from prowl_jax.methods.base import Method, Needs, training_cost
from prowl_jax.rewards import ERRORS
from prowl_jax.rewards.dream import make_shown, make_told
from prowl_jax.rl.group import SCALES, group_advantages
from prowl_jax.settings import NATURAL, POSITIVE, check, one_of, setting, within
from prowl_jax.types import RealClip, pytree


@dataclasses.dataclass(frozen=True)
class Branching:
    """Settings of branches and of what they are worth.

    Attributes:
      branches: K, of each past. prefix: P, the longest of the world model's own chunks before a branch.
      reward: a name of ``Shared.rewards``; of one in ``rewards.ERRORS`` the lowest is the best.
      fresh_every: updates after which new branches are dreamt, by what was learned until then; divides the cycle's.
    """

    branches: int = setting(8, "K, dreams of each past", within(2), source="PersistWorld: 16; DiffusionNFT: 24")
    prefix: int = setting(3, "P, own chunks before a branch, 0 to P of them", NATURAL, source="PersistWorld: 9")
    reward: str = setting(
        "group_similarity", "what a branch is worth", source="PersistWorld: SSIM, PSNR, LPIPS; RLIR: inverse_dynamics"
    )
    advantage_scale: str = setting(
        "batch", "whose deviation advantages are divided by", one_of(SCALES), source="DiffusionNFT, Flow-GRPO: batch"
    )
    advantage_clip: float = setting(5.0, "A_max, the largest advantage", POSITIVE, source="DiffusionNFT: 5")
    fresh_every: int = setting(
        0, "updates after which branches are dreamt anew; 0: once a cycle", NATURAL,
        source="DiffusionNFT: 1; Flow-GRPO: 2",
    )  # fmt: skip

    def __post_init__(self):
        check(self, type(self).__module__.rpartition(".")[2])


@pytree
class Branches:
    """Branches to train on, one a row.

    Attributes:
      latents: ``[..., S + H, h, w, C]``, the past and the dream. actions: int32 ``[..., T, A]``.
      advantages: ``[...]``. kept: what the sampler kept of each, leaves ``[..., ...]``; None where it is not asked.
    """

    latents: jax.Array
    actions: jax.Array
    advantages: jax.Array
    kept: Any = None


class BranchMethod(Method):
    """What methods that learn from branches alone have in common: a cycle dreams them, then learns from them.

    One says, beside the ``Config``, ``make_programs`` and ``init`` of a ``Method``, ``make_branch(found)`` and
    ``make_learn()``, which compile apart where another method brings the pasts (``methods/hunted.py``);
    ``dreams_with(state, start)``, the parameters that dream; and ``learn(state, start, branches, key)``, the state with
    what was learned, and metrics.
    """

    checks = ("reward", "idle_groups", "kl_to_reference")

    def needs(self):
        """A clip for each group, long enough for the longest prefix."""
        return Needs(groups_of(self.config, self.shared.budget), clip_length(self.config, self.shared), acts=False)

    def rewards_asked(self):
        """What a branch is worth."""
        return (self.config.reward,)

    def cycle(self, state, start, source, key):
        """Branch and learn from the branches; see ``base.Method.cycle``."""
        state, metrics = self.train(state, start, source.demonstrations(), key)
        return dataclasses.replace(state, cycle=state.cycle + 1), metrics

    def train(self, state, start, pasts, key):
        """Branch from ``pasts``, a ``Batch`` with leaves ``[updates, groups, ...]``, and learn, round by round.

        Where a whole cycle is one program it holds every round, so that many of them take long to compile.

        Returns:
          The state with what was learned, and metrics, the mean over the rounds.
        """
        told = []
        rounds = self.rounds(pasts)
        keys = [key] if len(rounds) == 1 else jax.random.split(key, len(rounds))
        for some, round_key in zip(rounds, keys, strict=True):
            branch_key, learn_key = jax.random.split(round_key)
            branches, figures = self.programs.branch(self.dreams_with(state, start), some, branch_key)
            state, learned = self.learn(state, start, branches, learn_key)
            told.append({**figures, **learned})
        return state, jax.tree.map(lambda *x: sum(x) / len(x), *told)

    def rounds(self, pasts):
        """``pasts`` in rounds of ``fresh_every`` updates; of shapes as well as of arrays."""
        updates, size = self.shared.budget.updates, round_size(self.config, self.shared.budget)
        return [jax.tree.map(lambda x, i=i: x[i : i + size], pasts) for i in range(0, updates, size)]

    def spent(self):
        """Nobody acts; what is dreamt are prefixes and branches."""
        dreamt = dreamt_latents(self.config, self.shared)
        return {**training_cost(self.shared), "environment_steps": 0, "dreamt_latents": dreamt}


def make_branch(config, shared, dream, found=0):
    """``branch(params, clips, key) -> (Branches, metrics)`` for every update of a round.

    ``clips`` is a ``Batch`` with leaves ``[updates, groups, ...]`` of ``clip_length`` latents; branches come out as
    ``[updates, batch, ...]``, those of the largest absolute advantage. Pure; no gradient is asked for.

    Args:
      dream: ``f(params, key, context [N, S, h, w, C], actions [N, T, A]) -> (latents [N, H, ...], kept)``.
      found: the last groups, whose pasts branches begin in as they are, without a prefix.
    """
    model, budget, size = shared.world_model, shared.budget, config.branches
    round_size(config, budget)
    begin = make_begin(model, budget, config.prefix, found)
    shown, told = (make(model, budget.context, shared.flow) for make in (make_shown, make_told))
    reward, sign = reward_of(config, shared), -1.0 if config.reward in ERRORS else 1.0

    def one(params, clips, key):
        begin_key, dream_key = jax.random.split(key)
        begun = begin(params, clips, begin_key)
        groups = len(begun.actions)
        past, actions = (jnp.repeat(x, size, axis=0) for x in (begun.latents[:, : budget.context], begun.actions))
        latents, kept = dream(params, dream_key, past, actions)
        siblings = latents.reshape(groups, size, *latents.shape[1:])
        dreamt = jax.vmap(told, (None, 1, None), 1)(params, siblings, shown(params, begun))
        worth = reward(params, dreamt)
        worth = worth.reshape(groups, size, -1).mean(-1)  # one that tells latents apart, too
        scale, most = config.advantage_scale, config.advantage_clip
        advantages, idle = group_advantages(sign * worth, scale=scale, clip=most)
        rows = strongest(advantages, budget.batch)
        chosen = Branches(jnp.concatenate([past, latents], axis=1), actions, advantages.ravel(), kept)
        figures = {"reward": worth.mean(), "reward_spread": worth.std(1).mean(), "idle_groups": idle}
        return jax.tree.map(lambda x: x[rows], chosen), figures

    def branch(params, clips, key):
        keys = jax.random.split(key, len(clips.actions))
        chosen, figures = jax.lax.map(lambda inputs: one(params, *inputs), (clips, keys))
        return chosen, jax.tree.map(jnp.mean, figures)

    return branch


def round_size(config, budget):
    """Updates that learn from what is dreamt at once; ValueError where they do not divide a cycle's."""
    size = config.fresh_every or budget.updates
    if budget.updates % size:
        key = f"{type(config).__module__.rpartition('.')[2]}.fresh_every"
        raise ValueError(f"{key}={size} does not divide the updates of a cycle, phase2.updates={budget.updates}")
    return size


def dreamt_latents(config, shared):
    """Latents that a cycle dreams: all branches, and a prefix of the greatest length for each past."""
    budget = shared.budget
    past = config.prefix * shared.world_model.chunk
    return budget.updates * groups_of(config, budget) * (past + config.branches * budget.horizon)


def clip_length(config, shared):
    """Latents of a clip of demonstrations: of a context, the longest prefix and a dream."""
    return shared.budget.clip + config.prefix * shared.world_model.chunk


def groups_of(config, budget):
    """Groups that are dreamt for an update: as few as fill its batch."""
    return -(-budget.batch // config.branches)


def reward_of(config, shared):
    """The configured reward."""
    return reward_named(config.reward, f"{type(config).__module__.rpartition('.')[2]}.reward", shared)


def reward_named(name, key, shared):
    """A reward of ``shared``; ValueError, naming ``key``, where it is not among them, as one without its weights."""
    if name not in shared.rewards:
        raise ValueError(f"{key}={name} is not there or lacks its weights; there are {', '.join(shared.rewards)}")
    return shared.rewards[name]


def make_begin(world_model, budget, most, found=0):
    """``begin(params, clips, key) -> RealClip`` of ``budget.clip`` latents, the context after 0..``most`` own chunks.

    ``clips`` is a ``Batch`` ``[B, ...]`` of ``most`` chunks more. What follows the context is real. No gradient. Of the
    last ``found`` clips the context stays real, and what they have beyond ``budget.clip`` latents is not read.
    """
    context, chunk = budget.context, world_model.chunk
    time = world_model.frames_of(budget.clip)

    def begin(params, clips, key):
        if not most:
            return RealClip(clips.latents[:, : budget.clip], clips.actions[:, :time])
        key, count_key = jax.random.split(key)
        rows, own = jnp.arange(len(clips.actions))[:, None], len(clips.actions) - found
        past = clips.latents[:, : context + most * chunk]
        if own:
            dreamt = world_model.rollout(params, key, past[:own, :context], clips.actions[:own], most)
            past = past.at[:own, context:].set(dreamt)
        first = chunk * jax.random.randint(count_key, rows.shape, 0, most + 1)
        first = jnp.where(rows < own, first, 0)
        seen = past[rows, first + jnp.arange(context)]
        after = clips.latents[rows, first + context + jnp.arange(budget.horizon)]
        actions = clips.actions[rows, world_model.stride * first + jnp.arange(time)]
        return RealClip(jnp.concatenate([seen, after], axis=1), actions)

    return begin


def strongest(advantages, rows):
    """Numbers of the ``rows`` branches of the largest absolute advantage, of ``[G, K]`` laid out flat.

    As DanceGRPO's best-of-N (arXiv 2505.07818), which trains on the best and the worst of a larger group.
    """
    return jax.lax.top_k(jnp.abs(advantages).ravel(), rows)[1]


def drawn_chunk(world_model, context, latents, actions, chunk):
    """One chunk of each dream with what came before it.

    Args:
      context: S. latents: ``[B, S + H, h, w, C]``. actions: ``[B, T, A]``. chunk: int ``[B]``, which chunk of the H.

    Returns:
      before ``[B, S, h, w, C]``, the chunk ``[B, K, h, w, C]``, and the actions of both, from the first frame on.
    """
    size = world_model.chunk
    rows, first = jnp.arange(len(latents))[:, None], size * chunk[:, None]
    window = latents[rows, first + jnp.arange(context + size)]
    frames = world_model.stride * first + jnp.arange(world_model.frames_of(context + size))
    return window[:, :context], window[:, context:], actions[rows, frames]
