"""The attacks of ``python -m experiments.torture``: ``f(seed) -> (how many, what was lost as lines)``."""

import contextlib
import functools
import io
import json
import os
import random
import shutil
import signal
import time
import traceback

import numpy as np

from experiments.configs import quickstart
from experiments.planning import consistency
from experiments.run import command_line
from experiments.run.progress import Progress
from experiments.torture import toy_env, toy_training
from experiments.torture.damage import check_checkpoints, check_store, damage_a_file, write_store
from experiments.torture.inputs import KINDS
from experiments.torture.victims import (
    CONFIG,
    SHIPPED,
    differences,
    ended,
    folder_for_a_while,
    killed_at_last,
    start,
    undisturbed_run,
    undisturbed_training,
    wait_for,
)
from prowl_jax.envs.workers import ProcessVectorEnv
from prowl_jax.train.checkpoint import Checkpoints

UNBORN = "Could not import runpy module"
"""Python's own word, with code 1, where Ctrl-C comes before the first line of a program."""
CALLS = 100  # so often a training may be interrupted before it must end


def kills(seed, count=50, config=CONFIG):
    """Runs that are ended ``count`` times in a row and then left to finish; after one that is done sooner, another.

    A third of the signals come at a random moment; the others wait for a checkpoint that is being written.
    """
    rng, whole, lost, done, others = random.Random(seed), undisturbed_run(config), [], 0, 0
    with contextlib.ExitStack() as stack, Progress("kills", count) as progress:
        moments, workdir = Moments(rng), stack.enter_context(folder_for_a_while()) / "run"
        while True:
            process = start("experiments.prowl_main", f"--config={config}", f"--workdir={workdir}")
            how = rng.choices((signal.SIGKILL, signal.SIGTERM, signal.SIGINT), (3, 1, 1))[0] if done < count else None
            code, said = ended(process, how, functools.partial(moments.wait, process, workdir / "checkpoints"))
            if code == 0:
                lost += differences(whole, workdir)
                if done == count:
                    return done, lost
                workdir, others = stack.enter_context(folder_for_a_while()) / "run", others + 1
                continue
            if how is None or (code not in (-how, 128 + how) and UNBORN not in said):  # -how: before it listens
                return done, [*lost, f"call {done + others + 1}, sent {how!r}, ended with code {code}: {said[-3000:]}"]
            done += 1
            progress.update(done, in_saves=moments.hits)


class Moments:
    """When to interrupt a run: at any time, or in a save; early enough to hit it, late enough for it to get on."""

    def __init__(self, rng):
        self._rng, self._patience, self.hits = rng, 10.0, 0

    def wait(self, process, folder):
        """Return at such a moment of ``process``, which saves in ``folder``, or when it has ended."""
        began, before, number = time.monotonic(), _entries(folder), self._rng.choice((0, 1, 2))
        limit = self._rng.uniform(0.0, self._patience) if number == 0 else self._patience
        while process.poll() is None and time.monotonic() < began + limit:
            if number and len(_entries(folder) - before) >= number:
                self._patience = max(5.0, 2.0 * (time.monotonic() - began))
                self.hits += 1
                time.sleep(self._rng.uniform(0.0, 0.2))
                return
            time.sleep(0.005)
        if number:
            self._patience *= 1.5  # what it does now takes longer than that


def _entries(folder):
    """Checkpoints that are there or being written."""
    found = set()
    for path, folders, _ in os.walk(folder):
        found |= {f"{path}/{name}" for name in folders if name[0].isdigit()}
        folders[:] = [name for name in folders if not name[0].isdigit()]
    return found


def training(seed):
    """A training of a second, killed in a save, in a step, or at any time, until it is done."""
    rng = random.Random(seed)
    with folder_for_a_while() as folder:
        for call in range(CALLS):
            fault = rng.choice(["", f"save:{rng.randint(1, 4)}", f"step:{rng.randrange(toy_training.STEPS)}"])
            process = start("experiments.torture.toy_training", str(folder / "run"), *([fault] if fault else []))
            seconds = rng.uniform(2, 10 + call)
            code, said = ended(process, signal.SIGKILL, functools.partial(wait_for, process, seconds))
            if code == 0:
                return call + 1, differences(undisturbed_training(), folder / "run")
            if code != -signal.SIGKILL:
                return call + 1, [f"call {call + 1} ended with code {code}: {said[-300:]}"]
    return CALLS, [f"not done after {CALLS} calls"]


