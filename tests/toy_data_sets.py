"""Data sets of Minari and LeRobot, as small as can be, written by their formats without their libraries."""

import io
import json

import numpy as np
from toy_recordings import grey, write_video

COUNT, SIZE, RATE = 12, (48, 64), 10


def turns(episode):
    """What is done in an episode, float32 ``[COUNT, 2]``: a pan within -1..1 and a grip of 0 or 1."""
    return np.stack([np.roll(np.linspace(-1, 1, COUNT), episode), np.arange(COUNT) % 2], 1).astype(np.float32)


def shades(episode, camera="top"):
    """The greys of an episode's frames."""
    values = 30 + 8 * np.arange(episode * COUNT, (episode + 1) * COUNT)
    return values if camera == "top" else 255 - values


def _info(version, cameras, kind, **more):
    features = {f"observation.images.{c}": {"dtype": kind, "shape": [*SIZE, 3], "names": None} for c in cameras}
    features |= {"action": {"dtype": "float32", "shape": [2], "names": {"motors": ["pan", "grip"]}}}
    features |= {"timestamp": {"dtype": "float32", "shape": [1], "names": None}}
    return {"codebase_version": version, "fps": RATE, "features": features, "chunks_size": 1000, **more}


def _table(episode, pictures=None):
    rows = {
        "action": turns(episode).tolist(),
        "timestamp": (np.arange(COUNT) / RATE).astype(np.float32),
        "episode_index": np.full(COUNT, episode),
        "task_index": np.zeros(COUNT, int),
    }
    return rows | (pictures or {})


def lerobot_2(root, episodes=2, cameras=("top",), kind="video"):
    """Version 2.1: a table and videos an episode, or pictures in the tables."""
    import pyarrow as pa
    from pyarrow import parquet

    more = {
        "total_episodes": episodes,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }
    _write_info(root, _info("v2.1", cameras, kind, **more))
    (root / "data/chunk-000").mkdir(parents=True)
    for e in range(episodes):
        pictures = {}
        for camera in cameras:
            frames = grey(shades(e, camera), SIZE)
            if kind == "image":
                cells = [{"bytes": encoded(frame), "path": None} for frame in frames]
                pictures[f"observation.images.{camera}"] = cells
            else:
                folder = root / f"videos/chunk-000/observation.images.{camera}"
                folder.mkdir(parents=True, exist_ok=True)
                write_video(folder / f"episode_{e:06d}.mp4", frames, rate=RATE)
        parquet.write_table(pa.table(_table(e, pictures)), root / f"data/chunk-000/episode_{e:06d}.parquet")
    return root


def lerobot_3(root, episodes=2, cameras=("top",)):
    """Version 3.0: all episodes in one table and one video a camera."""
    import pyarrow as pa
    from pyarrow import parquet

    more = {
        "total_episodes": episodes,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }
    _write_info(root, _info("v3.0", cameras, "video", **more))
    tables, rows = [pa.table(_table(e)) for e in range(episodes)], {"episode_index": list(range(episodes))}
    for part in ("chunk", "file"):
        rows[f"data/{part}_index"] = [0] * episodes
    for camera in cameras:
        key = f"observation.images.{camera}"
        for part in ("chunk", "file"):
            rows[f"videos/{key}/{part}_index"] = [0] * episodes
        for end, later in (("from", 0), ("to", 1)):
            rows[f"videos/{key}/{end}_timestamp"] = [(e + later) * COUNT / RATE for e in range(episodes)]
        folder = root / f"videos/{key}/chunk-000"
        folder.mkdir(parents=True)
        frames = [frame for e in range(episodes) for frame in grey(shades(e, camera), SIZE)]
        write_video(folder / "file-000.mp4", frames, rate=RATE, options=None)
    for folder, table in (("data/chunk-000", pa.concat_tables(tables)), ("meta/episodes/chunk-000", pa.table(rows))):
        (root / folder).mkdir(parents=True)
        parquet.write_table(table, root / folder / "file-000.parquet")
    return root


def _write_info(root, info):
    (root / "meta").mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(info))


def encoded(image, kind="PNG"):
    """An image as a file's bytes."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(image).save(content, kind)
    return content.getvalue()


BOX = {"type": "Box", "dtype": "uint8", "shape": [*SIZE, 3], "low": 0, "high": 255}
SPACES = {
    "Discrete": {"type": "Discrete", "dtype": "int64", "start": 0, "n": 2},
    "Box": {"type": "Box", "dtype": "float32", "shape": [2], "low": [-1, 0], "high": [1, 1]},
}


def minari(root, episodes=2, space="Box", keyed=False, jpeg=False, form="hdf5", images=True):
    """A data set as Minari 0.5 lays it, of a Discrete or a Box space of actions; ``keyed``: observations are a Dict."""
    picture = BOX if images else {**SPACES["Box"], "shape": [4]}
    observed = {"type": "Dict", "subspaces": {"direction": SPACES["Discrete"], "image": picture}} if keyed else picture
    data = root / "data"
    data.mkdir(parents=True)
    meta = {"data_format": form, "total_episodes": episodes, "jpeg_encoding": jpeg}
    meta |= {"observation_space": json.dumps(observed), "action_space": json.dumps(SPACES[space])}
    (data / "metadata.json").write_text(json.dumps(meta))
    write = _hdf5 if form == "hdf5" else _arrow
    for e in range(episodes):
        shown = np.append(shades(e), 255)  # one observation more than actions
        frames = np.stack(grey(shown, SIZE)) if images else np.zeros((COUNT + 1, 4), np.float32)
        actions = turns(e) if space == "Box" else turns(e)[:, 1].astype(np.int64)
        write(data, e, frames, actions, keyed, jpeg)
    return root


def _hdf5(data, e, frames, actions, keyed, jpeg):
    import h5py

    with h5py.File(data / "main_data.hdf5", "a") as file:
        group = file.create_group(f"episode_{e}")
        place = f"observations{'/image' if keyed else ''}"
        if jpeg:
            coded = [np.frombuffer(encoded(frame, "JPEG"), np.uint8) for frame in frames]
            group.create_dataset(place, (len(coded),), h5py.vlen_dtype(np.uint8))
            for t, content in enumerate(coded):
                group[place][t] = content
        else:
            group[place] = frames
        if keyed:
            group["observations/direction"] = np.zeros(len(frames), int)
        group["actions"] = actions
        group["rewards"] = np.zeros(len(actions))


def _arrow(data, e, frames, actions, keyed, jpeg):
    import pyarrow as pa
    import pyarrow.feather
    from pyarrow import parquet

    form = json.loads((data / "metadata.json").read_text())["data_format"]

    def flat(array):
        rows = array.reshape(len(array), -1)
        return pa.FixedSizeListArray.from_arrays(rows.reshape(-1), rows.shape[1])

    pictures = pa.array([encoded(f, "JPEG") for f in frames], pa.binary()) if jpeg else flat(frames)
    padded = np.concatenate([actions, actions[-1:]])  # what lies behind the last is anything
    actions = pa.array(padded) if padded.ndim == 1 else flat(padded)
    if keyed:
        pictures = pa.StructArray.from_arrays([pa.array(np.zeros(len(frames))), pictures], names=["direction", "image"])
    folder = data / str(e)
    folder.mkdir()
    table = pa.table({"observations": pictures, "actions": actions})
    if form == "parquet":
        parquet.write_table(table, folder / "part-0.parquet")
    else:
        pa.feather.write_feather(table, folder / "part-0.arrow", compression="uncompressed")
    (folder / "metadata.json").write_text(json.dumps({"id": e, "total_steps": len(padded) - 1}))
