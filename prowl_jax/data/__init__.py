"""Recordings and what is made of them: importers by format, the clip store, batches as a function of (seed, step)."""

from typing import TYPE_CHECKING

from prowl_jax.lazy import lazily

if TYPE_CHECKING:
    from prowl_jax.data import columns, movement, tables, video
    from prowl_jax.data.feeder import Feeder, batch_starts
    from prowl_jax.data.held_out import HeldOut, Origin, hold_out
    from prowl_jax.data.importer import NothingReadError, Summary, import_recordings
    from prowl_jax.data.recordings import Settings
    from prowl_jax.data.store import ClipStore, StoreWriter
    from prowl_jax.data.vpt_records import RecordingError

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
