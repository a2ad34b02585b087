"""SEA-RAFT as a flow of frames: any size, any batch, interchangeable in AFS-EPE; its parts by brute force."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from prowl_jax.metrics.action_follow import afs_epe, flow_of_frames
from prowl_jax.models.flow import sea_raft_parts as parts
from prowl_jax.models.flow.sea_raft import (
    SMALLEST,
    SeaRaft,
    SeaRaftNetwork,
    scale_of,
)
from prowl_jax.models.published import sea_raft_weights as weights

TINY = SeaRaft(SeaRaftNetwork(stem=4, widths=(4, 6, 8), blocks=(1, 1, 1), features=8, iterations=2))
rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def params(random_params):
    params = random_params(TINY.init)
    return jax.tree_util.tree_map_with_path(
        lambda path, x: np.abs(x) + 0.5 if "running_var" in jax.tree_util.keystr(path) else x, params
    )


flow_of = jax.jit(TINY.flow)


@pytest.mark.parametrize(
    "size, blocks, iterations, parameters",
    # What is trained, as the README of the vectors counts S, and the running statistics of the norms.
    [("S", (2, 2, 2), 4, 8_883_460 + 8_960), ("M", (3, 4, 6), 4, 19_683_588), ("L", (3, 4, 6), 12, 19_683_588)],
)
def test_the_published_sizes_by_their_shapes(size, blocks, iterations, parameters):
    model = weights.sea_raft(size)
    assert (model.network.blocks, model.network.iterations) == (blocks, iterations)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    assert sum(np.prod(x.shape, dtype=int) for x in jax.tree.leaves(shapes)) == parameters
    frames = jax.ShapeDtypeStruct((2, 3, 360, 640, 3), jnp.float32)
    assert jax.eval_shape(model.flow, shapes, frames, frames).shape == (2, 3, 360, 640, 2)


def test_another_size_is_named():
    with pytest.raises(ValueError, match="no SEA-RAFT of size 'XL'; there are S, M, L"):
        weights.sea_raft("XL")


def test_a_window_of_the_correlation_is_a_bilinear_sample_with_zeros_outside():
    first, second = rng.normal(size=(2, 1, 6, 5, 3)).astype(np.float32)
    flow = rng.uniform(-3, 3, (1, 6, 5, 2)).astype(np.float32)
    found = parts.look_up(parts.correlation_pyramid(first, second, 2), flow, 1)
    assert found.shape == (1, 6, 5, 2 * 9)
    pooled = second[:, :, :4].reshape(1, 3, 2, 2, 2, 3).mean((2, 4))  # the odd last column is dropped
    for level, other in enumerate((second, pooled)):
        for i, j, dx, dy in ((0, 0, -1, -1), (2, 3, 1, 0), (5, 4, 0, 1), (3, 1, 1, -1)):
            correlation = np.einsum("c,klc->kl", first[0, i, j], other[0]) / np.sqrt(3)
            y, x = ((i + flow[0, i, j, 1]) / 2**level + dy, (j + flow[0, i, j, 0]) / 2**level + dx)
            expected = ndimage.map_coordinates(np.pad(correlation, 5), [[y + 5], [x + 5]], order=1)[0]
            np.testing.assert_allclose(found[0, i, j, 9 * level + 3 * (dx + 1) + dy + 1], expected, atol=1e-4)


def test_upsampling_is_a_convex_combination_of_the_neighbours():
    x = rng.normal(size=(1, 3, 4, 2)).astype(np.float32)
    logits = rng.normal(size=(1, 3, 4, 9 * 64)).astype(np.float32)
    fine = parts.upsample(x, logits)
    assert fine.shape == (1, 24, 32, 2)
    around = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for row, column in ((0, 0), (11, 17), (23, 31), (9, 6)):
        i, j = row // 8, column // 8
        own = np.exp(logits[0, i, j].reshape(9, 8, 8)[:, row % 8, column % 8])
        expected = (own / own.sum()) @ around[0, i : i + 3, j : j + 3].reshape(9, 2)
        np.testing.assert_allclose(fine[0, row, column], expected, atol=1e-5)


@pytest.mark.parametrize(
    "height, width, scale", [(48, 64, 2), (64, 80, 1), (123, 131, 0), (128, 128, 0), (120, 128, 1), (16, 640, 3)]
)
def test_small_frames_are_doubled_until_they_are_large_enough(height, width, scale):
    assert scale_of(height, width) == scale
    if scale == 0:
        return
    small = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    with pytest.raises(ValueError, match=f"at least {SMALLEST} pixels a side"):
        jax.eval_shape(TINY.predict, jax.eval_shape(TINY.init, jax.random.key(0)), small, small)


def test_a_pair_does_not_depend_on_its_neighbours_or_the_shape_of_the_batch(params):
    """More pairs than are run at a time, a last part that is not full."""
    clips = rng.uniform(size=(3, 4, 48, 64, 3)).astype(np.float32)
    together = np.asarray(flow_of_frames(clips, functools.partial(flow_of, params)))
    assert together.shape == (3, 3, 48, 64, 2) and np.isfinite(together).all() and np.std(together) > 0
    alone = flow_of(params, clips[2, 1], clips[2, 2])
    np.testing.assert_allclose(alone, together[2, 1], atol=1e-3)


def test_it_stands_in_afs_where_the_small_flow_does(params):
    """AFS-EPE by hand from SEA-RAFT's own flows, and 0 for what is the same."""
    flow = functools.partial(flow_of, params)
    real, dreamt = rng.uniform(size=(2, 3, 4, 48, 64, 3)).astype(np.float32)
    real_flow = flow_of_frames(real, flow)
    score = afs_epe(flow_of_frames(dreamt, flow), real_flow)
    expected = np.linalg.norm(np.asarray(flow_of_frames(dreamt, flow)) - real_flow, axis=-1).mean((1, 2, 3))
    np.testing.assert_allclose(score, expected, rtol=1e-5)
    assert not np.any(afs_epe(flow_of_frames(real, flow), real_flow)) and (score > 0).all()


def test_published_names_both_ways(params):
    arrays = weights.to_published(params)
    assert arrays["fnet.layer2.0.downsample.0.weight"].shape == (6, 4, 1, 1)
    assert arrays["update_block.refine.1.dwconv.weight"].shape == (24, 1, 7, 7)
    assert arrays["flow_head.2.bias"].shape == (6,)
    assert weights.model_of(arrays, 2) == TINY
    jax.tree.map(np.testing.assert_array_equal, weights.from_published(TINY, arrays), params)


def test_a_shared_norm_has_one_name_whichever_the_file_has(params):
    arrays = weights.to_published(params)
    second = {name.replace(".bn3.", ".downsample.1."): x for name, x in arrays.items()}
    counters = {"fnet.bn1.num_batches_tracked": np.array(3)}
    for file in (second, arrays | second | counters, {f"module.{name}": x for name, x in arrays.items()}):
        assert set(weights.clean(file)) == set(arrays)


def test_what_is_not_sea_raft_is_said():
    with pytest.raises(ValueError, match="not the weights of SEA-RAFT: fnet.layer1.0.conv1.weight is missing"):
        weights.model_of({"x": np.zeros(3)}, 4)
