"""PROWL's closed loop (arXiv 2605.18803, section 3), one cycle at a time.

    tau     <- act(pi_phi, environment)
    tau_hat <- dream(theta, tau.context, tau.actions)
    raw     <- rewards(tau_hat, tau): latent regret, AFS-EPE
    reward  <- composite score(raw; buffer statistics)
    phi     <- KL-anchored PPO(phi, tau, reward, pi_ref)
    buffer  <- insert(buffer, tau, raw)
    theta   <- n steps on (1-r) passive + r PAT
    buffer  <- rescore(buffer, theta)

``Prowl.cycle`` is ``act``, ``update_policy`` (up to PPO) and ``update_world_model`` (the rest). Its controls and rivals
are settings of it: the matched-compute control ("VPT-frozen" in the paper) has no reward, so that its policy rests;
another trains on demonstrations alone (r = 0); others pay their policy for the disagreement of an ensemble, or for the
error that a head expects.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prowl_jax.methods.acting import event_rates
from prowl_jax.methods.base import (
    Found,
    Method,
    Needs,
    acting_cost,
    predicting,
    training_cost,
)
from prowl_jax.methods.branches import weigh_branches
from prowl_jax.metrics.unlearnable import unlearnable
from prowl_jax.models.error_head import ErrorHead
from prowl_jax.pat import buffer as pat
from prowl_jax.pat.priority import Priority
from prowl_jax.pat.rescoring import Rescoring, make_rescore
from prowl_jax.pat.reward import composite_reward, standardised
from prowl_jax.rewards import OF_SEVERAL
from prowl_jax.rewards.disagreement import Ensemble, make_disagreement
from prowl_jax.rewards.dream import OfSeveral, make_dream, make_observe, make_score, score_of
from prowl_jax.rewards.predicted_error import NAME as ERROR_HEAD
from prowl_jax.rewards.predicted_error import make_predicted_error
from prowl_jax.rewards.reducible import make_progress, make_reducible
from prowl_jax.settings import COUNT, FINITE, NATURAL, NOT_NEGATIVE, SHARE, check, one_of, setting, some_of
from prowl_jax.train import adversary as adversary_training
from prowl_jax.train import disagreement as ensemble_training
from prowl_jax.train import error_head as head_training
from prowl_jax.train.adversary import Adversary
from prowl_jax.train.sharding import program
from prowl_jax.train.state import TrainState, init_state, merge
from prowl_jax.train.world_model import make_fine_tune, make_update, windows
from prowl_jax.types import pytree

SCORE, DISAGREEMENT, REDUCIBLE, PROGRESS = "score", "disagreement", "reducible", "learning_progress"
PREDICTED_ERROR = "predicted_error"
PREPARED = 4
"""Updates of the error head on demonstrations in one program."""
FIRST = ("regret", "afs", *OF_SEVERAL, REDUCIBLE, PROGRESS)
"""Raw scores that may stand first in the composite one."""


@dataclasses.dataclass(frozen=True)
class Composite:
    """The paper's score, ``z(regret) + lambda z(AFS-EPE) + delta_scale Delta(regret)``, or another in regret's place.

    A negative ``delta_scale`` makes Delta learning progress: what gets better is kept, and not what does not.
    """

    score: str = setting(
        "regret", f"raw score that comes first: {', '.join(FIRST)}", one_of(FIRST), source="paper: regret"
    )
    watched: tuple = setting((), "raw scores that the buffer keeps and reports, of weight 0", some_of(FIRST))
    lambda_afs: float = setting(0.10, "weight of AFS-EPE beside it", NOT_NEGATIVE, source="paper: 0.10 or 0.25")
    delta_scale: float = setting(1.0, "weight of the regret's change between scorings", FINITE, source="paper: 1")

    @property
    def weights(self):
        """Of ``pat.Scoring``: its ``weights`` and its ``changes``."""
        watched = dict.fromkeys(("regret", *self.watched), 0.0)
        beside = {**watched, self.score: 1.0, "afs": self.lambda_afs}
        return beside | {self.score: 1.0}, {self.score: self.delta_scale}  # afs may itself come first


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the loop.

    Attributes:
      reward: what the policy is paid: ``"score"``, the composite score; the name of one reward, standardised over the
        cycle's trajectories; None, nothing: it rests and stays pi_ref, the matched-compute control.
      pat_share: r, the share of a batch that is drawn from the buffer.
      capacity: trajectories that the buffer keeps.
      scoring, priority, rescoring: of the buffer; ``scoring`` names the rewards that it keeps.
      noise_seed: of the one noise that every trajectory is dreamt from whenever it is scored, so that a rescoring
        measures the change of the model and not of the noise.
      score_dreams: K of the rewards that look at several dreams (``rewards.OF_SEVERAL``).
      adversary: how the policy learns.
      ensemble: whose ``"disagreement"`` is a reward; there only where somebody asks for that.
      error_head: whose ``"predicted_error"`` is a reward; the same.
    """

    reward: str | None = SCORE
    pat_share: float = setting(0.5, "r, share of a batch that is drawn from the buffer", SHARE, source="paper: 0.5")
    capacity: int = setting(256, "trajectories that the buffer keeps", COUNT, source="paper: 256")
    scoring: pat.Scoring = pat.Scoring()
    priority: Priority = Priority()
    rescoring: Rescoring = Rescoring()
    score_dreams: int = setting(4, "K, dreams of a clip that a score of several compares", COUNT)
    noise_seed: int = setting(0, "of the one noise that clips are dreamt from to be scored", NATURAL)
    adversary: Adversary = Adversary()
    ensemble: Ensemble | None = None
    error_head: ErrorHead | None = None

    def __post_init__(self):
        check(self, "prowl")

    def pat_rows(self, batch):
        """Rows of a batch that come from the buffer."""
        return round(self.pat_share * batch)

    @property
    def rewards(self):
        """Names of the rewards that are asked for."""
        paid = (self.reward,) if self.reward not in (None, SCORE) else ()
        return tuple(dict.fromkeys((*self.scoring.names, *paid)))

    @property
    def dreams_per_clip(self):
        """How often a clip is dreamt to be scored."""
        several = self.score_dreams if set(self.rewards) & set(OF_SEVERAL) else 1
        return several + len({REDUCIBLE, PROGRESS} & set(self.rewards))

    @property
    def asked_ensemble(self):
        """The ensemble where its disagreement is asked for, else None; ValueError where there is none."""
        return self._asked(DISAGREEMENT, "ensemble")

    @property
    def asked_error_head(self):
        """The head where the error that it expects is asked for, else None; ValueError where there is none."""
        return self._asked(PREDICTED_ERROR, "error_head")

    def _asked(self, reward, whose):
        if reward not in self.rewards:
            return None
        if getattr(self, whose) is None:
            raise ValueError(f"prowl.reward={reward} needs prowl.{whose}")
        return getattr(self, whose)


