"""The stage of phase 1: diffusion forcing on the demonstrations, whose averaged parameters are theta_0."""

import dataclasses
import json

import jax
from flax import traverse_util

from experiments.run.files import write_json
from experiments.run.training_loop import restore_state, shapes, train
from experiments.stages import build
from experiments.stages.autoencoder import load_autoencoder
from experiments.stages.passive_batches import training_fetch
from prowl_jax import zoo
from prowl_jax.settings import COUNT, NATURAL, NOT_NEGATIVE, POSITIVE, SHARE, read, setting
from prowl_jax.train import world_model as world_model_training
from prowl_jax.train.mesh import put
from prowl_jax.train.sharding import DIT_RULES
from prowl_jax.train.state import Training, count, init_state

BEGAN_WITH = ".began_with.json"


@dataclasses.dataclass(frozen=True)
class WorldModelTraining(Training):
    """Phase 1."""

    steps: int = setting(3000, "updates", COUNT)
    learning_rate: float = setting(4e-3, "the highest rate of AdamW", POSITIVE)
    weight_decay: float = setting(0.01, "decoupled, on matrices only", NOT_NEGATIVE)
    warm_up: int = setting(50, "updates until the highest rate", NATURAL)
    final: float = setting(0.02, "share of the rate left at the end; 1: constant", SHARE)


def init_dit(config):
    key = build.stage_key(config, "world model init")
    return build.make_world_model(config).init(key, build.frame_shape(config), config.world_model.window)["dit"]


def world_model_optimizer(config):
    """The optimiser of phase 1."""
    return read(WorldModelTraining, config.world_model).optimizer


def make_world_model_step(config):
    """``step(state, batch, key) -> (state, metrics)`` of phase 1."""
    return world_model_training.make_train_step(
        build.make_loss(config), world_model_optimizer(config), ema_decay=config.world_model.ema_decay
    )


def train_world_model(run):
    """Phase 1: diffusion forcing on the demonstrations."""
    config, w = run.config, run.config.world_model
    if config.base:
        return {"parameters": count(build.load_base(config.base).params["dit"]), "tokens": 0}
    _note_beginning(run)
    optimizer = world_model_optimizer(config)
    step_fn = make_world_model_step(config)
    state = train(
        run,
        "world_model",
        lambda: init_state(init_dit(config), optimizer),
        step_fn,
        training_fetch(run),
        build.stage_key(config, "world_model"),
        steps=w.steps,
        mesh=build.make_config_mesh(config),
        rules=DIT_RULES,
        pretrained=pretrained(config, optimizer) if w.weights else None,
    )
    return {"parameters": count(state.params), "tokens": w.steps * w.batch * tokens_per_clip(config)}


def _note_beginning(run):
    """Of the card of ``world_model.weights`` what a card of this run has to tell, once, since a file may change."""
    noted, weights = run.workdir / BEGAN_WITH, run.config.world_model.weights
    card = zoo.read_card(weights) if weights and run.config.world_model.network == "unet" else {}
    if card and not noted.exists():
        write_json(noted, {name: card.get(name) for name in ("command", "steps", "of_steps", "hours", "began_with")})


def read_beginning(run):
    """The weights that phase 1 of a run began with, as their card told then; None: with none, or without a card."""
    noted = run.workdir / BEGAN_WITH
    return json.loads(noted.read_text()) if noted.exists() else None


def pretrained(config, optimizer):
    """``f(placed) -> TrainState`` from ``world_model.weights``, laid as the shapes in ``placed`` say.

    The weights are the first parameters and the first average; the optimiser is fresh.
    """

    def load(placed):
        where = jax.tree.map(lambda x: x.sharding, placed.params)
        if config.world_model.network == "unet":
            params = put(build.unet_weights(config), where)
        else:
            where = traverse_util.flatten_dict(where)
            key = build.stage_key(config, "world model init")
            params = build.load_dit(config, key, lambda path, array: put(array, where[path]))
        state = jax.jit(init_state, static_argnums=1, out_shardings=jax.tree.map(lambda x: x.sharding, placed))
        return state(params, optimizer)

    return load


def tokens_per_clip(config):
    """Tokens of one training window."""
    return config.world_model.window * build.make_world_model(config).tokens(build.frame_shape(config))


def load_world_model(run):
    """theta_0: the whole world model of phase 1 (averaged parameters), and the optical flow's weights."""
    return load_last_checkpoint(run)[0]


def load_last_checkpoint(run):
    """``load_world_model`` of a phase 1 that may still be under way, and the step of its last checkpoint.

    Where the run has shipped weights and no phase 1 of its own, the step is that of their card, or 0.
    """
    if run.config.base:
        step = zoo.read_card(run.config.base).get("steps", 0)
        return {**build.load_base(run.config.base).params, **build.flow_params(run.config)}, step
    optimizer = world_model_optimizer(run.config)
    example = shapes(lambda: init_state(init_dit(run.config), optimizer))
    state = restore_state(run, "world_model", example)
    return {**load_autoencoder(run), **build.flow_params(run.config), "dit": state.ema}, int(state.step)
