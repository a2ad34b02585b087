"""What comes from elsewhere, as it comes: recordings, weights, indexes, directories, and fillings of the buffer.

Each of ``KINDS`` is ``f(rng, folder) -> (what was tried, lines of what was lost)``. A reader gives what is there, or
tells in one line what is wrong; anything else is lost.
"""

import functools
import json
import pathlib

import jax
import ml_collections
import numpy as np

from experiments.run.config_file import UsageError
from experiments.run.directory import Run
from experiments.torture import odd_recordings, odd_weights, toy_env
from prowl_jax import zoo
from prowl_jax.data import sources
from prowl_jax.data.store import StoreWriter
from prowl_jax.data.vpt import read_ticks
from prowl_jax.data.vpt_records import RecordingError
from prowl_jax.models.flow.sea_raft import SeaRaft, SeaRaftNetwork
from prowl_jax.models.policies.vpt_policy import VPTNetwork, VPTPolicy
from prowl_jax.models.published import sea_raft_weights, torch_layout, vpt_weights
from prowl_jax.pat import priority as pat

POLICY = VPTPolicy(VPTNetwork((2, 3, 4), hidden=8, heads=2, blocks=1, kept=3, buttons=7, camera=5, image=16))
FLOW = SeaRaft(SeaRaftNetwork(stem=4, widths=(4, 6, 8), blocks=(2, 2, 2), features=8))
CONFIG = ml_collections.ConfigDict({"seed": 0, "world_model": {"steps": 3}})
JSON_SHAPES = ("", "null", "[]", "3", "{", '"x"', "[" * 3000, '{"a": 1}', '{"world_model": 5}', "\udcff")


def recording(rng, folder):
    """Ticks that are dropped, doubled, emptied, robbed or scaled: what is kept is what was on its frame."""
    good = odd_recordings.played(rng.randint(30, 200))
    what, records = odd_recordings.robbed(good, rng)
    whole, path = read_ticks(odd_recordings.write(folder / "whole.jsonl", good)), folder / "odd.jsonl"
    try:
        ticks = read_ticks(odd_recordings.write(path, records), lambda: len(good))
    except RecordingError as error:
        return what, one_line(error)
    sound = np.flatnonzero(ticks.sound)
    sound = sound[sound < len(good) - 1]  # the turn of the last one is not told
    same = (ticks.keys[sound] == whole.keys[sound]).all() and np.allclose(ticks.camera[sound], whole.camera[sound])
    return what, [] if same else ["an action is kept that was not its frame's"]


def lines(rng, folder):
    """A .jsonl of which some lines are something else."""
    what, content = odd_recordings.odd_lines(rng)
    (folder / "odd.jsonl").write_bytes(content)
    return what, refused(lambda: read_ticks(folder / "odd.jsonl", lambda: 30), RecordingError)


def weights(rng, folder):
    """A file of weights of odd types, shapes and lengths, for one of the readers."""
    reader, arrays, metadata = rng.choice(_readers())
    what, content = odd_weights.odd(arrays, metadata, rng)
    path = folder / "odd.safetensors"
    path.write_bytes(content)
    return what, refused(lambda: reader(path), ValueError)


@functools.cache
def _readers():
    shapes = {
        vpt_weights.load_policy: (vpt_weights.published_shapes(POLICY), {"temperature": "2.0"}),
        sea_raft_weights.load_sea_raft: (
            {
                name: array.shape
                for name, array in sea_raft_weights.to_published(
                    jax.tree.map(lambda leaf: np.zeros(leaf.shape), jax.eval_shape(FLOW.init, jax.random.key(0)))
                ).items()
            },
            {"iterations": "4"},
        ),
        torch_layout.Shards: ({"a": (2, 3), "b": ()}, {}),
        zoo.load: ({"world_model/dit/a": (3,)}, {"prowl_jax": json.dumps({"format": "1"})}),
    }
    rng = np.random.default_rng(0)
    return [
        (reader, {name: rng.uniform(size=shape).astype(np.float32) for name, shape in named.items()}, metadata)
        for reader, (named, metadata) in shapes.items()
    ]


