"""Fine-tuning theta_0 outside of any loop, on data that is there from the beginning: what there is to mend.

The data are frames and actions: half of each batch demonstrations, as in phase 2, half what is asked about.
"""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.run.progress import Progress
from experiments.stages import build
from experiments.stages.clip_stores import clip_starts, open_store, split
from prowl_jax.data.feeder import batch_starts
from prowl_jax.train.state import Optimizer, count, init_state, merge
from prowl_jax.train.world_model import make_update
from prowl_jax.types import Batch

RISE = 10
"""Updates in which the rate rises: theta_0 has been trained, the optimiser is fresh."""


@dataclasses.dataclass(frozen=True)
class Mended:
    """The whole world model after fine-tuning, and what it took.

    Attributes:
      params: of the world model. updates: done. best: the update whose parameters these are.
      seconds: it took. share: of the network's parameters that were trained.
      looks: (update, error on the development clips) of every look.
    """

    params: Any
    updates: int
    best: int
    seconds: float
    share: float
    looks: tuple = ()


def mend(config, theta_0, fetch, how, develop=None, say="fine-tuning"):
    """``Mended`` theta_0.

    Args:
      theta_0: the whole world model's parameters, left as they are.
      fetch: ``f(step) -> Clip``, windows of one length to learn from.
      how: ``Mending``.
      develop: ``f(params) -> float``, the error of the whole world model's parameters on development clips: those of
        the lowest are kept, theta_0's among them. None: the last are kept.
      say: what the line of progress begins with.
    """
    if how.trainable == "all":
        trained, frozen = theta_0["dit"], {}
    else:
        trained, frozen = build.split_phase2(config, theta_0["dit"])
    optimizer = Optimizer(how.learning_rate, warm_up=RISE, final=1.0).over(how.updates)
    step = make_step(config, optimizer, how.ema_decay)
    state, rest = init_state(trained, optimizer), {k: v for k, v in theta_0.items() if k != "dit"}
    frozen = jax.tree.map(jnp.asarray, frozen)

    def whole(state):
        return {**rest, "dit": merge(state.ema, frozen)}

    began, key, done = time.monotonic(), build.stage_key(config, say), 0
    looks = [(0, develop(theta_0))] if develop else []
    best = (0, theta_0)
    progress_of = (f"{say}, s", round(how.seconds)) if how.seconds else (say, how.updates)
    with Progress(*progress_of) as progress:
        while done < how.updates and not (how.seconds and time.monotonic() - began > how.seconds):
            state, metrics = step(state, frozen, rest, fetch(done), key)
            done += 1
            loss = float(metrics["loss"])  # waits for the update, which the clock is to count
            progress.update(round(time.monotonic() - began) if how.seconds else done, loss=loss)
            if develop and done % how.look_every == 0:
                looks.append((done, develop(whole(state))))
                if looks[-1][1] <= min(error for _, error in looks):
                    best = (done, jax.tree.map(np.asarray, whole(state)))
                elif sum(at > best[0] for at, _ in looks) >= how.patience:
                    break
    if not develop:
        best = (done, whole(state))
    share = count(trained) / count(theta_0["dit"])
    return Mended(best[1], done, best[0], time.monotonic() - began, share, tuple(looks))


def make_step(config, optimizer, ema_decay):
    """``step(state, frozen, rest, clip, key) -> (state, metrics)``, jitted: an update of phase 2's loss on frames."""
    model = build.make_world_model(config)
    update = make_update(build.make_loss(config, model), optimizer, ema_decay=ema_decay)

    def step(state, frozen, rest, clip, key):
        return update(state, frozen, Batch(model.encode(rest, clip.frames), clip.actions), key)

    return jax.jit(step, donate_argnums=0)


def demonstrations(run, length):
    """``f(step, rows) -> Clip``: windows of ``length`` frames of the training episodes, a pure function of the step."""
    store = open_store(run)
    starts = clip_starts(store, split(run, store)[0], length, "world_model.window")
    return lambda step, rows: store.gather(batch_starts(run.config.seed, step, starts, rows), length)
