"""The stage that records or imports demonstrations: a clip store of every task."""

import contextlib
import dataclasses
import shutil

from experiments.run.config_file import UsageError
from experiments.run.failures import FULL
from experiments.run.progress import Progress
from experiments.stages import build
from experiments.stages.build import plays
from experiments.stages.clip_stores import held_out, open_store, tasks
from prowl_jax import spans
from prowl_jax.data.importer import import_recordings
from prowl_jax.data.recordings import Settings
from prowl_jax.data.store import StoreWriter
from prowl_jax.envs.gaps import Gaps, per_thousand, table
from prowl_jax.settings import COUNT, LARGEST, SHARE, Check, setting, within

SEED = Check(lambda v: -1 <= v <= LARGEST, "is neither -1 (the run's) nor 0 or more")


@dataclasses.dataclass(frozen=True)
class DemonstrationSettings:
    """What the world model learns from first."""

    source: str = setting("", "recordings of people, for Minecraft; empty: scripts")
    play: str = setting("", "what experiments.play --plays=DIR kept, for the training task; empty: scripts")
    seed: int = setting(-1, "of episodes, voxel worlds and what is held out; -1: the run's", SEED)
    episodes: int = setting(192, "of the training task", within(2))
    episode_frames: int = setting(256, "of an episode; longer recordings are cut", COUNT)
    held_out_task_episodes: int = setting(16, "of every held-out task", COUNT)
    verify: bool = setting(True, "hold the stores against their checksums at every start: reads all of them")
    held_out_fraction: float = setting(0.1, "of the training task's episodes", SHARE)


def make_demonstrations(run):
    """Clip stores of every task: the scripted demonstrators' episodes, or recordings of people; prints what is done."""
    config, d = run.config, run.config.demonstrations
    frames = {}
    for i, task in enumerate(tasks(config)):
        if run.data(task).exists():
            frames[task] = len(open_store(run, task))
            continue
        if d.source:
            frames[task] = _import(run, task)
            continue
        if d.play and task == config.env.task:
            frames[task] = _take_in(run, task)
            continue
        episodes = d.episodes if task == config.env.task else d.held_out_task_episodes
        with (
            StoreWriter(run.data(task), build.spec_of(config), build.frame_shape(config)) as writer,
            Progress(f"demonstrations {task}", episodes * d.episode_frames) as progress,
        ):
            recorded = build.make_environment(config).record(
                task, d.episode_frames, episodes, _seed(config, i), progress.update,
                gaps=build.gaps_of(config, task), num_envs=config.env.num_envs,
            )  # fmt: skip
            for clip in spans.each("environments", recorded):
                writer.add_episode(*clip)
        frames[task] = len(open_store(run, task))
        if task == config.env.task:
            _holds_out(run, task)
    store = open_store(run)
    train, kept_back, way = held_out(run, store)
    print(f"held out: {len(kept_back)} of {len(store.lengths)} episodes, {way}; {len(train)} to train on")
    print(rates_of_actions(run), flush=True)
    return {"frames": sum(frames.values())}


def _seed(config, i):
    """Of the i-th task's episodes; where a base model has learned from those of this seed, others are recorded."""
    return 1000 * build.data_seed(config) + i + (500 if config.base else 0)


def rates_of_actions(run):
    """How often each thing is done in the stores of all tasks, as a table: what is never shown cannot be learned."""
    spec, gaps = build.spec_of(run.config), Gaps(**run.config.demonstrations.gaps)
    return table({task: per_thousand(spec, open_store(run, task).actions, gaps) for task in tasks(run.config)})


def _take_in(run, task):
    """Make the clip store of ``task`` of what a person has played (``demonstrations.play``); returns its frames."""
    config, d = run.config, run.config.demonstrations
    shortest = build.shortest_episode(config)
    with StoreWriter(run.data(task), build.spec_of(config), build.frame_shape(config)) as writer:
        for episode in plays.episodes(config, shortest):
            writer.add_episode(*episode)
        count = len(writer.lengths)
        if count < 2:
            raise UsageError(
                f"demonstrations.play={d.play} gave {count} episode of {shortest} to "
                f"demonstrations.episode_frames={d.episode_frames} frames; at least two are needed, one to hold out"
            )
    _holds_out(run, task)
    frames = len(open_store(run, task))
    print(f"played by a person: {frames} frames in {count} episodes")
    return frames


def _holds_out(run, task):
    """UsageError, and the store is gone, where nothing of it can be held out."""
    try:
        held_out(run, open_store(run, task))
    except UsageError:
        shutil.rmtree(run.data(task))
        raise


def _import(run, task):
    """Read the recordings of ``demonstrations.source`` into the clip store of ``task``; returns its frames."""
    config, d = run.config, run.config.demonstrations
    settings = Settings(
        size=build.frame_shape(config)[:2], min_frames=build.shortest_episode(config), max_frames=d.episode_frames
    )
    with contextlib.ExitStack() as stack:
        progress = None

        def show(done, total, frames):
            nonlocal progress
            progress = progress or stack.enter_context(Progress("recordings", total))
            progress.update(done, **({"frames": frames} if frames else {}))

        try:
            with spans.span("input"):
                summary = import_recordings(d.source, run.data(task), settings, on_progress=show)
        except (ValueError, OSError, ImportError) as error:
            if getattr(error, "errno", None) in FULL:
                raise  # a full disk is no mistake of the source's
            raise UsageError(f"demonstrations.source={d.source}: {error}") from None
    print("\n".join(summary.lines()))
    if summary.episodes < 2:
        shutil.rmtree(run.data(task))
        raise UsageError(
            f"demonstrations.source={d.source} gave {summary.episodes} episode of at most "
            f"demonstrations.episode_frames={d.episode_frames} frames; at least two are needed, one to hold out"
        )
    _holds_out(run, task)
    return summary.frames
