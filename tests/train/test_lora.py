"""Low-rank updates: they start at nothing, are trained alone, and are folded in wherever parts are merged."""

import jax
import numpy as np
import optax
import pytest
from flax import traverse_util

from prowl_jax.models.published import wan_dit_weights
from prowl_jax.train.lora import split_low_rank
from prowl_jax.train.state import count, init_state, merge
from prowl_jax.train.world_model import make_update
from prowl_jax.types import Batch

KEY = jax.random.key(0)
RANK = 2


def flat(params):
    return {path: np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(params).items()}


def chosen(path):
    return path[-1] == "kernel" and bool({"self_attention", "cross_attention"} & set(path))


@pytest.fixture(scope="module")
def parts(tiny):
    return split_low_rank(tiny.params["dit"], KEY, RANK, *tiny.model.low_rank)


def test_at_first_nothing_is_changed(tiny, parts):
    before, after = flat(tiny.params["dit"]), flat(merge(*parts))
    assert before.keys() == after.keys()
    for path, leaf in before.items():
        np.testing.assert_array_equal(after[path], leaf)


def test_what_is_trained(tiny, parts):
    """Two factors for each of the 8 square matrices of the block's two attentions, and the adapter whole."""
    trained, frozen = parts
    width = tiny.model.dit.width
    adapter = count(tiny.params["dit"]["action_adapter"])
    assert count(trained) == 8 * 2 * RANK * width + adapter
    assert count(frozen) == count(tiny.params["dit"]) - adapter
    factors = {path[:-1]: leaf for path, leaf in flat(trained).items() if path[-1] == "lora_in"}
    assert sorted(factors) == sorted(path[:-1] for path in flat(frozen) if chosen(path))
    drawn = np.stack(list(factors.values()))
    assert abs(drawn.std() * width**0.5 - 1) < 0.1 and len(np.unique(drawn)) == drawn.size


def test_a_step_moves_the_factors_and_the_adapter_only(tiny, parts):
    trained, frozen = parts
    update = jax.jit(make_update(tiny.loss, optax.adam(1e-2)))
    state = init_state(trained, optax.adam(1e-2))
    for i in range(2):  # in the first, the factor behind the zeros has no gradient yet
        state, _ = update(state, frozen, Batch(*tiny.batch(8, seed=i)), KEY)
    moved, before = flat(state.params), flat(trained)
    assert all((moved[path] != before[path]).any() for path in before)
    start, after = flat(tiny.params["dit"]), flat(merge(state.params, frozen))
    for path, leaf in start.items():
        if chosen(path):
            low = moved[(*path[:-1], "lora_in")] @ moved[(*path[:-1], "lora_out")]
            np.testing.assert_allclose(after[path], leaf + low, atol=1e-6)
            assert np.linalg.matrix_rank(low) == RANK
        elif "action_adapter" not in path:
            np.testing.assert_array_equal(after[path], leaf)


def test_a_convolution_s_update_is_one_of_few_channels_and_one_of_a_pixel():
    rng = np.random.default_rng(0)
    kernel, x = (rng.normal(size=size).astype(np.float32) for size in ((3, 3, 5, 6), (2, 7, 8, 5)))
    params = {"net": {"conv": {"kernel": kernel, "bias": np.ones(6)}}, "told": {"kernel": np.ones((2, 2))}}
    trained, frozen = split_low_rank(params, KEY, RANK, ("net",), ("told",))
    low, out = trained["net"]["conv"]["lora_in"], rng.normal(size=(RANK, 6)).astype(np.float32)
    assert low.shape == (45, RANK) and trained["told"] == params["told"] and "told" not in frozen
    trained["net"]["conv"]["lora_out"] = out
    whole = merge(trained, frozen)["net"]["conv"]["kernel"]

    def conv(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    apart = conv(x, kernel) + conv(conv(x, low.reshape(3, 3, 5, RANK)), out[None, None])
    np.testing.assert_allclose(conv(x, whole), apart, atol=1e-4)
    with pytest.raises(ValueError, match="a rank is 1 to 6"):
        split_low_rank(params, KEY, 7, ("net",), ("told",))


def test_an_export_has_the_factors_folded_in(tiny, parts):
    trained, frozen = parts
    trained = jax.tree.map(lambda x: x + 0.1, trained)
    params = merge(trained, frozen)
    arrays = wan_dit_weights.to_published(tiny.model.dit, params)
    assert arrays.keys() == wan_dit_weights.published_shapes(tiny.model.dit).keys()
    back = flat(wan_dit_weights.from_published(tiny.model.dit, arrays, KEY))
    for path, leaf in flat(params).items():
        np.testing.assert_array_equal(back[path], leaf)


def test_what_cannot_be_is_refused(tiny):
    params = tiny.params["dit"]
    for rank in (0, 25):
        with pytest.raises(ValueError, match=f"a rank is 1 to 24, the shortest side of the matrices, not {rank}"):
            split_low_rank(params, KEY, rank, *tiny.model.low_rank)
    with pytest.raises(ValueError, match="no matrix has any of convolution on its path"):
        split_low_rank(params, KEY, 2, ("convolution",), ("action_adapter",))
