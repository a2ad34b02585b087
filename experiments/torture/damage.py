"""Files of checkpoints and stores: damaged, and held against what was written."""

import numpy as np

from experiments.torture import toy_env
from experiments.torture.victims import folder_for_a_while
from prowl_jax.data.store import ClipStore, StoreWriter
from prowl_jax.train.checkpoint import CheckpointError, Checkpoints


def damage_a_file(folder, rng):
    """Change, cut, empty, remove or lengthen one file; returns which and how."""
    path = rng.choice(sorted(p for p in folder.rglob("*") if p.is_file()))
    content, how = bytearray(path.read_bytes()), rng.choice(("flip", "cut", "empty", "remove", "lengthen"))
    if how == "flip" and content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif how == "cut":
        content = content[: rng.randrange(len(content) + 1)]
    elif how == "empty":
        content = b""
    elif how == "lengthen":
        content += bytes([rng.randrange(256)])
    path.write_bytes(content)
    if how == "remove":
        path.unlink()
    return f"{how} {path.relative_to(folder)}"


def check_checkpoints(folder, state):
    """Lines where ``resume`` gives what was never saved."""
    with Checkpoints(folder) as checkpoints:
        try:
            step, got, _ = checkpoints.resume(state)
        except CheckpointError as error:
            return [f"not one line: {error}"] if "\n" in str(error) else []
    if step == 0:
        return ["no checkpoint was found, and no word said"]
    if not np.array_equal(got["w"], state["w"] * step) or got["n"] != state["n"]:
        return [f"step {step} reads otherwise than it was saved"]
    return []


def write_store(path):
    """A small ``ClipStore``, the same each time."""
    rng = np.random.default_rng(0)
    with StoreWriter(path, toy_env.SPEC, toy_env.FRAME_SHAPE) as writer:
        for n in (5, 9):
            frames = rng.integers(0, 256, (n, *toy_env.FRAME_SHAPE)).astype(np.uint8)
            writer.add_episode(frames, rng.integers(0, 3, (n, 1)))
    ClipStore.open(path).add_array("latents", rng.normal(size=(14, 2)).astype(np.float32))


def check_store(folder):
    """Lines where a damaged store is taken for whole."""
    try:
        store = ClipStore.open(folder, toy_env.SPEC)
        store.verify()
        read = store.frames.tobytes(), store.actions.tobytes(), store.lengths.tolist()
        read += (store.array("latents").tobytes(),) if store.has_array("latents") else ()
    except (ValueError, FileNotFoundError) as error:
        return [f"not one line: {error}"] if "\n" in str(error) else []
    with folder_for_a_while() as other:
        write_store(other / "store")
        whole = ClipStore.open(other / "store")
        wanted = (
            whole.frames.tobytes(),
            whole.actions.tobytes(),
            whole.lengths.tolist(),
            whole.array("latents").tobytes(),
        )
    return [] if read == wanted[: len(read)] else ["it reads otherwise than it was written"]