@pytree
class State:
    """All that changes.

    Attributes:
      theta: the world model's trained part. phi: the adversary.
      safe_phi: the last policy within the KL bound. buffer: PAT, whose items are ``RealClip``.
      cycle: int32 scalar, cycles done.
      ensemble: where its disagreement is the reward; else None. error_head: the same.
      before: the averaged trained part before the last cycle, where learning progress is asked for; else None.
    """

    theta: TrainState
    phi: TrainState
    safe_phi: Any
    buffer: pat.PATBuffer
    cycle: jax.Array
    ensemble: TrainState | None = None
    before: Any = None
    error_head: TrainState | None = None


@dataclasses.dataclass(frozen=True)
class Programs:
    """The compiled parts of a cycle, made once."""

    observe: Any = program("rows")
    score: Any = program("rows")
    insert: Any = program("buffer", donates=(0,))
    ppo: Any = program(("phi", "safe_phi", "whole"), donates=(0, 1))
    fine_tune: Any = program(("theta", "buffer", "whole"), donates=(0, 2))
    rescore: Any = program("buffer", donates=(1,))
    fit_ensemble: Any = program(("ensemble", "whole"), donates=(0,))
    fit_error_head: Any = program(("error_head", "whole"), donates=(0,))


class Prowl(Method):
    """See the module's docstring, and ``base.Method`` for what its functions answer."""

    Config = Config

    def cycle(self, state, start, source, key):
        """One cycle of the loop; see ``base.Method.cycle``."""
        # tau <- act(pi_phi, environment)
        trajectory = source.act(state.phi.params)
        state, learned = self.update_policy(state, start, trajectory, key)
        source.policy_is_final(state.phi.params)
        state, trained = self.update_world_model(state, start, source.demonstrations(), key)
        return state, {**learned, **trained}

    def update_policy(self, state, start, trajectory, key):
        """The first half of a cycle: score what the policy did, keep it, and learn from it; theta is untouched.

        Args:
          trajectory: ``Trajectory`` with arrays ``[B, T, ...]``. key: the cycle's, as in ``update_world_model``.
        """
        ppo_key, _ = jax.random.split(key)
        # tau_hat <- dream(theta, tau);  raw <- rewards(tau_hat, tau);  buffer <- insert(buffer, tau, raw)
        buffer, raw, kept, valid = self._offer(state, start, trajectory)
        trajectory = dataclasses.replace(trajectory, valid=valid)

        # reward <- composite score(raw; buffer statistics), Delta = 0 for what is new
        reward, metrics = composite_reward(buffer, kept, trajectory.valid, self.config.scoring)
        if self.config.reward not in (None, SCORE):
            reward, mean = standardised(raw[self.config.reward], trajectory.valid)
            metrics = {**metrics, self.config.reward: mean}

        if self.shared.budget.branches > 1:
            reward, learned_from, shared = weigh_branches(reward, trajectory.valid, self.shared.budget)
            trajectory, metrics = dataclasses.replace(trajectory, valid=learned_from), {**metrics, **shared}

        # phi <- KL-anchored PPO(phi, tau, reward, pi_ref)
        phi, safe_phi, learned = state.phi, state.safe_phi, {}
        if self.programs.ppo is not None:
            metrics = {**metrics, "reward_variance": variance_of(reward, trajectory.valid)}
            phi, safe_phi, learned = self.programs.ppo(
                phi, safe_phi, start.reference, trajectory, reward, ppo_key, state.cycle
            )
        state = dataclasses.replace(state, phi=phi, safe_phi=safe_phi, buffer=buffer)
        return state, {**learned, **metrics, **event_rates(trajectory)}

    def _offer(self, state, start, trajectory):
        """Score trajectories and offer them to the buffer: (buffer, raw scores, those that it keeps, valid rows)."""
        params = _scoring_params(state, start)

        # tau_hat <- dream(theta, tau);  raw <- rewards(tau_hat, tau)
        clips = self.programs.observe(params, trajectory)
        raw = self.programs.score(params, clips)
        # What cannot be scored is neither learned from nor kept.
        kept = {name: raw[name] for name in self.config.scoring.names}
        valid = jnp.asarray(trajectory.valid) & pat.all_finite(kept)

        # buffer <- insert(buffer, tau, raw), whose running statistics now include tau
        return self.programs.insert(state.buffer, clips, kept, valid, state.cycle), raw, kept, valid

    def take_in(self, state, start, trajectory):
        """Offered to the buffer, as what the policy finds is."""
        return dataclasses.replace(state, buffer=self._offer(state, start, trajectory)[0])

    def update_world_model(self, state, start, demonstrations, key):
        """The second half: train the world model, then score the buffer with the new one; phi is untouched."""
        _, tune_key = jax.random.split(key)

        before = None if state.before is None else jax.tree.map(jnp.copy, state.theta.ema)  # theta is donated
        # theta <- n steps on (1-r) passive + r PAT
        state, tuning = self._train(state, start, demonstrations, tune_key)
        # buffer <- rescore(buffer, theta): new raw scores, Delta = now - before
        state = dataclasses.replace(state, before=before)
        buffer = self.programs.rescore(_scoring_params(state, start), state.buffer, state.cycle)

        ensemble, fitted = state.ensemble, {}
        if self.programs.fit_ensemble is not None:
            fit_key = jax.random.fold_in(tune_key, 1)
            ensemble, fitted = self.programs.fit_ensemble(ensemble, buffer, demonstrations, fit_key)
        head = state.error_head
        if self.programs.fit_error_head is not None:
            head, learned = self.programs.fit_error_head(
                head, predicting(state.theta, start), buffer, jax.random.fold_in(tune_key, 2)
            )
            fitted = {**fitted, **learned}

        cycle, remembered = _after_cycle(state.cycle, buffer)
        if REDUCIBLE in self.config.scoring.names and "regret" in self.config.scoring.names:
            remembered |= _beyond_learning(buffer, self.config.scoring)
        state = dataclasses.replace(state, buffer=buffer, cycle=cycle, ensemble=ensemble, error_head=head)
        return state, {**remembered, **fitted, **tuning}

    def _train(self, state, start, demonstrations, key):
        """theta <- n steps on demonstrations and what is drawn from the buffer: the state, and metrics."""
        theta, buffer, tuning = self.programs.fine_tune(
            state.theta, start.fixed["dit"], state.buffer, demonstrations, key, state.cycle
        )
        return dataclasses.replace(state, theta=theta, buffer=buffer), {"world_model_loss": tuning["loss"]}

    def init(self, start, key):
        """theta_0, phi = pi_ref with a fresh value head, an empty buffer, an ensemble that has learned nothing yet."""
        config, shared = self.config, self.shared
        phi = init_state(shared.policy.with_fresh_value(start.reference), config.adversary.optimizer)
        return State(
            theta=init_state(start.trained, shared.optimizer),
            phi=phi,
            safe_phi=jax.tree.map(jnp.copy, phi.params),
            buffer=pat.init(shared.example_clip, config.capacity, config.scoring),
            cycle=jnp.zeros((), jnp.int32),
            ensemble=config.asked_ensemble and ensemble_training.init_ensemble(config.ensemble, key),
            before=jax.tree.map(jnp.copy, start.trained) if PROGRESS in config.rewards else None,
            error_head=config.asked_error_head
            and head_training.init_head(config.error_head, key, shared.world_model.latent_shape(shared.frame_shape)),
        )

    def prepare(self, state, start, demonstrations, key):
        """The ensemble, where there is one, learns the demonstrations, and the head how theta_0 dreams them."""
        budget = self.shared.budget
        if state.ensemble is not None:
            clips = demonstrations(self.config.ensemble.steps, budget.batch, budget.window)
            ensemble, _ = ensemble_training.make_fit(self.config.ensemble)(state.ensemble, clips, key)
            state = dataclasses.replace(state, ensemble=ensemble)
        if state.error_head is not None:
            head = self.config.error_head
            fit = jax.jit(head_training.make_fit(head, self._make_dream(common_noise=False)), donate_argnums=0)
            theirs, params = state.error_head, predicting(state.theta, start)
            for first in range(0, head.steps, PREPARED):  # a few at a time, so that memory stays bounded
                clips = demonstrations(min(PREPARED, head.steps - first), head.batch, budget.clip, first)
                theirs, _ = fit(theirs, params, clips, key)
            state = dataclasses.replace(state, error_head=theirs)
        return state

    def rewards_asked(self):
        """Those that the buffer keeps, and the one that the policy is paid."""
        return self.config.rewards

    def needs(self):
        """Of the demonstrations, what of a batch is not drawn from the buffer."""
        budget = self.shared.budget
        return Needs(budget.batch - self.config.pat_rows(budget.batch), budget.window, acts=True)

    def make_programs(self):
        """The parts of a cycle."""
        config, shared, budget, scoring = self.config, self.shared, self.shared.budget, self.config.scoring
        dream = self._make_dream(common_noise=True)
        rows, seed = budget.score_batch, config.noise_seed
        rewards, ensemble = dict(shared.rewards), config.asked_ensemble
        rewards |= {REDUCIBLE: make_reducible(dream, seed), PROGRESS: make_progress(dream, seed)}
        if set(config.rewards) & set(OF_SEVERAL):
            rewards |= {name: OfSeveral(reward, config.score_dreams) for name, reward in OF_SEVERAL.items()}
        if ensemble is not None:
            rewards = {**rewards, DISAGREEMENT: make_disagreement(ensemble)}
        head = config.asked_error_head
        if head is not None:
            rewards = {**rewards, PREDICTED_ERROR: make_predicted_error(head)}
        if unknown := [name for name in config.rewards if name not in rewards]:
            raise ValueError(f"prowl asks for the rewards {', '.join(unknown)}; there are {', '.join(rewards)}")
        asked, kept = ({name: rewards[name] for name in names} for names in (config.rewards, scoring.names))
        update = make_update(shared.loss, shared.optimizer, ema_decay=budget.ema_decay)
        return Programs(
            observe=make_observe(shared.world_model, budget.context, shared.flow, shared.to_env),
            score=make_score(dream, asked, rows, seed),
            insert=functools.partial(pat.insert, scoring=scoring),
            ppo=config.reward and adversary_training.make_update(shared.policy, config.adversary),
            fine_tune=make_fine_tune(update, self._begin_draw if config.pat_rows(budget.batch) else None),
            rescore=make_rescore(score_of(dream, kept, seed), config.rescoring, rows),
            fit_ensemble=ensemble and ensemble_training.make_fit_cycle(ensemble),
            fit_error_head=head and head_training.make_fit_cycle(head, self._make_dream(common_noise=False)),
        )

    def _make_dream(self, common_noise):
        shared = self.shared
        return make_dream(shared.world_model, shared.budget.context, shared.flow, common_noise=common_noise)

    def _begin_draw(self, buffer, cycle):
        """How a step's batch is made (``make_fine_tune``): demonstrations, and windows of what is drawn."""
        shared, scoring, priority = self.shared, self.config.scoring, self.config.priority
        rows, window = self.config.pat_rows(shared.budget.batch), shared.budget.window
        by_score = pat.score_distribution(buffer, scoring, priority)

        def draw(buffer, demonstrations, key):
            draw_key, crop_key = jax.random.split(key)
            buffer, slots = pat.sample(buffer, draw_key, rows, cycle, scoring, priority, by_score)
            starts = jax.random.randint(crop_key, (rows,), 0, buffer.items.latents.shape[1] - window + 1)
            adversarial = windows(buffer.items, slots, starts, window, shared.world_model)
            return buffer, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), demonstrations, adversarial)

        return draw

    @property
    def trains_policy(self):
        """Whether it is paid anything."""
        return self.config.reward is not None

    @property
    def checks(self):
        """How far the policy that it trains went from pi_ref."""
        return ("kl_to_reference",) if self.trains_policy else ()

    def policy(self, state):
        """phi, where it is paid."""
        return state.phi.params if self.trains_policy else None

    def found(self, state):
        """The buffer's trajectories, where the world model learns from them; see ``base.Found``."""
        if not self.config.pat_rows(self.shared.budget.batch):
            return None
        buffer = state.buffer
        filled = np.flatnonzero(np.asarray(buffer.filled))
        columns = {"score": pat.scores(buffer, self.config.scoring), **buffer.raw, "found in cycle": buffer.inserted}
        columns |= {f"last change of {name}": change for name, change in pat.changes(buffer).items()}
        clips = jax.tree.map(np.asarray, pat.gather(buffer, filled))
        return Found(clips, {name: np.asarray(column)[filled] for name, column in columns.items()})

    def spent(self):
        """``dreamt_latents`` is what scoring and at most what rescoring dreams."""
        budget, capacity = self.shared.budget, self.config.capacity
        rescored = self.config.rescoring.most(capacity, budget.score_batch)
        scored = (budget.trajectories + rescored) * self.config.dreams_per_clip
        return {
            **training_cost(self.shared),
            "environment_steps": acting_cost(self.shared),
            "dreamt_latents": scored * budget.horizon,
        }

    def kept_bytes(self):
        """Those of the buffer."""
        return pat.nbytes(self.shared.example_clip, self.config.capacity, self.config.scoring)

    def calls(self, state, start, trajectory, demonstrations, key):
        """See ``base.Method.calls``."""
        params = jax.eval_shape(_scoring_params, state, start)
        clips = jax.eval_shape(self.programs.observe, params, trajectory)
        reward = jax.ShapeDtypeStruct(clips.actions.shape[:1], jnp.float32)
        calls = {
            "observe": (params, trajectory),
            "score": (params, clips),
            "ppo": (state.phi, state.safe_phi, start.reference, trajectory, reward, key, state.cycle),
            "fine_tune": (state.theta, start.fixed["dit"], state.buffer, demonstrations, key, state.cycle),
            "rescore": (params, state.buffer, state.cycle),
        }
        return {name: call for name, call in calls.items() if getattr(self.programs, name) is not None}


