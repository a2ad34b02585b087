"""Files of weights as they come: every reader gives the numbers, or one line of a person's words."""

import json
import random

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.torture import odd_weights
from prowl_jax import zoo
from prowl_jax.actions import ActionSpec, choice
from prowl_jax.models.autoencoders.wan import WanVAE, WanVAENetwork
from prowl_jax.models.dit import action_text
from prowl_jax.models.dit.dit import DiT
from prowl_jax.models.flow.sea_raft import SeaRaft, SeaRaftNetwork
from prowl_jax.models.policies.vpt_policy import VPTNetwork, VPTPolicy
from prowl_jax.models.published import (
    lpips_weights,
    sea_raft_weights,
    tensor_file,
    torch_layout,
    vpt_weights,
    wan_dit_weights,
    wan_vae_weights,
)

pytest.importorskip("safetensors")
SPEC = ActionSpec((choice("move", "forward"),))
POLICY = VPTPolicy(VPTNetwork((2, 3, 4), hidden=8, heads=2, blocks=1, kept=3, buttons=7, camera=5, image=16))
FLOW = SeaRaft(SeaRaftNetwork(stem=4, widths=(4, 6, 8), blocks=(2, 2, 2), features=8))
VAE = WanVAE(WanVAENetwork(channels=4, base=8, blocks=1), (0.0,) * 4, (1.0,) * 4)
DIT = DiT(
    channels=4, width=48, depth=1, heads=2, ffn=96, action_sizes=(), chunk=2, frequency_width=32, text_width=16
)  # fmt: skip


def random_arrays(shapes):
    rng = np.random.default_rng(0)
    return {name: rng.uniform(size=shape).astype(np.float32) for name, shape in shapes.items()}


def lpips_arrays():
    shapes, channels = {}, 3
    for i, (number, side) in enumerate(zip((0, 3, 6, 8, 10), (11, 5, 3, 3, 3), strict=True)):
        shapes |= {f"features.{number}.weight": (2 + i, channels, side, side), f"features.{number}.bias": (2 + i,)}
        shapes[f"lin{i}.model.1.weight"] = (1, 2 + i, 1, 1)
        channels = 2 + i
    return random_arrays(shapes)


READERS = {
    "vpt": (vpt_weights.load_policy, random_arrays(vpt_weights.published_shapes(POLICY)), {"temperature": "2.0"}),
    "sea_raft": (
        sea_raft_weights.load_sea_raft,
        random_arrays(torch_layout.published_shapes(sea_raft_weights._shapes(FLOW), sea_raft_weights._RENAMES)),
        {"iterations": "4"},
    ),
    "lpips": (lpips_weights.load_lpips, lpips_arrays(), {"trunk": "alexnet"}),
    "wan_vae": (wan_vae_weights.load_wan_vae, random_arrays(wan_vae_weights.published_shapes(VAE)), {}),
    "wan_dit": (
        lambda path: (None, wan_dit_weights.load_wan_dit(path, DIT, jax.random.key(0))),
        random_arrays(wan_dit_weights.published_shapes(DIT)),
        {"format": "pt"},
    ),
    "action_text": (
        lambda path: (None, action_text.load_action_text(path, SPEC).embeddings),
        {"embeddings": np.ones((2, 6), np.float32)},
        {"phrases": json.dumps(action_text.phrases(SPEC)), "model": "x"},
    ),
}


def read(kind, content, folder):
    path = folder / "weights.safetensors"
    path.write_bytes(content)
    return READERS[kind][0](path)[1]


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("dtype", odd_weights.NARROW)
def test_real_numbers_of_any_width_are_read_as_float32(kind, dtype, tmp_path):
    _, arrays, metadata = READERS[kind]
    rounded = {name: array.astype(odd_weights.NARROW[dtype]).astype(np.float32) for name, array in arrays.items()}
    expected = read(kind, odd_weights.content(rounded, None, metadata), tmp_path)
    found = read(kind, odd_weights.content(arrays, dict.fromkeys(arrays, dtype), metadata), tmp_path)
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        assert other.dtype == np.float32
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("dtype", [*odd_weights.WHOLE, *odd_weights.UNREAD])
def test_what_is_no_real_number_is_told(kind, dtype, tmp_path):
    _, arrays, metadata = READERS[kind]
    with pytest.raises(ValueError, match=r"float32|quantised") as told:
        read(kind, odd_weights.content(arrays, dict.fromkeys(arrays, dtype), metadata), tmp_path)
    assert "\n" not in str(told.value) and "safetensors" in str(told.value)


@pytest.mark.parametrize("kind", READERS)
def test_a_cut_download_is_to_be_fetched_again(kind, tmp_path):
    _, arrays, metadata = READERS[kind]
    whole = odd_weights.content(arrays, None, metadata)
    for length in (0, 7, 100, len(whole) - 1):
        with pytest.raises(ValueError, match="not a whole safetensors file.*download it again"):
            read(kind, whole[:length], tmp_path)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(sorted(READERS)))
def test_whatever_comes_is_read_or_told_in_one_line(seed, kind, tmp_path_factory):
    _, arrays, metadata = READERS[kind]
    what, content = odd_weights.odd(arrays, metadata, random.Random(seed))
    try:
        params = read(kind, content, tmp_path_factory.mktemp("odd"))
    except ValueError as told:
        assert "\n" not in str(told) and len(str(told)) < 1000, what
    else:
        assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(params)), what


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_files_of_our_own_that_are_not_what_they_say_are_told_in_one_line(seed, tmp_path_factory):
    arrays = {"world_model/dit/a": np.ones(3, np.float32), "world_model/dit/b/c": np.ones((2, 2), np.float32)}
    described = {"format": "1", "spec": {}, "frame_shape": [8, 8, 3], "environment": {}}
    described["world_model"] = {"kind": "UNet"}
    what, content = odd_weights.odd(arrays, {"prowl_jax": json.dumps(described)}, random.Random(seed))
    path = tmp_path_factory.mktemp("odd") / "own.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError) as told:
        zoo.load(path)
    assert "\n" not in str(told.value), what


@pytest.mark.parametrize("card", ["[]", "{", "", '"x"', "[" * 5000])
def test_a_card_that_is_none_is_told(card, tmp_path):
    (tmp_path / "own.safetensors").write_bytes(b"")
    (tmp_path / "own.json").write_text(card)
    with pytest.raises(ValueError, match="own.json is no card of weights"):
        zoo.load(tmp_path / "own.safetensors")


@pytest.mark.parametrize("index", ['{"weight_map": null}', '{"weight_map": {"a": 5}}', "[]", "[" * 5000, "\xff"])
def test_an_index_of_shards_that_is_none_is_told(index, tmp_path):
    (tmp_path / "x.safetensors.index.json").write_text(index)
    with pytest.raises(ValueError, match="is not an index of safetensors files"):
        torch_layout.Shards(tmp_path)


def test_the_check_at_the_start_sees_what_the_run_will_not_read(tmp_path):
    """The transformer is checked by its header alone: its types are there as well."""
    _, arrays, _ = READERS["wan_dit"]
    path = tmp_path / "dit.safetensors"
    for kind in ("F8_E8M0", "I8"):
        path.write_bytes(odd_weights.content(arrays, {next(iter(arrays)): kind}))
        with pytest.raises(ValueError, match="float32"):
            wan_dit_weights.check(path, DIT)
    path.write_bytes(odd_weights.content(arrays, dict.fromkeys(arrays, "F8_E4M3")))
    wan_dit_weights.check(path, DIT)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="is a folder; name the .safetensors file in it"):
        tensor_file.open_tensors(tmp_path)