def index(rng, folder):
    """A list of recordings whose fields are of another type."""
    (folder / "a.mp4").touch()
    values = (None, 1, "", "a.mp4", "a.MP4", [], {}, {"video": "a.mp4"}, "\0", "x" * 5000, "../a", "/", True)
    listed = rng.choice((None, "a.mp4", 5, {}, [rng.choice(values) for _ in range(rng.randint(0, 5))]))
    shape = rng.choice(("index", "list", "text"))
    content = json.dumps(listed if shape == "list" else {"basedir": rng.choice(values), "relpaths": listed})
    if shape == "text":
        content = rng.choice(JSON_SHAPES)
    (folder / "index.json").write_text(content, errors="surrogateescape")
    find = functools.partial(sources.find, folder / "index.json")
    return f"index {content[:80]}", refused(find, (ValueError, FileNotFoundError))


def directory(rng, folder):
    """A run, or a store, where none can be made."""
    (folder / "file").touch()
    (folder / "loop").symlink_to(folder / "loop")
    place = rng.choice((
        folder / "file", folder / "file" / "run", folder / ("n" * 300), folder / "a\0b", folder / "loop" / "run",
        pathlib.Path("/proc/nothing/run"),
    ))  # fmt: skip
    if rng.random() < 0.5:
        return f"run in {place}", refused(lambda: Run(place, CONFIG), UsageError, must=True)

    def store():
        with StoreWriter(place, toy_env.SPEC, toy_env.FRAME_SHAPE):
            pass

    return f"store in {place}", refused(store, (OSError, ValueError), must=True)


def run_files(rng, folder):
    """A run directory one of whose files holds something else."""
    Run(folder / "run", CONFIG).run_stage("world_model", lambda run: {})
    name, content = rng.choice(("config.json", "stages.json", "provenance.json")), rng.choice(JSON_SHAPES)
    (folder / "run" / name).write_bytes(content.encode(errors="surrogateescape"))
    again = functools.partial(Run, folder / "run", CONFIG)
    return f"{name}: {content[:30]}", refused(lambda: again().run_stage("reference", lambda run: {}), UsageError)


def filling(rng, folder):
    """A partly filled buffer: no empty slot is drawn, and nothing is drawn but by its priority."""
    capacity, kind = rng.choice((128, 512, 1000, 4096, 16384)), rng.choice(pat.KINDS)
    priority = pat.Priority(kind, rng.choice((0.1, 0.5, 2.0)), rng.choice((0.0, 0.3, 1.0)), rng.random() < 0.5)
    numbers = np.random.default_rng(rng.randrange(2**32))
    filled = numbers.permutation(np.arange(capacity) < max(1, round(capacity * rng.random())))
    scores, last = numbers.normal(0, 3, capacity).astype(np.float32), numbers.integers(0, 9, capacity, np.int32)
    drawn = np.asarray(_draw(jax.random.key(rng.randrange(2**31)), scores, last, filled, priority))
    what = f"{int(filled.sum())} of {capacity}, {priority}"
    empty = int((~filled[drawn]).sum())
    return what, [f"{empty} empty slots were drawn"] if empty else []


@functools.partial(jax.jit, static_argnames="priority")
def _draw(key, scores, last_sampled, filled, priority):
    by_score = pat.score_weights(scores, filled, priority)
    p = pat.mixture(by_score, last_sampled, 9, filled, priority)
    return pat.draw(key, p, filled, 4096 if priority.replacement else 64, priority.replacement)


def refused(read, kinds, must=False):
    """Lines where ``read()`` raises something else than one line of ``kinds``; or nothing, although it ``must``."""
    try:
        read()
    except kinds as error:
        return one_line(error)
    return ["nothing was said"] if must else []


def one_line(error):
    """Lines where an exception's message is none, or more than one, or speaks Python."""
    said = str(error)
    odd = not said or "\n" in said or len(said) > 2000 or "Traceback" in said
    return [f"not one line: {said[:300]!r}"] if odd else []


KINDS = (recording, recording, lines, weights, weights, index, directory, run_files, filling)
"""Those of which there are many ways stand here twice."""
