"""Data sets of Minari and LeRobot, read end to end; every mistake is one line that tells the cure."""

import json
import pathlib
import shutil
import sys

import numpy as np
import pytest
from toy_data_sets import COUNT, encoded, lerobot_2, lerobot_3, minari, shades, turns

from experiments import import_recordings as command
from prowl_jax.data.importer import NothingReadError, import_recordings
from prowl_jax.data.minari import _named
from prowl_jax.data.recordings import Settings
from prowl_jax.data.store import ClipStore

h5py = pytest.importorskip("h5py", reason="the extra recordings is not installed")
pyarrow = pytest.importorskip("pyarrow", reason="the extra recordings is not installed")

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"
SMALL = Settings(size=(8, 16), min_frames=3)
LIST = "pan=action.pan:-1..1:5, grip=action.1"


def read(source, tmp_path, text=LIST, **options):
    summary = import_recordings(source, tmp_path / "clips", SMALL, 1, columns=text, **options)
    return summary, ClipStore.open(tmp_path / "clips")


def done(episode):
    pan, grip = turns(episode).T
    return np.stack([np.round((pan + 1) * 2), grip], axis=1).astype(np.int32)


def holds(store, left="top", right="top"):
    assert store.lengths.tolist() == [COUNT, COUNT]
    for e in range(2):
        clip = store.episode(e)
        np.testing.assert_array_equal(clip.actions, done(e))
        np.testing.assert_allclose(clip.frames[:, 4, 2, 0], shades(e, left), atol=4)
        np.testing.assert_allclose(clip.frames[:, 4, 13, 0], shades(e, right), atol=4)


@pytest.fixture(scope="module")
def two_cameras(tmp_path_factory):
    return lerobot_3(tmp_path_factory.mktemp("sets") / "three", cameras=("top", "wrist"))


@pytest.mark.parametrize("write", [lerobot_2, lerobot_3, lambda root: lerobot_2(root, kind="image")])
def test_lerobot_of_each_version_and_kind(tmp_path, write):
    summary, store = read(write(tmp_path / "in"), tmp_path)
    holds(store)
    assert summary.skipped == [] and summary.left_out == {}
    assert [origin.recording for origin in store.origins] == ["episode_000000", "episode_000001"]


@pytest.mark.parametrize("frames, left, right", [(("wrist",), "wrist", "wrist"), (("wrist", "top"), "wrist", "top")])
def test_a_camera_is_chosen_or_several_are_tiled(two_cameras, tmp_path, frames, left, right):
    _, store = read(two_cameras, tmp_path, frames=frames)
    holds(store, left, right)


@pytest.mark.parametrize("form", ["hdf5", "arrow", "parquet"])
@pytest.mark.parametrize("jpeg, keyed", [(False, False), (True, True)])
def test_minari_of_each_form(tmp_path, form, jpeg, keyed):
    source = minari(tmp_path / "in", form=form, jpeg=jpeg, keyed=keyed)
    summary, store = read(source, tmp_path, "pan=actions.0:-1..1:5, grip=actions.1")
    holds(store)
    assert summary.left_out == {} and len(summary.skipped) == 0


@pytest.mark.parametrize("name", ["lerobot_2_1", "lerobot_3_0", "minari_hdf5", "minari_arrow", "minari_parquet"])
def test_what_the_libraries_wrote_themselves(tmp_path, name):
    """By LeRobot 0.3.3 and 0.4.4 and Minari 0.5.4; tests/fixtures/make_lerobot.py and make_minari.py write it anew."""
    shutil.unpack_archive(FIXTURES / f"{name}.zip", tmp_path / "in")
    (source,) = (tmp_path / "in").iterdir()
    if name.startswith("minari"):
        summary, store = read(source, tmp_path, "pan=actions.0:-1..1:5, grip=actions.1")
        holds(store)
    else:
        summary, store = read(source, tmp_path, frames=("wrist", "top"))
        holds(store, "wrist", "top")
    assert summary.skipped == [] and summary.left_out == {}


def test_a_discrete_action_is_a_choice(tmp_path):
    _, store = read(minari(tmp_path / "in", space="Discrete"), tmp_path, "grip=actions:2")
    np.testing.assert_array_equal(store.episode(0).actions, done(0)[:, 1:])


def test_a_video_that_is_cut_off_costs_its_last_episode(two_cameras, tmp_path):
    source = tmp_path / "in"
    shutil.copytree(two_cameras, source)
    lerobot_3(tmp_path / "short", episodes=1)
    video = "videos/observation.images.top/chunk-000/file-000.mp4"
    shutil.copy(tmp_path / "short" / video, source / video)
    summary, store = read(source, tmp_path, frames=("top",))
    assert store.lengths.tolist() == [COUNT]
    assert summary.skipped == [
        (
            "episode_000001",
            "file-000.parquet has 12 rows and episode_000001 0 frames; give a row for each frame, "
            "or --truncate to read as many as both have",
        )
    ]


