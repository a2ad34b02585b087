"""The table of embedded actions: what a tiny UMT5 says of each phrase, and refusals of one line."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import embed_actions
from experiments.run import config_file
from experiments.stages import build
from prowl_jax.models.dit import action_text

QUICKSTART = str(config_file.CONFIGS / "quickstart.py") + ":scratch"  # whose network, the DiT, reads text


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        embed_actions.main(list(arguments))
    assert left.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    return told


@pytest.fixture
def folder(tmp_path):
    """Folders as the model's, empty."""
    for name in ("text_encoder", "tokenizer"):
        (tmp_path / name).mkdir()
    return tmp_path


def arguments(folder, **changed):
    flags = {"config": QUICKSTART, "model": str(folder), "output": str(folder / "text.safetensors")} | changed
    return [f"--{name}={value}" for name, value in flags.items()]


@pytest.mark.parametrize("missing", ["torch", "transformers"])
def test_without_its_libraries_it_says_how_to_get_them(folder, monkeypatch, capsys, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    if missing == "transformers":
        monkeypatch.setitem(sys.modules, "torch", np)  # whatever is there
    told = refusal(capsys, *arguments(folder))
    assert f"embedding text needs {missing}, once: pip install 'prowl_jax[text]'" in told


def test_mistakes_are_told_before_anything_is_loaded(folder, tmp_path, capsys):
    assert "holds no folder text_encoder; download it" in refusal(capsys, *arguments(folder, model=folder / "x"))
    (tmp_path / "text.safetensors").touch()
    assert "exists already" in refusal(capsys, *arguments(folder))
    assert "no.py" in refusal(capsys, *arguments(folder, config="no.py"))
    assert "the following arguments are required: --config" in refusal(capsys)


@pytest.fixture
def tiny_umt5(folder):
    transformers = pytest.importorskip("transformers", reason="UMT5 is transformers'; it is not installed")
    torch = pytest.importorskip("torch", reason="UMT5 runs in torch; it is not installed")
    tokenizers = pytest.importorskip("tokenizers", reason="comes with transformers")
    words = sorted({word for text in PHRASES for word in text.split()})
    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *words])}
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    plain.post_processor = tokenizers.processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="<pad>", eos_token="</s>")
    tokenizer.save_pretrained(folder / "tokenizer")
    torch.manual_seed(0)
    settings = transformers.UMT5Config(
        vocab_size=len(vocabulary), d_model=12, d_kv=4, d_ff=16, num_layers=2, num_heads=3, pad_token_id=0
    )
    model = transformers.UMT5EncoderModel(settings).eval()
    model.save_pretrained(folder / "text_encoder")
    return lambda text: model(torch.tensor([[*(vocabulary[word] for word in text.split()), 1]]))[0].detach().numpy()[0]


SPEC = build.spec_of(config_file.load_config(QUICKSTART))
PHRASES = action_text.phrases(SPEC)


def test_a_row_is_the_mean_over_the_tokens_of_its_phrase(folder, tiny_umt5, capsys, held_to):
    """Each phrase alone, so without padding; and the configured world model reads the table."""
    pytest.importorskip("safetensors")
    assert embed_actions.main(arguments(folder)) == 0
    path = folder / "text.safetensors"
    assert f"wrote {path}: {len(PHRASES)} phrases, 12 numbers each" in capsys.readouterr().out
    table = action_text.load_action_text(path, SPEC).embeddings
    expected = np.stack([tiny_umt5(text).mean(0) for text in PHRASES])
    held_to("table of embedded actions: transformers' UMT5, a phrase at a time", table, expected, atol=1e-5)
    assert np.linalg.norm(expected[:, None] - expected[None], axis=-1)[~np.eye(len(table), dtype=bool)].min() > 1e-3

    config = config_file.load_config(QUICKSTART)
    config.world_model.action_text = str(path)
    model = build.make_world_model(config)
    assert model.dit.text_width == 12 and model == build.make_world_model(config)
    told = model.action_text(jnp.zeros((1, 1, 1, len(SPEC.sizes)), jnp.int32))
    np.testing.assert_array_equal(told[0, 0, 0, 1], table[SPEC.sizes[0]])
