"""Phase 1 trains everything, phase 2 the action conditioning and not one bit more."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from prowl_jax.models.dit.dit import ACTION_CONDITIONING
from prowl_jax.train.mesh import make_mesh, replicate
from prowl_jax.train.state import init_state, merge
from prowl_jax.train.world_model import make_train_step, make_update, split_trainable
from prowl_jax.types import Batch

KEY = jax.random.key(0)
OPTIMIZER = optax.adam(3e-3)


def names_of(params):
    return {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }


@pytest.fixture(scope="module")
def phase_1(tiny):
    return make_train_step(tiny.loss, OPTIMIZER, ema_decay=0.9)


def start(params):
    return replicate(make_mesh(devices=jax.devices()[:1]), init_state(params, OPTIMIZER))


def test_phase_1_learns_with_one_program(tiny, phase_1):
    state, batch, losses = start(tiny.params["dit"]), Batch(*tiny.batch(16)), []
    for _ in range(60):
        state, metrics = phase_1(state, batch, KEY)
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-10:]) < 0.75 * np.mean(losses[:10])
    assert phase_1._cache_size() == 1 and int(state.step) == 60
    before, after = names_of(tiny.params["dit"]), names_of(state.params)
    assert all((before[name] != after[name]).any() for name in before), "some parameter does not learn"
    lag = names_of(state.ema)
    assert all((lag[name] != after[name]).any() for name in before)


def test_the_noise_of_a_step_is_its_own_and_repeatable(tiny, phase_1):
    batch = Batch(*tiny.batch(16))

    def losses(steps, key=KEY):
        state, out = start(tiny.params["dit"]), []
        for _ in range(steps):
            state, metrics = phase_1(state, batch, key)
            out.append(float(metrics["loss"]))
        return out

    assert losses(3) == losses(3)
    assert losses(1) != losses(1, jax.random.key(1))
    # The same parameters and key, one step on: other noise.
    later = dataclasses.replace(start(tiny.params["dit"]), step=start({"w": np.ones(1)}).step + 1)
    assert float(phase_1(later, batch, KEY)[1]["loss"]) != losses(1)[0]


def test_phase_2_touches_the_action_conditioning_only(tiny):
    params = tiny.params["dit"]
    trained, frozen = split_trainable(tiny.model, params)
    update = jax.jit(make_update(tiny.loss, OPTIMIZER), donate_argnums=0)
    state = init_state(trained, OPTIMIZER)
    for i in range(3):
        state, _ = update(state, frozen, Batch(*tiny.batch(16, seed=i)), KEY)
    assert update._cache_size() == 1
    before, after = names_of(params), names_of(merge(state.params, frozen))
    assert before.keys() == after.keys()
    inside = {n for n in before if any(f"['{c}']" in n for c in ACTION_CONDITIONING)}
    # Cross-attention (4 projections, 2 norms), its norm and the adapter (embedding, 2 layers).
    assert len(inside) == 4 * 2 + 2 + 2 + 1 + 4
    for name in before:
        changed = before[name] != after[name]
        assert changed.any() if name in inside else not changed.any(), name


def test_a_partial_gradient_is_the_part_of_the_whole_one(tiny):
    """Freezing changes what is updated, not what the loss is."""
    optimizer, batch = optax.sgd(0.1), Batch(*tiny.batch(16))
    trained, frozen = split_trainable(tiny.model, tiny.params["dit"])
    update = jax.jit(make_update(tiny.loss, optimizer))
    part, part_metrics = update(init_state(trained, optimizer), frozen, batch, KEY)
    whole, metrics = update(init_state(tiny.params["dit"], optimizer), {}, batch, KEY)
    np.testing.assert_allclose(part_metrics["loss"], metrics["loss"], rtol=1e-6)
    whole = names_of(whole.params)
    for name, leaf in names_of(part.params).items():
        np.testing.assert_allclose(leaf, whole[name], atol=1e-6, err_msg=name)
