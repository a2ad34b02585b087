"""A setting, stated once: default, meaning, check and source, in the frozen dataclass beside the code that uses it.

    @dataclasses.dataclass(frozen=True)
    class Priority:
        temperature: float = setting(0.3, "T of P_score, smaller is greedier", POSITIVE, source="PLR: 0.1 to 1")
        staleness: float = setting(0.3, "rho, the share of P_stale", SHARE)

        def __post_init__(self):
            check(self)

The same fields make a configuration (``settings_of`` names them, in order), are read back from one (``read``), and are
explained by the command line's help. A flax module is such a dataclass too. Fields without ``setting`` are given by who
builds the thing: sizes that follow from others.
"""

import collections
import dataclasses
import math
from typing import Any

LARGEST = 2**31 - 1
"""Counters on the device are int32."""


@dataclasses.dataclass(frozen=True)
class Check:
    """What a value must satisfy: ``holds(value)``, else ``KEY=VALUE words``."""

    holds: Any
    words: str


@dataclasses.dataclass(frozen=True)
class Setting:
    """A field that a configuration holds.

    Attributes:
      field: its name in the class. key: in a configuration. check: a ``Check`` or None.
      meaning, source: for people: what it is, and who says which value.
    """

    field: str
    key: str
    default: Any
    meaning: str
    check: Check | None
    source: str

    @property
    def says(self):
        """Its meaning, and the source where there is one."""
        return f"{self.meaning} ({self.source})" if self.source else self.meaning


def setting(default, meaning, check=None, *, source="", key=None):
    """A dataclass field that is a setting; ``key`` is its name in a configuration where that differs."""
    about = {"meaning": meaning, "check": check, "source": source, "key": key}
    return dataclasses.field(default=default, metadata={__name__: about})


def settings_of(cls):
    """The ``Setting``s of a dataclass, in order."""
    marked = [(field, field.metadata[__name__]) for field in dataclasses.fields(cls) if __name__ in field.metadata]
    return [Setting(f.name, about["key"] or f.name, f.default, *_words(about)) for f, about in marked]


def _words(about):
    return about["meaning"], about["check"], about["source"]


def read(cls, config, **given):
    """An instance of ``cls`` from the mapping ``config``, which has a key for each of its settings.

    Args:
      given: the other fields, and settings that are not to be taken from ``config``.
    """
    read = {s.field: _frozen(config[s.key]) for s in settings_of(cls) if s.field not in given}
    return cls(**read, **given)


def _frozen(value):
    return tuple(value) if isinstance(value, list) else value  # as JSON has it


def check(instance, name=None):
    """ValueError, a sentence for every setting of a dataclass that is out of range; ``name`` in its class's place."""
    name = name or type(instance).__name__
    wrong = [
        f"{name}.{s.field}={getattr(instance, s.field)} {s.check.words}"
        for s in settings_of(type(instance))
        if s.check and not s.check.holds(getattr(instance, s.field))
    ]
    if wrong:
        raise ValueError("; ".join(wrong))


def within(low, high=LARGEST):
    """A whole number within bounds, both included."""
    return Check(lambda v: low <= v <= high, f"is not within {low}..{high}")


def one_of(names, empty=""):
    """One of some names; where ``empty`` says what that means, an empty text as well."""
    if empty:
        return Check(lambda v: v == "" or v in names, f"is neither empty ({empty}) nor one of {', '.join(names)}")
    return Check(lambda v: v in names, f"is not one of {', '.join(map(str, names))}")


def some_of(names):
    """A tuple of names, each at most once."""
    words = f"holds something other than {', '.join(names)}, each at most once"
    return Check(lambda v: set(v) <= set(names) and len(set(v)) == len(v), words)


COUNT = within(1)
NATURAL = within(0)
SHARE = Check(lambda v: 0 <= v <= 1, "is not a share within 0..1")
SOME_SHARE = Check(lambda v: 0 < v <= 1, "is not a share above 0 and at most 1")
POSITIVE = Check(lambda v: 0 < v < math.inf, "is not a number above 0")
NOT_NEGATIVE = Check(lambda v: 0 <= v < math.inf, "is not a number of at least 0")
FINITE = Check(lambda v: -math.inf < v < math.inf, "is not a finite number")


FOLDER = Check(lambda v: not v.endswith((".json", ".md")), "names a file, and files are put into it: name a folder")
FILE_NAME = Check(lambda v: _is_file_name(v), "cannot be the name of a folder")
FILE_NAMES = Check(lambda v: all(map(_is_file_name, v)), "holds what cannot be the name of a folder")


def _is_file_name(name):
    return name not in ("", ".", "..") and not set(name) & set("/\\\0")


def doubles(classes):
    """Keys that more than one of ``classes`` has: they could not stand in one group of a configuration."""
    counts = collections.Counter(s.key for cls in classes for s in settings_of(cls))
    return [key for key, count in counts.items() if count > 1]
