"""All of it in order: a world model, heads, learners in its dreams, and what each gains there beside reality."""

import contextlib
import dataclasses
import functools
import importlib.util
import json
import math
import pathlib

import jax
import numpy as np

from experiments.dreams import learners, worlds
from experiments.dreams.heads import load_heads, record_play, train_heads
from experiments.dreams.settings import THETA_0, DreamSettings, short
from experiments.run.config_file import UsageError
from experiments.run.directory import Run
from experiments.run.files import write_json, write_text
from experiments.run.memory import keep_freed_memory
from experiments.run.progress import Progress
from experiments.run.provenance import provenance
from experiments.stages import build, phase2
from experiments.stages.autoencoder import train_autoencoder
from experiments.stages.clip_stores import open_store, split
from experiments.stages.demonstrations import make_demonstrations
from experiments.stages.reference import clone_reference, load_reference
from experiments.stages.world_model import load_world_model, train_world_model
from prowl_jax.data.feeder import batch_starts
from prowl_jax.envs.base import HostEnv
from prowl_jax.metrics.intervals import nested_interval_of_means
from prowl_jax.metrics.ranking import MEASURES, ranking
from prowl_jax.settings import read

REAL, DREAMT = 0, 1


@dataclasses.dataclass(frozen=True)
class Entry:
    """A row to be: who, learned at which temperature (None: not in dreams), the actor of every seed, and whose dreams
    they learned in."""

    learner: str
    temperature: float | None
    actors: tuple
    dreams_of: str = THETA_0


def run_dreams(config, workdir):
    """Do what is left, write ``results/NAME.json`` and ``.md``, print the table; returns the exit code 0."""
    if "cma" in config.dream.learners and not importlib.util.find_spec("evosax"):
        raise UsageError(f"dream.learners={config.dream.learners}: cma needs evosax (pip install '.[evolve]')")
    keep_freed_memory()
    workdir = pathlib.Path(workdir or pathlib.Path("runs") / config.name)
    base, run = base_run(config, workdir / "base"), Run(workdir, config)
    run.run_stage("rewarded_play", record_play)
    heads = run.run_stage("heads", train_heads)
    with contextlib.closing(_World(run, base)) as world:
        rows, kept = [], []
        for entry in entries(run, base, world):
            returns = {"real": world.real(entry), "dreamt": world.dreamt(entry)}
            rows.append(transfer_row(entry, returns, config))
            kept.append((entry, returns))
        ranked = rank(run, world, kept)
    result = {"transfer": [*rows, demonstrator_row(config)], "ranking": ranked, "heads": heads}
    folder = pathlib.Path(config.dream.results)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{config.name}.json", {**result, "provenance": provenance(config, run.workdir)})
    write_text(folder / f"{config.name}.md", table(result, config) + "\n")
    print("\n" + table(result, config))
    return 0


def base_run(config, workdir):
    """The ``Run`` of what dreams begin with: demonstrations, world model, cloned policy, and arms of phase 2."""
    plain = config.copy_and_resolve_references().unlock()
    del plain["dream"]
    base = Run(workdir, plain.lock())
    for name, stage in (
        ("demonstrations", make_demonstrations), ("autoencoder", train_autoencoder),
        ("world_model", train_world_model), ("reference", clone_reference),
    ):  # fmt: skip
        base.run_stage(name, stage)
    for arm in build.arms(config):
        base.run_stage(f"phase2/{arm}", functools.partial(phase2.run_arm, arm=arm))
    return base


