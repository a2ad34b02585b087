"""Videos with a table of actions of the same name beside each (``tables``), or without, for an autoencoder."""

from prowl_jax.data import tables, video
from prowl_jax.data.own import Own, Raw
from prowl_jax.data.vpt_records import RecordingError

ENDINGS = (".mp4", ".mkv", ".webm", ".avi", ".mov")


def find(source, files, frames=()):
    """The videos among ``files``."""
    by_stem = {}
    for path in files:
        if path.suffix.lower() in tables.ENDINGS:
            by_stem.setdefault(path.with_suffix(""), path)
    stems = {path: path.with_suffix("") for path in files if path.suffix.lower() in ENDINGS}
    return [Own(s.relative_to(source).as_posix(), "film", path, by_stem.get(s)) for path, s in stems.items()]


def read(own, asked):
    """A ``Raw``, its frames decoded as they are asked for."""
    if own.table is None and asked.actions:
        raise RecordingError(
            f"{own.file.name} has no table beside it ({', '.join(tables.ENDINGS)} of the same name); "
            "--columns=none reads frames alone"
        )
    rows = tables.read_table(own.table) if asked.actions else {}
    count = video.count_frames(own.file, None)

    def frames(wanted):
        return video.read_frames(own.file, asked.settings.size, wanted=wanted, threads=asked.threads, shape=None)

    return Raw(rows, frames, count)
