"""PROWL's closed loop (arXiv 2605.18803, section 3), one cycle at a time.

    tau     <- collect(pi_phi, environment)
    tau_hat <- predict(theta, tau.context, tau.actions)
    raw     <- latent regret, AFS-EPE
    reward  <- composite score(raw; buffer statistics)
    phi     <- KL-anchored PPO(phi, tau, reward, pi_ref)
    buffer  <- insert(buffer, tau, raw)
    theta   <- n steps on (1-r) passive + r PAT
    buffer  <- rescore(buffer, theta)

``run_cycle`` is ``collect``, ``explore`` (up to PPO) and ``mend`` (the rest). The matched-compute
control ("VPT-frozen" in the paper) is the same loop without the PPO line; another has its reward from
the disagreement of an ensemble (``disagreement``) and is the same in all else.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from prowl_jax.diffusion.forcing import Forcing
from prowl_jax.metrics.action_follow import afs_of_frames, flow_of_frames
from prowl_jax.pat import buffer as pat
from prowl_jax.pat.priority import Priority
from prowl_jax.pat.rescoring import Rescoring, queue
from prowl_jax.pat.score import composite_score, latent_regret
from prowl_jax.train import disagreement
from prowl_jax.train.state import TrainState, merge
from prowl_jax.train.world_model import make_update
from prowl_jax.types import Batch, pytree


@dataclasses.dataclass(frozen=True)
class Curriculum:
    """Settings of the loop. The paper gives r = 0.5 and capacity 256, and lambda in 0.10, 0.25.

    Attributes:
      context: S, real latents the prediction starts from. horizon: H, latents predicted and
        scored; both whole chunks.
      window: latents of one training clip.
      updates: world-model steps a cycle.
      batch: clips of a training step. pat_share: r, the share of them drawn from the buffer.
      score_batch: trajectories predicted at a time, so that memory stays bounded.
      ema_decay: of the average of the trained parameters, which is what predicts, rescores and is
        evaluated; 0 keeps none.
      scoring, priority, rescoring: of the PAT buffer.
    """

    context: int
    horizon: int
    window: int
    updates: int
    batch: int
    pat_share: float = 0.5
    score_batch: int = 32
    ema_decay: float = 0.0
    scoring: pat.Scoring = pat.Scoring()
    priority: Priority = Priority()
    rescoring: Rescoring = Rescoring()

    @property
    def pat_rows(self):
        """Rows of a batch that come from the buffer."""
        return round(self.pat_share * self.batch)

    @property
    def passive_rows(self):
        """Rows of a batch that come from the demonstrations."""
        return self.batch - self.pat_rows


@pytree
class PATItem:
    """What the buffer keeps of a trajectory.

    Attributes:
      latents: float ``[L, h, w, C]``. actions: int32 ``[T, A]``. frames: uint8 ``[T, H, W, 3]``.
      flow: float16 ``[H_raw, H, W, 2]``, real optical flow of the scored frames, in pixels.
    """

    latents: jax.Array
    actions: jax.Array
    frames: jax.Array
    flow: jax.Array


@pytree
class LoopState:
    """All that changes in phase 2.

    Attributes:
      theta: the world model's trained part. phi: the adversary.
      safe_phi: the last policy within the KL bound. buffer: PAT.
      cycle: int32 scalar, cycles done.
      ensemble: where its disagreement is the reward; else None.
    """

    theta: TrainState
    phi: TrainState
    safe_phi: Any
    buffer: pat.PATBuffer
    cycle: jax.Array
    ensemble: TrainState | None = None


def make_observe(world_model, curriculum, to_env=None, flow=None):
    """``observe(params, trajectory) -> PATItem`` with a leading batch axis, jitted.

    Encodes real frames and computes their flow, once per trajectory: neither depends on what
    phase 2 trains. ``to_env`` turns the policy's actions into the world model's, where they differ.
    ``flow(params, first, second)`` is the optical flow, None the small one.
    """

    @jax.jit
    def observe(params, trajectory):
        scored = trajectory.frames[:, world_model.frames_of(curriculum.context) - 1 :].astype(jnp.float32) / 255.0
        return PATItem(
            latents=world_model.encode(params, trajectory.frames),
            actions=trajectory.actions if to_env is None else to_env(trajectory.actions),
            frames=trajectory.frames,
            flow=flow_of_frames(scored, flow_with(flow, params)).astype(jnp.float16),
        )

    return observe


def make_predict(world_model, curriculum, flow=None):
    """``predict(params, items) -> (latents, regret, afs)``, jitted.

    The world model's version of the same actions from the same context, and how wrong it is:
    latents float ``[B, H, h, w, C]``, latent regret and AFS-EPE ``[B]``. The initial noise is
    one and the same for every trajectory and every call: common random numbers, so that a
    rescoring measures the change of the model and not of the noise. Rows are taken
    ``score_batch`` at a time. ``flow`` as in ``make_observe``.
    """
    score = _make_score(world_model, curriculum, flow)

    @jax.jit
    def predict(params, items):
        rows = items.actions.shape[0]
        size = min(curriculum.score_batch, rows)
        # The last batch is filled up with the first rows, whose second scores are dropped.
        chosen = jnp.arange(-(-rows // size) * size) % rows
        if len(chosen) != rows:
            items = jax.tree.map(lambda x: x[chosen], items)
        parts = jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), items)
        outputs = jax.lax.map(lambda part: score(params, part), parts)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:rows], outputs)

    return predict


def make_rescore(world_model, curriculum, flow=None):
    """``rescore(params, buffer, cycle) -> buffer``, jitted, the buffer donated; ``flow`` as in ``make_observe``.

    Scores anew what ``curriculum.rescoring`` asks for, gathered ``score_batch`` entries at a time: as
    many batches as there are due, so that neither empty slots nor what can wait cost anything. The
    last batch is filled up with the next in the queue.
    """
    score = _make_score(world_model, curriculum, flow)

    def rescore(params, buffer, cycle):
        slots, count = queue(buffer, cycle, curriculum.rescoring)
        size = min(curriculum.score_batch, buffer.capacity)

        def one_batch(i, scores):
            # Past the end the slice begins earlier: some entries are then scored twice, alike.
            chosen = jax.lax.dynamic_slice_in_dim(slots, i * size, size)
            _, *new = score(params, pat.gather(buffer, chosen))
            return tuple(old.at[chosen].set(x) for old, x in zip(scores, new, strict=True))

        unknown = jnp.full(buffer.capacity, jnp.nan)
        regret, afs = jax.lax.fori_loop(0, (count + size - 1) // size, one_batch, (unknown, unknown))
        return pat.rescore(buffer, regret, afs, cycle)

    return jax.jit(rescore, donate_argnums=1)


def _make_score(world_model, curriculum, flow):
    """``score(params, items) -> (latents, regret, afs)`` of one batch."""
    chunks, seen = curriculum.horizon // world_model.chunk, world_model.frames_of(curriculum.context)

    def score(params, items):
        context = items.latents[:, : curriculum.context]
        noise_key = jax.random.key(0)
        dreamt = world_model.rollout(params, noise_key, context, items.actions, chunks, common_noise=True)
        real = items.latents[:, curriculum.context : curriculum.context + curriculum.horizon]
        frames = world_model.decode_after(params, context, dreamt)
        last_seen = items.frames[:, seen - 1, None].astype(jnp.float32) / 255.0
        shown = jnp.concatenate([last_seen, frames], 1)
        afs = afs_of_frames(shown, items.flow.astype(jnp.float32), flow_with(flow, params))
        return dreamt, latent_regret(dreamt, real), afs

    return score


def flow_with(flow, params):
    """The flow of two frames, with its weights; None, the small flow, needs none."""
    return None if flow is None else functools.partial(flow, params)


def make_fine_tune(world_model, optimizer, forcing, curriculum):
    """``fine_tune(theta, frozen, buffer, passive, key, cycle) -> (theta, buffer, metrics)``, jitted.

    ``updates`` steps on half passive, half PAT data in one program. ``passive`` is a ``Batch``
    with leaves ``[updates, passive_rows, window, ...]``. A PAT row is a random window of its
    trajectory. theta and buffer are donated.
    """
    update = make_update(world_model, forcing, optimizer, ema_decay=curriculum.ema_decay)

    def pat_batch(buffer, by_score, key, cycle):
        draw_key, crop_key = jax.random.split(key)
        buffer, indices = pat.sample(
            buffer, draw_key, curriculum.pat_rows, cycle, curriculum.scoring, curriculum.priority, by_score
        )
        length = buffer.items.latents.shape[1]
        starts = jax.random.randint(crop_key, (curriculum.pat_rows, 1), 0, length - curriculum.window + 1)
        latents = starts + jnp.arange(curriculum.window)
        frames = world_model.stride * starts + jnp.arange(world_model.frames_of(curriculum.window))
        rows = indices[:, None]
        return buffer, Batch(buffer.items.latents[rows, latents], buffer.items.actions[rows, frames])

    def fine_tune(theta, frozen, buffer, passive, key, cycle):
        draw_key, noise_key = jax.random.split(key)
        by_score = pat.score_distribution(buffer, curriculum.scoring, curriculum.priority)

        def step(carry, batch):
            theta, buffer = carry
            if curriculum.pat_rows:
                buffer, adversarial = pat_batch(buffer, by_score, jax.random.fold_in(draw_key, theta.step), cycle)
                batch = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), batch, adversarial)
            theta, metrics = update(theta, frozen, batch, noise_key)
            return (theta, buffer), metrics

        (theta, buffer), metrics = jax.lax.scan(step, (theta, buffer), passive)
        return theta, buffer, jax.tree.map(jnp.mean, metrics)

    return jax.jit(fine_tune, donate_argnums=(0, 2))


@dataclasses.dataclass(frozen=True)
class Programs:
    """The compiled parts of a cycle, made once (``make_programs``)."""

    observe: Any
    predict: Any
    ppo: Any
    insert: Any
    fine_tune: Any
    rescore: Any
    disagreement: Any = None
    fit_ensemble: Any = None


def make_programs(
    world_model, forcing: Forcing, optimizer, curriculum, ppo_update, to_env=None, flow=None, ensemble=None
):
    """Compile-once programs of a cycle; ``ppo_update=None`` is the matched-compute control.

    ``to_env`` turns the policy's actions into the world model's: traced, None where they are the same.
    ``flow`` is the optical flow of AFS-EPE, with weights in the world model's parameters; None: the small one.
    ``ensemble``, a ``disagreement.Ensemble``, pays the policy in the score's place; the state then holds its state.
    """
    scoring = curriculum.scoring
    return Programs(
        observe=make_observe(world_model, curriculum, to_env, flow),
        predict=make_predict(world_model, curriculum, flow),
        ppo=ppo_update,
        insert=jax.jit(
            lambda buffer, items, regret, afs, valid, cycle: pat.insert(
                buffer, items, regret, afs, valid, cycle, scoring
            ),
            donate_argnums=0,
        ),
        fine_tune=make_fine_tune(world_model, optimizer, forcing, curriculum),
        rescore=make_rescore(world_model, curriculum, flow),
        disagreement=ensemble and disagreement.make_reward(ensemble, curriculum),
        fit_ensemble=ensemble and disagreement.make_fit_cycle(ensemble),
    )


def init_loop(theta, phi, example_item, capacity, ensemble=None):
    """The state before the first cycle; ``example_item`` is one ``PATItem`` without batch axis."""
    safe = jax.tree.map(jnp.copy, phi.params)
    return LoopState(theta, phi, safe, pat.init(example_item, capacity), jnp.zeros((), jnp.int32), ensemble)


def run_cycle(programs, curriculum, state, fixed, reference, collect, passive, key):
    """One cycle of the loop: ``collect``, ``explore``, ``mend``.

    Args:
      programs: from ``make_programs``.
      state: ``LoopState``; donated.
      fixed: world-model parameters with ``"dit"`` holding only the frozen part of the DiT.
      reference: parameters of pi_ref.
      collect: ``f(policy_params) -> Trajectory`` with arrays ``[B, T, ...]``.
      passive: ``Batch`` of demonstrations, leaves ``[updates, passive_rows, window, ...]``.
      key: this cycle's key.

    Returns:
      (state, metrics): scalars as arrays, what PPO and the world model report included.
    """
    # tau <- collect(pi_phi, environment)
    trajectory = collect(state.phi.params)
    state, explored = explore(programs, curriculum, state, fixed, reference, trajectory, key)
    # Here phi is what the next cycle collects with: a caller with slow environments starts them now (``ahead``).
    state, mended = mend(programs, state, fixed, passive, key)
    return state, {**explored, **mended}


def explore(programs, curriculum, state, fixed, reference, trajectory, key):
    """The first half of a cycle: score what was collected, keep it, and learn from it.

    Arguments and results as in ``run_cycle``. Afterwards phi is the policy of the next cycle;
    theta is untouched.
    """
    ppo_key, _ = jax.random.split(key)
    theta, phi, safe_phi, buffer, cycle = (
        state.theta, state.phi, state.safe_phi, state.buffer, state.cycle,
    )  # fmt: skip
    params = predicting(theta, fixed)

    # tau_hat <- predict(theta, tau);  raw <- latent regret, AFS-EPE
    items = programs.observe(params, trajectory)
    _, regret, afs = programs.predict(params, items)
    # What cannot be scored is neither learned from nor kept.
    trajectory = dataclasses.replace(
        trajectory, valid=jnp.asarray(trajectory.valid) & jnp.isfinite(regret) & jnp.isfinite(afs)
    )

    # buffer <- insert(buffer, tau, raw), whose running statistics now include tau
    buffer = programs.insert(buffer, items, regret, afs, trajectory.valid, cycle)

    # reward <- composite score(raw; buffer statistics), Delta = 0 for what is new
    reward, scored = _reward(buffer, regret, afs, trajectory.valid, curriculum.scoring)
    if programs.disagreement is not None:  # Plan2Explore's reward in its place
        reward, disagreed = programs.disagreement(state.ensemble, items, trajectory.valid)
        scored = {**scored, **disagreed}

    # phi <- KL-anchored PPO(phi, tau, reward, pi_ref)
    metrics = {}
    if programs.ppo is not None:
        phi, safe_phi, metrics = programs.ppo(phi, safe_phi, reference, trajectory, reward, ppo_key, cycle)

    state = LoopState(theta, phi, safe_phi, buffer, cycle, state.ensemble)
    return state, {**metrics, **scored, **event_rates(trajectory)}


@functools.partial(jax.jit, static_argnames="scoring")
def _reward(buffer, regret, afs, valid, scoring):
    """(reward ``[B]``, 0 where not valid; what is reported of the trajectories)."""
    mean, std = pat.statistics(buffer, scoring)
    reward = composite_score(regret, afs, jnp.zeros_like(regret), mean, std, scoring.lambda_afs)
    reward = jnp.where(valid, reward, 0.0)
    total = jnp.maximum(jnp.sum(valid), 1)
    return reward, {
        "return": jnp.sum(reward) / total,
        "regret": jnp.sum(jnp.where(valid, regret, 0.0)) / total,
        "afs": jnp.sum(jnp.where(valid, afs, 0.0)) / total,
        "dropped_trajectories": jnp.sum(~valid).astype(jnp.float32),
    }


def event_rates(trajectory):
    """name -> how often each ground-truth event happened in 1,000 steps of the valid trajectories."""
    return _rates(trajectory.valid, trajectory.events or {}, trajectory.actions.shape[1] - 1)


@functools.partial(jax.jit, static_argnames="steps")
def _rates(valid, events, steps):
    valid = jnp.asarray(valid).astype(jnp.float32)
    total = jnp.maximum(valid.sum(), 1.0) * steps
    return {name: 1000.0 * jnp.sum(valid @ jnp.asarray(e).astype(jnp.float32)) / total for name, e in events.items()}


def mend(programs, state, fixed, passive, key):
    """The second half of a cycle: train the world model, then score the buffer with the new one.

    Arguments and results as in ``run_cycle``. phi is untouched.
    """
    _, tune_key = jax.random.split(key)
    theta, buffer = state.theta, state.buffer

    # theta <- n steps on (1-r) passive + r PAT
    theta, buffer, tuning = programs.fine_tune(theta, fixed["dit"], buffer, passive, tune_key, state.cycle)

    # buffer <- rescore(buffer, theta): new regret, Delta = now - before
    buffer = programs.rescore(predicting(theta, fixed), buffer, state.cycle)

    ensemble, fitted = state.ensemble, {}
    if programs.fit_ensemble is not None:
        ensemble, fitted = programs.fit_ensemble(ensemble, buffer, passive, jax.random.fold_in(tune_key, 1))

    cycle, remembered = _after_cycle(state.cycle, buffer)
    metrics = {**remembered, **fitted, "world_model_loss": tuning["loss"]}
    return LoopState(theta, state.phi, state.safe_phi, buffer, cycle, ensemble), metrics


@jax.jit
def _after_cycle(cycle, buffer):
    """(the next cycle, what is reported of the buffer)."""
    filled = buffer.filled.astype(jnp.float32)
    count = jnp.maximum(filled.sum(), 1.0)
    return cycle + 1, {
        "pat_mean_regret": jnp.sum(buffer.regret * filled) / count,
        "pat_mean_afs": jnp.sum(buffer.afs * filled) / count,
        "pat_mean_progress": jnp.sum(pat.progress(buffer) * filled) / count,
        "pat_filled": filled.sum(),
    }


def predicting(theta, fixed):
    """The whole world model's parameters, with the averaged trained ones."""
    return {**fixed, "dit": merge(theta.ema, fixed["dit"])}
