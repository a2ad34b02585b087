"""Who is compared with whom, on which clips, and that all of them dream on from the same frame."""

import dataclasses
import types

import jax.numpy as jnp
import numpy as np
import pytest
from toy_world_model import FrameByFrame

from experiments.configs.quickstart import get_config
from experiments.evaluation import contest
from experiments.evaluation.contest import Contestant, check, make_contest, of_run
from experiments.run.config_file import UsageError
from experiments.run.directory import Run
from prowl_jax.types import Clip


@dataclasses.dataclass(frozen=True)
class Brighter(FrameByFrame):
    """A world model that makes every frame a step brighter than the one before, from its context's last."""

    step: float = 1 / 255
    chunk = 1

    def encode(self, params, frames):
        return frames.astype(jnp.float32) / 255.0

    def decode(self, params, latents):
        return latents

    def rollout(self, params, key, context, actions, n_chunks, common_noise=False):
        return jnp.stack([context[:, -1] + params["step"] * (t + 1) / 255 for t in range(n_chunks)], 1)


@pytest.fixture
def config():
    return get_config("tiny")


def contestant(config, name, context=2, step=1, run=True):
    run = types.SimpleNamespace(config=config) if run else None
    return Contestant(name, step, Brighter(), {"step": jnp.float32(step)}, context, config, run)


def test_all_dream_on_from_the_same_frame_whatever_their_context(config, monkeypatch):
    frames = np.zeros((1, 30, 4, 4, 3), np.uint8) + np.arange(100, 130, dtype=np.uint8)[:, None, None, None]
    actions = np.zeros((1, 30, 1), np.int32)

    class Store:
        path, starts = "store", staticmethod(lambda episodes, length: np.arange(30 - length + 1))

        @staticmethod
        def gather(starts, length):
            rows = np.asarray(starts)[:, None] + np.arange(length)
            return Clip(frames[0][rows], actions[0][rows])

    monkeypatch.setattr(contest, "open_store", lambda run: Store)
    monkeypatch.setattr(contest, "split", lambda run, store: ([], [0]))
    who = [contestant(config, "a", 2, 1), contestant(config, "b", 5, 3), contestant(config, "c", 2, 2)]
    made = make_contest(who, clips=3, frames=4, seed=0)
    assert made.seen == 5 and len(made.pairs) == 9 and sorted(set(made.pairs)) == sorted(made.pairs)
    batches = []
    dreams = made.dreams(lambda: batches.append(None))
    last = made.clips.frames[:, made.seen - 1, 0, 0, 0].astype(int)
    assert dreams.shape == (3, 3, 4, 4, 4, 3) and len(batches) == made.batches == 3
    for who_dreams, step in zip(dreams, (1, 3, 2), strict=True):
        np.testing.assert_array_equal(who_dreams[:, :, 0, 0, 0], last[:, None] + step * np.arange(1, 5))
    np.testing.assert_array_equal(made.real[:, :, 0, 0, 0], last[:, None] + np.arange(1, 5))
    assert len({made.clip_name(i) for i in range(3)}) == 3
    with pytest.raises(UsageError, match="no held-out episode of store has"):
        make_contest(who, clips=3, frames=26, seed=0)


def other(config, **changes):
    config = get_config("tiny")
    for key, value in changes.items():
        group, _, name = key.rpartition("__")
        (config[group] if group else config)[name] = value
    return config


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"env__frame_width": 96}, "b dreams of another world than a: env.frame_width is 96, not 64"),
        ({"demonstrations__held_out_fraction": 0.5}, "b may have learned from what a holds out"),
    ],
)
def test_who_cannot_be_compared_fairly_is_refused(config, changes, said):
    with pytest.raises(UsageError, match=said):
        check([contestant(config, "a"), contestant(other(config, **changes), "b")])


def test_other_demonstrations_and_weights_are_no_leak(config):
    elsewhere = other(config, seed=5, demonstrations__held_out_fraction=0.5)
    check([contestant(config, "a"), contestant(elsewhere, "b")])
    check([contestant(config, "a", run=False), contestant(other(config, demonstrations__held_out_fraction=0.5), "b")])


def test_one_alone_or_two_of_a_name_are_refused(config):
    with pytest.raises(UsageError, match="two models are compared at least"):
        check([contestant(config, "a")])
    with pytest.raises(UsageError, match="two of them are called a"):
        check([contestant(config, "a"), contestant(config, "a")])


def test_a_run_or_arm_that_is_not_there_is_named(config, tmp_path):
    def open_run(workdir, read):
        return Run(workdir, read, owned=False)

    with pytest.raises(UsageError, match="^--runs=nowhere:prowl: --workdir=nowhere holds no run"):
        of_run("nowhere:prowl", config, open_run)
    (tmp_path / "config.json").write_text(config.to_json())
    with pytest.raises(UsageError, match="phase 1 .* has saved no checkpoint yet"):
        of_run(str(tmp_path), config, open_run)
    (tmp_path / "checkpoints" / "world_model" / "5").mkdir(parents=True)
    (tmp_path / "stages.json").write_text('{"world_model": {"seconds": 1.0}}')
    with pytest.raises(UsageError, match=r"there is no arm 'prowl'; this run has phase1$"):
        of_run(f"{tmp_path}:prowl", config, open_run)
    with pytest.raises(UsageError, match="^--runs="):  # what is saved there is no checkpoint
        of_run(str(tmp_path), config, open_run)
