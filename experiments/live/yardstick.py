"""What a person's seconds are measured by: how wrong the dream is where the demonstrator, or pi_ref, goes.

For shipped weights it lies in ``yardsticks/NAME.json``, made by ``python -m experiments.play --yardstick=FILE`` and
valid for these very weights alone.
"""

import json
import pathlib

import jax
import numpy as np

from experiments.stages import build
from prowl_jax.methods.acting import collect, make_act
from prowl_jax.pat import score as scores

AWAY = 40
"""Steps from where an episode starts to where a second begins."""

FOLDER = pathlib.Path(__file__).parent / "yardsticks"


def stored(played):
    """The yardstick of these weights and this task, or None."""
    for path in sorted(FOLDER.glob("*.json")):
        known = json.loads(path.read_text())
        if (known["weights"], known["task"], known["horizon"]) == (played.weights, played.task, played.horizon):
            return known
    return None


def measure_of(played):
    """raw score -> {"mean", "std"} to standardise by: of the buffer, else of the yardstick, else None."""
    if played.buffer is not None:
        mean, std = played.buffer["mean"], played.buffer["std"]
        return {name: {"mean": mean[name], "std": std[name]} for name in mean}
    known = stored(played)
    return known and known["raw"]


def rows(played):
    """Rows of the leader board for those who went before."""
    board = []
    if played.buffer is not None:
        board.append({"who": "the adversary's buffer", "regret": played.buffer["mean"]["regret"], "best": None})
    known = stored(played)
    if known is not None:
        board.append({"who": known["who"], "regret": known["raw"]["regret"]["mean"], "best": known["best"]})
    return board


def says(played):
    """Whose seconds they are, in words."""
    known = stored(played)
    return f"{known['seconds']} seconds of {known['who']}" if known else "nothing"


def measured(played, scorer, weights, seconds=64, seed=1):
    """The yardstick of ``played``: seconds of pi_ref, where it is there, else of the demonstrator, scored.

    Args:
      scorer, weights: as in ``hunt``: raw scores of clips, and raw score -> its weight in the composite score.
    """
    length = played.programs.world_model.frames_of(played.programs.context + played.horizon)
    who, frames, actions = _acted(played, seconds, length, seed)
    rows = [scorer(frames[i : i + 8], actions[i : i + 8]) for i in range(0, seconds, 8)]
    raw = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    known = {name: {"mean": float(x.mean()), "std": float(x.std())} for name, x in raw.items()}
    z = {name: scores.z_score(raw[name], known[name]["mean"], known[name]["std"]) for name in weights}
    best = float(np.max(sum(weight * np.asarray(z[name]) for name, weight in weights.items())))
    return {
        "who": who, "weights": played.weights, "task": played.task, "horizon": played.horizon, "seconds": seconds,
        "seed": seed, "raw": known, "best": best,
    }  # fmt: skip


def _acted(played, seconds, length, seed):
    """(who, frames ``[n, T, H, W, 3]``, actions ``[n, T, A]``)."""
    config = played.config
    if played.policy is not None:
        policy, params = played.policy
        env = build.make_env(config, played.task, seconds)
        try:
            trajectory, _ = collect(
                env, make_act(policy), policy, params, jax.random.key(seed), seeds=np.arange(seconds) + seed,
                length=length, warm_up=AWAY, warm_up_params=params,
            )  # fmt: skip
        finally:
            env.close()
        return "pi_ref", np.asarray(trajectory.frames), np.asarray(trajectory.actions)
    environment, gaps = build.make_environment(config), build.gaps_of(config, played.task)
    episodes = environment.record(played.task, AWAY + length, seconds, seed, gaps=gaps, num_envs=8)
    clips = [(frames[AWAY : AWAY + length], actions[AWAY : AWAY + length]) for frames, actions in episodes]
    frames, actions = (np.stack([np.asarray(x) for x in column]) for column in zip(*clips, strict=True))
    return "the demonstrator", frames, actions
