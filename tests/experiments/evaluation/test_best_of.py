"""The best of N by made-up worth against brute force, and by rewards of a toy model whose dreams are not alike."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_world_model import Turning
from turning_bench import SPEC, bench_of

from experiments.evaluation import best_of
from experiments.evaluation.best_of import DREAMS, SIZES, Figure
from prowl_jax.rewards.inverse_dynamics import NAME


@dataclasses.dataclass(frozen=True)
class Moody(Turning):
    """It follows its actions in about every third dream."""

    action_sizes = SPEC.sizes

    def rollout(self, params, key, context, actions, n_chunks, common_noise=False):
        heeds = jax.random.uniform(jax.random.fold_in(key, 99)) < 0.35
        return super().rollout(params, key, context, jnp.where(heeds, actions, 0), n_chunks)


def whatever(params, dream):
    """A reward of which all dreams are worth the same."""
    return jnp.zeros(dream.frames.shape[:-4])


@pytest.fixture(scope="module")
def moody():
    return best_of.measure(bench_of(Moody(noise=0.01), whatever=whatever), resamples=300)


def test_groups_of_n_have_one_best_each_and_no_number_is_the_last_choice():
    worth = np.random.default_rng(0).normal(size=(7, DREAMS))
    worth[0, :3] = np.nan
    for n in SIZES:
        chosen = best_of.best(worth, n)
        assert chosen.shape == (7, DREAMS // n)
        for clip in range(7):
            for g, index in enumerate(chosen[clip]):
                group = worth[clip, g * n : (g + 1) * n]
                assert g * n <= index < (g + 1) * n
                assert np.isnan(group).all() or worth[clip, index] == np.nanmax(group)


def test_the_spread_of_dreams_and_of_clips():
    noise = np.random.default_rng(0).normal(size=(500, DREAMS))
    found = best_of.spread(0.1 * noise + 3 * noise[:, :1])
    assert found["dreams"] == pytest.approx(0.1, rel=0.1) and found["clips"] == pytest.approx(3, rel=0.1)


def test_figures_are_means_over_groups_and_changes_are_paired():
    rng = np.random.default_rng(0)
    x, real = rng.uniform(1, 2, (30, DREAMS)), rng.uniform(1, 2, 30)
    figures = {"regret": Figure(lambda x: x, (x,)), "sharpness": Figure(np.divide, (x,), (real,))}
    for n in SIZES:
        found = best_of.row(figures, {n: -x}, n, 100)
        least = np.mean([[min(clip[i : i + n]) for i in range(0, DREAMS, n)] for clip in x])
        assert found["regret"]["value"] == pytest.approx(least)
        assert found["regret"]["change"]["value"] == pytest.approx(least / x.mean() - 1)
        assert found["sharpness"]["value"] == pytest.approx(least / real.mean())
        assert found["sharpness"]["change"]["value"] == pytest.approx(least / x.mean() - 1)
        assert best_of.moved(found["regret"]) == found["regret"]["better"] == (n > 1)


def test_the_judge_chooses_the_dreams_that_follow(moody):
    by_n = moody["rewards"][NAME]["by_n"]
    f1 = [by_n[str(n)]["action_f1"]["value"] for n in SIZES]
    assert list(by_n) == ["1", "2", "4", "8", "16"] and f1 == sorted(f1) and f1[-1] > f1[0] + 0.1
    assert f1[-1] == pytest.approx(moody["ceilings"]["action_f1"]["value"], abs=0.05)
    regret = by_n["8"]["regret"]
    assert best_of.moved(regret) and regret["better"] and regret["change"]["high"] < -0.2
    assert moody["rewards"][NAME]["verdict"].endswith(": go")
    assert ", better, its own" in moody["rewards"][NAME]["verdict"]


def test_a_reward_of_nothing_chooses_nothing(moody):
    row = moody["rewards"]["whatever"]
    assert row["verdict"] == "best of 8 by whatever moves no figure: NO GO, learning from it will not either"
    assert row["by_n"]["1"] == moody["rewards"]["regret"]["by_n"]["1"]
    assert row["spread"] == {"dreams": 0.0, "clips": 0.0}


def test_what_moves_is_told_and_what_comes_of_it():
    def cell(low, high, better):
        return {"change": {"value": (low + high) / 2, "low": low, "high": high}, "better": better}

    own = {"regret": cell(-0.2, -0.1, True), "afs_epe": cell(-0.1, 0.1, True)}
    said = best_of.verdict("regret", own)
    assert "regret -15.0% (-20.0%, -10.0%), better, its own: nothing but" in said and "afs_epe" not in said
    assert best_of.verdict("afs", own).endswith("better: go")
    assert best_of.verdict("afs", {"regret": cell(-0.06, -0.02, True)}).endswith("HARDLY, nothing gets better by 5%")
    assert "NO GO, nothing gets better" in best_of.verdict("regret", {"sharpness": cell(0.1, 0.2, False)})


def test_the_table_says_it_all(moody):
    text = best_of.table(moody)
    assert text.startswith("toy, step 3: 16 dreams of each of 10 held-out clips of turn, 4 frames long\nF1 of actions")
    assert all(row["verdict"] in " ".join(text.split()) for row in moody["rewards"].values())
    assert max(map(len, text.splitlines())) <= 120
    blind = best_of.table({**moody, "judge": False})
    assert "no judge of actions" in blind


def test_in_use_the_judge_chooses_chunk_by_chunk(moody):
    used, plain = moody["in_use"], moody["rewards"][NAME]["by_n"]["1"]
    assert used.keys() == plain.keys()
    assert used["action_f1"]["value"] > plain["action_f1"]["value"] + 0.1 and used["regret"]["change"]["high"] < -0.2
    assert "chunk by chunk, as in use with world_model.best_of=8" in best_of.table({**moody})
