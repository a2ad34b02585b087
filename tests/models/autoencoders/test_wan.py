"""Wan's autoencoder against diffusers' on random weights, streaming, and the published sizes by shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.models.autoencoders.wan import LATENT_MEAN, LATENT_STD, WanVAE, WanVAENetwork
from prowl_jax.models.published import torch_layout
from prowl_jax.models.published import wan_vae_weights as weights

TINY = WanVAE(WanVAENetwork(channels=4, base=8, blocks=1), (0.0,) * 4, (1.0,) * 4)
FRAMES = np.random.default_rng(0).uniform(-1, 1, (2, 13, 16, 24, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def params(random_params):
    return random_params(TINY.init_params)


def original_names():
    """Every name in the published ``Wan2.1_VAE.pth``, by hand from its structure: 2 residual blocks a stage."""
    both = ("weight", "bias")
    residual = ["residual.0.gamma", "residual.3.gamma", *(f"residual.{i}.{w}" for i in (2, 6) for w in both)]
    shortcut = [f"shortcut.{w}" for w in both]
    resample, in_time = ([f"{name}.{w}" for w in both] for name in ("resample.1", "time_conv"))
    attention = ["norm.gamma", *(f"{name}.{w}" for name in ("to_qkv", "proj") for w in both)]
    names = [f"conv{i}.{w}" for i in (1, 2) for w in both]
    for half, flat in (("encoder", "downsamples"), ("decoder", "upsamples")):
        names += [f"{half}.{name}.{w}" for name in ("conv1", "head.2") for w in both] + [f"{half}.head.0.gamma"]
        for i, kind in enumerate((residual, attention, residual)):
            names += [f"{half}.middle.{i}.{name}" for name in kind]
        blocks = {"encoder": 2, "decoder": 3}[half]
        widening = {"encoder": (3, 6), "decoder": (4,)}[half]  # layers with a shortcut
        timed = {"encoder": (5, 8), "decoder": (3, 7)}[half]
        for i in range(4 * (blocks + 1) - 1):
            kind = resample if i % (blocks + 1) == blocks else residual
            kind = [*kind, *(shortcut if i in widening else ()), *(in_time if i in timed else ())]
            names += [f"{half}.{flat}.{i}.{name}" for name in kind]
    return names


def test_the_published_size_is_allocated_nowhere_and_has_127_million_parameters():
    shapes = weights.published_shapes(WanVAE())
    assert sum(np.prod(shape, dtype=int) for shape in shapes.values()) == 126_892_531
    clip = jax.ShapeDtypeStruct((1, 81, 480, 832, 3), jnp.bfloat16)
    ours = jax.eval_shape(WanVAE().init_params, jax.random.key(0))
    mean, log_variance = jax.eval_shape(WanVAE().encode, ours, clip)
    assert mean.shape == log_variance.shape == (1, 21, 60, 104, 16)
    assert jax.eval_shape(WanVAE().decode, ours, mean).shape == clip.shape
    assert len(LATENT_MEAN) == len(LATENT_STD) == WanVAE().channels == 16


def test_the_original_names_are_those_of_diffusers():
    names = original_names()
    assert len(set(names)) == len(names)
    ours = weights.from_original(dict.fromkeys(names, 0))
    assert set(ours) == set(weights.published_shapes(WanVAE()))
    # Two by hand, from the original's modules.
    back = weights.from_original({name: name for name in names})
    assert back["decoder.up_blocks.1.resnets.0.conv_shortcut.bias"] == "decoder.upsamples.4.shortcut.bias"
    assert back["decoder.up_blocks.2.upsamplers.0.resample.1.weight"] == "decoder.upsamples.11.resample.1.weight"


def test_streaming_group_by_group_is_the_whole_and_the_cache_does_not_grow(params):
    mean, log_variance = jax.jit(TINY.encode)(params, FRAMES)
    assert mean.shape == log_variance.shape == (2, 4, 2, 3, 4)
    encode, decode = jax.jit(TINY.encode_group), jax.jit(TINY.decode_latent)
    shown, sizes = jax.jit(TINY.decode)(params, mean), []
    cache = memory = None
    for i in range(4):
        group = FRAMES[:, :1] if i == 0 else FRAMES[:, 4 * i - 3 : 4 * i + 1]
        ours, _, cache = encode(params, group, cache)
        np.testing.assert_allclose(ours, mean[:, i : i + 1], atol=1e-5)
        frames, memory = decode(params, mean[:, i : i + 1], memory)
        np.testing.assert_allclose(frames, shown[:, :1] if i == 0 else shown[:, 4 * i - 3 : 4 * i + 1], atol=1e-5)
        sizes.append([[x.shape for x in kept] for kept in (cache, memory)])
    assert all(size == sizes[0] for size in sizes) and {shape[1] for shape in sizes[0][0]} == {1, 2}


@pytest.mark.parametrize("time", [0, 2, 4, 8])
def test_frames_that_would_be_dropped_are_refused(time):
    clip = jax.ShapeDtypeStruct((1, time, 16, 16, 3), jnp.float32)
    with pytest.raises(ValueError, match=f"takes 1 \\+ 4n frames, not {time}"):
        jax.eval_shape(TINY.encode, {}, clip)


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="12x16 are not multiples of 8"):
        jax.eval_shape(TINY.encode, {}, jax.ShapeDtypeStruct((1, 5, 12, 16, 3), jnp.float32))


def test_a_file_and_what_is_none(tmp_path, params):
    pytest.importorskip("safetensors")
    arrays = torch_layout.to_published(params, (torch_layout.NUMBERED, torch_layout.WEIGHT))
    torch_layout.save(tmp_path / "vae.safetensors", arrays, {})
    model, loaded = weights.load_wan_vae(tmp_path / "vae.safetensors")
    assert model == TINY
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    with pytest.raises(FileNotFoundError, match="download vae/diffusion_pytorch_model.safetensors from https"):
        weights.load_wan_vae(tmp_path / "other.safetensors")
    del arrays["encoder.mid_block.resnets.1.conv2.bias"]
    torch_layout.save(tmp_path / "vae.safetensors", arrays, {})
    with pytest.raises(ValueError, match="encoder.mid_block.resnets.1.conv2.bias is missing"):
        weights.load_wan_vae(tmp_path / "vae.safetensors")
    torch_layout.save(tmp_path / "vae.safetensors", {"x": np.zeros(3)}, {})
    with pytest.raises(ValueError, match="these are not the weights of Wan2.1's autoencoder"):
        weights.load_wan_vae(tmp_path / "vae.safetensors")


class TestAgainstDiffusers:
    """The half that needs torch and diffusers."""

    @pytest.fixture(scope="class")
    def torch(self):
        pytest.importorskip("diffusers", reason="the reference implementation is diffusers'; it is not installed")
        return pytest.importorskip("torch", reason="the reference implementation runs in torch; it is not installed")

    def test_the_same_numbers_there_and_back(self, torch, held_to):
        from diffusers import AutoencoderKLWan

        torch.manual_seed(0)
        theirs = AutoencoderKLWan(base_dim=8, z_dim=4, num_res_blocks=1, latents_mean=[0.0] * 4, latents_std=[1.0] * 4)
        for name, parameter in theirs.named_parameters():
            # Biases start at 0 and gammas at 1, where mistakes would hide.
            noise = 0.3 * torch.randn_like(parameter)
            parameter.data = parameter.data + noise if name.endswith(("gamma", "bias")) else 1.5 * parameter.data
        arrays = weights.clean({name: array.numpy() for name, array in theirs.state_dict().items()})
        ours = weights.model_of(arrays)
        assert ours == TINY
        params = weights.from_published(ours, arrays)
        with torch.no_grad():
            posterior = theirs.encode(torch.from_numpy(FRAMES).permute(0, 4, 1, 2, 3)).latent_dist
            decoded = theirs.decode(posterior.mode()).sample
        latents = posterior.mode().permute(0, 2, 3, 4, 1).numpy()
        mean, log_variance = jax.jit(ours.encode)(params, FRAMES)
        held_to("Wan2.1 VAE, mean: diffusers", mean, latents, atol=1e-4)
        held_to("Wan2.1 VAE, log-variance: diffusers", log_variance, posterior.logvar.permute(0, 2, 3, 4, 1), atol=1e-4)
        shown = jax.jit(ours.decode)(params, latents)
        held_to("Wan2.1 VAE, frames: diffusers", shown, decoded.permute(0, 2, 3, 4, 1), atol=1e-4)
        assert np.std(latents) > 0.05 and np.std(shown) > 0.05 and np.mean(np.abs(shown) == 1) < 0.5

    def test_the_published_size_has_their_names_shapes_and_count(self, torch):
        from diffusers import AutoencoderKLWan

        with torch.device("meta"):
            theirs = AutoencoderKLWan()
        expected = {name: tuple(x.shape) for name, x in theirs.state_dict().items()}
        expected = {n: (s[0],) if n.endswith(".gamma") else s for n, s in expected.items()}
        assert weights.published_shapes(WanVAE()) == expected
        assert theirs.config.latents_mean == list(LATENT_MEAN) and theirs.config.latents_std == list(LATENT_STD)

    def test_the_original_names_go_where_their_converter_puts_them(self, torch):
        from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

        names = original_names()
        theirs = convert_wan_vae_to_diffusers({name: name for name in names})
        assert weights.from_original({name: name for name in names}) == theirs
