"""A clip store of anybody's recordings (``experiments.import_recordings``), and nothing to act in."""

import dataclasses

import numpy as np

from prowl_jax.data.held_out import Origin
from prowl_jax.envs.area_average import AreaAverage
from prowl_jax.envs.environment import Environment
from prowl_jax.settings import setting


@dataclasses.dataclass(frozen=True)
class Clips(Environment):
    """What was recorded, with the store's own actions; its frames are made the run's size by averaging areas."""

    name, seeded = "clips", False
    tasks = {"recordings": False}
    checks = (
        (lambda settings: settings.path, "path is empty; name a clip store (python -m experiments.import_recordings)"),
    )

    path: str = setting("", "the clip store: what python -m experiments.import_recordings --store=DIR wrote")

    @property
    def source(self):
        """The store."""
        return self.path

    @property
    def spec(self):
        """The store's; ValueError in one line where there is none."""
        return self.open().spec

    def open(self):
        """The ``ClipStore``; ValueError in one line where there is none, or it is damaged."""
        from prowl_jax.data.store import ClipStore  # which knows JAX

        try:
            return ClipStore.open(self.path)
        except (ValueError, OSError) as error:
            raise ValueError(f"env.clips.path={self.path}: {error}") from None

    def check_installed(self):
        """The store is there, and is whole."""
        self.open()

    def record(self, task, frames_per_episode, episodes, seed, on_progress=None, *, gaps=None, num_envs=1):
        """Yield ``(frames, actions, Origin)`` of the store's episodes, longer ones cut into ``frames_per_episode``.

        Where there are more than ``episodes``, ``seed`` draws which; they keep their order.
        """
        if gaps:
            raise ValueError("demonstrations.gaps cannot be planted in what was recorded")
        store, done = self.open(), 0
        parts = [
            (e, at) for e, length in enumerate(store.lengths) for at in range(0, int(length), frames_per_episode)
        ]
        drawn = np.random.default_rng(seed).permutation(len(parts))[:episodes]
        shape = store.frame_shape[:2]
        shrink = np.asarray if shape == tuple(self.frame_size) else AreaAverage(shape, self.frame_size)
        for e, at in (parts[i] for i in np.sort(drawn)):
            length = min(frames_per_episode, int(store.lengths[e]) - at)
            clip, begin = store.clip(store.offsets[e] + at, length), store.origins[e].start + at
            done += length
            if on_progress:
                on_progress(done)
            origin = Origin(store.origins[e].recording, begin, begin + length)
            yield np.stack([shrink(frame) for frame in clip.frames]), np.array(clip.actions), origin
