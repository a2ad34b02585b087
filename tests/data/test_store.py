"""The clip store gives back what was put in, never crosses episodes, and refuses damage."""

import json
import os
import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prowl_jax.actions import ActionSpec, camera, choice
from prowl_jax.data.held_out import Origin
from prowl_jax.data.store import ClipStore, StoreWriter

SPEC = ActionSpec((choice("move", "forward", "back"), camera("yaw")))
SHAPE = (3, 5, 3)


def episodes_of(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [
        (
            rng.integers(0, 256, (n, *SHAPE)).astype(np.uint8),
            np.stack([rng.integers(0, 3, n), rng.integers(0, 11, n)], -1).astype(np.int32),
        )
        for n in lengths
    ]


def write(path, episodes):
    with StoreWriter(path, SPEC, SHAPE) as writer:
        for frames, actions in episodes:
            writer.add_episode(frames, actions)
    return ClipStore.open(path)


@pytest.fixture()
def store(tmp_path):
    return write(tmp_path / "clips", episodes_of([7, 1, 12, 4]))


lengths = st.lists(st.integers(1, 9), min_size=1, max_size=6)


@settings(max_examples=30, deadline=None)
@given(lengths=lengths, seed=st.integers(0, 1000), clip_length=st.integers(1, 6), data=st.data())
def test_round_trip(lengths, seed, clip_length, data):
    episodes = episodes_of(lengths, seed)
    with tempfile.TemporaryDirectory() as folder:
        store = write(os.path.join(folder, "clips"), episodes)
        assert store.spec == SPEC and store.lengths.tolist() == lengths and len(store) == sum(lengths)
        assert store.frames.dtype == np.uint8 and store.actions.dtype == np.int32
        for i, (frames, actions) in enumerate(episodes):
            np.testing.assert_array_equal(store.episode(i).frames, frames)
            np.testing.assert_array_equal(store.episode(i).actions, actions)
        # Every clip that lies within an episode, and no other, by brute force.
        wanted = data.draw(st.lists(st.sampled_from(range(len(lengths))), unique=True))
        clips = [
            (episodes[e][0][t : t + clip_length], episodes[e][1][t : t + clip_length])
            for e in wanted
            for t in range(lengths[e])
            if t + clip_length <= lengths[e]
        ]
        starts = store.starts(wanted, clip_length)
        assert starts.dtype == np.int64 and len(starts) == len(clips)
        if clips:
            batch = store.gather(starts, clip_length)
            np.testing.assert_array_equal(batch.frames, np.stack([f for f, _ in clips]))
            np.testing.assert_array_equal(batch.actions, np.stack([a for _, a in clips]))
            np.testing.assert_array_equal(store.clip(starts[0], clip_length).frames, clips[0][0])


def test_gather_copies_and_the_maps_are_read_only(store):
    batch = store.gather(np.array([0, 8]), 3)
    assert type(batch.frames) is np.ndarray and not np.shares_memory(batch.frames, store.frames)
    with pytest.raises(ValueError):
        store.frames[0] = 0
    with pytest.raises(ValueError):
        store.actions[0] = 0


@pytest.mark.parametrize("start, length", [(-1, 2), (23, 2), (0, 25)])
def test_clips_outside_the_store_are_refused(store, start, length):
    with pytest.raises(IndexError):
        store.clip(start, length)
    with pytest.raises(IndexError):
        store.gather(np.array([start]), length)


@given(count=st.integers(2, 30), fraction=st.floats(0, 1), seed=st.integers(0, 100))
def test_split_is_a_partition_by_episode(count, fraction, seed):
    store = ClipStore.__new__(ClipStore)
    store.origins = [Origin(f"episode {i}", 0, 1) for i in range(count)]
    train, held_out = store.split(fraction, seed)
    assert sorted([*train, *held_out]) == list(range(count))
    assert len(train) >= 1 and len(held_out) >= 1
    assert abs(len(held_out) - fraction * count) <= 1
    np.testing.assert_array_equal(held_out, store.split(fraction, seed)[1])
    # As before stores knew where their episodes are from: runs that went on then go on now.
    drawn = np.random.default_rng(seed).permutation(count)[: np.clip(round(fraction * count), 1, count - 1)]
    np.testing.assert_array_equal(held_out, np.sort(drawn))


def test_splits_of_other_seeds_differ_and_one_episode_cannot_be_split(store, tmp_path):
    assert len({tuple(store.split(0.5, seed)[1]) for seed in range(10)}) > 1
    one = write(tmp_path / "one", episodes_of([4]))
    with pytest.raises(ValueError, match="at least two"):
        one.split(0.5, 0)


def test_added_arrays_come_back(store):
    latents = np.random.default_rng(0).normal(size=(24, 2, 2, 4)).astype(np.float16)
    assert not store.has_array("latents")
    with pytest.raises(KeyError, match="latents"):
        store.array("latents")
    store.add_array("latents", latents)
    again = ClipStore.open(store.path)
    assert again.has_array("latents") and isinstance(again.array("latents"), np.memmap)
    np.testing.assert_array_equal(again.array("latents"), latents)
    assert again.array("latents").dtype == np.float16
    np.testing.assert_array_equal(
        again.gather_array("latents", [8, 0], 3), np.stack([latents[8:11], latents[:3]])
    )
    store.add_array("latents", latents[:, :1])  # replaces
    assert store.array("latents").shape == (24, 1, 2, 4)


@pytest.mark.parametrize("name, rows", [("latents", 23), ("../latents", 24), ("a b", 24)])
def test_arrays_that_do_not_fit_are_refused(store, name, rows):
    with pytest.raises(ValueError, match="array"):
        store.add_array(name, np.zeros((rows, 2), np.float32))
    assert not [n for n in os.listdir(store.path) if "npy" in n]


def test_types_that_numpy_files_forget_are_refused(store):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    with pytest.raises(ValueError, match="bfloat16"):
        store.add_array("latents", np.zeros((24, 2), ml_dtypes.bfloat16))


@pytest.mark.parametrize(
    "frames, actions",
    [
        (np.zeros((4, *SHAPE), np.float32), np.zeros((4, 2), np.int32)),
        (np.zeros((4, 5, 3, 3), np.uint8), np.zeros((4, 2), np.int32)),
        (np.zeros((4, *SHAPE), np.uint8), np.zeros((3, 2), np.int32)),
        (np.zeros((0, *SHAPE), np.uint8), np.zeros((0, 2), np.int32)),
        (np.zeros((4, *SHAPE), np.uint8), np.full((4, 2), 11, np.int32)),
    ],
)
def test_episodes_that_do_not_fit_are_refused_and_leave_nothing(tmp_path, frames, actions):
    with pytest.raises(ValueError), StoreWriter(tmp_path / "clips", SPEC, SHAPE) as writer:
        writer.add_episode(frames, actions)
    assert os.listdir(tmp_path) == []


def test_writing_is_atomic(tmp_path):
    path = tmp_path / "clips"
    episodes = episodes_of([5])
    with pytest.raises(KeyboardInterrupt), StoreWriter(path, SPEC, SHAPE) as writer:
        writer.add_episode(*episodes[0])
        assert not path.exists()
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []
    (tmp_path / "clips.partial").mkdir()  # of a writer that was killed
    (tmp_path / "clips.partial" / "frames.bin").write_bytes(b"old")
    write(path, episodes)
    assert os.listdir(tmp_path) == ["clips"]
    with pytest.raises(FileExistsError):
        write(path, episodes)
    with pytest.raises(ValueError, match="no episode"):
        write(tmp_path / "empty", [])
    assert os.listdir(tmp_path) == ["clips"]


ARRAYS = {"camera": (np.float32, (2,)), "null": (bool, ())}


def with_arrays(episodes):
    """The arrays of ``ARRAYS`` for each episode."""
    rng = np.random.default_rng(1)
    return [{"camera": rng.normal(size=(len(f), 2)).astype(np.float32), "null": f.any((1, 2, 3))} for f, _ in episodes]


def test_arrays_can_be_written_with_the_episodes(tmp_path):
    episodes = episodes_of([3, 1, 4])
    arrays = with_arrays(episodes)
    with StoreWriter(tmp_path / "clips", SPEC, SHAPE, ARRAYS) as writer:
        for (frames, actions), more in zip(episodes, arrays, strict=True):
            writer.add_episode(frames, actions, **more)
    store = ClipStore.open(tmp_path / "clips")
    for name, (kind, _) in ARRAYS.items():
        assert store.array(name).dtype == kind
        np.testing.assert_array_equal(store.array(name), np.concatenate([more[name] for more in arrays]))
    arrays = [f"{name}.npy{end}" for name in ("camera", "null") for end in ("", ".crc32")]
    assert sorted(os.listdir(store.path)) == sorted(["actions.bin", "frames.bin", "index.json", *arrays])


@pytest.mark.parametrize(
    "more, message",
    [
        ({}, "needs the arrays"),
        ({"camera": np.zeros((2, 2), np.float32)}, "needs the arrays"),
        ({"camera": np.zeros((2, 2)), "null": np.zeros(2, bool)}, "'camera' must be float32"),
        ({"camera": np.zeros((3, 2), np.float32), "null": np.zeros(2, bool)}, "'camera' must be float32"),
    ],
)
def test_arrays_that_do_not_fit_an_episode_are_refused(tmp_path, more, message):
    with pytest.raises(ValueError, match=message), StoreWriter(tmp_path / "clips", SPEC, SHAPE, ARRAYS) as writer:
        writer.add_episode(*episodes_of([2])[0], **more)
    assert os.listdir(tmp_path) == []
    with pytest.raises(ValueError, match="identifier"):
        StoreWriter(tmp_path / "clips", SPEC, SHAPE, {"a b": (bool, ())})


def test_an_interrupted_writer_goes_on_from_what_it_is_told_to_keep(tmp_path):
    path, episodes = tmp_path / "clips", episodes_of([3, 1, 4, 2])
    arrays = with_arrays(episodes)

    def add(writer, chosen):
        for i in chosen:
            writer.add_episode(*episodes[i], **arrays[i])

    with StoreWriter(tmp_path / "whole", SPEC, SHAPE, ARRAYS) as writer:
        add(writer, range(4))
    with pytest.raises(KeyboardInterrupt), StoreWriter(path, SPEC, SHAPE, ARRAYS, resume=()) as writer:
        add(writer, [0, 1])
        writer.flush()
        add(writer, [3])  # nobody was told of this one
        raise KeyboardInterrupt
    assert not path.exists() and (tmp_path / "clips.partial").is_dir()
    with pytest.raises(ValueError, match=r"frames.bin has \d+ bytes, fewer than the \d+ to go on from"):
        StoreWriter(path, SPEC, SHAPE, ARRAYS, resume=[3, 1, 9]).__enter__()
    with StoreWriter(path, SPEC, SHAPE, ARRAYS, resume=[3, 1]) as writer:
        add(writer, [2, 3])
    assert ClipStore.open(path).lengths.tolist() == [3, 1, 4, 2]
    assert sorted(os.listdir(path)) == sorted(os.listdir(tmp_path / "whole"))
    for name in os.listdir(path):
        assert (path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def edit(**changes):
    def damage(path):
        index = json.loads((path / "index.json").read_text())
        (path / "index.json").write_text(json.dumps({**index, **changes}))

    return damage


def truncate(name):
    def damage(path):
        os.truncate(path / name, os.path.getsize(path / name) - 1)

    return damage


DAMAGE = {
    "frames cut short": (truncate("frames.bin"), "frames.bin has 1079 bytes, the index says 1080"),
    "actions cut short": (truncate("actions.bin"), "actions.bin has 191 bytes"),
    "frames missing": (lambda path: (path / "frames.bin").unlink(), "frames.bin has 0 bytes"),
    "another version": (edit(version=99), "version 99"),
    "lengths changed": (edit(lengths=[7, 1, 12, 3]), "disagree"),
    "a negative length": (edit(lengths=[7, 1, 20, -4]), "disagree"),
    "lengths of another type": (edit(lengths="abc"), "damaged"),
    "another shape": (edit(frame_shape=[3, 5]), "disagree"),
    "a spec of fewer factors": (edit(spec=SPEC.to_json()[:1]), "disagree"),
    "a broken spec": (edit(spec=[{"name": "move"}]), "damaged"),
    "no JSON": (lambda path: (path / "index.json").write_text("{"), "damaged"),
    "no object": (lambda path: (path / "index.json").write_text("[]"), "damaged"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_refused_in_one_line(store, case):
    damage, message = DAMAGE[case]
    damage(store.path)
    with pytest.raises(ValueError, match=message) as caught:
        ClipStore.open(store.path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_store_of_other_actions_or_no_store_is_refused(store, tmp_path):
    other = ActionSpec((choice("move", "forward", "back"), choice("jump", "jump")))
    assert ClipStore.open(store.path, SPEC).spec == SPEC
    with pytest.raises(ValueError, match="move.*yaw.*jump"):
        ClipStore.open(store.path, other)
    with pytest.raises(FileNotFoundError, match="no clip store"):
        ClipStore.open(tmp_path / "nowhere")


def flip(name, place=10):
    def damage(path):
        content = bytearray((path / name).read_bytes())
        content[place] ^= 1
        (path / name).write_bytes(content)

    return damage


ALTERED = {
    "a bit of a frame": (
        flip("frames.bin"),
        r"frames.bin has changed since it was written: its checksum is \w{8}, not",
    ),
    "an action": (flip("actions.bin"), "actions.bin has changed"),
    "a latent": (flip("latents.npy", 200), "latents.npy has changed"),
}


@pytest.mark.parametrize("case", ALTERED)
def test_what_has_changed_is_named(store, case):
    store.add_array("latents", np.zeros((24, 2), np.float32))
    ClipStore.open(store.path).verify()
    damage, message = ALTERED[case]
    damage(store.path)
    with pytest.raises(ValueError, match=message) as caught:
        ClipStore.open(store.path).verify()
    assert len(str(caught.value).splitlines()) == 1


def test_actions_out_of_range_are_named_also_without_checksums(store):
    edit(checksums={})(store.path)
    ClipStore.open(store.path).verify()
    flip("actions.bin", 3)(store.path)  # the high byte of the first
    with pytest.raises(ValueError, match="actions.bin: action factor 'move' must be in 0..2, got 0..1677721"):
        ClipStore.open(store.path).verify()


def test_an_array_cut_short_is_named(store):
    store.add_array("latents", np.zeros((24, 200), np.float32))
    truncate("latents.npy")(store.path)
    with pytest.raises(ValueError, match="latents.npy is damaged"):
        store.array("latents")


@settings(max_examples=30, deadline=None)
@given(lengths=lengths, length=st.integers(1, 6))
def test_tiles_cover_every_frame_of_long_enough_episodes_and_cross_none(lengths, length):
    with tempfile.TemporaryDirectory() as folder:
        store = write(os.path.join(folder, "clips"), episodes_of(lengths))
        tiles = store.tiles(range(len(lengths)), length)
        assert (np.diff(tiles) > 0).all()
        episode = np.repeat(np.arange(len(lengths)), lengths)
        shown = tiles[:, None] + np.arange(length)
        assert (episode[shown] == episode[tiles][:, None]).all()
        assert set(shown.ravel()) == {t for t in range(len(store)) if lengths[episode[t]] >= length}
        assert len(tiles) == sum(-(-n // length) for n in lengths if n >= length)


def test_an_array_with_an_entry_a_tile_is_written_in_pieces_and_whole(store):
    """Episodes of 7, 1, 12 and 4 frames have 2, 0, 3 and 1 tiles of 4."""
    entries = np.arange(12, dtype=np.float32).reshape(6, 2)
    store.add_tiles("latents", 4, iter([entries[:5], entries[5:]]))
    np.testing.assert_array_equal(store.tile_array("latents", 4), entries)
    with pytest.raises(ValueError, match="has \\(6,\\) entries, not 24"):
        store.array("latents")
    with pytest.raises(ValueError, match="needs 6 entries, one a clip of 4 frames, got 3"):
        store.add_tiles("other", 4, [entries[:3]])
    assert not store.has_array("other")
