"""The first of PROWL's scores: how far a dream's latents lie from the real ones (arXiv 2605.18803, l_regret)."""

from prowl_jax.pat.score import latent_regret


def regret(params, dream):
    """l_regret of each dream, float32 ``[...]``: root mean square error in deviations of the latents."""
    del params
    return latent_regret(dream.latents, dream.real.latents)


def frame_regret(params, dream):
    """l_regret of each dreamt latent alone, float32 ``[..., L']``."""
    del params
    return latent_regret(dream.latents[..., None, :, :, :], dream.real.latents[..., None, :, :, :])
