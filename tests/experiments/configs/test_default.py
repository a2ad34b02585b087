"""The table of settings makes the configuration, its rules and its help; a shipped file says only what it changes."""

import ast

import pytest

from experiments.configs import default, quickstart
from experiments.planning import consistency
from experiments.run import command_line, config_file, groups
from prowl_jax.methods.base import Budget
from prowl_jax.pat.priority import Priority
from prowl_jax.settings import settings_of


def test_every_setting_has_a_meaning_and_its_default_passes():
    config = default.get_config()
    assert all(default.MEANINGS[key] for key in command_line._keys(config))
    assert [message.format(config=config) for holds, message in consistency.RULES if not holds(config)] == []


def test_the_help_says_what_a_key_means(capsys):
    arguments = [f"--config={config_file.CONFIGS}/quickstart.py:scratch", "--help"]
    with pytest.raises(SystemExit):
        command_line.parse(arguments, program="p", meanings=default.MEANINGS)
    said = "--config.phase2.capacity=128\n      trajectories that the buffer keeps (paper: 256)"
    assert said in capsys.readouterr().out


def test_two_classes_that_claim_one_key_are_refused():
    with pytest.raises(ValueError, match="two classes of the group 'phase2' have a setting 'priority'"):
        groups.make_config({"phase2": (Budget, Priority, Priority)})


def test_the_quick_start_states_nothing_that_is_a_default():
    tree = ast.parse((config_file.CONFIGS / "quickstart.py").read_text())
    (function,) = [f for f in tree.body if isinstance(f, ast.FunctionDef) and f.name == "_from_scratch"]
    config, same = default.get_config(), []
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    for call in (call for call in calls if ast.unparse(call).startswith("c.")):
        group = ast.unparse(call.func).removeprefix("c.").removesuffix(".update")
        for keyword in call.keywords:
            key = f"{group}.{keyword.arg}"
            if groups.value_of(config, key) == ast.literal_eval(keyword.value):
                same.append(key)
    assert same == []


def test_settings_of_a_group_are_those_of_its_classes():
    keys = {s.key for cls in default.GROUPS["phase2"] for s in settings_of(cls)}
    assert set(quickstart.get_config().phase2) == keys
