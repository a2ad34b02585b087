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
# # The world of blocks on an accelerator
#
# The voxel world is itself a JAX program. So a whole cycle of PROWL (act, dream, score, pay,
# learn, score anew) can be *one* program, and on a GPU or a TPU nothing ever leaves the device.
# This notebook finds out what it runs on, installs what fits, runs such cycles from the shipped
# world model on, shows the dreams before and after, and saves all of it where you will find it.
#
# It is meant for Google Colab with a GPU or a TPU (menu *Runtime*, *Change runtime type*) and for
# Kaggle; anywhere else it works too. What it costs: on an accelerator, compiling takes minutes and
# the cycles some more; on a CPU everything is by itself made as small as it goes, trained from
# nothing in some steps, and its pictures mean nothing. So far all of this has run on CPUs only:
# the sizes for accelerators are a guess, to be changed below.

# %% [markdown]
# ## What is there
#
# JAX is not asked yet: once it has started, no other version of it can be installed.

# %%
import glob
import os
import pathlib
import shutil
import subprocess
import sys

# %% tags=["parameters"]
REPOSITORY = ""  # its address, where this notebook does not lie in a clone of it: https://...
FOLDER = ""  # where runs are kept; empty: your drive on Colab, the output on Kaggle, else runs/
CYCLES, ENVIRONMENTS = 32, 128  # of phase 2, on an accelerator

# %%
place = "colab" if "COLAB_RELEASE_TAG" in os.environ else "kaggle" if "KAGGLE_KERNEL_RUN_TYPE" in os.environ else ""


def find_accelerator():
    """``gpu``, ``tpu`` or nothing, by what the machine shows."""
    nvidia = shutil.which("nvidia-smi")
    if nvidia and subprocess.run([nvidia, "-L"], capture_output=True).stdout:
        return "gpu"
    return "tpu" if glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*") else ""


found = find_accelerator()
print(f"on {place or 'a machine of your own'}: {found or 'no accelerator, so everything will be tiny'}")

# %% [markdown]
# ## Installing what fits
#
# In a clone whose needs are installed nothing happens here. On Colab and Kaggle, the build of JAX
# is chosen by what was found: CUDA's, the TPU's, or the CPU's.


# %%
def run(*command):
    """A command whose output is shown and whose failure stops the notebook."""
    print(" ".join(map(str, command)))
    subprocess.run(list(map(str, command)), check=True)


clone = next((p for p in (pathlib.Path.cwd(), *pathlib.Path.cwd().parents) if (p / "prowl_jax").is_dir()), None)
if clone is None:
    clone = pathlib.Path("prowl_jax_clone").resolve()
    if not clone.exists():
        assert REPOSITORY, "say above where the repository is: REPOSITORY = 'https://...'"
        run("git", "clone", "--depth=1", REPOSITORY, clone)
os.chdir(clone)
sys.path.insert(0, str(clone))
if place:
    extras = {"gpu": ",cuda12", "tpu": ",tpu", "": ""}[found]
    run(sys.executable, "-m", "pip", "install", "-q", f".[report,zoo{extras}]")

# %% [markdown]
# Now JAX may start. What it says counts: where it only sees a CPU although there is a GPU, the
# installation went wrong (restart the runtime, and begin again at the top).

# %%
import base64
import functools

import jax
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML, display

from experiments.configs import quickstart, voxel
from experiments.evaluation.dreamer import Dreamer, pixel_frames, spread_clips
from experiments.run.directory import Run
from experiments.run.metrics_log import read_metrics
from experiments.stages import build, phase2
from experiments.stages.autoencoder import train_autoencoder
from experiments.stages.clip_stores import open_store, split
from experiments.stages.demonstrations import make_demonstrations
from experiments.stages.reference import clone_reference
from experiments.stages.world_model import load_world_model, train_world_model
from prowl_jax.train.compilation_cache import enable_compilation_cache

enable_compilation_cache()
tiny = jax.default_backend() == "cpu"
print(jax.__version__, jax.devices())

# %% [markdown]
# ## The run
#
# On an accelerator it is the quick start: the shipped base model, and demonstrations that it has
# never seen. `phase2.program = "device"` makes cycles one program, and `cycles_per_call` says
# how many of them before anything is told. On a CPU a model of next to nothing takes its place.

# %%
if tiny:
    config = voxel.get_config("tiny")
    config.arms = ("prowl",)
    config.env.held_out_tasks = ()
    config.demonstrations.update(episodes=4, episode_frames=24)
    config.phase2.update(cycles=3, warm_up=1, horizon=4)
else:
    config = quickstart.get_config()
    config.name, config.arms = "accelerator", ("prowl",)
    config.demonstrations.update(episodes=128)
    config.phase2.update(program="device", cycles=CYCLES, cycles_per_call=4, trajectories=ENVIRONMENTS)
    config.phase2.update(updates=50, batch=64, capacity=2 * ENVIRONMENTS)

