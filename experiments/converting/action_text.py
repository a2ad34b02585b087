"""The words of an environment's actions as UMT5 embeds them."""

import pathlib

from experiments.run import config_file
from experiments.run.config_file import UsageError

BATCH = 16
SOURCE = "https://huggingface.co/Wan-AI/Wan2.1-T2V-1.3B-Diffusers"


def embed(config, model, output):
    """Write the table ``output``; returns a line that says what it holds.

    Args:
      config: ``"FILE"`` or ``"FILE:ARG"``. model: a folder with ``text_encoder`` and ``tokenizer``.

    Raises:
      UsageError, ValueError, ImportError, OSError: says what is wrong; nothing is written.
    """
    config = config_file.load_config(config)
    for folder in ("text_encoder", "tokenizer"):
        if not (pathlib.Path(model) / folder).is_dir():
            raise UsageError(f"--model={model} holds no folder {folder}; download it from {SOURCE}")
    if pathlib.Path(output).exists():
        raise UsageError(f"{output} exists already; name another --output or remove it")
    read = text_reader(model)
    from experiments.stages import build  # after the cheap mistakes, since it imports JAX
    from prowl_jax.models.dit import action_text

    spec = build.spec_of(config)
    texts = action_text.phrases(spec)
    embeddings = read(texts)
    action_text.save(output, spec, embeddings, pathlib.Path(model).resolve().name)
    return f"wrote {output}: {len(texts)} phrases, {embeddings.shape[1]} numbers each"


def text_reader(model):
    """``f(texts) -> float32 [len(texts), E]``: the mean of the encoder's last states over a text's tokens.

    Raises:
      UsageError: torch or transformers is not installed.
    """
    try:
        import torch
        from transformers import AutoTokenizer, UMT5EncoderModel
    except ImportError as error:
        raise UsageError(f"embedding text needs {error.name}, once: pip install 'prowl_jax[text]'") from error
    tokenizer = AutoTokenizer.from_pretrained(model, subfolder="tokenizer")
    encoder = UMT5EncoderModel.from_pretrained(model, subfolder="text_encoder", dtype="auto").eval()

    @torch.no_grad()
    def read(texts):
        rows = []
        for start in range(0, len(texts), BATCH):
            tokens = tokenizer(texts[start : start + BATCH], padding=True, return_tensors="pt")
            mask = tokens.attention_mask
            states = encoder(tokens.input_ids, attention_mask=mask).last_hidden_state.float()
            rows.append((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
        return torch.cat(rows).numpy()

    return read
