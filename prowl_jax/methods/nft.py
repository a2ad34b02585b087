"""PersistWorld's post-training (arXiv 2603.25685): branches of own rollouts, rewarded, contrasted in x0.

A cycle dreams K branches of each past under the old policy (``branches``), and then, for every update, noises a chunk
of each branch, asks the trained and the old network for the clean chunk, and pulls the first towards good branches and
away from bad ones (``diffusion.contrastive``: DiffusionNFT, arXiv 2509.16117), with an anchor at theta_0:

    L = E[A_max contrastive(x_new, x_old, x0, r)] + kl |v_new - v_ref|^2,     old <- d old + (1 - d) theta.

No gradient flows through the sampler. DiffusionNFT makes one gradient step of a round of samples, here a cycle makes
the budget's updates, each on branches of its own. PersistWorld's beta, rank and reward weights are not published.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from prowl_jax.diffusion import flow
from prowl_jax.diffusion.contrastive import DECAYS, contrastive_loss, old_decay, optimality
from prowl_jax.methods.dreamt_branches import Branching, BranchMethod, drawn_chunk, make_branch
from prowl_jax.settings import NOT_NEGATIVE, POSITIVE, one_of, setting
from prowl_jax.train.sharding import program
from prowl_jax.train.state import TrainState, apply_gradients, init_state, merge
from prowl_jax.types import pytree


@dataclasses.dataclass(frozen=True)
class Config(Branching):
    """Settings beside those of branches.

    Attributes:
      beta: how far the two implicit policies lie from the old one. kl: weight of the anchor.
      decay: type of the old policy's decay, ``contrastive.old_decay``.
    """

    beta: float = setting(1.0, "of the implicit policies", POSITIVE, source="DiffusionNFT: 1, or .1 for OCR")
    kl: float = setting(1e-4, "weight of |v - v_ref|^2", NOT_NEGATIVE, source="DiffusionNFT: 1e-4")
    decay: int = setting(1, "type of the old policy's decay", one_of(DECAYS), source="DiffusionNFT: 1 or 2")


@pytree
class State:
    """All that changes: ``theta``, the world model's trained part; ``old``, the parameters of the policy that dreams;
    ``cycle``, int32, cycles done."""

    theta: TrainState
    old: Any
    cycle: jax.Array


@dataclasses.dataclass(frozen=True)
class Programs:
    """The compiled parts of a cycle."""

    branch: Any = program(("batches", "whole"))
    learn: Any = program(("theta", "old", "whole"), donates=(0, 1))


class NFT(BranchMethod):
    """See the module's docstring, and ``base.Method`` for what its functions answer."""

    Config = Config

    def make_programs(self):
        """The parts of a cycle."""
        return Programs(self.make_branch(), self.make_learn())

    def make_branch(self, found=0):
        """``dreamt_branches.make_branch`` by the world model's own sampler."""
        chunks, model = self.shared.budget.horizon // self.shared.world_model.chunk, self.shared.world_model

        def dream(params, key, context, actions):
            return model.rollout(params, key, context, actions, chunks), None

        return make_branch(self.config, self.shared, dream, found)

    def make_learn(self):
        """See ``make_learn``."""
        return make_learn(self.config, self.shared)

    def init(self, start, key):
        """theta_0, which is the old policy too."""
        old = jax.tree.map(jnp.copy, start.trained)
        return State(init_state(start.trained, self.shared.optimizer), old, jnp.zeros((), jnp.int32))

    def dreams_with(self, state, start):
        """The world model's parameters that dream branches: the old policy's."""
        return {**start.fixed, "dit": merge(state.old, start.fixed["dit"])}

    def learn(self, state, start, branches, key):
        """The state with what was learned from branches, and metrics."""
        theta, old, learned = self.programs.learn(
            state.theta, state.old, start.fixed["dit"], start.trained, branches, key
        )
        return dataclasses.replace(state, theta=theta, old=old), learned

    def step_loss(self):
        """See ``base.Method.step_loss``; the old policy and the reference are other weights of the same sizes."""
        loss = make_loss(self.config, self.shared)

        def of_step(params, branches, key):
            other = jax.lax.stop_gradient(params)
            return loss(params, other, other, branches, key)

        return of_step

    def calls(self, state, start, trajectory, demonstrations, key):
        """See ``base.Method.calls``."""
        params = jax.eval_shape(self.dreams_with, state, start)
        pasts = jax.eval_shape(self.rounds, demonstrations)[0]
        branches = jax.eval_shape(self.programs.branch, params, pasts, key)[0]
        return {
            "branch": (params, pasts, key),
            "learn": (state.theta, state.old, start.fixed["dit"], start.trained, branches, key),
        }


def make_learn(config, shared):
    """``learn(theta, old, frozen, reference, branches, key) -> (theta, old, metrics)``: an update a leading row."""
    loss = make_loss(config, shared)

    def learn(theta, old, frozen, reference, branches, key):
        anchor = merge(reference, frozen)

        def step(carry, branches):
            theta, old = carry
            before, drawn = merge(old, frozen), jax.random.fold_in(key, theta.step)

            def loss_of(trained):
                return loss(merge(trained, frozen), before, anchor, branches, drawn)

            gradients, metrics = jax.grad(loss_of, has_aux=True)(theta.params)
            theta = apply_gradients(theta, gradients, shared.optimizer, shared.budget.ema_decay)
            decay = old_decay(theta.step, config.decay)
            old = jax.tree.map(lambda o, p: p + decay * (o - p), old, theta.params)
            return (theta, old), metrics

        (theta, old), metrics = jax.lax.scan(step, (theta, old), branches)
        return theta, old, jax.tree.map(jnp.mean, metrics)

    return learn


def make_loss(config, shared):
    """``loss(params, old, reference, branches, key) -> (scalar, metrics)`` of a ``Branches`` ``[B, ...]``.

    The three are whole networks. Levels are the sampler's own but for 0, since of a few-step sampler no other matters.
    """
    model, budget = shared.world_model, shared.budget
    chunks = budget.horizon // model.chunk

    def loss(params, old, reference, branches, key):
        chunk_key, level_key, noise_key = jax.random.split(key, 3)
        rows = len(branches.advantages)
        chunk = jax.random.randint(chunk_key, (rows,), 0, chunks)
        past, x0, actions = drawn_chunk(model, budget.context, branches.latents, branches.actions, chunk)
        sigma = jax.random.choice(level_key, model.levels()[:-1], (rows,))
        level = sigma[:, None, None, None, None]
        z = flow.interpolate(x0, jax.random.normal(noise_key, x0.shape, x0.dtype), level)
        v, v_old, v_ref = (model.chunk_velocity(p, past, z, sigma, actions) for p in (params, old, reference))
        new, before = (flow.denoised(z, velocity, level) for velocity in (v, v_old))
        positive = optimality(branches.advantages, config.advantage_clip)
        contrast = config.advantage_clip * contrastive_loss(new, before, x0, positive, config.beta).mean()
        anchor = jnp.mean(jnp.square(v - jax.lax.stop_gradient(v_ref)))
        total = contrast + config.kl * anchor
        return total, {"world_model_loss": total, "kl_to_reference": anchor}

    return loss
