"""Settings of the evaluation, and the checks that a target can be set for."""

import dataclasses
import difflib

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


CHECKS = {
    "autoencoder_psnr_db": ("Autoencoder, PSNR", "dB", +1),
    "regret_over_repeat_last_frame": ("World model's regret over repeating the last frame", "", -1),
    "regret_exchanged_actions_over_true": ("Regret with exchanged actions over the true ones", "", +1),
    "minutes": ("Time", "min", -1),
    "peak_memory_gb": ("Peak memory", "GB", -1),
}
"""Key in ``evaluation.json``'s checks -> its words, its unit, and +1 where more is better."""

ARM_CHECKS = {
    "kl_to_reference": ("KL to the reference, last cycle", "nats", -1),
    "camera_speed_over_reference": ("camera speed over the reference's", "", -1),
}
"""The same of an arm's checks."""


def unknown_targets(targets):
    """Words for each of ``evaluation.targets`` that is no check of ``CHECKS`` or ``ARM_CHECKS``; "" without any."""
    known = (*CHECKS, *ARM_CHECKS)

    def words(name):
        near = difflib.get_close_matches(name, known, 1, 0.4)
        return f"evaluation.targets.{name} is no check; " + (f"did you mean {near[0]!r}?" if near else there)

    there = f"there are {', '.join(known)}"
    return "; ".join(words(name) for name in targets if name not in known)
