"""Columns of somebody's table as factors of an action: named in one text, checked before anything is read.

    steer:-1..1:11, gas:0..1:5, jump, weapon:4, yaw=mouse_dx:camera:10

A part names a column and says what it holds: nothing, a key (0 is up, all else down); ``N``, a choice among 0..N-1;
``LOW..HIGH[:BINS]``, a number in bins of one width (11); ``camera[:DEGREES[:BINS]]``, degrees a frame in the mu-law
bins of ``actions.Camera``. ``NAME=COLUMN`` gives a factor another name. ``none`` stands for frames without actions, of
which an autoencoder learns. numpy only, so that reading processes start fast.
"""

import dataclasses
import re

import numpy as np

from prowl_jax.actions import ActionSpec, Camera, Factor, camera, choice

NONE = "none"
BINS, MOST = 11, 256
_RANGE = re.compile(r"([^.]+(?:\.\d+)?)\.\.(.+)")


@dataclasses.dataclass(frozen=True)
class Column:
    """One factor: the column that it is read from, and ``low`` and ``high`` where it is a number in even bins."""

    column: str
    factor: Factor
    low: float | None = None
    high: float | None = None

    def encode(self, values):
        """float ``[T]`` -> (int32 ``[T]``, bool ``[T]`` whether each is known: a number, and one of the choices)."""
        known, size = np.isfinite(values), self.factor.size
        values = np.where(known, values, 0.0)
        if self.factor.camera:
            return self.factor.camera.encode(values), known
        if self.low is not None:
            share = (np.clip(values, self.low, self.high) - self.low) / (self.high - self.low)
            return np.round(share * (size - 1)).astype(np.int32), known
        if size == 2:
            return (values != 0).astype(np.int32), known
        known &= (values >= 0) & (values < size) & (values == np.floor(values))
        return np.where(known, values, 0).astype(np.int32), known


@dataclasses.dataclass(frozen=True)
class Columns:
    """What ``parse`` makes of a text; without any column every frame has the one action of a factor of one value."""

    columns: tuple

    @property
    def spec(self):
        """The ``ActionSpec`` of what ``encode`` gives."""
        return ActionSpec(tuple(c.factor for c in self.columns) or (Factor("unknown", ("",)),))

    def encode(self, table, name):
        """A table, column -> float ``[T]``, as (int32 factors ``[T, A]``, bool ``[T]`` whether all of them are known).

        Raises:
          ValueError: a column is not there; the line names it, those there are, and ``name``, the file.
        """
        for c in self.columns:
            if c.column not in table:
                there = ", ".join(map(str, table)) or "none"
                raise ValueError(f"{name} has no column {c.column!r}; there are {there[:200]}: name one of these")
        encoded = [c.encode(table[c.column]) for c in self.columns]
        return np.stack([e[0] for e in encoded], axis=1), np.all([e[1] for e in encoded], axis=0)


def parse(text):
    """``Columns`` of a text as this module describes it; ValueError names the part that is off and how to write it."""
    if text.strip() == NONE:
        return Columns(())
    columns = tuple(_column(part.strip()) for part in text.split(","))
    names = [c.factor.name for c in columns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"columns name {twice!r} twice; call one of them otherwise, such as other={twice}")
    return Columns(columns)


def _column(part):
    names, _, kind = part.partition(":")
    name, equals, column = (word.strip() for word in names.partition("="))
    column = column if equals else name
    if not name or not column:
        raise ValueError(f"columns has a part {part!r} that names no column; write such as 'steer:-1..1, jump'")
    try:
        return _kinds(name, column, kind.strip())
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"columns says {part!r}: {error}; write NAME for a key, NAME:N for a choice, NAME:LOW..HIGH[:BINS] for a "
            "number or NAME:camera[:DEGREES[:BINS]] for a turn"
        ) from None


def _kinds(name, column, kind):
    if not kind:
        return Column(column, choice(name, name))
    head, *rest = (word.strip() for word in kind.split(":"))
    if head == "camera" and len(rest) < 3:
        degrees, bins = (float(rest[0]) if rest else 10.0), _bins(rest[1] if rest[1:] else BINS)
        if not np.isfinite(degrees):
            raise ValueError("its degrees are no number")
        return Column(column, camera(name, Camera(degrees, bins)))
    limits = _RANGE.fullmatch(head)
    if limits and len(rest) < 2:
        low, high, bins = float(limits[1]), float(limits[2]), _bins(rest[0] if rest else BINS)
        if not (np.isfinite([low, high, high - low]).all() and low < high):
            raise ValueError("its limits are not two numbers, the lower first")
        values = np.linspace(low, high, bins)
        labels = tuple(f"{name} {value:+.3g}" for value in values)
        return Column(column, Factor(name, labels, still=int(np.abs(values).argmin())), low, high)
    if head.isascii() and head.isdigit() and not rest:
        count = _bins(head)
        return Column(column, choice(name, *(f"{name} {i}" for i in range(1, count))))
    raise ValueError("that is no kind of column")


def _bins(text):
    bins = int(text)
    if not 2 <= bins <= MOST:
        raise ValueError(f"{bins} values are not 2..{MOST}")
    return bins
