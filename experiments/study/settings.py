"""Settings of a study, and what of the rest it asks for; the choices that an ablation compares."""

import dataclasses

from experiments.run import groups
from prowl_jax.envs import registry
from prowl_jax.settings import (
    COUNT,
    FOLDER,
    NATURAL,
    NOT_NEGATIVE,
    POSITIVE,
    SOME_SHARE,
    Check,
    check,
    setting,
    some_of,
)

SEEDS = Check(
    lambda v: v and len(set(v)) == len(v) and min(v) >= 0, "is not one or more different whole numbers of at least 0"
)

CONTROL = "frozen_reference"
"""As in ``stages/arms.py``, of which settings know nothing."""

DIFFERENT = Check(lambda v: len(set(v)) == len(v), "are not all different")

SEEDED = registry.names(lambda environment: environment.seeded)


TRAINABLE = ("phase2", "all")


@dataclasses.dataclass(frozen=True)
class Mending:
    """How theta_0 is fine-tuned, at a constant rate; the averaged parameters are what is used.

    Attributes:
      trainable: what phase 2 trains, or all parameters of the network.
      patience: looks at the development clips without a better one, after which it is over.
      look_every: updates between two looks. updates: at most; seconds: likewise, 0 for no limit.
    """

    trainable: str = TRAINABLE[0]
    learning_rate: float = setting(5e-4, "the rate of AdamW, after a short rise", POSITIVE)
    ema_decay: float = setting(0.99, "of the averaged parameters, which are what is used", NOT_NEGATIVE)
    updates: int = setting(4000, "at most", COUNT)
    look_every: int = setting(100, "updates between two looks at development clips", COUNT)
    patience: int = setting(3, "looks without a better one, after which it is over", COUNT)
    seconds: float = setting(0.0, "at most; 0: no limit", NOT_NEGATIVE)

    def __post_init__(self):
        check(self)
        if self.trainable not in TRAINABLE:
            raise ValueError(f"trainable must be one of {', '.join(TRAINABLE)}, got {self.trainable!r}")


ORACLES = {"oracle": "phase2", "oracle_all": "all"}
"""Name -> what it trains, of ``TRAINABLE``."""


@dataclasses.dataclass(frozen=True)
class OracleSettings(Mending):
    """What oracles learn from, beside how."""

    kinds: tuple = setting(
        ("wide", "gaps"), "recordings to learn from (experiments/study/recorded.py)",
        Check(lambda v: v and len(set(v)) == len(v), "is not one or more different kinds"),
    )  # fmt: skip
    episodes: int = setting(96, "of each kind", COUNT)
    frames: int = setting(240, "of an episode", COUNT)
    develop_clips: int = setting(128, "of each kind, on whose error training is stopped; windows as trained", COUNT)


@dataclasses.dataclass(frozen=True)
class DoseSettings:
    """When does hunting pay? The same study with more or less of something, each with runs of its own (``dose.py``)."""

    trajectories: tuple = setting((), "of phase2.trajectories, a study of each", DIFFERENT)
    bases: tuple = setting((), "of base, weights or their files: a study from each", DIFFERENT)
    arms: tuple = setting((), "of each of these studies; empty: those of the study itself", DIFFERENT)
    seeds: tuple = setting((0, 1, 2), "of each of these studies", SEEDS)


@dataclasses.dataclass(frozen=True)
class StudySettings:
    """How many seeds, and what is measured of each."""

    seeds: tuple = setting((0, 1, 2), "of the arms; what is missing of them is done", SEEDS)
    processes: int = setting(2, "seeds at a time, each on its share of a CPU's cores; not on an accelerator", COUNT)
    side_by_side: int = setting(
        1, "seeds whose arms run as one program: an accelerator with room (phase2.program=device)", COUNT
    )
    results: str = setting("results", "the folder of NAME.json and NAME.md", FOLDER)
    buffer_clips: int = setting(128, "of each arm's buffer, at most, that all arms are measured on", COUNT)
    event_rounds: int = setting(
        2, "times phase2.trajectories, of every last policy, where the world knows events", COUNT
    )
    event_steps: int = setting(256, "of each of these, in which events are counted", COUNT)
    event_clips: int = setting(24, "of one kind of event, at most", COUNT)
    event_episodes: int = setting(64, "demonstrations in which events are counted", COUNT)
    dreams: int = setting(
        0, "of a clip, for the energy score; with any, all that methods are compared by is measured (compared.py)",
        Check(lambda v: v == 0 or 2 <= v <= 64, "is neither 0 nor 2..64"),
    )  # fmt: skip
    oracles: tuple = setting((), "ceilings, fine-tuned on wide data: oracle, oracle_all", some_of(ORACLES))
    by_cycle: tuple = setting(
        (), "arms measured after phase2.keep_cycles too: on critical trajectories, and by what their policies find",
        DIFFERENT,
    )  # fmt: skip
    unseen_clips: int = setting(
        0, "critical trajectories from seeds and places that no arm saw, chosen by theta_0 and by what is done", NATURAL
    )


STUDY = {"study": (StudySettings,), "study.oracle": (OracleSettings,), "study.dose": (DoseSettings,)}
"""As ``configs.default.GROUPS``."""