def test_a_clock_that_jumps_cuts_there(tmp_path):
    from pyarrow import parquet

    path = lerobot_2(tmp_path / "in", episodes=1) / "data/chunk-000/episode_000000.parquet"
    table = parquet.read_table(path)
    rows = [t for t in range(COUNT) if t not in (4, 5)]
    parquet.write_table(table.take(rows), path)
    summary, store = read(tmp_path / "in", tmp_path)
    assert store.lengths.tolist() == [4, 6] and summary.left_out == {"missing": 2}
    np.testing.assert_array_equal(store.actions, done(0)[rows])


# What is off.


@pytest.mark.parametrize("form", ["lerobot", "minari"])
def test_pictures_of_changing_size_cost_their_episode(tmp_path, form):
    """Frame 7 of the first episode; each picture is a file of its own there."""
    from pyarrow import parquet

    source, smaller = tmp_path / "in", encoded(np.zeros((24, 32, 3), np.uint8), "JPEG")
    if form == "lerobot":
        path = lerobot_2(source, kind="image") / "data/chunk-000/episode_000000.parquet"
        rows = parquet.read_table(path).to_pylist()
        rows[7]["observation.images.top"]["bytes"] = smaller
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        where, text = "episode_000000.parquet, episode 0", LIST
    else:
        with h5py.File(minari(source, jpeg=True) / "data/main_data.hdf5", "a") as file:
            file["episode_0/observations"][7] = np.frombuffer(smaller, np.uint8)
        where, text = "main_data.hdf5, episode 0", "pan=actions.0:-1..1:5, grip=actions.1"
    summary, store = read(source, tmp_path, text)
    told = f"{where}: frame 7 is 24x32, those before it 48x64; bring all to one size, or cut it there"
    assert [reason for _, reason in summary.skipped] == [told] and len(store) == COUNT


def _info(root, **changes):
    path = root / "meta/info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _without_images(root):
    info = json.loads((root / "meta/info.json").read_text())
    _info(root, features={k: v for k, v in info["features"].items() if v["dtype"] != "video"})


