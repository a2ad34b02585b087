"""The rival of the training step: ``diffusers.WanTransformer3DModel`` in PyTorch, at the same shape."""

from experiments.benchmarks import flops

TEXT_WIDTH = 192


def missing():
    """Why the rival cannot run here, or None."""
    try:
        import diffusers  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        return f"no {error.name}: pip install -r requirements-parity.txt"
    return None


def make_step(dit, batch, latents, height, width):
    """(a training step, its FLOPs, its number of parameters) of Wan's transformer as large as ``dit``.

    As ours: the velocity's mean square error, AdamW (PyTorch's fused one), the gradient's norm clipped,
    an average of the parameters kept. Cheaper than ours: one timestep a sample, no mask, and as text
    tokens what ours embeds as actions.
    """
    import torch
    from diffusers import WanTransformer3DModel

    torch.manual_seed(0)
    model = WanTransformer3DModel(
        patch_size=(1, dit.patch, dit.patch),
        num_attention_heads=dit.heads,
        attention_head_dim=dit.width // dit.heads,
        in_channels=dit.channels,
        out_channels=dit.channels,
        text_dim=TEXT_WIDTH,
        freq_dim=dit.frequency_width,
        ffn_dim=dit.ffn,
        num_layers=dit.depth,
        cross_attn_norm=True,
    )
    parameters = list(model.parameters())
    average = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    text_tokens = latents * dit.action_frames * len(dit.action_sizes)
    z = torch.randn(batch, dit.channels, latents, height, width)
    text = torch.randn(batch, text_tokens, TEXT_WIDTH)

    def step():
        noise, sigma = torch.randn_like(z), torch.rand(batch)
        level = sigma.reshape(-1, 1, 1, 1, 1)
        noisy = (1 - level) * z + level * noise
        velocity = model(noisy, timestep=1000 * sigma, encoder_hidden_states=text, return_dict=False)[0]
        loss = torch.mean((velocity - (noise - z)) ** 2)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 0.01)

    tokens = latents * (height // dit.patch) * (width // dit.patch)
    products = flops.wan_forward(
        dit.width, dit.depth, dit.ffn, dit.patch**2 * dit.channels, batch, tokens, text_tokens, TEXT_WIDTH,
        dit.frequency_width,
    )  # fmt: skip
    return step, flops.TRAINING * products, sum(p.numel() for p in parameters)
