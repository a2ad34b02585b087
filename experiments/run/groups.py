"""A configuration made of settings: a table says which classes' settings each group of it holds.

    GROUPS = {"": (RunSettings,), "phase2": (Phase2Settings, Budget, Priority), "phase2.pat": (Scoring,)}

The settings themselves, with default, meaning and check, stand in those classes (``prowl_jax.settings``).
"""

from ml_collections import ConfigDict

from prowl_jax.settings import doubles, settings_of


def make_config(groups):
    """The ``ConfigDict`` of a table, every setting at its default; ValueError where two classes claim one key."""
    config = ConfigDict()
    for group, classes in groups.items():
        if twice := doubles(classes):
            raise ValueError(f"two classes of the group {group!r} have a setting {twice[0]!r}")
        place = config
        for name in filter(None, group.split(".")):
            if name not in place:
                place[name] = ConfigDict()
            place = place[name]
        place.update({s.key: s.default for cls in classes for s in settings_of(cls)})
    return config


def rules(groups):
    """Pairs for ``command_line.validate``: one for each setting that has a check."""
    return tuple(_rule(key, s.check) for key, s in _settings(groups) if s.check)


def _rule(key, check):
    return lambda config: check.holds(value_of(config, key)), f"{key}={{config.{key}}} {check.words}"


def meanings(groups):
    """Dotted key -> what it means."""
    return {key: s.says for key, s in _settings(groups)}


def value_of(config, key):
    """The value of a dotted key."""
    for part in key.split("."):
        config = config[part]
    return config


def _settings(groups):
    """(dotted key, ``Setting``) of all."""
    for group, classes in groups.items():
        for s in (s for cls in classes for s in settings_of(cls)):
            yield f"{group}.{s.key}" if group else s.key, s
