"""The base model of the voxel world, trained against the clock on data that never leave the device."""

import dataclasses
import math
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmarks import accelerator_quality as quality
from experiments.benchmarks.timing import compiled
from experiments.stages import build
from prowl_jax import zoo
from prowl_jax.envs import voxel
from prowl_jax.envs.device import keys
from prowl_jax.train.state import count, init_state, make_optimizer
from prowl_jax.train.world_model import make_update
from prowl_jax.types import Batch

WRITTEN_BEFORE_END = 20.0
"""Seconds, at most a tenth of all: the weights are on the disk as long before the end."""
SAVE_EVERY = 60.0
CALL = 2.0
"""Seconds of steps under one call of the program: long beside what a call costs, short beside a deadline."""
REUSED = 2.0
"""As often as a frame of the demonstrations has been predicted, they are made anew ..."""
RECORDING = 0.2
"""... unless making them has taken this share of the training time."""
FINAL = 0.02
"""Share of the highest rate that is left at the end."""


def train_base(settings, clock, report):
    """Train until shortly before the end, then write the weights and look at what they dream."""
    training = Training(settings, clock, report)
    before = training.check("quality_before")
    # The check runs once more after the training, and takes as long.
    last = clock.total - min(WRITTEN_BEFORE_END, clock.total / 10) - 1.5 * before
    steps, loss = training.run_until(last)
    training.save()
    report.say(f"training: {steps:,} steps, loss {loss:.4f}; the weights are written")
    if clock() + 1.2 * before < clock.total:
        training.check("quality", sheet=True)


