"""The whole command, as small as it goes: an environment and a world model whose programs compile in seconds.

The real ones go through it in ``test_the_world_of_blocks`` (slow).
"""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ring_world import SPEC, Ring, RingWorld
from table_policy import TablePolicy

from experiments import dream_policy as command
from experiments.configs import dream_take_cover
from experiments.configs.dream_voxel import get_config
from experiments.dreams import learners, transfer, worlds
from experiments.dreams.settings import DREAM, RULES
from experiments.planning import consistency
from experiments.run import command_line, groups
from experiments.run.directory import Run
from experiments.run.divergence import BadNumbers
from experiments.stages import build
from experiments.stages.demonstrations import make_demonstrations
from prowl_jax.envs import registry
from prowl_jax.models.policies.linear import LinearController

CONFIG = """
from experiments.configs import dream_voxel

def get_config():
    c = dream_voxel.get_config("tiny")
    c.name = "dream_ring"
    c.env.update(name="ring", task="walk", frame_height=16, frame_width=16)
    c.phase2.program = "host"
    c.demonstrations.gaps.update(strafe=1.0, back=1.0)
    c.demonstrations.update(episodes=4, episode_frames=24)
    c.dream.update(goal="forward", temperatures=(0.5, 1.0), learners=("ppo",), seeds=(0, 1))
    c.dream.world_models = ("weights/mended.safetensors",)
    return c
"""


PARTS = ("dit", "autoencoder", "latent_mean", "latent_std")


class Rolling:
    """A world model that knows the ring: the picture moves with the action, and noise is added to it."""

    chunk = stride = 1

    def latent_shape(self, frame_shape):
        return frame_shape

    def encode(self, params, frames):
        return frames / 255.0

    def decode(self, params, latents):
        return jnp.clip(latents, 0.0, 1.0)

    def prefill(self, params, context, actions):
        return context[:, -1:]

    def next_chunk(self, params, noise, cache, actions):
        move = jnp.array([0, 1, -1])[actions[:, 0, 0]]
        moved = jax.vmap(lambda frames, by: jnp.roll(frames, by, axis=2))(cache, move) + 0.02 * noise
        return moved, moved

    def __eq__(self, other):
        return type(other) is Rolling

    def __hash__(self):
        return 1


def demonstrations_alone(config, workdir):
    plain = config.copy_and_resolve_references().unlock()
    del plain["dream"]
    base = Run(workdir, plain.lock())
    base.run_stage("demonstrations", make_demonstrations)
    return base


