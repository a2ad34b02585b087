"""Which key of a configuration is meant by one that is not there: spelling, initials and group weighed together."""

import collections
import difflib

WORDS = {
    "bs": "batch",
    "buffer_size": "capacity",
    "ent_coef": "entropy_cost",
    "envs": "num_envs",
    "gae_lambda": "lambda_",
    "grad_clip": "max_norm",
    "iterations": "steps",
    "iters": "steps",
    "kl_coef": "kl_cost",
    "max_grad_norm": "max_norm",
    "rollouts": "trajectories",
    "vf_coef": "value_cost",
    "warmup_steps": "warm_up",
}
"""Names that others in the field give to what has another name here."""

NAME, GROUP = 0.7, 0.3  # the weights of a key's last name and of its group, where one was given
LEAST = 0.55  # below this two names have nothing to do with each other


def nearest_key(key, keys):
    """The one of ``keys`` (dotted) that is meant by ``key``; None where none is near.

    Of equals the one is meant that no group has, or else the largest, with all inside: so for a bare ``lr``.
    """
    group, _, name = key.rpartition(".")
    size = collections.Counter(prefix for other in keys for prefix in _groups(other))

    def likeness(other):
        its_group, _, its_name = other.rpartition(".")
        by_name = max(_alike(name, its_name), _alike(WORDS[name], its_name) if name in WORDS else 0.0)
        if by_name < LEAST:
            return 0.0, 0
        by_group = _alike_groups(group, its_group) if group else 1.0
        return NAME * by_name + GROUP * by_group, size[its_group]

    best = max(keys, key=likeness, default=None)
    return best if best is not None and likeness(best)[0] > 0 else None


def _groups(key):
    """``"a.b.c"`` -> ``["", "a", "a.b"]``."""
    parts = key.split(".")
    return [".".join(parts[:i]) for i in range(len(parts))]


def _alike(name, other):
    """How likely ``name`` was meant to be ``other``, 0..1."""
    if name == other:
        return 1.0
    words, others = set(name.split("_")), set(other.split("_"))
    if len(name) > 1 and name == "".join(word[:1] for word in other.split("_")):
        return 0.95
    if len(name) > 2 and other.startswith(name):
        return 0.9
    spelling = difflib.SequenceMatcher(None, name, other).ratio()
    if {word for word in words & others if len(word) > 2}:
        return max(spelling, 0.6 + 0.2 * spelling + 0.1 * len(words & others) / len(words | others))
    return spelling


def _alike_groups(group, other):
    """The same for groups; a group is also meant by the one that holds it, or by its own last name.

    Groups that are not alike are all as unlike: of these none is meant for the letters that it happens to share.
    """
    parts = other.split(".")
    inside = max((0.95 * _alike(group, part) for part in parts), default=0.0) if len(parts) > 1 else 0.0
    alike = max(_alike(group, other), inside)
    return alike if alike >= LEAST else 0.0
