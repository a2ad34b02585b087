"""RLIR's diffusion paradigm (arXiv 2509.23958): GRPO on the steps of a stochastic sampler.

A cycle dreams K branches of each past with a stochastic sampler (``diffusion.sde``) and keeps their paths; its updates
raise the log-probability of the steps that led to better branches than their siblings, each within a clipped ratio,
with an anchor at theta_0:

    L = -E[min(rho A, clip(rho, 1 - epsilon, 1 + epsilon) A)] + kl |mu - mu_ref|^2 / (2 g^2)

mu is the mean of a step. The anchor has no |ds|, as Flow-GRPO's code has none (arXiv 2505.05470). RLIR's own sampler
and settings are not published; its reward is ``inverse_dynamics``.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from prowl_jax.diffusion import sde
from prowl_jax.methods.base import State
from prowl_jax.methods.dreamt_branches import Branching, BranchMethod, drawn_chunk, make_branch
from prowl_jax.rl.group import clipped_loss
from prowl_jax.settings import NOT_NEGATIVE, POSITIVE, SOME_SHARE, one_of, setting
from prowl_jax.train.sharding import program
from prowl_jax.train.state import apply_gradients, init_state, merge


@dataclasses.dataclass(frozen=True)
class Config(Branching):
    """Settings beside those of branches.

    Attributes:
      noise, strength: form and size of the sampler's noise, ``sde.transition``.
      clip: how far a ratio counts; log-probabilities are means over dimensions, so ratios stay near 1.
      steps_share: share of the sampler's steps, the first, that are trained; never the last, which is no choice.
    """

    noise: str = setting(
        "flow_grpo", "form of the sampler's noise; of a few long steps, cps", one_of(sde.NOISES),
        source="Flow-GRPO, DanceGRPO, Flow-CPS",
    )  # fmt: skip
    strength: float = setting(0.7, "a of its size", POSITIVE, source="Flow-GRPO: .7; DanceGRPO: .3; Flow-CPS: .8")
    clip: float = setting(1e-4, "how far the ratio of a step counts", POSITIVE, source="Flow-GRPO, DanceGRPO: 1e-4")
    kl: float = setting(0.04, "weight of the anchor", NOT_NEGATIVE, source="Flow-GRPO: .01 to .04; DanceGRPO: 0")
    steps_share: float = setting(
        0.99, "of the sampler's steps, the first, that are trained", SOME_SHARE,
        source="Flow-GRPO: .99, DanceGRPO: .6",
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Programs:
    """The compiled parts of a cycle."""

    branch: Any = program(("batches", "whole"))
    learn: Any = program(("theta", "whole"), donates=(0,))


class GRPO(BranchMethod):
    """See the module's docstring, and ``base.Method`` for what its functions answer."""

    Config = Config

    def make_programs(self):
        """The parts of a cycle."""
        return Programs(self.make_branch(), self.make_learn())

    def make_branch(self, found=0):
        """``dreamt_branches.make_branch`` by the stochastic sampler."""
        return make_branch(self.config, self.shared, make_stochastic_dream(self.config, self.shared), found)

    def make_learn(self):
        """See ``make_learn``."""
        return make_learn(self.config, self.shared)

    def init(self, start, key):
        """theta_0."""
        return State(init_state(start.trained, self.shared.optimizer), jnp.zeros((), jnp.int32))

    def dreams_with(self, state, start):
        """The world model's parameters that dream branches.

        Not the averaged ones: ratios are of what is trained against what dreamt, 1 before the first update.
        """
        return {**start.fixed, "dit": merge(state.theta.params, start.fixed["dit"])}

    def learn(self, state, start, branches, key):
        """The state with what was learned from branches, and metrics."""
        theta, learned = self.programs.learn(state.theta, start.fixed["dit"], start.trained, branches, key)
        return dataclasses.replace(state, theta=theta), learned

    def step_loss(self):
        """See ``base.Method.step_loss``; the reference is other weights of the same sizes."""
        loss = make_loss(self.config, self.shared)
        return lambda params, branches, key: loss(params, jax.lax.stop_gradient(params), branches, key)

    def calls(self, state, start, trajectory, demonstrations, key):
        """See ``base.Method.calls``."""
        params = jax.eval_shape(self.dreams_with, state, start)
        pasts = jax.eval_shape(self.rounds, demonstrations)[0]
        branches = jax.eval_shape(self.programs.branch, params, pasts, key)[0]
        return {
            "branch": (params, pasts, key),
            "learn": (state.theta, start.fixed["dit"], start.trained, branches, key),
        }