DAMAGED = {
    "no camera chosen": (lambda r: None, (), "has pictures observation.images.top, observation.images.wrist: choose"),
    "no such camera": (lambda r: None, ("left",), "has no pictures 'left'; there are observation.images.top, obs"),
    "no images": (_without_images, (), "holds no pictures: a world model needs them"),
    "another version": (lambda r: _info(r, codebase_version="v1.6"), ("top",), "says version v1.6; 2 and 3 are read"),
    "a damaged head": (lambda r: (r / "meta/info.json").write_text("{"), ("top",), "info.json is damaged"),
    "no episodes": (lambda r: _info(r, codebase_version="v2.1", total_episodes=0), ("top",), "holds no episode, by"),
    "no place of the videos": (lambda r: _info(r, video_path=None), ("top",), "meta does not say where its episodes"),
    "no list": (lambda r: shutil.rmtree(r / "meta/episodes"), ("top",), "has no meta/episodes/*.parquet"),
    "tiles that do not fit": (lambda r: None, ("top", "wrist", "top"), "3 tiled pictures need --size=HxW"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_data_set_that_cannot_be_read_is_one_line(two_cameras, tmp_path, capsys, case):
    break_it, frames, told = DAMAGED[case]
    source = tmp_path / "in"
    shutil.copytree(two_cameras, source)
    break_it(source)
    flags = [f"--source={source}", f"--store={tmp_path / 'clips'}", f"--columns={LIST}", "--size=9x16", "--workers=1"]
    with pytest.raises(SystemExit) as ended:
        command.main([*flags, f"--frames={','.join(frames)}"] if frames else flags)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1 and told in said
    assert not (tmp_path / "clips").exists() and not (tmp_path / "clips.partial").exists()


WHOLE = {
    "Box": (minari, "Minari", "action_0=actions.0:-1..1, action_1=actions.1:0..1"),
    "Discrete": (lambda root: minari(root, space="Discrete"), "Minari", "action=actions"),
    "LeRobot": (lerobot_3, "LeRobot", "pan=action.0:-1..1, grip=action.1:0..1"),
}


@pytest.mark.parametrize("case", WHOLE)
def test_without_columns_a_data_set_is_told_some_that_work(tmp_path, case):
    write, whose, columns = WHOLE[case]
    source = write(tmp_path / "in")
    if case == "LeRobot":
        (source / "meta/stats.json").write_text(json.dumps({"action": {"min": [-1, 0], "max": [1, 1]}}))
    with pytest.raises(ValueError, match=f"is a data set of {whose}, not of VPT's recordings") as told:
        import_recordings(source, tmp_path / "clips", SMALL, 1)
    assert f"--columns='{columns}'" in str(told.value)
    _, store = read(source, tmp_path, columns)
    assert len(store) == 2 * COUNT


def test_every_kind_of_space_is_named():
    inner = {"a": {"type": "MultiBinary", "n": 2}, "b": {"type": "MultiDiscrete", "nvec": [2, 5]}}
    low_to_high = {"type": "Box", "shape": [2], "low": [-2, -np.inf], "high": [3.5, np.inf]}
    space = {"type": "Tuple", "subspaces": [{"type": "Dict", "subspaces": inner}, low_to_high]}
    assert _named(space, "action", "actions") == [
        *("a_0=actions.0.a.0", "a_1=actions.0.a.1", "b_0=actions.0.b.0", "b_1=actions.0.b.1:5"),
        *("1_0=actions.1.0:-2..3.5", "1_1=actions.1.1:-1..1"),
    ]


def _no_column(root):
    from pyarrow import parquet

    path = root / "data/chunk-000/file-000.parquet"
    parquet.write_table(parquet.read_table(path).drop_columns("episode_index"), path)


SKIPPED = {
    "another schema": (_no_column, LIST, "file-000.parquet has no column 'episode_index', it has action, timestamp"),
    "no such column": (lambda r: None, "push", "file-000.parquet has no column 'push'; there are action.0, action.1"),
    "no table": (lambda r: shutil.rmtree(r / "data"), LIST, "file-000.parquet is not there; download it too"),
    "no video": (lambda r: shutil.rmtree(r / "videos"), LIST, "file-000.mp4 is not there; download it too"),
}


@pytest.mark.parametrize("case", SKIPPED)
def test_episodes_that_cannot_be_read_are_named_once(two_cameras, tmp_path, case):
    break_it, text, told = SKIPPED[case]
    source = tmp_path / "in"
    shutil.copytree(two_cameras, source)
    break_it(source)
    with pytest.raises(NothingReadError) as none:
        read(source, tmp_path, text, frames=("top",))
    first, last = none.value.summary.lines()
    assert first.startswith(f"skipped {told}") and first.endswith(" (2 times)") and "skipped: 2 files" in last


@pytest.mark.parametrize("space", [{"type": "Dict"}, {"type": "Box", "dtype": "uint8"}, 7, {"type": "Box"}])
def test_a_minari_data_set_of_another_schema(tmp_path, space):
    source = minari(tmp_path / "in")
    path = source / "data/metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "observation_space": json.dumps(space)}))
    with pytest.raises(ValueError, match="holds no pictures|has no observation_space of Minari's") as told:
        read(source, tmp_path)
    assert "\n" not in str(told.value)


def test_a_minari_data_set_without_images_or_damaged(tmp_path):
    with pytest.raises(ValueError, match="data holds no pictures: a world model needs them"):
        read(minari(tmp_path / "vectors", images=False), tmp_path)
    source = minari(tmp_path / "damaged")
    (source / "data/main_data.hdf5").write_bytes(b"no HDF5")
    with pytest.raises(ValueError, match="main_data.hdf5 cannot be read: .*; copy the data set anew"):
        read(source, tmp_path)
    source = minari(tmp_path / "lacking")
    with h5py.File(source / "data/main_data.hdf5", "a") as file:
        del file["episode_0/observations"], file["episode_1/actions"]
    with pytest.raises(NothingReadError) as none:
        read(source, tmp_path)
    assert all("main_data.hdf5, episode" in line for line in none.value.summary.lines()[:-1])


@pytest.mark.parametrize("module, write", [("h5py", minari), ("pyarrow", lerobot_3)])
def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch, module, write):
    source = write(tmp_path / "in")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match="pip install 'prowl_jax.recordings.'"):
        read(source, tmp_path)


def test_frames_are_chosen_of_data_sets_alone(tmp_path):
    np.savez(tmp_path / "a.npz", frames=np.zeros((COUNT, 8, 16, 3), np.uint8), actions=np.zeros(COUNT))
    with pytest.raises(ValueError, match="--frames is for data sets"):
        import_recordings(tmp_path, tmp_path.parent / "clips", SMALL, 1, columns="actions", frames=("top",))