# %% [markdown]
# Where it is kept. On Colab this asks you for your drive; a run that was saved there goes on from
# where it was, also in another session. (The run itself works on the local disk, since a drive
# knows no file locks; it is copied after every stage.)

# %%
if place == "colab" and not FOLDER:
    from google.colab import drive

    drive.mount("/content/drive")
kept = pathlib.Path(FOLDER or {"colab": "/content/drive/MyDrive/prowl_jax", "kaggle": "/kaggle/working"}.get(place, ""))
kept = (kept if FOLDER or place else pathlib.Path("runs")) / config.name
work = pathlib.Path("/content/runs" if place == "colab" else kept.parent) / config.name
if kept != work and kept.exists():
    shutil.copytree(kept, work, dirs_exist_ok=True)


def save():
    """Copy the run to where it is kept."""
    if kept != work:
        shutil.copytree(work, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".lock"))


print(f"works in {work}, is kept in {kept}")

# %% [markdown]
# Stages that are done are skipped, and so is training what shipped weights bring.

# %%
the_run = Run(work, config)
for name, stage in {
    "demonstrations": make_demonstrations,
    "autoencoder": train_autoencoder,
    "world_model": train_world_model,
    "reference": clone_reference,
}.items():
    the_run.run_stage(name, stage)
    save()

# %% [markdown]
# ## What it dreams
#
# Held-out clips, real and dreamt under the same keys: two real frames, then what the model makes
# of the actions.

# %%
model, context = build.make_world_model(config), build.make_budget(config).context
store, frames = open_store(the_run), 8
clips = spread_clips(store, split(the_run, store)[1], 4, pixel_frames(model, context, frames), seed=0)


def dreams_of(params):
    dreamer = Dreamer(model, params, context, jax.random.key(0), lambda: None)
    return dreamer.real(clips, frames), dreamer.dream(clips, frames)


def strips(**rows):
    figure, axes = plt.subplots(len(rows), frames, figsize=(1.4 * frames, 1.5 * len(rows)))
    for axis_row, (name, pictures) in zip(axes, rows.items(), strict=True):
        for axis, picture in zip(axis_row, pictures, strict=True):
            axis.imshow(picture)
            axis.set(xticks=[], yticks=[])
        axis_row[0].set_ylabel(name)
    plt.show()


real, before = dreams_of(load_world_model(the_run))
strips(real=real[0], dreamt=before[0])

# %% [markdown]
# ## Phase 2: cycles as one program
#
# The policy hunts for what the model gets wrong, and the model learns from it. The first call
# compiles, which takes minutes; after that a line tells of each call. What was done is in a
# checkpoint: if the session is cut off, run all cells again.

# %%
the_run.run_stage("phase2/prowl", functools.partial(phase2.run_arm, arm="prowl"))
save()

# %%
rows = [row for row in read_metrics(work) if row["stage"] == "phase2"]
figure, axes = plt.subplots(1, 3, figsize=(10, 2.3))
for axis, name in zip(axes, ("regret", "kl_to_reference", "event_fell"), strict=True):
    axis.plot([row["step"] for row in rows], [row[name] for row in rows], marker=".")
    axis.set(title=name, xlabel="cycle")
plt.show()

# %% [markdown]
# `regret` is how wrong the model is on what the policy shows: it rises when the policy finds
# something and falls when the model learns it. `kl_to_reference` is how far the policy has gone
# from demonstrators, in nats. `event_fell` counts falls in 1,000 steps: does the adversary do what
# demonstrators avoid?
#
# ## The same dreams, before and after

# %%
_, after = dreams_of(phase2.load_arm(the_run, "prowl").params)
strips(real=real[0], before=before[0], after=after[0])
error = [np.abs(x.astype(float) - real).mean() for x in (before, after)]
print(f"mean error of a pixel, of 255: before {error[0]:.1f}, after {error[1]:.1f}")

# %% [markdown]
# One number on four clips proves nothing. The evaluation compares with the control that spent the
# same computing, on several sets, with intervals, and writes a page. It takes its time, so on a
# CPU this notebook leaves it out.

# %%
if not tiny:
    from experiments.evaluation.evaluate import evaluate
    from experiments.report.first_look import first_look
    from experiments.report.showcase import report

    for name, stage in {"first_look": first_look, "evaluation": evaluate, "report": report}.items():
        the_run.run_stage(name, stage)
        save()
    picture = base64.b64encode((work / "report" / "first_look.webp").read_bytes()).decode()
    display(HTML(f'<img src="data:image/webp;base64,{picture}">'))
print(f"all of it is in {kept}")

# %% [markdown]
# From here: `arms = ("frozen_reference", "prowl")` adds the control; `report/index.html` in the
# folder above is the page, which opens from disk. `python -m experiments.accelerator_check
# --minutes=9` measures what the device does with this code and trains a base model on it;
# `docs/limits.md` says what has never met an accelerator. If you run this on one, please tell us
# what came out.