def _scoring_params(state, start):
    """The world model's parameters as they predict, and beside them the ensemble's, the error head's and the network of
    a cycle ago.

    An oracle's network is ``"oracle"`` of what is fixed, where it is known.
    """
    params = predicting(state.theta, start)
    if state.ensemble is not None:
        params["ensemble"] = state.ensemble.params
    if state.error_head is not None:
        params[ERROR_HEAD] = state.error_head.params
    if state.before is not None:
        params["before"] = merge(state.before, start.fixed["dit"])
    return params


@jax.jit
def variance_of(values, valid):
    """The variance of ``[B]`` over the rows that are valid; 0 of none."""
    total = jnp.maximum(jnp.sum(valid), 1)
    mean = jnp.sum(jnp.where(valid, values, 0.0)) / total
    return jnp.sum(jnp.where(valid, jnp.square(values - mean), 0.0)) / total


@jax.jit
def _after_cycle(cycle, buffer):
    """(the next cycle, what is reported of the buffer)."""
    filled = buffer.filled.astype(jnp.float32)
    count = jnp.maximum(filled.sum(), 1.0)
    kept = {f"pat_mean_{name}": jnp.sum(raw * filled) / count for name, raw in buffer.raw.items()}
    kept["pat_mean_progress"] = sum(jnp.sum(change * filled) / count for change in pat.changes(buffer).values())
    return cycle + 1, {**kept, "pat_filled": filled.sum()}


@functools.partial(jax.jit, static_argnames="scoring")
def _beyond_learning(buffer, scoring):
    """What of the buffer no model can learn (``metrics.unlearnable``); hard is above the mean of all ever offered."""
    high = buffer.running.mean[scoring.names.index("regret")]
    parts = unlearnable(buffer.raw["regret"], buffer.raw[REDUCIBLE], buffer.filled, high)
    return {f"pat_{name}": value for name, value in parts.items()}
