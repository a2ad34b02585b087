"""Recordings and what is made of them: importers by format, the clip store, batches as a function of (seed, step)."""

from typing import TYPE_CHECKING

from prowl_jax.lazy import lazily

if TYPE_CHECKING:
    from prowl_jax.data import columns as columns
    from prowl_jax.data import movement as movement
    from prowl_jax.data import tables as tables
    from prowl_jax.data import video as video
    from prowl_jax.data.feeder import Feeder as Feeder
    from prowl_jax.data.feeder import batch_starts as batch_starts
    from prowl_jax.data.held_out import HeldOut as HeldOut
    from prowl_jax.data.held_out import Origin as Origin
    from prowl_jax.data.held_out import hold_out as hold_out
    from prowl_jax.data.importer import NothingReadError as NothingReadError
    from prowl_jax.data.importer import Summary as Summary
    from prowl_jax.data.importer import import_recordings as import_recordings
    from prowl_jax.data.recordings import Settings as Settings
    from prowl_jax.data.store import ClipStore as ClipStore
    from prowl_jax.data.store import StoreWriter as StoreWriter
    from prowl_jax.data.vpt_records import RecordingError as RecordingError

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