class Training:
    """A training under way: compiled programs, demonstrations and the state, all on the device."""

    def __init__(self, settings, clock, report):
        self.config, self.settings, self.clock, self.report = settings.config, settings, clock, report
        config, w = settings.config, settings.config.world_model
        self.model = build.make_world_model(config)
        self.key = build.stage_key(config, "accelerator")
        self.record = make_record(config)
        self.rounds, self.recording, self.predicted = 0, 0.0, 0.0
        held_out, first = self._measured(self._record)
        self.held_out = quality.held_out_clips(held_out, settings.clips, self.model.context + settings.horizon)
        self.pool, again = self._measured(self._record)
        self.frames = self.pool.actions.shape[0] * self.pool.actions.shape[1]
        report.put(
            "training", demonstrators=config.env.num_envs, frames_a_round=self.frames, recording_s=round(again, 2),
            recording_compile_s=round(first - again, 2), recorded_frames_per_s=round(self.frames / again),
        )  # fmt: skip
        report.say(f"training: {self.frames:,} frames in {again:.1f} s, and {first - again:.1f} s of compiling")

        self.state = start(config, self.model, settings.resumed)
        args = self.state, self.pool, self.key, np.int32(1), np.int32(1), np.float32(0), np.float32(0)
        (self.program, _), took = self._measured(compiled, make_steps(config, self.model), *args)
        report.put(
            "training", parameters=count(self.state.params), batch=w.batch, dtype=str(w.dtype), compile_s=round(took, 2)
        )
        report.say(f"training: {count(self.state.params):,} parameters, compiled in {took:.1f} s")
        self.dreams = quality.make_dreams(self.model, settings.horizon)
        self.curve = []

    def _measured(self, function, *arguments):
        began = self.clock()
        result = jax.block_until_ready(function(*arguments))
        return result, self.clock() - began

    def _record(self):
        self.rounds += 1
        return self.record(self.rounds)

    def run_until(self, end):
        """Steps until ``end``, in seconds of the clock; the rate has then fallen. Returns (steps, their last loss)."""
        clock, report = self.clock, self.report
        w, began, a_step, saved, done = self.config.world_model, clock(), None, clock(), 0
        while (left := end - clock()) > (a_step or 0.0):
            if self._stale(clock() - began):
                self.pool = None  # else two rounds would lie in memory
                self.pool, took = self._measured(self._record)
                self.recording, self.predicted = self.recording + took, 0.0
                continue
            steps = 1 if a_step is None else max(1, int(min(CALL, left) / a_step))
            share = (clock() - began) / (end - began)
            own = own_frames(w.unet, share)
            shares = np.float32(share), np.float32((a_step or 0.0) / (end - began))
            (loss, error), took = self._measured(self._steps, steps, own, *shares)
            a_step, done = took / steps, done + steps
            self.predicted += steps * w.batch
            row = {"seconds": round(clock(), 1), "step": done, "own": own, "loss": loss, "error_pure": error}
            report.put("training", steps=done, step_ms=round(1e3 * a_step, 3),
                       predicted_frames_per_s=round(w.batch / a_step), rounds=self.rounds - 1,
                       recording_share=round(self.recording / (clock() - began), 3), last=row)  # fmt: skip
            if not math.isfinite(loss):
                raise FloatingPointError(f"the loss is {loss} at step {done}; the file holds what was saved before")
            if clock() - saved > SAVE_EVERY:
                self.save(row)
                saved = clock()
        if not done:
            raise TimeoutError(f"compiling and recording were done after {began:.0f} s: no time was left to train")
        return done, loss

    def _stale(self, trained):
        return self.predicted > REUSED * self.frames and self.recording < RECORDING * trained

    def _steps(self, steps, own, share, share_a_step):
        self.state, sums = self.program(
            self.state, self.pool, self.key, np.int32(steps), np.int32(own), share, share_a_step
        )
        return [float(x) for x in np.asarray(sums) / steps]

    def save(self, row=None):
        """Write the averaged weights, whole or not at all; with a row, add it to the curve, with what is dreamt."""
        file = write_weights(self.settings, self.model, jax.device_get(self.state.ema))
        self.report.put("training", weights=file)
        if row:
            row = row | {"frames": self._look()[0]["frames"]}
            self.curve.append(row)
            self.report.put("training", curve=self.curve)
            shown = {h: values["floor_relative_error"] for h, values in row["frames"].items()}
            self.report.say(f"training: step {row['step']:,}, loss {row['loss']:.4f}, error over repeating {shown}")

    def _look(self):
        """(figures, pictures) of the weights as they would be read from a file."""
        params = jax.tree.map(lambda x: x.astype(jnp.float16).astype(jnp.float32), self.state.ema)
        return quality.measure(self.dreams, params, self.held_out)

    def check(self, part, sheet=False):
        """Note what is dreamt as ``part``; returns the seconds of a second time, which compiles nothing."""
        (figures, pictures), took = self._measured(self._look)
        self.report.put(part, **figures, seconds=round(took, 2))
        if sheet:
            path = self.settings.output / "contact_sheet.png"
            quality.save_sheet(path, *pictures)
            self.report.put(part, sheet=path.name)
            return took
        return self._measured(self._look)[1]


def make_record(config):
    """``record(round) -> Batch`` of uint8 frames ``[T, N, H, W, 3]`` and actions ``[T, N, A]``, on the device.

    Each round's demonstrators are others, in the same worlds; T is shorter than an episode.
    """
    task, steps, number = config.env.task, config.demonstrations.episode_frames, config.env.num_envs
    if 0 < config.env.voxel.episode_steps <= steps:
        raise ValueError(f"episodes of {config.env.voxel.episode_steps} steps end within recordings of {steps}")
    env, gaps = build.make_device_env(config, task), build.gaps_of(config, task)
    behaviour = voxel.behaviour_of(task, gaps)

    @jax.jit
    def recorded(env, seeds):
        frames, actions, *_ = voxel.demonstrate(env, behaviour, seeds, steps=steps, gaps=gaps)
        return Batch(frames, actions)

    def record(round_):
        seeds = np.random.SeedSequence([build.data_seed(config), round_]).generate_state(number)
        return recorded(env, keys(seeds, number))

    return record


