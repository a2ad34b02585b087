"""Learning from rewards in the places that PROWL hunts: what its adversary finds is where branches begin.

PROWL's loop as it is (``prowl.Prowl``): a policy acts, is paid for the world model's errors, and the buffer keeps what
it found. What changes is how theta learns. Where PROWL trains on found trajectories as on data, here the world model
dreams branches of their pasts, a reward tells these apart, and NFT or GRPO learns from that:

    pasts <- (1 - r) demonstrations + r drawn from the buffer, as PROWL's batches
    theta <- NFT or GRPO on K branches of each past

A found past is real and branches begin in it at once; one of demonstrations goes on in own chunks first, as ever. Which
pasts are drawn is the buffer's score: with ``learnability``, p (1 - p) of K dreams (``rewards.several``), those whose
dreams are neither all right nor all wrong, in which alone branches differ (SFL, arXiv 2408.15099). Neither PersistWorld
nor RLIR does this: it is an experiment of this project, made of published parts.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from prowl_jax.methods import grpo, nft, prowl
from prowl_jax.methods.base import Needs
from prowl_jax.methods.dreamt_branches import Branching, clip_length, groups_of
from prowl_jax.pat import buffer as pat
from prowl_jax.train.sharding import program
from prowl_jax.types import Batch, pytree


@dataclasses.dataclass(frozen=True)
class NFTConfig(prowl.Config):
    """PROWL's settings, of which ``pat_share`` is the share of pasts that were found.

    Attributes:
      branching: the settings of branches, and of what learns from them.
    """

    branching: Branching = nft.Config()

    def groups(self, budget):
        """(groups of an update, those of them that begin in found pasts): where any are asked, one of each at least."""
        groups = groups_of(self.branching, budget)
        if not self.pat_share:
            return groups, 0
        groups = max(groups, 2)
        return groups, min(groups - 1, max(1, round(self.pat_share * groups)))


@dataclasses.dataclass(frozen=True)
class GRPOConfig(NFTConfig):
    """As ``NFTConfig``, of GRPO."""

    branching: Branching = grpo.Config()


@pytree
class State(prowl.State):
    """PROWL's, and ``old``, the parameters of NFT's policy that dreams; None of GRPO."""

    old: Any = None


@dataclasses.dataclass(frozen=True)
class NFTPrograms(prowl.Programs):
    """PROWL's, ``fine_tune`` being None, and what is in its place."""

    draw: Any = program(("buffer", "batches"), donates=(0,))
    branch: Any = program(("batches", "whole"))
    learn: Any = program(("theta", "old", "whole"), donates=(0, 1))


@dataclasses.dataclass(frozen=True)
class GRPOPrograms(NFTPrograms):
    """As ``NFTPrograms``, of GRPO."""

    learn: Any = program(("theta", "whole"), donates=(0,))


class HuntedNFT(prowl.Prowl):
    """NFT whose branches begin in what PROWL's adversary finds; see the module's docstring."""

    Config, Programs = NFTConfig, NFTPrograms
    Learner: type = nft.NFT

    @property
    def learner(self):
        """The method that learns from branches, with this one's programs."""
        return self.Learner(self.config.branching, self.shared, self.programs)

    def init(self, start, key):
        """PROWL's; theta_0 is NFT's old policy too."""
        plain = super().init(start, key)
        old = jax.tree.map(jnp.copy, start.trained) if self.Learner is nft.NFT else None
        return State(**{field.name: getattr(plain, field.name) for field in dataclasses.fields(plain)}, old=old)

    def rewards_asked(self):
        """PROWL's, and what a branch is worth."""
        return (*super().rewards_asked(), self.config.branching.reward)

    def needs(self):
        """Of the demonstrations, the pasts that are not found."""
        groups, found = self.config.groups(self.shared.budget)
        return Needs(groups - found, clip_length(self.config.branching, self.shared), acts=True)

    def make_programs(self):
        """PROWL's without its training, and the learner's."""
        plain, learner = super().make_programs(), self.Learner(self.config.branching, self.shared)
        kept = {field.name: getattr(plain, field.name) for field in dataclasses.fields(plain)}
        branch = learner.make_branch(self.config.groups(self.shared.budget)[1])
        return self.Programs(**kept | {"fine_tune": None}, draw=self._draw, branch=branch, learn=learner.make_learn())

    def _draw(self, buffer, demonstrations, key, cycle):
        """``(buffer, Batch [updates, groups, ...])``: the pasts of every update, found ones last."""
        config, budget = self.config, self.shared.budget
        _, found = config.groups(budget)
        if not found:
            return buffer, demonstrations
        by_score = pat.score_distribution(buffer, config.scoring, config.priority)

        def one(buffer, key):
            return pat.sample(buffer, key, found, cycle, config.scoring, config.priority, by_score)

        buffer, slots = jax.lax.scan(one, buffer, jax.random.split(key, budget.updates))
        clips = pat.gather(buffer, slots)

        def joined(passive, found):
            # A found clip is as long as a dream needs: what a prefix would need beyond that is never read of it.
            beyond = ((0, 0), (0, 0), (0, passive.shape[2] - found.shape[2]), *((0, 0),) * (found.ndim - 3))
            return jnp.concatenate([passive, jnp.pad(found, beyond).astype(passive.dtype)], axis=1)

        return buffer, jax.tree.map(joined, demonstrations, Batch(clips.latents, clips.actions))

    def _train(self, state, start, demonstrations, key):
        """theta <- the learner on branches; see ``Prowl._train``."""
        draw_key, train_key = jax.random.split(key)
        buffer, pasts = self.programs.draw(state.buffer, demonstrations, draw_key, state.cycle)
        state, told = self.learner.train(dataclasses.replace(state, buffer=buffer), start, pasts, train_key)
        metrics = {f"branch_{name}": value for name, value in told.items()}
        return state, {**metrics, "world_model_loss": told["world_model_loss"]}

    def spent(self):
        """PROWL's, and the branches; a found past has no prefix."""
        spent, budget, branching = super().spent(), self.shared.budget, self.config.branching
        groups, found = self.config.groups(budget)
        prefixes = (groups - found) * branching.prefix * self.shared.world_model.chunk
        branches = groups * branching.branches * budget.horizon
        return {**spent, "dreamt_latents": spent["dreamt_latents"] + budget.updates * (prefixes + branches)}

    def step_loss(self):
        """The learner's."""
        return self.learner.step_loss()

    def calls(self, state, start, trajectory, demonstrations, key):
        """See ``base.Method.calls``."""
        calls = super().calls(state, start, trajectory, demonstrations, key)
        drawn = (state.buffer, demonstrations, key, state.cycle)
        pasts = jax.eval_shape(self.programs.draw, *drawn)[1]
        return {**calls, "draw": drawn, **self.learner.calls(state, start, None, pasts, key)}


class HuntedGRPO(HuntedNFT):
    """GRPO whose groups begin in what PROWL's adversary finds; see the module's docstring."""

    Config, Programs = GRPOConfig, GRPOPrograms
    Learner = grpo.GRPO
