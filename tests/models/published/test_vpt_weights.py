"""Published names, both ways; what does not fit is named; a file without its weights is one line."""

import jax
import numpy as np
import pytest

from prowl_jax.models.policies.vpt_idm import IDMNetwork, VPTInverseDynamics
from prowl_jax.models.policies.vpt_policy import VPTNetwork, VPTPolicy
from prowl_jax.models.published import vpt_weights

POLICY = VPTPolicy(VPTNetwork((2, 3, 4), hidden=8, heads=2, blocks=2, kept=3, buttons=7, camera=5, image=16))
IDM = VPTInverseDynamics(IDMNetwork((2, 3, 4), hidden=8, heads=2, time_channels=5, bins=3, image=16, temperature=2.0))


def random_arrays(model, seed=0):
    """Fake published weights, every array different."""
    rng = np.random.default_rng(seed)
    return {k: rng.normal(size=shape).astype(np.float32) for k, shape in vpt_weights.published_shapes(model).items()}


@pytest.fixture(params=[POLICY, IDM], ids=["policy", "idm"])
def model(request):
    return request.param


# A few of each kind, by hand from the list in the original's state dict, with torch's shapes.
@pytest.mark.parametrize(
    "name, path, published, ours",
    [
        ("net.img_process.cnn.stacks.1.firstconv.layer.weight", "net/cnn/stacks_1/firstconv/layer/kernel",
         (3, 2, 3, 3), (3, 3, 2, 3)),
        ("net.img_process.cnn.stacks.2.blocks.1.conv0.norm.weight", "net/cnn/stacks_2/blocks_1/conv0/norm/scale",
         (4,), (4,)),
        ("net.img_process.cnn.stacks.0.n.bias", "net/cnn/stacks_0/n/bias", (2,), (2,)),
        ("net.img_process.linear.layer.weight", "net/linear/layer/kernel", (8, 256), (256, 8)),
        ("net.recurrent_layer.blocks.1.r.orc_block.b_nd", "net/blocks_1/attention/b_nd", (10, 3), (10, 3)),
        ("net.recurrent_layer.blocks.0.mlp1.layer.weight", "net/blocks_0/mlp1/kernel", (8, 32), (32, 8)),
        ("pi_head.buttons.linear_layer.weight", "pi_head/buttons/kernel", (7, 8), (8, 7)),
        ("value_head.normalizer.debiasing_term", "value_head/normalizer/debiasing_term", (), ()),
    ],
)  # fmt: skip
def test_names_and_layouts(name, path, published, ours):
    arrays = random_arrays(POLICY)
    assert arrays[name].shape == published
    leaf = vpt_weights.from_published(POLICY, arrays)
    for part in path.split("/"):
        leaf = leaf[part]
    assert leaf.shape == ours
    if len(published) == 4:
        np.testing.assert_array_equal(leaf[1, 2, 0], arrays[name][:, 0, 1, 2])
    elif path.endswith("kernel"):
        np.testing.assert_array_equal(leaf, arrays[name].T)
    else:
        np.testing.assert_array_equal(leaf, arrays[name])


def test_the_kernel_over_time():
    """torch (out, in, time, 1, 1), ours (time, 1, 1, in, out)."""
    arrays = random_arrays(IDM)
    kernel = vpt_weights.from_published(IDM, arrays)["conv3d_layer"]["kernel"]
    assert kernel.shape == (5, 1, 1, 3, 5)
    np.testing.assert_array_equal(kernel[1, 0, 0, 2], arrays["net.conv3d_layer.layer.weight"][:, 2, 1, 0, 0])


def test_there_and_back(model):
    arrays = random_arrays(model)
    back = vpt_weights.to_published(vpt_weights.from_published(model, arrays))
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array, err_msg=name)


def test_the_network_is_read_off_the_shapes(model):
    assert vpt_weights.model_of(random_arrays(model), temperature=2.0) == model


def test_what_does_not_fit_is_named(model):
    arrays = random_arrays(model)
    arrays["net.lastlayer.layer.bias"] = np.zeros(8)
    arrays["net.final_ln.bias"] = np.zeros(9)
    del arrays["pi_head.camera.linear_layer.weight"]
    with pytest.raises(ValueError) as error:
        vpt_weights.from_published(model, arrays)
    assert "\n" not in str(error.value)
    for words in (
        "net.lastlayer.layer.bias has no place in this network",
        "net.final_ln.bias has shape (9,), not (8,)",
        "pi_head.camera.linear_layer.weight is missing",
    ):
        assert words in str(error.value)


def test_weights_of_something_else():
    with pytest.raises(ValueError, match="not the weights of a VPT network: net.img_process.*is missing"):
        vpt_weights.model_of({"weight": np.zeros((3, 3))}, 2.0)
    with pytest.raises(ValueError, match="the shapes do not go together"):
        vpt_weights.model_of(random_arrays(POLICY) | {"net.final_ln.weight": np.zeros(())}, 2.0)


def test_a_file_keeps_every_number_and_the_temperature(model, tmp_path):
    pytest.importorskip("safetensors")
    path, arrays = tmp_path / "tiny.safetensors", random_arrays(model)
    vpt_weights.save(path, arrays, temperature=2.0)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.safetensors"]
    load, other = vpt_weights.load_policy, vpt_weights.load_inverse_dynamics
    if model is IDM:
        load, other = other, load
    loaded, params = load(path)
    assert loaded == model
    jax.tree.map(np.testing.assert_array_equal, params, vpt_weights.from_published(model, arrays))
    with pytest.raises(ValueError, match=f"tiny.safetensors: these are the weights of a {type(model).__name__}, not"):
        other(path)


def test_a_damaged_file_is_one_line(tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "tiny.safetensors"
    vpt_weights.save(path, random_arrays(POLICY), temperature=2.0)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="tiny.safetensors is not a whole safetensors file"):
        vpt_weights.load_policy(path)


@pytest.mark.parametrize(
    "load, name, model, weights",
    [
        (
            vpt_weights.load_policy,
            "foundation-model-1x",
            "models/foundation-model-1x.model",
            "models/foundation-model-1x",
        ),
        (vpt_weights.load_policy, "rl-from-foundation-2x", "models/2x.model", "models/rl-from-foundation-2x"),
        (vpt_weights.load_policy, "bc-house-3x", "models/foundation-model-3x.model", "models/bc-house-3x"),
        (vpt_weights.load_policy, "mine", "models/foundation-model-1x.model", "models/foundation-model-1x"),
        (vpt_weights.load_inverse_dynamics, "4x_idm", "idm/4x_idm.model", "idm/4x_idm"),
    ],
)
def test_without_weights_a_user_is_told_where_they_are(load, name, model, weights, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load(tmp_path / f"{name}.safetensors")
    message = str(error.value)
    assert "\n" not in message
    for words in (f"/{model},", f"/{weights}.weights and", "python -m experiments.convert vpt", f"--output={tmp_path}"):
        assert words in message
