# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own world: from a Gymnasium ID to a report and the player
#
# Here a world model of a game is trained and hunted that no configuration of this project knows:
# Boxing, of the Atari games. Put any ID of [Gymnasium](https://gymnasium.farama.org) in its place,
# or a function of yours that returns an environment. `docs/your_world.md` is the page beside this
# notebook: it has a table of everything that can be given.
#
# What it costs: a minute for the first half, which looks at the game and writes a configuration;
# then, at the smallest size, five to ten minutes on two CPU cores, nearly all of it compiling.
# That goes through every line of a run and means nothing. The real run takes as long as you say.
#
# It needs a clone of the repository, and in it
# `pip install -r requirements.txt gymnasium ale-py` (on Colab in a cell of its own, with a % before
# it, after changing into the clone).

# %%
import contextlib
import json
import pathlib
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np

from prowl_jax.envs import words
from prowl_jax.envs.gymnasium import Gymnasium
from prowl_jax.envs.gymnasium_game import Game

# %% tags=["parameters"]
MAKE = "ALE/Boxing-v5"  # an ID, module:function, or file.py:function
NAME = "boxing"  # of the run
MINUTES = 60  # that the real run may take
VARIANT = ":tiny"  # "" is the real run
FOLDER = "runs"  # the run goes into a folder of it
CHANGES = []  # more of the command, such as "--config.minutes=30"

# %% [markdown]
# ## What the game looks like
#
# `Gymnasium` derives what an action is from the action space of the game: *factors*, each a
# choice among a few values. Two buttons are two factors, a wheel is one that is cut into bins.
# Which value does nothing stands in brackets.

# %%
environment = Gymnasium(make_with=MAKE)
print(words(environment.spec))

# %% [markdown]
# Somebody has to show what the actions do. Where there is no policy, *random hands* play: they
# hold a value for a while, and rest. Ten moments of what they do:

# %%
with contextlib.closing(Game(environment)) as game:
    hands, (frame, info), shown = environment.demonstrator("play"), game.reset(0), []
    hands.reset(0)
    for step in range(150):
        action = hands.act(info.get("observation"), frame)
        shown.append((frame, environment.spec.describe(action) or "nothing"))
        frame, done, info = game.step(action)
        if done:
            frame, info = game.reset(step)

figure, axes = plt.subplots(1, 10, figsize=(14, 2.2))
for axis, (frame, word) in zip(axes, shown[50::10], strict=True):
    axis.imshow(frame)
    axis.set_title(word, fontsize=7)
    axis.axis("off")
plt.show()

# %% [markdown]
# If these pictures are not what you want, `docs/your_world.md` says how to take others (a key of
# the observation, or `render`), how to skip frames, and how to rename or bin actions. If nothing
# ever happens, give a policy: `--demonstrator=module:function`.
#
# ## A configuration
#
# `experiments.new` plays the game for a moment and writes thirty lines for it, with sizes for
# this machine.


# %%
def run(module, *arguments):
    """``python -m experiments.MODULE``, as in a terminal: its output is shown, a failure stops the notebook."""
    command = [sys.executable, "-m", f"experiments.{module}", *map(str, arguments)]
    print("$ python", *command[1:], flush=True)
    with subprocess.Popen(command, cwd=clone, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
    assert process.returncode == 0, f"it ended with {process.returncode}; its last line says why"


here = pathlib.Path.cwd()
clone = next(folder for folder in (here, *here.parents) if (folder / "experiments").is_dir())
folder = (clone / FOLDER).resolve()
folder.mkdir(parents=True, exist_ok=True)
config = folder / f"{NAME}.py"
if not config.exists():  # nothing is ever overwritten
    run("new", NAME, f"--make={MAKE}", f"--minutes={MINUTES}", f"--output={config}")

# %%
print(config.read_text())

# %% [markdown]
# ## The run
#
# Demonstrations, a world model, a cloned policy, PROWL and its control with the same computing,
# an evaluation, a report. Stop it when you like: the same cell goes on from the last checkpoint.

# %%
workdir = folder / (NAME + VARIANT.replace(":", "_"))
run("prowl_main", f"--config={config}{VARIANT}", f"--workdir={workdir}", *CHANGES)

# %% [markdown]
# ## What came out
#
# The page to read is `report/index.html` in the folder of the run; it opens from disk. The same
# figures lie there as JSON, and every stage noted what it took.

# %%
stages = json.loads((workdir / "stages.json").read_text())
plt.figure(figsize=(7, 0.35 * len(stages) + 0.8))
plt.barh(list(stages), [stage["seconds"] for stage in stages.values()])
plt.gca().invert_yaxis()
plt.gca().set(xlabel="seconds", title="where the time went")
plt.show()
print("the report:", workdir / "report" / "index.html")

# %% [markdown]
# Two questions to a world model, before anything else. Does it beat a still picture? Its regret
# over that of repeating the last frame should be well below 1. Does it listen to the keys? With
# exchanged actions its regret should be well above that with the true ones.

# %%
evaluation = json.loads((workdir / "evaluation.json").read_text())
for name in ("regret_over_repeat_last_frame", "regret_exchanged_actions_over_true"):
    print(f"{name}: {evaluation['checks'][name]:.3f}")

# %% [markdown]
# The loss of each training, from the log that every run keeps:

# %%
rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
trainings = list(dict.fromkeys(row["stage"] for row in rows if "loss" in row))
figure, axes = plt.subplots(1, max(2, len(trainings)), figsize=(11, 2.2))
for axis, stage in zip(axes, trainings, strict=False):
    points = np.array([(row["step"], row["loss"]) for row in rows if row["stage"] == stage and "loss" in row])
    axis.plot(*points.T, marker=".")
    axis.set(title=stage, xlabel="step")
plt.show()

# %% [markdown]
# ## Play it
#
# The player shows the real game beside the model's dream of it, under the same keys. It is a
# server, so start it in a terminal, in the clone, and open the address that it prints:

# %%
print(f"python -m experiments.play --workdir={workdir}")
print(f"python -m experiments.explore --workdir={workdir}   # what the adversary found, before beside after")

# %% [markdown]
# And then the real run: `VARIANT = ""` above, or in a terminal the command that
# `experiments.new` printed. What to change first where dreams are poor: more `world_model.steps`;
# demonstrations that show more (`--demonstrator`); fewer pixels.