def cloned(base):
    return build.make_policy(base.config).init(jax.random.key(0), build.frame_shape(base.config))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dreams")
    (folder / "ring.py").write_text(CONFIG)
    arguments = [f"--config={folder / 'ring.py'}", f"--workdir={folder / 'run'}"]
    arguments.append(f"--config.dream.results={folder / 'results'}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.ENVIRONMENTS, "ring", RingWorld)
        patch.setattr(build, "make_world_model", lambda config: Rolling())
        patch.setattr(transfer, "base_run", demonstrations_alone)
        patch.setattr(transfer, "load_reference", cloned)
        patch.setattr(build, "make_policy", lambda config: TablePolicy(SPEC.sizes))
        theirs = {"spec": SPEC, "frame_shape": (16, 16, 3), "world_model": Rolling()}
        theirs["params"] = dict.fromkeys(PARTS, jnp.zeros(1))
        patch.setattr(worlds.zoo, "load", lambda name: types.SimpleNamespace(**theirs))
        for module in (transfer, worlds):
            patch.setattr(module, "load_world_model", lambda base: dict.fromkeys(PARTS, jnp.zeros(1)))
        assert command.main(arguments) == 0
        yield folder, arguments


def test_every_learner_and_temperature_has_a_row_of_dream_and_reality(done):
    folder, _ = done
    result = json.loads((folder / "results/dream_ring.json").read_text())
    rows = {(row["learner"], row["temperature"], row["dreams_of"]): row for row in result["transfer"]}
    mended = "weights/mended.safetensors"
    learned = {("ppo", 0.5, "theta_0"), ("ppo", 1.0, "theta_0"), ("ppo", 1.0, mended)}
    learned |= {("ppo_in_reality", None, "theta_0")}
    others = {("random", None, "theta_0"), ("cloned", None, "theta_0"), ("demonstrator", None, None)}
    assert rows.keys() == learned | others
    for name, row in rows.items():
        assert row["low"] <= row["real"] <= row["high"] and row["episodes"] == 4
        assert row["seeds"] == (2 if name in learned else 1)
        assert (row["virtual"] is None) == (name[0] == "demonstrator")
    real = {name[0]: row["real"] for name, row in rows.items()}
    assert real["demonstrator"] > real["random"]  # it goes forward, the other does not
    assert [ranked["world_model"] for ranked in result["ranking"]] == ["theta_0", mended]
    assert all(ranked["policies"] == 10 and ranked["mmrv"] >= 0 for ranked in result["ranking"])
    assert {"reward_r2", "over_brier_skill", "over_curve"} <= result["heads"].keys()
    assert result["provenance"]["config"]["dream"]["goal"] == "forward"
    assert (folder / "results/dream_ring.md").read_text().count("\n|") == 7 + 2 + 2 + 2
    assert (folder / "run/returns/ppo_at_1_in_mended_dreamt.json").exists()


def test_what_is_done_is_not_done_again(done, capsys):
    folder, arguments = done
    before = (folder / "run/metrics.jsonl").read_bytes()
    written = {path: path.stat().st_mtime_ns for path in (folder / "run/returns").iterdir()}
    assert command.main(arguments) == 0
    assert (folder / "run/metrics.jsonl").read_bytes() == before
    assert written == {path: path.stat().st_mtime_ns for path in written}
    assert "heads: done before" in capsys.readouterr().out


def test_a_learner_that_was_stopped_goes_on_to_the_same_end(tmp_path, monkeypatch):
    """Five rounds at once, or three, a SIGTERM, and the others."""
    config = types.SimpleNamespace(checkpoint_keep=1, checkpoint_every=4, log_every=2, seed=0)

    def run(name):
        log = types.SimpleNamespace(truncate=lambda **row: None, write=lambda **row: logged.append(row["step"]))
        return types.SimpleNamespace(config=config, checkpoints=lambda stage: tmp_path / name / stage, log=log)

    def step(state, key):
        return {"x": 0.5 * state["x"] + jax.random.normal(key, (2,))}, {"loss": state["x"][0], "return": 0.0}

    logged, start = [], {"x": jnp.ones(2)}
    unbroken = learners.rounds(run("unbroken"), "ppo", start, step, 5)
    assert logged == [2, 4, 5]
    asked = iter([False, False, True])
    monkeypatch.setattr(learners.interruption, "asked", lambda: next(asked))
    with pytest.raises(learners.interruption.Terminated):
        learners.rounds(run("stopped"), "ppo", start, step, 5)
    monkeypatch.undo()
    logged.clear()
    np.testing.assert_array_equal(learners.rounds(run("stopped"), "ppo", start, step, 5)["x"], unbroken["x"])
    assert logged == [4, 5]


def test_no_round_is_compiled_again(tmp_path):
    """Also where a first state is half what a checkpoint gave, which has its place, and half what is new."""
    config = types.SimpleNamespace(checkpoint_keep=1, checkpoint_every=4, log_every=4, seed=0)
    log = types.SimpleNamespace(truncate=lambda **row: None, write=lambda **row: None)
    run = types.SimpleNamespace(config=config, checkpoints=lambda stage: tmp_path / stage, log=log)
    step = jax.jit(lambda state, key: (jax.tree.map(lambda x: x + 1, state), {"loss": state["new"], "return": 0.0}))
    state = {"read": jax.device_put(jnp.ones(2), jax.local_devices()[0]), "new": jnp.float32(0)}
    learners.rounds(run, "ppo", state, step, 3)
    assert step._cache_size() == 1


@pytest.mark.slow
def test_a_search_is_kept_and_its_map_is_what_acts(tmp_path):
    pytest.importorskip("evosax")
    log = types.SimpleNamespace(truncate=lambda **row: None, write=lambda **row: None)
    run = types.SimpleNamespace(config=get_config("tiny"), checkpoints=lambda stage: tmp_path / stage, log=log)
    controller = LinearController(SPEC.sizes, 2, Rolling())
    frames = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype(np.uint8)
    blank = learners.Actor(controller, controller.init(dict.fromkeys(PARTS, jnp.zeros(1)), frames))
    found = learners.learn_cma(run, "cma", Ring(4), blank)
    assert found.policy is controller and np.any(found.params["map"]["weights"])
    again = learners.learn_cma(run, "cma", Ring(4), blank)  # from its last checkpoint: nothing is left to do
    jax.tree.map(np.testing.assert_array_equal, again.params, found.params)


def test_a_learner_whose_state_is_not_finite_is_not_saved(tmp_path):
    config = types.SimpleNamespace(checkpoint_keep=1, checkpoint_every=1, log_every=1, seed=0)
    log = types.SimpleNamespace(truncate=lambda **row: None, write=lambda **row: None)
    run = types.SimpleNamespace(config=config, checkpoints=lambda stage: tmp_path / stage, log=log)
    with pytest.raises(BadNumbers, match="cma: the state of round 1 is not finite"):
        learners.rounds(run, "cma", jnp.ones(2), lambda s, key: (s * jnp.nan, {"loss": 0.0, "return": 0.0}), 2)
    assert not any((tmp_path / "cma").glob("[0-9]*"))


@pytest.mark.parametrize(
    "wrong, words",
    [
        ("--config.dream.goal=fly", "env.name=voxel with env.task=wander has the goals travel, gather_logs"),
        ("--config.dream.temperatures=(1.0,1.0)", "dream.temperatures=(1.0, 1.0) is not one or more different"),
        ("--config.dream.learners=('es',)", "dream.learners"),
        ("--config.dream.players=('nobody',)", "dream.players"),
        ("--config.dream.ppo.minibatches=3", "dream.ppo.rows=2 are not whole"),
        ("--config.dream.world_models=('a/x.safetensors','b/x.safetensors')", "theta_0, x, x have one name; rename"),
        ("--config.dream.results=found.json", "dream.results=found.json names a file, and files are put into it"),
        ("--config.dream.dropout=0.1", "masks need a unet that was trained with them"),
    ],
)
def test_a_mistake_is_one_line(wrong, words, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["--config=experiments/configs/dream_voxel.py:tiny", f"--workdir={tmp_path / 'new'}", wrong])
    assert ended.value.code == 2 and not (tmp_path / "new").exists()
    assert words in capsys.readouterr().err


def test_the_variants_are_for_their_goals_and_can_run():
    assert [get_config(goal).dream.goal for goal in ("travel", "gather_logs")] == ["travel", "gather_logs"]
    for variant in ("travel", "gather_logs", "tiny"):
        command_line.validate(get_config(variant), (*consistency.RULES, *RULES))
    for variant in ("take_cover", "health_gathering", "tiny"):
        command_line.validate(dream_take_cover.get_config(variant), (*consistency.RULES, *RULES))
    assert all(groups.meanings(DREAM).values())
    with pytest.raises(ValueError, match="fly"):
        get_config("fly")


def test_names_of_rows():
    assert transfer.name_of(transfer.Entry("ppo", 1.15, ())) == "ppo_at_1.15"
    assert transfer.name_of(transfer.Entry("random", None, ())) == "random"
    assert transfer.name_of(transfer.Entry("cma", 1.0, (), "a/x.safetensors")) == "cma_at_1_in_x"
    assert [transfer._number(x) for x in (None, float("nan"), 1.5)] == ["–", "–", "1.5"]


@pytest.mark.slow
def test_take_cover(tmp_path):
    """The same where reality is a game on the host."""
    for needed in ("evosax", "vizdoom"):
        pytest.importorskip(needed)
    arguments = ["--config=experiments/configs/dream_take_cover.py:tiny", f"--workdir={tmp_path / 'run'}"]
    assert command.main([*arguments, f"--config.dream.results={tmp_path}"]) == 0
    result = json.loads((tmp_path / "dream_take_cover_tiny.json").read_text())
    rows = {row["learner"]: row for row in result["transfer"]}
    assert rows.keys() == {"random", "cloned", "ppo", "cma", "ppo_in_reality", "demonstrator"}
    assert all(row["real"] == 16.0 for row in rows.values())  # four steps of four tics; nobody dies so soon


@pytest.mark.slow
def test_the_world_of_blocks(tmp_path):
    """All of it as it is, both learners: demonstrations, world model, cloned policy, heads, dreams and reality."""
    pytest.importorskip("evosax")
    arguments = ["--config=experiments/configs/dream_voxel.py:tiny", f"--workdir={tmp_path / 'run'}"]
    assert command.main([*arguments, f"--config.dream.results={tmp_path}"]) == 0
    result = json.loads((tmp_path / "dream_voxel_tiny.json").read_text())
    names = [row["learner"] for row in result["transfer"]]
    assert names == ["random", "cloned", "ppo", "cma", "ppo_in_reality", "demonstrator"]
    assert all(np.isfinite(row["real"]) for row in result["transfer"])