RULES = (
    *groups.rules(STUDY),
    (lambda c: c.arms, "arms is empty; name rows of experiments/stages/arms.py"),
    (
        lambda c: c.demonstrations.seed >= 0,
        "demonstrations.seed={config.demonstrations.seed}: all seeds of a study share the demonstrations; "
        "give them a seed",
    ),
    (
        lambda c: c.env.name in SEEDED,
        "env.name={config.env.name}: a study needs an environment that can be reset from seeds, "
        f"{' or '.join(SEEDED)}",
    ),
    (
        lambda c: c.evaluation.horizon == c.phase2.horizon,
        (
            "evaluation.horizon={config.evaluation.horizon} is not phase2.horizon={config.phase2.horizon}: "
            "critical trajectories are of both"
        ),
    ),
    (
        lambda c: set(c.study.by_cycle) <= set(c.arms) and bool(c.study.by_cycle) <= bool(c.phase2.keep_cycles),
        "study.by_cycle={config.study.by_cycle} are not all arms={config.arms}, or phase2.keep_cycles names no cycles",
    ),
    (
        lambda c: set(c.study.dose.arms) <= set(c.arms),
        "study.dose.arms={config.study.dose.arms} are not all arms={config.arms}",
    ),
    (
        lambda c: (
            not (c.study.dose.trajectories or c.study.dose.bases) or CONTROL in (c.study.dose.arms or tuple(c.arms))
        ),
        f"a dose is told against {CONTROL}, which is neither in study.dose.arms={{config.study.dose.arms}} nor in arms",
    ),
    (
        lambda c: not c.study.dose.bases or c.base,
        "study.dose.bases={config.study.dose.bases} needs base, weights that this study itself begins with",
    ),
    (
        lambda c: c.study.side_by_side <= 1 or (c.phase2.program == "device" and c.on_nan == "stop"),
        "study.side_by_side={config.study.side_by_side} needs phase2.program=device and on_nan=stop",
    ),
)
"""Pairs for ``command_line.validate``: its own settings' checks, and what it asks of the rest."""

TRANSFORMER = {
    "world_model.network": "dit", "world_model.window": 10, "world_model.learning_rate": 4e-3,
    "world_model.sampler_steps": 4,
}  # fmt: skip
NO_MOTION = {"world_model.unet.motion": False, "world_model.unet.predict_residual": False}
LATENTS = {"autoencoder.kind": "small", "autoencoder.widths": (64, 96), **NO_MOTION}
EIGHTFOLD = {**LATENTS, "world_model.unet.widths": (96, 128), "world_model.unet.blocks": (2, 2)}
TERMS = {"autoencoder.gradient_weight": 1.0, "autoencoder.equivariance_weight": 0.25}

VARIANTS = {
    "base": ("U-Net over pixels, motion, own frames 1, 2, 4, context of 2", {}),
    "no_motion": ("without motion: the denoiser works around 0", NO_MOTION),
    "one_deviation": (
        "one deviation of what the motion misses, in place of predicted ones",
        {"world_model.unet.predict_residual": False},
    ),
    "own_answers": ("own frames are answers at the drawn level", {"world_model.unet.own_by": "answer"}),
    "two_evaluations": ("two evaluations a frame", {"world_model.unet.sampler_levels": (1.0, 0.13, 0.0)}),
    "real_context": (
        "without own frames in training",
        {"world_model.unet.own_frames": (1,), "world_model.unet.own_since": (0.0,)},
    ),
    "clean_context": ("without noise on the context", {"world_model.unet.levels.context_share": 0.0}),
    "no_pure_noise": ("without a share of levels at pure noise", {"world_model.unet.levels.pure": 0.0}),
    "context_1": ("context of 1 frame", {"world_model.unet.context": 1, "world_model.window": 2}),
    "context_4": ("context of 4 frames", {"world_model.unet.context": 4, "world_model.window": 5}),
    "fourfold": ("over latents of a fourfold autoencoder with both terms", {
        **LATENTS, **TERMS, "autoencoder.downsampling": 4,
    }),
    "eightfold": ("over latents of an eightfold autoencoder with both terms", {**EIGHTFOLD, **TERMS}),
    "eightfold_plain": ("over latents of an eightfold autoencoder of squared error alone", EIGHTFOLD),
    "dit_pixels": ("DiT over pixels", TRANSFORMER),
    "dit_eightfold": ("DiT over latents of the eightfold autoencoder with both terms", {
        **TRANSFORMER, **TERMS, "autoencoder.kind": "small", "autoencoder.widths": (64, 96),
    }),
}  # fmt: skip
"""Name -> what it is, and what it changes of the configuration. ``base`` changes nothing."""


def _known(names):
    return len(set(names)) == len(names) and set(names) <= VARIANTS.keys()


@dataclasses.dataclass(frozen=True)
class AblationSettings:
    """What is compared, and how long each trains."""

    variants: tuple = setting(tuple(VARIANTS), "what to compare", Check(_known, f"are not among {', '.join(VARIANTS)}"))
    core_minutes: float = setting(10.0, "of computing a variant's training steps; two cores count twice", POSITIVE)
    autoencoder_share: float = setting(0.25, "of these for an autoencoder that is trained", SOME_SHARE)
    probe_steps: int = setting(6, "by which the rate is measured", COUNT)
    results: str = setting("results", "the folder of NAME.json and NAME.md", FOLDER)


ABLATION = {"ablation": (AblationSettings,)}
"""As ``configs.default.GROUPS``."""