class _World:
    """The environments, and the returns of actors in them; a file of returns a row, so that none is measured twice."""

    def __init__(self, run, base):
        self.run, self.config = run, run.config
        self.models, heads = worlds.world_models(base, run.config), load_heads(run)
        self._dreams = {
            name: worlds.dream_env(base, run.config, params, heads, world_model=model)
            for name, (model, params) in self.models.items()
        }
        self.reality = worlds.real_env(run.config)

    def dreams(self, name=THETA_0, temperature=1.0):
        """Dreams of a world model as an environment; of all of one network they are one program."""
        return worlds.with_temperature(self._dreams[name], temperature)

    def close(self):
        """End the games of the real environment, where there are any."""
        if isinstance(self.reality, HostEnv):
            self.reality.close()

    def real(self, entry):
        """Real returns, one list a seed."""
        return self._of(entry, "real", self.reality, self.config.dream.real_episodes, REAL)

    def dreamt(self, entry):
        """Returns in the dreams, and at the temperature, that it learned in; 1 for who learned in none."""
        temperature = 1.0 if entry.temperature is None else entry.temperature
        env = self.dreams(entry.dreams_of, temperature)
        return self._of(entry, "dreamt", env, self.config.dream.dreamt_episodes, DREAMT)

    def dreamt_by(self, entry, name):
        """Returns in the dreams of the world model ``name`` at temperature 1."""
        where = f"dreamt_by_{short(name)}"
        return self._of(entry, where, self.dreams(name), self.config.dream.dreamt_episodes, DREAMT)

    def _of(self, entry, where, env, episodes, which):
        path = self.run.workdir / "returns" / f"{name_of(entry)}_{where}.json"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            keys = worlds.episode_keys(self.config, episodes, which)
            with Progress(f"returns {path.stem}", len(entry.actors)) as progress:
                found = []
                for i, actor in enumerate(entry.actors):
                    program = learners.returns_program(
                        actor.policy, self.config.dream.steps, isinstance(env, HostEnv)
                    )
                    act_key = jax.random.fold_in(build.stage_key(self.config, f"returns {where}"), i)
                    gained = program(env, actor.params, keys, act_key)
                    found.append(np.asarray(gained["return"]).astype(float).tolist())
                    progress.update(i + 1)
            write_json(path, found, indent=None)
        return json.loads(path.read_text())


def name_of(entry):
    """Of files and stages: ``ppo_at_1.15``, ``ppo_at_1_in_prowl``."""
    if entry.temperature is None:
        return entry.learner
    where = "" if entry.dreams_of == THETA_0 else f"_in_{short(entry.dreams_of)}"
    return f"{entry.learner}_at_{entry.temperature:g}{where}"


def entries(run, base, world):
    """Yield each ``Entry``, learned as far as it was not: two that do not learn, then every learner.

    Learned is in theta_0's dreams at every temperature, in those of every other world model at temperature 1, and by
    PPO in reality.
    """
    config, d = run.config, read(DreamSettings, run.config.dream)
    reference = load_reference(base)
    yield Entry("random", None, (learners.random_actor(config, reference),))
    yield Entry("cloned", None, (learners.Actor(build.make_policy(config), reference),))
    blank = _blank_controller(base, config) if "cma" in d.learners else None
    learn = {
        "ppo": lambda stage, env: learners.learn_ppo(run, stage, env, reference),
        "cma": lambda stage, env: learners.learn_cma(run, stage, env, blank),
    }
    asked = [(name, t, THETA_0) for name in d.learners for t in d.temperatures]
    asked += [(name, 1.0, other) for name in d.learners for other in world.models if other != THETA_0]
    asked += [("ppo_in_reality", None, THETA_0)] * (d.in_reality and "ppo" in d.learners)
    for name, temperature, dreams_of in asked:
        env = world.reality if temperature is None else world.dreams(dreams_of, temperature)
        entry = Entry(name, temperature, (), dreams_of)
        actors = [learn[name.split("_")[0]](f"{name_of(entry)}/seed_{seed}", env) for seed in d.seeds]
        yield dataclasses.replace(entry, actors=tuple(actors))


def _blank_controller(base, config):
    store = open_store(base)
    starts = store.starts(split(base, store)[0], 1)
    frames = store.gather(batch_starts(config.seed, 1, starts, config.dream.contexts), 1).frames[:, 0]
    return learners.blank_controller(config, build.make_world_model(config), load_world_model(base), frames)


