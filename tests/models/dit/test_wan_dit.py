"""The DiT against Wan2.1's transformer: diffusers' numbers, the published names, shapes and counts, files."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.models.dit.dit import DiT
from prowl_jax.models.dit.sizes import dit_size
from prowl_jax.models.published import torch_layout
from prowl_jax.models.published import wan_dit_weights as weights
from prowl_jax.train.state import count, split_by_path
from prowl_jax.train.world_model import split_trainable

LATENTS, HEIGHT, WIDTH, CHANNELS, WORDS, TEXT = 4, 4, 6, 4, 3, 16
TINY = DiT(
    channels=CHANNELS, width=48, depth=2, heads=2, ffn=96, action_sizes=(), chunk=LATENTS, frequency_width=32,
    text_width=TEXT,
)  # fmt: skip
CAUSAL = dataclasses.replace(TINY, chunk=2)
FACTORS = dataclasses.replace(TINY, chunk=2, text_width=0, action_sizes=(3, 5), action_frames=2)
WAN = DiT(channels=16, **dit_size("wan1.3b"), action_sizes=(3, 5), action_frames=4, text_width=4096)
rng = np.random.default_rng(0)
Z = rng.normal(size=(2, LATENTS, HEIGHT, WIDTH, CHANNELS)).astype(np.float32)
TOLD = rng.normal(size=(2, LATENTS, 1, WORDS, TEXT)).astype(np.float32)
SIGMA = np.array([[0.25, 0.875], [0.5, 0.125]], np.float32)  # of two chunks
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def params(random_params):
    return random_params(TINY.init, Z, SIGMA[:, :1], TOLD)["params"]


@pytest.fixture(scope="module")
def factor_params(random_params):
    return random_params(FACTORS.init, Z, SIGMA, np.zeros((2, LATENTS, 2, 2), np.int32))["params"]


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def original_names(depth):
    """Every name in the original checkpoint, by hand from its structure."""
    both = ("weight", "bias")
    attention = [*(f"{name}.{w}" for name in "qkvo" for w in both), "norm_q.weight", "norm_k.weight"]
    block = [f"{kind}.{name}" for kind in ("self_attn", "cross_attn") for name in attention]
    block += ["modulation", *(f"{name}.{w}" for name in ("norm3", "ffn.0", "ffn.2") for w in both)]
    layers = ("patch_embedding", "text_embedding.0", "text_embedding.2", "time_embedding.0", "time_embedding.2")
    names = [f"{name}.{w}" for name in (*layers, "time_projection.1", "head.head") for w in both]
    return [*names, "head.modulation", *(f"blocks.{i}.{name}" for i in range(depth) for name in block)]


def test_the_published_size_is_counted_without_allocating():
    shapes = weights.published_shapes(WAN)
    frames = shapes.pop("action_adapter.frame")
    assert sum(np.prod(shape, dtype=int) for shape in shapes.values()) == 1_418_996_800
    assert len(shapes) == len(original_names(30)) == 825
    trained, _ = split_trainable(WAN, weights._shapes(WAN))
    adapter, cross = split_by_path(trained, ["action_adapter"])
    assert count(cross) == 283_484_160
    assert count(adapter) == 8_653_824 + np.prod(frames)


def test_the_original_names_are_those_of_the_original():
    names = [weights.original_name(name) for name in weights.published_shapes(TINY)]
    assert sorted(names) == sorted(original_names(2))


@pytest.mark.parametrize("original", [False, True])
@pytest.mark.parametrize("kind", ["text", "factors"])
def test_there_and_back_is_exact(params, factor_params, kind, original):
    dit, ours = (CAUSAL, params) if kind == "text" else (FACTORS, factor_params)
    arrays = weights.to_published(dit, ours, original)
    same(weights.from_published(dit, arrays, KEY), ours)


def test_a_folder_of_shards_is_read_a_tensor_at_a_time(params, tmp_path, monkeypatch):
    pytest.importorskip("safetensors")
    arrays, index = weights.to_published(TINY, params), {}
    names = sorted(arrays)
    for i, part in enumerate((names[::2], names[1::2])):
        file = f"diffusion_pytorch_model-0000{i + 1}-of-00002.safetensors"
        torch_layout.save(tmp_path / file, {name: arrays[name] for name in part}, {})
        index |= dict.fromkeys(part, file)
    (tmp_path / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    events, read = [], torch_layout.Shards.__getitem__
    monkeypatch.setattr(
        torch_layout.Shards, "__getitem__", lambda self, name: events.append("read") or read(self, name)
    )
    loaded = weights.load_wan_dit(
        tmp_path, TINY, KEY, place=lambda path, array: events.append(path) or jnp.asarray(array)
    )
    same(loaded, params)
    assert events[::2] == ["read"] * len(arrays) and "read" not in events[1::2]
    (tmp_path / "diffusion_pytorch_model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="00002-of-00002"):
        weights.load_wan_dit(tmp_path, TINY, KEY)


def test_bfloat16_files_become_float32(params, tmp_path):
    pytest.importorskip("safetensors")
    halved = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    weights.export(tmp_path / "half", TINY, halved)
    loaded = weights.load_wan_dit(tmp_path / "half", TINY, KEY)
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {np.dtype("float32")}
    same(loaded, jax.tree.map(lambda x: x.astype(np.float32), halved))


def test_the_backbone_alone_with_an_adapter_of_factors(params):
    """Wan's file under a DiT that embeds factors: its text embedder stays out, the adapter starts anew."""
    arrays = weights.to_published(TINY, params, original=True)
    loaded = weights.from_published(FACTORS, arrays, KEY)
    adapter = loaded.pop("action_adapter")
    same(loaded, {name: leaf for name, leaf in params.items() if name != "action_adapter"})
    told = jnp.zeros((1, 2, 2, 2), jnp.int32)
    assert jax.tree.map(jnp.shape, adapter) == jax.tree.map(
        jnp.shape, jax.eval_shape(FACTORS.init, KEY, Z[:1, :2], SIGMA[:1, :1], told)["params"]["action_adapter"]
    )
    assert np.std(adapter["embedding"]) > 0.5 and np.std(adapter["linear_1"]["kernel"]) > 0.01


