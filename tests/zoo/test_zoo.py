"""Files of weights: what is saved comes back, and what is damaged, strange or does not fit is told in one line."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax import zoo
from prowl_jax.actions import ActionSpec, camera, choice
from prowl_jax.models.autoencoders.small import Autoencoder
from prowl_jax.models.dit.dit import DiT
from prowl_jax.models.inverse_dynamics import InverseDynamics, InverseDynamicsNetwork
from prowl_jax.models.policies.small import Policy, PolicyNetwork
from prowl_jax.models.unet.unet import UNet
from prowl_jax.models.unet.world_model import UNetWorldModel
from prowl_jax.models.world_model import WorldModel
from prowl_jax.zoo.parts import from_json, to_json

SPEC = ActionSpec((choice("move", "forward", "back"), camera("yaw")))
SHAPE = (16, 16, 3)
UNET = UNetWorldModel(UNet(SPEC.sizes, widths=(8, 8), blocks=(1, 1), motion_widths=(8,), motion_blocks=(1,), width=16))
DIT = WorldModel(
    DiT(3, 24, 1, 2, 32, SPEC.sizes, chunk=1, frequency_width=16, dtype=jnp.float32), Autoencoder(3, (8, 8), 1)
)
POLICY = Policy(PolicyNetwork(SPEC.sizes, 8, 2, 16))
JUDGE = InverseDynamics(InverseDynamicsNetwork(SPEC.sizes, 4, 8, 8, 16))


def made(world_model, **others):
    key = jax.random.key(0)
    params = jax.tree.map(np.asarray, world_model.init(key, SHAPE, 3))
    return zoo.Model(world_model, params, SPEC, SHAPE, {"env.name": "voxel"}, **others)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    key = jax.random.key(1)
    model = made(
        UNET, policy=POLICY, policy_params=jax.tree.map(np.asarray, POLICY.init(key, SHAPE)),
        inverse_dynamics=JUDGE, inverse_dynamics_params=jax.tree.map(np.asarray, JUDGE.init(key, SHAPE)),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("zoo") / "small.safetensors"
    card = {"sha256": zoo.save(path, model), "steps": 1}
    path.with_suffix(".json").write_text(json.dumps(card))
    return path


def copied(path, folder, content=None):
    other = folder / path.name
    other.write_bytes(path.read_bytes() if content is None else content)
    return other


def test_what_is_saved_comes_back(path):
    model = zoo.load(path)
    assert (model.world_model, model.policy, model.inverse_dynamics) == (UNET, POLICY, JUDGE)
    assert (model.spec, model.frame_shape, model.environment) == (SPEC, SHAPE, {"env.name": "voxel"})
    latents = model.world_model.encode(model.params, np.zeros((1, 2, *SHAPE), np.uint8))
    dream = model.world_model.rollout(model.params, jax.random.key(0), latents, np.zeros((1, 4, 2), np.int32), 2)
    assert dream.shape == (1, 2, 4, 4, 48)
    assert zoo.read_card(path)["steps"] == 1


def test_half_precision_rounds_to_a_thousandth(tmp_path):
    model = made(DIT)
    for half, tolerance in ((True, 1e-3), (False, 0.0)):
        zoo.save(tmp_path / "dit.safetensors", model, half=half)
        back = zoo.load(tmp_path / "dit.safetensors")
        assert back.world_model == DIT
        assert back.policy is None and back.policy_params is None
        for a, b in zip(jax.tree.leaves(model.params), jax.tree.leaves(back.params), strict=True):
            assert b.dtype == np.float32
            np.testing.assert_allclose(b, a, rtol=tolerance, atol=1e-6 if half else 0.0)


@pytest.mark.parametrize("thing", [UNET, DIT, POLICY, JUDGE], ids=lambda thing: type(thing).__name__)
def test_networks_survive_json(thing):
    assert from_json(json.loads(json.dumps(to_json(thing)))) == thing


def test_damage_is_told_in_one_line(path, tmp_path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    broken = copied(path, tmp_path, bytes(content))
    broken.with_suffix(".json").write_bytes(path.with_suffix(".json").read_bytes())
    with pytest.raises(ValueError, match="damaged: its checksum is not the one of small.json") as error:
        zoo.load(broken)
    assert "\n" not in str(error.value)
    for content in (b"", b"nonsense", path.read_bytes()[:1000]):
        with pytest.raises(ValueError, match="damaged or no file of weights"):
            zoo.load(_alone(tmp_path, content))


def _alone(folder, content):
    file = folder / "alone.safetensors"
    file.write_bytes(content)
    return file


def test_a_strange_file_and_another_version_are_told(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no weights of prowl_jax's format"):
        zoo.load(tmp_path / "other.safetensors")
    later = {"kind": "UNet", **to_json(UNET)["dit"], "invented": 3}
    with pytest.raises(ValueError, match="UNet has no setting 'invented': the file is of another version"):
        from_json(later)
    with pytest.raises(ValueError, match="no network 'Transformer'"):
        from_json({"kind": "Transformer"})


def test_arrays_that_do_not_fit_are_named(tmp_path):
    model = made(UNET)
    model.params["dit"]["out"]["bias"] = np.zeros(7, np.float32)
    zoo.save(tmp_path / "odd.safetensors", model)
    with pytest.raises(ValueError, match=r"world_model/dit/out/bias has shape \(7,\), the network asks for \(48,\)"):
        zoo.load(tmp_path / "odd.safetensors")


def test_numbers_that_half_precision_cannot_hold_are_refused(tmp_path):
    model = made(UNET)
    model.params["dit"]["out"]["bias"] = np.full(48, 1e6, np.float32)
    with pytest.raises(ValueError, match="world_model/dit/out/bias is not finite in float16"):
        zoo.save(tmp_path / "large.safetensors", model)


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(ValueError, match=r"no weights 'minecraft'; there are .*or name a .safetensors file"):
        zoo.load("minecraft")
    with pytest.raises(ValueError, match="nowhere.safetensors is not there"):
        zoo.load("nowhere.safetensors")


def test_differences_name_both():
    other = dataclasses.replace(UNET, dit=UNET.dit.clone(width=32), start_noise=0.5)
    assert zoo.differences(UNET, other) == ["width: 16, not 32", "start_noise: 1.0, not 0.5"]
    assert zoo.differences(UNET, UNET) == []
    assert zoo.differences(UNET, DIT) == ["UNetWorldModel, not WorldModel"]


@pytest.mark.parametrize("name", zoo.names())
def test_what_is_shipped_is_whole_small_and_dreams(name):
    model, card = zoo.load(name), zoo.read_card(name)
    assert card["bytes"] == zoo.files.path_of(name).stat().st_size <= 10e6
    assert {"command", "steps", "hours", "data", "licence", "cannot", "provenance"} <= set(card)
    height, width, _ = model.frame_shape
    frames = np.linspace(0, 255, 2 * height * width * 3).reshape(1, 2, height, width, 3).astype(np.uint8)
    latents = model.world_model.encode(model.params, frames)
    null = np.broadcast_to(model.spec.null, (1, 3, len(model.spec.factors)))
    dream = jax.jit(model.world_model.rollout, static_argnums=4)(model.params, jax.random.key(0), latents, null, 2)
    shown = np.asarray(model.world_model.decode(model.params, dream))
    still = np.abs(shown[:, 0] - frames[:, -1] / 255.0).mean()  # who does nothing sees about what was there
    assert still < np.abs(shown[:, 0] - np.flip(frames[:, -1] / 255.0, 1)).mean()