def transfer_row(entry, returns, config):
    """A row of ``transfer``: mean virtual and real return, and the real one's interval over seeds and episodes."""
    draws = {"seed": config.seed, "resamples": config.dream.resamples}
    real, dreamt = (
        # every seed is measured from the same starts
        nested_interval_of_means(lambda mean: mean, of, episodes=[range(len(one)) for one in of], **draws)
        for of in (returns["real"], returns["dreamt"])
    )
    return {
        "learner": entry.learner,
        "temperature": entry.temperature,
        "dreams_of": entry.dreams_of,
        "virtual": dreamt["value"],
        "virtual_low": dreamt["low"],
        "virtual_high": dreamt["high"],
        "real": real["value"],
        "low": real["low"],
        "high": real["high"],
        "episodes": config.dream.real_episodes,
        "seeds": len(entry.actors),
    }


def demonstrator_row(config):
    """The row of the script that knows the goal and sees the world itself: real alone."""
    d = config.dream
    seeds = np.random.SeedSequence([config.seed, 9000 + REAL]).generate_state(d.real_episodes)
    environment = build.make_environment(config)
    _, _, done, info = environment.rewarded_play(config.env.task, d.goal, d.steps, seeds)  # the program of the record
    ended = np.cumsum(np.asarray(done) | np.asarray(info["over"]), axis=0)
    alive = np.concatenate([np.ones_like(ended[:1]), ended[:-1] == 0])
    gained = (alive * np.asarray(info["reward"])).sum(axis=0)
    real = nested_interval_of_means(lambda mean: mean, [gained], seed=config.seed, resamples=d.resamples)
    dreamt = dict.fromkeys(("virtual", "virtual_low", "virtual_high"))
    return {
        "learner": "demonstrator", "temperature": None, "dreams_of": None, **dreamt, "real": real["value"],
        "low": real["low"], "high": real["high"], "episodes": d.real_episodes, "seeds": 1,
    }  # fmt: skip


def rank(run, world, kept):
    """Rows of ``ranking``: how each world model's dreams order all actors, each seed's for itself."""
    real, rows = [returns for _, found in kept for returns in found["real"]], []
    kinds = [name_of(entry) for entry, found in kept for _ in found["real"]]
    for name in world.models:
        dreamt = [returns for entry, _ in kept for returns in world.dreamt_by(entry, name)]
        found = ranking(real, dreamt, kinds=kinds, seed=run.config.seed, resamples=run.config.dream.resamples)
        rows.append({
            "world_model": name,
            "policies": len(real),
            **{measure: found[measure]["value"] for measure in MEASURES},
            **{end: {measure: found[measure][end] for measure in MEASURES} for end in ("low", "high")},
        })  # fmt: skip
    return rows


def table(result, config):
    """The rows in markdown."""
    unit = build.make_environment(config).goals[config.dream.goal]
    lines = [f"Return of {config.dream.goal}: {unit}; at most {config.dream.steps} steps.", ""]
    lines += ["| learner | dreams of | temperature | in dreams | in reality (95 %) | seeds |", "|---" * 6 + "|"]
    for row in result["transfer"]:
        dreams_of = short(row["dreams_of"]) if row["dreams_of"] else "–"
        cells = [row["learner"], dreams_of, _number(row["temperature"]), _number(row["virtual"])]
        cells += [f"{_number(row['real'])} ({_number(row['low'])}, {_number(row['high'])})", str(row["seeds"])]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| dreams of | policies | MMRV | Pearson | Spearman (95 %) |", "|---|---|---|---|---|"]
    for row in result["ranking"]:
        spread = f"{_number(row['low']['spearman'])}, {_number(row['high']['spearman'])}"
        cells = [row["world_model"], str(row["policies"]), _number(row["mmrv"]), _number(row["pearson"])]
        lines.append("| " + " | ".join([*cells, f"{_number(row['spearman'])} ({spread})"]) + " |")
    return "\n".join(lines)


def _number(value):
    return "–" if value is None or math.isnan(value) else f"{value:.3g}"
