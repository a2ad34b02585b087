"""The state of a model in training, as one pytree, and the split of parameters by path."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from prowl_jax.settings import COUNT, NATURAL, NOT_NEGATIVE, POSITIVE, SHARE, SOME_SHARE, check, setting
from prowl_jax.types import pytree

LORA_IN, LORA_OUT = "lora_in", "lora_out"
"""Names of the two factors of a low-rank update, in the place of the ``kernel`` they are added to."""


@pytree
class TrainState:
    """Parameters in training and all that belongs to them.

    Attributes:
      params: nested dict of the parameters that are trained, and only those.
      ema: exponential moving average of ``params``.
      opt_state: the optimiser's.
      step: int32 scalar, updates done.
    """

    params: Any
    ema: Any
    opt_state: Any
    step: jax.Array


def init_state(params, optimizer):
    """A ``TrainState`` at step 0. ``params`` is copied, since the state will be donated."""
    params = jax.tree.map(jnp.copy, params)
    return TrainState(params, jax.tree.map(jnp.copy, params), optimizer.init(params), jnp.zeros((), jnp.int32))


def apply_gradients(state, gradients, optimizer, ema_decay=0.0):
    """One update; the average's decay grows with the steps, ``min(decay, (1 + n) / (10 + n))``."""
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
    ema = jax.tree.map(lambda e, p: e + (1.0 - decay) * (p - e), state.ema, params)
    return TrainState(params, ema, opt_state, state.step + 1)


def make_step(loss, optimizer, *, ema_decay=0.0):
    """``step(state, batch, key) -> (state, metrics)`` on ``loss(params, batch)``, jitted, state donated.

    The key is not used: for losses without chance.
    """

    def train_step(state, batch, key):
        del key
        value, gradients = jax.value_and_grad(loss)(state.params, batch)
        return apply_gradients(state, gradients, optimizer, ema_decay), {"loss": value}

    return jax.jit(train_step, donate_argnums=0)


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """AdamW with a linear warm-up, a cosine fall to ``final * learning_rate``, and clipping.

    Attributes:
      learning_rate: the highest rate. warm_up: updates to reach it.
      final: share of it left at the end; 1 keeps it constant.
      fall: share of the steps, the last, in which the rate falls; before, it stays: what was trained so far can
        then be used, or trained longer, without a schedule that knew the end.
      weight_decay: decoupled, on matrices only. max_norm: largest global norm of a gradient. b2: of the second moment.
    """

    learning_rate: float = setting(1e-3, "the highest rate of AdamW", POSITIVE)
    warm_up: int = setting(0, "updates to reach it", NATURAL)
    final: float = setting(0.0, "share of the rate left at the end; 1: constant", SHARE)
    fall: float = setting(1.0, "share of the steps, the last, in which the rate falls", SOME_SHARE)
    weight_decay: float = setting(0.0, "decoupled, on matrices only", NOT_NEGATIVE)
    b2: float = setting(0.99, "decay of Adam's second moment", SHARE)
    max_norm: float = setting(1.0, "largest global norm of a gradient", POSITIVE)

    def __post_init__(self):
        check(self)

    def over(self, steps):
        """The optax optimiser whose schedule is ``steps`` updates long."""
        warm_up = min(self.warm_up, max(steps - 1, 0))
        held = round((1.0 - self.fall) * steps) if self.fall < 1.0 else 0
        rate = self.learning_rate
        schedule = optax.warmup_cosine_decay_schedule(
            rate if warm_up == 0 or held else 0.0, rate, 0 if held else warm_up, max(steps - held, 1), self.final * rate
        )
        if held:
            rise = optax.linear_schedule(0.0, rate, warm_up)
            schedule = optax.join_schedules([rise, schedule], [max(held, warm_up)])
        return optax.chain(
            optax.clip_by_global_norm(self.max_norm),
            optax.adamw(
                schedule,
                b2=self.b2,
                weight_decay=self.weight_decay,
                mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
            ),
        )


@dataclasses.dataclass(frozen=True)
class Training(Optimizer):
    """A training of its own.

    Attributes:
      steps: updates. batch: rows of each. ema_decay: of the averaged parameters, which are what is used.
    """

    steps: int = setting(1000, "updates", COUNT)
    batch: int = setting(32, "rows of an update", COUNT)
    ema_decay: float = setting(0.99, "of the averaged parameters, which are what is used", SHARE)

    @property
    def optimizer(self):
        """The optax optimiser of all steps."""
        return self.over(self.steps)


@dataclasses.dataclass(frozen=True)
class ShortTraining(Training):
    """A training of a small network, whose warm-up gives way where it has few steps."""

    warm_up: int = setting(50, "updates to reach it; at most a quarter of the steps", NATURAL)

    @property
    def optimizer(self):
        """The optax optimiser of all steps."""
        return dataclasses.replace(self, warm_up=min(self.warm_up, self.steps // 4)).over(self.steps)


def make_optimizer(learning_rate, steps, **settings):
    """``Optimizer(learning_rate, **settings).over(steps)``."""
    return Optimizer(learning_rate, **settings).over(steps)


def split_by_path(params, components):
    """Split a nested dict in two by the names on each leaf's path.

    Args:
      params: nested dict. components: a leaf is chosen if any of these names is on its path.

    Returns:
      (chosen, rest), nested dicts; ``merge`` undoes it. ValueError if nothing is chosen.
    """
    flat = traverse_util.flatten_dict(params)
    chosen = {path: leaf for path, leaf in flat.items() if set(components) & set(path)}
    if not chosen:
        raise ValueError(f"no parameter has any of {', '.join(components)} on its path")
    rest = {path: leaf for path, leaf in flat.items() if path not in chosen}
    return traverse_util.unflatten_dict(chosen), traverse_util.unflatten_dict(rest)


def merge(chosen, rest):
    """The nested dict that ``split_by_path`` split, or ``lora.split_low_rank``: factors go into their kernel."""
    flat = {**traverse_util.flatten_dict(rest), **traverse_util.flatten_dict(chosen)}
    for path in [path for path in flat if path[-1] == LORA_IN]:
        *layer, _ = path
        kernel = (*layer, "kernel")
        update = flat.pop(path) @ flat.pop((*layer, LORA_OUT))
        flat[kernel] = flat[kernel] + update.reshape(flat[kernel].shape)
    return traverse_util.unflatten_dict(flat)


def count(params):
    """Number of scalars in a tree of arrays or shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