def start(config, model, resumed):
    """The ``TrainState`` that training begins with: new parameters, or those of a ``zoo.Model``."""
    optimizer = optax.chain(unit_rate(config), optax.scale(1.0))
    if resumed is not None:
        return jax.jit(lambda params: init_state(params, optimizer))(resumed.params["dit"])

    @jax.jit  # one program, where every array's own would be many
    def begin(key):
        return init_state(model.init(key, build.frame_shape(config))["dit"], optimizer)

    return begin(build.stage_key(config, "world model init"))


def unit_rate(config):
    """The optimiser of phase 1 at rate 1; its updates are proportional to the rate."""
    return make_optimizer(1.0, 1, final=1.0, weight_decay=config.world_model.weight_decay)


def make_steps(config, model):
    """``f(state, pool, key, steps, own, share, share_a_step) -> (state, sums of loss and error_pure)``, jitted.

    One program for the whole training: the number of steps, how many frames are the model's own, and the rate, by the
    share of the time that is over, are its arguments.
    """
    w, levels, optimizer = config.world_model, build.make_frame_levels(config), unit_rate(config)
    most = max(w.unet.own_frames)
    rows, length = w.batch // most, w.unet.context + most

    def run(state, pool, key, steps, own, share, share_a_step):
        draw_key, noise_key = jax.random.split(key)
        loss = model.loss(levels, own, w.unet.own_by == "sampler")

        def step(i, carry):
            state, sums = carry
            rate = learning_rate(w, state.step, share + i * share_a_step)
            update = make_update(loss, optax.chain(optimizer, optax.scale(rate)), ema_decay=w.ema_decay)
            clips = draw(pool, jax.random.fold_in(draw_key, state.step), rows, length)
            batch = Batch(model.from_kept(clips.latents), clips.actions)
            state, metrics = update(state, {}, batch, noise_key)
            return state, sums + jnp.stack([metrics["loss"], metrics["error_pure"]])

        return jax.lax.fori_loop(0, steps, step, (state, jnp.zeros(2)))

    return jax.jit(run, donate_argnums=0)


def draw(pool, key, rows, length):
    """Clips anywhere in the pool, ``Batch`` of ``[rows, length, ...]``."""
    time_key, actor_key = jax.random.split(key)
    time, actors = pool.actions.shape[:2]
    times = jax.random.randint(time_key, (rows, 1), 0, time - length + 1) + jnp.arange(length)
    actor = jax.random.randint(actor_key, (rows, 1), 0, actors)
    return Batch(pool.latents[times, actor], pool.actions[times, actor])


def learning_rate(w, step, share):
    """Rises over ``warm_up`` steps, stays, and falls as a cosine over the last ``fall`` of the time."""
    fallen = jnp.clip((share - (1.0 - w.fall)) / w.fall, 0.0, 1.0)
    risen = jnp.minimum(1.0, (step + 1.0) / w.warm_up)
    return w.learning_rate * risen * (FINAL + (1.0 - FINAL) * 0.5 * (1.0 + jnp.cos(jnp.pi * fallen)))


def own_frames(unet, share):
    """How many frames the model predicts from its own at a share of the training, ``own_frames`` by ``own_since``."""
    return max(frames for frames, since in zip(unet.own_frames, unet.own_since, strict=True) if share >= since)


def write_weights(settings, model, params):
    """The file of weights, for ``zoo.load``; what a resumed one held beside the world model stays. Returns its facts.

    Raises:
      ValueError: something is not finite; the file that was there is still there.
    """
    config, path = settings.config, settings.output / "voxel.safetensors"
    statistics = {name: np.array(getattr(model.autoencoder, name)) for name in ("latent_mean", "latent_std")}
    made = zoo.Model(
        world_model=quality.in_float32(model),
        params={"dit": params, "autoencoder": {}, **statistics},
        spec=build.spec_of(config),
        frame_shape=build.frame_shape(config),
        environment=build.environment_of(config),
    )
    if settings.resumed is not None:
        made = dataclasses.replace(settings.resumed, world_model=made.world_model, params=made.params)
    partial = path.with_name(path.name + ".partial")
    sha256 = zoo.save(partial, made)
    os.replace(partial, path)
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256}
