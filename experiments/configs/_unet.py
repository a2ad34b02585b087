"""Settings of the convolutional world model, ``world_model.network=unet``: a part of other configurations."""

import ml_collections


def get_config():
    """``world_model.unet``."""
    c = ml_collections.ConfigDict()
    c.context = 2  # frames seen; more tell the motion without the action
    c.widths = (48, 96, 128)  # of the denoiser's levels
    c.blocks = (1, 2, 2)
    c.motion = True  # move the last frame by a predicted flow, diffuse what that misses
    c.motion_widths = (32, 64)
    c.motion_blocks = (1, 2)
    c.width = 192  # of the embeddings
    c.attention = True  # at the coarsest level
    c.residual = 0.3  # deviation of what the motion misses, in deviations of the latents
    c.sampler_levels = (1.0, 0.13, 0.0)
    c.start_noise = 1.0  # deviation of the noise that a frame starts from
    c.context_noise = 0.0  # on the context when dreaming
    c.own_frames = (1, 2, 4)  # frames that it predicts one after the other from its own, in training ...
    c.own_since = (0.0, 0.1, 0.3)  # ... from this share of the steps on
    c.levels = ml_collections.ConfigDict()
    c.levels.pure = 0.25  # share of the frames at pure noise, where every sampler starts
    c.levels.mean = -0.9  # of the other levels' logit: .3 (DIAMOND) + ln residual
    c.levels.std = 1.2
    c.levels.lowest = 0.002
    c.levels.context_share = 0.5  # of the contexts that are noisy
    c.levels.context_noise = 0.3  # their highest level
    return c
