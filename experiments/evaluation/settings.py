"""Settings of the evaluation."""

import dataclasses

from prowl_jax.settings import COUNT, NATURAL, setting


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """What every arm is measured on."""

    training_clips: int = setting(0, "of training episodes, to see what is learned by heart", NATURAL)
    action_prior: str = setting("", "recordings whose players the policies are compared with, for Minecraft")
    clips: int = setting(64, "of every set", COUNT, source="paper: 64")
    horizon: int = setting(3, "latents that are dreamt", COUNT, source="paper: a chunk")
    long_clips: int = setting(30, "of the long rollouts", COUNT, source="paper: 30")
    long_horizon: int = setting(54, "latents of these", COUNT, source="paper: 54")
    resamples: int = setting(2000, "of the bootstrap", COUNT)