def make_stochastic_dream(config, shared):
    """``dream(params, key, context, actions) -> (latents, Path)``, as ``branches.make_branch`` takes it.

    The path's leaves are ``points [N, chunks, steps + 1, K, h, w, C]`` and ``log_prob [N, chunks, steps - 1]``.
    """
    model, budget = shared.world_model, shared.budget
    size, chunks, sigmas = model.chunk, budget.horizon // model.chunk, model.levels()

    def dream(params, key, context, actions):
        rows = jnp.arange(len(context))

        def step(past, inputs):
            index, key = inputs
            start_key, path_key = jax.random.split(key)
            noise = jax.random.normal(start_key, (len(rows), size, *context.shape[2:]), context.dtype)
            first = model.stride * size * index
            led = jax.lax.dynamic_slice_in_dim(actions, first, model.frames_of(budget.context + size), axis=1)

            def velocity(z, sigma):
                return model.chunk_velocity(params["dit"], past, z, jnp.full(len(rows), sigma), led)

            sample, path = sde.sample_path(velocity, noise, sigmas, path_key, config.noise, config.strength)
            sample = model.shown(sample)
            return jnp.concatenate([past[:, size:], sample], axis=1), (sample, path)

        keys = jax.random.split(key, chunks)
        _, (samples, path) = jax.lax.scan(step, context, (jnp.arange(chunks), keys))
        latents = jnp.moveaxis(samples, 0, 1).reshape(len(rows), chunks * size, *context.shape[2:])
        return latents, jax.tree.map(lambda x: jnp.moveaxis(x, 2, 0), path)

    return dream


def make_learn(config, shared):
    """``learn(theta, frozen, reference, branches, key) -> (theta, metrics)``: an update for each leading row."""
    loss = make_loss(config, shared)

    def learn(theta, frozen, reference, branches, key):
        anchor = merge(reference, frozen)

        def step(theta, branches):
            drawn = jax.random.fold_in(key, theta.step)

            def loss_of(trained):
                return loss(merge(trained, frozen), anchor, branches, drawn)

            gradients, metrics = jax.grad(loss_of, has_aux=True)(theta.params)
            return apply_gradients(theta, gradients, shared.optimizer, shared.budget.ema_decay), metrics

        theta, metrics = jax.lax.scan(step, theta, branches)
        return theta, jax.tree.map(jnp.mean, metrics)

    return learn


def trained_steps(config, steps):
    """How many of a sampler's steps are trained: at least the first, at most all but the last."""
    return max(1, min(int(config.steps_share * steps), steps - 1))


def make_loss(config, shared):
    """``loss(params, reference, branches, key) -> (scalar, metrics)`` of a ``Branches`` ``[B, ...]``: one step of one
    chunk of each, drawn uniformly. Both parameters are whole networks."""
    model, budget = shared.world_model, shared.budget
    chunks, sigmas = budget.horizon // model.chunk, model.levels()
    last = trained_steps(config, len(sigmas) - 1)

    def loss(params, reference, branches, key):
        chunk_key, step_key = jax.random.split(key)
        rows = jnp.arange(len(branches.advantages))
        chunk = jax.random.randint(chunk_key, rows.shape, 0, chunks)
        step = jax.random.randint(step_key, rows.shape, 0, last)
        past, _, actions = drawn_chunk(model, budget.context, branches.latents, branches.actions, chunk)
        points, old = branches.kept.points, branches.kept.log_prob[rows, chunk, step]
        z, moved = points[rows, chunk, step], points[rows, chunk, step + 1]
        now, after = (level[:, None, None, None, None] for level in (sigmas[step], sigmas[step + 1]))

        def mean_of(network):
            velocity = model.chunk_velocity(network, past, z, sigmas[step], actions)
            return sde.transition(z, velocity, now, after, config.noise, config.strength)

        mean, std, g = mean_of(params)
        surrogate, ratio = clipped_loss(sde.log_prob(moved, mean, std), old, branches.advantages, config.clip)
        kl = jnp.mean(jnp.square(mean - jax.lax.stop_gradient(mean_of(reference)[0])) / (2.0 * jnp.square(g)))
        total = surrogate.mean() + config.kl * kl
        clipped = jnp.mean(jnp.abs(ratio - 1.0) > config.clip)
        return total, {
            "world_model_loss": total,
            "kl_to_reference": kl,
            "ratio_from_1": jnp.abs(ratio - 1.0).max(),
            "clip_fraction": clipped,
        }

    return loss
