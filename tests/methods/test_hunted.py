"""Branches in found pasts: PROWL's buffer says where they begin, and what it does not give demonstrations do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_world import BUDGET, SIZES, shared_by

from prowl_jax.methods import nft
from prowl_jax.methods.dreamt_branches import make_begin
from prowl_jax.methods.hunted import HuntedNFT, NFTConfig
from prowl_jax.methods.prowl import Prowl
from prowl_jax.models.policies.small import Policy, PolicyNetwork
from prowl_jax.pat import buffer as pat
from prowl_jax.types import Batch, RealClip

POLICY = Policy(PolicyNetwork(SIZES, features=8, memory=2, hidden=8))
SPENT = dataclasses.replace(BUDGET, batch=8, updates=3)
BRANCHING = nft.Config(branches=2, prefix=2)


def method_of(tiny, **settings):
    config = NFTConfig(branching=BRANCHING, capacity=4, **settings)
    return HuntedNFT(config, shared_by(tiny, optax.sgd(0.1), POLICY, SPENT))


def clips(rng, *shape, length):
    actions = np.stack([rng.integers(0, n, (*shape, length)) for n in SIZES], -1).astype(np.int32)
    return Batch(rng.normal(size=(*shape, length, 2, 2, 3)).astype(np.float32), actions)


@pytest.mark.parametrize(("share", "groups"), [(0.0, 0), (0.1, 1), (0.5, 2), (0.9, 3)])
def test_so_many_pasts_are_found(tiny, share, groups):
    method = method_of(tiny, pat_share=share)
    needs = method.needs()
    assert (needs.rows, needs.acts) == (4 - groups, True)
    assert needs.length == SPENT.clip + 2 * tiny.model.chunk
    prowl = Prowl(method.config, method.shared).spent()
    own = method.spent()
    branches = SPENT.updates * (4 * 2 * SPENT.horizon + (4 - groups) * 2 * tiny.model.chunk)
    assert own["dreamt_latents"] - prowl["dreamt_latents"] == branches
    assert {**own, "dreamt_latents": 0} == {**prowl, "dreamt_latents": 0}


def test_a_single_group_of_each_kind_is_the_least(tiny):
    config = NFTConfig(branching=nft.Config(branches=8), pat_share=0.5)
    assert config.groups(SPENT) == (2, 1)
    assert dataclasses.replace(config, pat_share=0.0).groups(SPENT) == (1, 0)


def test_what_is_drawn_stands_last_and_is_in_the_buffer(tiny):
    rng, method = np.random.default_rng(0), method_of(tiny, pat_share=0.5)
    found = clips(rng, 3, length=SPENT.clip)
    shape = method.shared.example_clip
    empty = jax.tree.map(lambda x: np.zeros((3, *x.shape), x.dtype), shape)
    items = dataclasses.replace(RealClip(found.latents, found.actions), frames=empty.frames, flow=empty.flow)
    scoring = method.config.scoring
    buffer = pat.init(shape, 4, scoring)
    raw = {name: jnp.array([1.0, 2.0, 3.0]) for name in scoring.names}
    buffer = pat.insert(buffer, items, raw, jnp.ones(3, bool), jnp.int32(0), scoring)
    needs = method.needs()
    passive = clips(rng, SPENT.updates, needs.rows, length=needs.length)
    drawn, pasts = jax.jit(method._draw)(buffer, passive, jax.random.key(0), jnp.int32(5))
    np.testing.assert_array_equal(pasts.latents[:, : needs.rows], passive.latents)
    known = {clip.tobytes() for clip in np.asarray(found.latents)}
    rows = np.asarray(pasts.latents)[:, needs.rows :].reshape(-1, needs.length, 2, 2, 3)
    assert len(rows) == 3 * 2 and {row[: SPENT.clip].tobytes() for row in rows} <= known
    assert not rows[:, SPENT.clip :].any() and len({row.tobytes() for row in rows}) > 1
    assert (np.asarray(drawn.last_sampled) == 5).sum() == len({row.tobytes() for row in rows})


def test_branches_of_a_found_past_begin_in_it_and_others_in_own_chunks(tiny):
    rng, chunk = np.random.default_rng(1), tiny.model.chunk
    pasts = clips(rng, 12, length=SPENT.clip + 3 * chunk)
    begun = jax.jit(make_begin(tiny.model, SPENT, 3, found=4))(tiny.params, pasts, jax.random.key(0))
    real = (np.asarray(begun.latents)[:, : SPENT.context] == pasts.latents[:, : SPENT.context]).all((1, 2, 3, 4))
    assert real[8:].all() and not real[:8].all()
    np.testing.assert_array_equal(begun.latents[8:], pasts.latents[8:, : SPENT.clip])
    np.testing.assert_array_equal(begun.actions[8:], pasts.actions[8:, : tiny.model.frames_of(SPENT.clip)])


def test_a_found_past_is_not_dreamt_before_its_branches(tiny):
    """What is told to be spent is what is done: the prefix of the rows that have one."""
    dreamt = []

    class Counting(type(tiny.model)):
        def rollout(self, params, key, context, actions, chunks):
            dreamt.append(len(context) * chunks * self.chunk)
            return super().rollout(params, key, context, actions, chunks)

    model = Counting(**{field.name: getattr(tiny.model, field.name) for field in dataclasses.fields(tiny.model)})
    pasts = clips(np.random.default_rng(1), 12, length=SPENT.clip + 3 * model.chunk)
    for found in (0, 4, 12):
        jax.eval_shape(make_begin(model, SPENT, 3, found), tiny.params, pasts, jax.random.key(0))
    assert dreamt == [12 * 3 * model.chunk, 8 * 3 * model.chunk]
