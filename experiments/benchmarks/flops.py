"""Floating-point operations of a transformer's matrix products, counted by formula; a multiply-add is two.

Norms, softmax, GELU and the optimiser are left out, as is usual for model FLOP/s. A training step
costs three forward passes: each product has two more in its gradient.
"""

TRAINING = 3
"""Forward passes that a training step's products are worth."""


def dit_forward(dit, batch, latents, height, width):
    """Products of one forward pass of a ``DiT`` over latents ``[batch, latents, height, width, C]``."""
    tokens_per_latent = (height // dit.patch) * (width // dit.patch)
    actions = batch * latents * dit.action_frames * len(dit.action_sizes)
    modulation = 6 * dit.width**2 * batch * latents
    levels = batch * latents // dit.chunk * (dit.frequency_width * dit.width + dit.width**2)
    adapter = 2 * actions * dit.width**2
    blocks = _blocks(
        dit.width, dit.depth, dit.ffn, tokens=batch * latents * tokens_per_latent, seen=latents * tokens_per_latent,
        conditions=actions, conditions_seen=actions // (batch * latents),
    )  # fmt: skip
    patches = 2 * batch * latents * tokens_per_latent * dit.patch**2 * dit.channels * dit.width
    return 2 * (modulation + levels + adapter + blocks + patches)


def wan_forward(
    width, depth, ffn, patch_values, batch, tokens, text_tokens, text_width, frequency_width=256
):
    """Products of one forward pass of ``diffusers.WanTransformer3DModel``, one timestep a sample.

    Args:
      patch_values: latent values in a token. tokens, text_tokens: of one sample.
    """
    levels = batch * (frequency_width * width + width**2 + 6 * width**2)
    text = batch * text_tokens * (text_width * width + width**2)
    blocks = _blocks(
        width, depth, ffn, tokens=batch * tokens, seen=tokens,
        conditions=batch * text_tokens, conditions_seen=text_tokens,
    )  # fmt: skip
    return 2 * (levels + text + blocks + 2 * batch * tokens * patch_values * width)


def _blocks(width, depth, ffn, *, tokens, seen, conditions, conditions_seen):
    """Multiply-adds of all blocks. All keys count as seen: a mask saves nothing where it is only applied."""
    projections = 6 * tokens * width**2 + 2 * conditions * width**2
    attention = 2 * tokens * (seen + conditions_seen) * width
    return depth * (projections + attention + 2 * tokens * width * ffn)