def test_what_does_not_fit_is_named(params, tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    with pytest.raises(FileNotFoundError, match="download the folder transformer of https"):
        weights.load_wan_dit(path, TINY, KEY)
    weights.export(tmp_path, TINY, params)
    deeper = dataclasses.replace(TINY, depth=3)
    with pytest.raises(ValueError, match=r"model.safetensors: .*blocks.2.attn2.norm_k.weight is missing"):
        weights.load_wan_dit(path, deeper, KEY)
    with pytest.raises(ValueError, match=r"blocks.1.attn1.norm_k.weight has no place"):
        weights.load_wan_dit(path, dataclasses.replace(TINY, depth=1), KEY)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="is not a whole safetensors file"):
        weights.load_wan_dit(path, TINY, KEY)
    path.unlink()
    with pytest.raises(ValueError, match="holds 0 sets of safetensors weights"):
        weights.load_wan_dit(tmp_path, TINY, KEY)


class TestAgainstDiffusers:
    """The half that needs torch and diffusers."""

    @pytest.fixture(scope="class")
    def torch(self):
        pytest.importorskip("diffusers", reason="the reference implementation is diffusers'; it is not installed")
        return pytest.importorskip("torch", reason="the reference implementation runs in torch; it is not installed")

    @pytest.fixture
    def theirs(self, torch, params):
        """Their model with our parameters, each of which is drawn at random."""
        from diffusers import WanTransformer3DModel

        model = WanTransformer3DModel(
            patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=24, in_channels=CHANNELS,
            out_channels=CHANNELS, text_dim=TEXT, freq_dim=32, ffn_dim=96, num_layers=2, cross_attn_norm=True,
            qk_norm="rms_norm_across_heads", eps=1e-6, rope_max_seq_len=64,
        )  # fmt: skip
        arrays = weights.to_published(TINY, params)
        model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
        return model

    def test_diffusers_reads_what_is_exported_and_we_read_what_diffusers_saves(self, torch, theirs, params, tmp_path):
        from diffusers import WanTransformer3DModel

        safetensors = pytest.importorskip("safetensors.torch")
        weights.export(tmp_path / "ours", TINY, params)
        # What from_pretrained does, which without accelerate it does not do for this class.
        loaded = WanTransformer3DModel.from_config(WanTransformer3DModel.load_config(tmp_path / "ours"))
        loaded.load_state_dict(safetensors.load_file(tmp_path / "ours" / "diffusion_pytorch_model.safetensors"))
        own = theirs.state_dict()
        assert all(torch.equal(tensor, own[name]) for name, tensor in loaded.state_dict().items())
        loaded.save_pretrained(tmp_path / "theirs", max_shard_size="100KB")
        assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 1
        same(weights.load_wan_dit(tmp_path / "theirs", TINY, KEY), params)

    def run(self, torch, model, timestep, text):
        """``[B, L, h, w, C]`` of their model, timestep ``[B]`` or ``[B, tokens]``."""
        arguments = (torch.from_numpy(np.array(x)) for x in (Z.transpose(0, 4, 1, 2, 3), timestep, text))
        return model(*arguments).sample.permute(0, 2, 3, 4, 1)

    def test_the_velocity_and_no_parameter_is_idle(self, torch, theirs, params, held_to):
        """All tokens see all others, and one text is shown to all latents."""
        told = np.broadcast_to(TOLD[:, :1], TOLD.shape)
        out = self.run(torch, theirs, 1000 * SIGMA[:, 0], TOLD[:, 0, 0])
        ours = jax.jit(TINY.apply)({"params": params}, Z, SIGMA[:, :1], told)[0]
        assert np.std(ours) > 0.1
        held_to("Wan2.1 transformer: diffusers", ours, out.detach(), atol=1e-4)
        (out * torch.randn_like(out)).sum().backward()
        for name, parameter in theirs.named_parameters():
            assert parameter.grad.abs().max() > 1e-6, f"{name} changes nothing"

    def test_a_timestep_for_each_token_masks_and_text_for_each_latent(self, torch, theirs, params, held_to):
        """Two chunks with their own levels, later ones hidden, each latent with its own text: dense masks there."""
        latent = np.repeat(np.arange(LATENTS), HEIGHT * WIDTH // 4)
        word = np.repeat(np.arange(LATENTS), WORDS)
        for block in theirs.blocks:
            block.attn1.processor = Masked(torch, block.attn1.processor, latent[:, None] // 2 >= latent[None] // 2)
            block.attn2.processor = Masked(torch, block.attn2.processor, latent[:, None] == word[None])
        timestep = 1000 * SIGMA[:, latent // 2]
        with torch.no_grad():
            out = self.run(torch, theirs, timestep, TOLD.reshape(2, LATENTS * WORDS, TEXT))
        ours = jax.jit(CAUSAL.apply)({"params": params}, Z, SIGMA, TOLD)[0]
        held_to("Wan2.1 transformer, a timestep a token, causal: diffusers, dense masks", ours, out, atol=1e-4)

    def test_the_published_size_has_their_names_shapes_and_count(self, torch):
        from diffusers import WanTransformer3DModel

        with torch.device("meta"):
            theirs = WanTransformer3DModel(num_attention_heads=12, ffn_dim=8960, num_layers=30)
        expected = {name: tuple(x.shape) for name, x in theirs.state_dict().items()}
        ours = weights.published_shapes(WAN)
        assert ours.pop("action_adapter.frame") == (4, 1, 4096)
        assert ours == expected

    def test_the_original_names_go_where_their_converter_puts_them(self, torch):
        from diffusers.loaders.single_file_utils import (
            convert_wan_transformer_to_diffusers,
        )

        names = original_names(2)
        ours = {name: weights.original_name(name) for name in weights.published_shapes(TINY)}
        assert convert_wan_transformer_to_diffusers({name: name for name in names}) == ours


class Masked:
    """A processor of theirs with a mask, which their transformer has no argument for."""

    def __init__(self, torch, inner, mask):
        self.inner, self.mask = inner, torch.from_numpy(mask)

    def __call__(self, attention, hidden, text=None, mask=None, rotary=None):
        return self.inner(attention, hidden, text, self.mask, rotary)