def files(seed, count=20, damage=None):
    """Files of checkpoints and stores are damaged: they read as they were written, or it is told.

    ``damage(folder, rng)`` does it, and returns what it did in words; by default ``damage_a_file``.
    """
    damage = damage or damage_a_file
    rng, lost = random.Random(seed), []
    state = {"w": np.random.default_rng(0).normal(size=3000).astype(np.float32), "n": np.int32(7)}
    with folder_for_a_while() as folder:
        with Checkpoints(folder / "checkpoints") as checkpoints:
            for step in (1, 2):
                checkpoints.save(step, {"w": state["w"] * step, "n": state["n"]})
        write_store(folder / "store")
        for _ in range(count):
            for kind, check in (
                ("checkpoints", functools.partial(check_checkpoints, state=state)),
                ("store", check_store),
            ):
                copy = folder / "damaged"
                shutil.copytree(folder / kind, copy)
                what = damage(copy, rng)
                try:
                    with contextlib.redirect_stderr(io.StringIO()):
                        lost += [f"{what}: {line}" for line in check(copy)]
                except Exception as error:  # noqa: BLE001 - any other is a finding
                    lost.append(f"{what}: {type(error).__name__}: {error}")
                shutil.rmtree(copy)
    return 2 * count, lost


def inputs(seed, count=300):
    """What comes from elsewhere (``inputs.KINDS``): read as it is, or told in one line."""
    rng, lost = random.Random(seed), []
    for i in range(count):
        kind = rng.choice(KINDS)
        with folder_for_a_while() as folder:
            try:
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                    what, said = kind(rng, folder)
                lost += [f"{kind.__name__} {i}, {what}: {line}" for line in said]
            except Exception as error:  # noqa: BLE001 - which is what must not happen
                where = traceback.extract_tb(error.__traceback__)[-1]
                lost.append(f"{kind.__name__} {i}: {type(error).__name__}: {error} ({where.filename}:{where.lineno})")
    return count, lost


def workers(seed, rounds=48, num_envs=6, processes=3):
    """Environments fail in all ways: who is not told to be broken saw what it would have seen alone."""
    rng, lost, count = random.Random(seed), [], 0
    env = ProcessVectorEnv(
        toy_env.Toy, num_envs, processes, toy_env.SPEC, toy_env.FRAME_SHAPE, timeout=2.0, restarts=rounds + 1
    )
    with contextlib.closing(env), contextlib.redirect_stderr(io.StringIO()):
        for _ in range(rounds):
            seeds = [rng.randrange(200) for _ in range(num_envs)]
            for i in rng.sample(range(num_envs), 2):
                seeds[i] = toy_env.FAULTY + rng.randrange(len(toy_env.FAULTS))
            killed, moves = rng.choice((None, *range(processes))), [[] for _ in seeds]
            step = env.reset(seeds)
            for t in range(6):
                if t == 4 and killed is not None and env._workers[killed].failure is None:
                    env._workers[killed].process.kill()
                actions = np.asarray([[rng.randrange(3)] for _ in seeds])
                step = env.step(actions)
                for done, action in zip(moves, actions, strict=True):
                    done.append(int(action[0]))
            faulty = {
                w for w in range(processes) for run in env._workers[w].share for i in run if seeds[i] >= toy_env.FAULTY
            }
            faulty |= {killed} - {None}
            count += len(faulty)
            for w in range(processes):
                for i in (i for run in env._workers[w].share for i in run):
                    if bool(step.info["broken"][i]) != (w in faulty):
                        lost.append(
                            f"environment {i}: broken is {step.info['broken'][i]}, seeds {seeds}, killed {killed}"
                        )
                    elif w not in faulty and (step.frames[i] != toy_env.frame_of(seeds[i], moves[i])).any():
                        lost.append(f"environment {i} saw another frame, seeds {seeds}, killed {killed}")
    return count, lost


