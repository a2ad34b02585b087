"""Settings of policies made in dreams, and what they ask of the rest."""

import dataclasses
import pathlib

from experiments.run import groups
from prowl_jax.envs import registry
from prowl_jax.methods.dream_policy import Evolution, Imagination
from prowl_jax.models.reward_heads import RewardNetwork
from prowl_jax.rl.pmpo import PMPOConfig
from prowl_jax.rl.ppo import PPOConfig
from prowl_jax.settings import COUNT, FOLDER, NATURAL, NOT_NEGATIVE, Check, one_of, setting, some_of, within
from prowl_jax.train.state import ShortTraining

LEARNERS = ("ppo", "cma")
THETA_0 = "theta_0"
DIFFERENT = Check(lambda v: len(v) > 0 and len(set(v)) == len(v), "is not one or more different values")
TEMPERATURES = Check(
    lambda v: DIFFERENT.holds(v) and all(NOT_NEGATIVE.holds(t) for t in v),
    "is not one or more different numbers of at least 0",
)
SEEDS = Check(lambda v: DIFFERENT.holds(v) and min(v) >= 0, "is not one or more different whole numbers of at least 0")


@dataclasses.dataclass(frozen=True)
class DreamSettings:
    """What is gained, who learns it where, and how often it is measured."""

    goal: str = setting("travel", "what there is to gain, of the environment's goals")
    steps: int = setting(128, "limit of an episode, dreamt or real", within(2))
    contexts: int = setting(512, "real contexts of the demonstrations that dreams begin in", COUNT)
    beginnings: bool = setting(False, "dreams begin where recorded episodes do, not anywhere in them")
    players: tuple = setting(
        ("demonstrator", "wide"), "who plays what the heads learn from: demonstrator knows the goal, others are tasks",
        DIFFERENT,
    )  # fmt: skip
    episodes: int = setting(64, "of each player", within(2))
    learners: tuple = setting(LEARNERS, "ppo: a network; cma: a linear controller over latents", some_of(LEARNERS))
    temperatures: tuple = setting(
        (0.5, 0.75, 1.0, 1.15, 1.3), "of the dreams learned in, a learner each", TEMPERATURES,
        source="World Models: 0.1, 0.5, 1, 1.15, 1.3",
    )  # fmt: skip
    dropout: float = setting(
        0.0, "rate of the masks when dreaming, of a unet trained with them", Check(lambda v: 0 <= v < 1, "is no share"),
        source="Dropout's Dream Land: twice that of training",
    )  # fmt: skip
    masks: str = setting("step", "a mask is drawn for each step, or each dream", one_of(("step", "dream")))
    seeds: tuple = setting((0, 1, 2, 3, 4), "of each learner", SEEDS)
    in_reality: bool = setting(True, "ppo learns in the real environment as well, for comparison")
    real_episodes: int = setting(100, "of each policy and seed", within(2), source="World Models: 100")
    dreamt_episodes: int = setting(100, "the same in dreams", within(2))
    world_models: tuple = setting(
        (), "further weights whose dreams rank the policies and are learned in: models of the zoo or files"
    )
    resamples: int = setting(2000, "of the bootstrap", COUNT)
    results: str = setting("results", "the folder of NAME.json and NAME.md", FOLDER)


@dataclasses.dataclass(frozen=True)
class HeadsTraining(ShortTraining):
    """How reward and end heads are trained."""

    steps: int = setting(1500, "updates", COUNT)
    batch: int = setting(64, "steps of the environment in an update", COUNT)
    held_out_fraction: float = setting(
        0.25, "of the episodes played, to measure on", Check(lambda v: 0 < v < 1, "is not a share between 0 and 1")
    )
    measured: int = setting(2048, "held-out steps that it is measured on, at most", within(1))
    warm_up: int = setting(50, "updates to reach the rate; at most a quarter of the steps", NATURAL)


DREAM = {
    "dream": (DreamSettings,),
    "dream.heads": (HeadsTraining, RewardNetwork),
    "dream.ppo": (Imagination, PPOConfig, PMPOConfig),
    "dream.evolution": (Evolution,),
}
"""As ``configs.default.GROUPS``."""


def _goals(c):
    """What there is to gain in the configured task."""
    return registry.ENVIRONMENTS[c.env.name].goals_of(c.env.task) if c.env.name in registry.ENVIRONMENTS else {}


def _players(c):
    known = {"demonstrator", *(registry.ENVIRONMENTS[c.env.name].tasks or {})} if _goals(c) else set()
    return set(c.dream.players) <= known


def short(name):
    """A world model's name in tables and files: of weights without the folder."""
    return pathlib.Path(name).stem


def _models(c):
    """The names of the world models that are compared, as files and tables have them."""
    return [THETA_0, *c.arms, *map(short, c.dream.world_models)]


RULES = (
    *groups.rules(DREAM),
    (
        lambda c: c.dream.goal in _goals(c),
        lambda c: f"dream.goal={c.dream.goal}: env.name={c.env.name} with env.task={c.env.task} has the goals "
        f"{', '.join(_goals(c)) or 'none'}",
    ),
    (
        lambda c: not _goals(c) or _players(c),
        "dream.players={config.dream.players} holds somebody who is neither demonstrator nor a task of the environment",
    ),
    (
        lambda c: len(_models(c)) == len(set(_models(c))),
        lambda c: f"dream.world_models={c.dream.world_models}: two of {', '.join(_models(c))} have one name; rename a "
        "file",
    ),
    (
        lambda c: c.dream.ppo.minibatches < 1 or c.dream.ppo.rows % c.dream.ppo.minibatches == 0,
        "dream.ppo.rows={config.dream.ppo.rows} are not whole dream.ppo.minibatches={config.dream.ppo.minibatches}",
    ),
    (
        lambda c: c.world_model.network == "unet" or c.world_model.chunk == 1,
        "world_model.chunk={config.world_model.chunk}: a dream that is stepped needs a model of single frames",
    ),
    (
        lambda c: not c.dream.dropout or (c.world_model.network == "unet" and c.world_model.unet.dropout > 0),
        "dream.dropout={config.dream.dropout}: masks need a unet that was trained with them, world_model.unet.dropout",
    ),
    (
        lambda c: c.autoencoder.kind != "wan" and not c.reference.weights,
        "autoencoder.kind={config.autoencoder.kind}: policies in dreams need a latent a frame, and a policy of the "
        "environment's own actions (reference.weights empty)",
    ),
)
"""Pairs for ``command_line.validate``: its own settings' checks, and what it asks of the rest."""