VALUES = (
    "0", "1", "-1", "3", "7", "1e5", "0.5", "-0.1", "nan", "inf", "-inf", "1e999", str(2**31), "9" * 400, "", " ",
    "true", "False", "None", "()", "(1,", "(1, 2)", "('a',)", "[1]", "{}", "a", "ü", "'", '"', "a\nb",
    "../x", "/", "\0",
)  # fmt: skip


def configs(seed, count=100):
    """Command lines of random keys and values: accepted, or one line each and code 2."""
    rng, lost = random.Random(seed), []
    keys = command_line._keys(quickstart.get_config())
    for _ in range(count):
        argv = ["--config=experiments/configs/quickstart.py:tiny"]
        for key in rng.choices(keys, k=rng.randint(1, 4)):
            if rng.random() < 0.15:
                cut = rng.randrange(len(key))
                key = key[:cut] + rng.choice("xyz._-=") + key[cut + 1 :]
            argv.append(f"--{rng.choice(('', '', '', 'no'))}config.{key}={rng.choice(VALUES)}")
        said, code = io.StringIO(), 0
        try:
            with contextlib.redirect_stderr(said):
                config, _ = command_line.parse(argv, program="torture")
                command_line.validate(config, consistency.RULES)
        except SystemExit as exit:
            code = exit.code
        except Exception as error:  # noqa: BLE001 - which is what must not happen
            lost.append(f"{argv}: {type(error).__name__}: {error}")
        lines = said.getvalue().splitlines()
        if code not in (0, 2) or (code == 2) != bool(lines) or not all(line.startswith("error: ") for line in lines):
            lost.append(f"{argv}: code {code}, {lines}")
    return count, lost


SETTLED = 20  # cycles after which nothing new shall be compiled
GROWTH_MB = {"used": 10.0, "held": 40.0}
"""What the heap may grow by from the first fifth of the cycles to the last: used, and taken from the system."""


def cycles(seed, count=500):
    """Many cycles of phase 2: after the first ones they compile nothing and hold no more memory."""
    seen, said = [], []
    with folder_for_a_while() as folder, Progress("cycles", count) as progress:
        _without_phase2(undisturbed_run(), folder / "run")
        process = start("experiments.torture.cycles", str(folder / "run"), str(count))
        with killed_at_last(process):
            for line in process.stdout:
                if line.startswith('{"compiled"'):
                    seen.append(json.loads(line))
                    progress.update(len(seen))
                else:
                    said = [*said[-20:], line]
            process.wait()
    if process.returncode or len(seen) != count:
        return len(seen), [f"{len(seen)} cycles, then code {process.returncode}: {''.join(said)[-1000:]}"]
    late = seen[-1]["compiled"] - seen[min(SETTLED, count) - 1]["compiled"]
    fifth = count // 5 or 1
    grown = {
        of: (np.median([row[of] for row in seen[-fifth:]]) - np.median([row[of] for row in seen[:fifth]])) / 1e6
        for of in GROWTH_MB
    }
    said = ", ".join(f"{by:+.1f} MB {of}" for of, by in grown.items())
    print(f"cycles: {late} programs compiled after cycle {SETTLED}; last fifth against the first: {said}", flush=True)
    lost = [f"{late} programs compiled after cycle {SETTLED}"] if late else []
    lost += [
        f"{grown[of]:.1f} MB more {of}, at most {most:g} are allowed"
        for of, most in GROWTH_MB.items()
        if grown[of] > most
    ]
    return count, lost


def _without_phase2(whole, target):
    """The run ``whole`` as it stood before phase 2, without its configuration."""
    parts = shutil.ignore_patterns("phase2", "config.json", "metrics.jsonl", "stages.json", ".lock")
    shutil.copytree(whole, target, ignore=parts)


ATTACKS = {
    "kills": kills,
    "shipped": functools.partial(kills, config=SHIPPED),
    "training": training,
    "files": files,
    "inputs": inputs,
    "workers": workers,
    "configs": configs,
    "cycles": cycles,
}
