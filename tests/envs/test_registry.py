"""What every environment that a configuration can name has to say of itself, and that nobody asks for its name."""

import pathlib
import re
import subprocess
import sys

import pytest

from prowl_jax.actions import ActionSpec
from prowl_jax.envs import registry
from prowl_jax.envs.environment import Environment
from prowl_jax.envs.gaps import Gaps
from prowl_jax.settings import settings_of

ROOT = pathlib.Path(__file__).parents[2]
ENVIRONMENTS = registry.ENVIRONMENTS.values()


@pytest.fixture(params=ENVIRONMENTS, ids=lambda environment: environment.name)
def kind(request):
    return request.param


def test_it_is_made_of_settings_that_are_explained(kind):
    made = kind(frame_size=(24, 32))
    assert isinstance(made, Environment)
    if kind.name != "clips":  # which is asked of its store: test_clips.py
        assert isinstance(made.spec, ActionSpec)
    assert all(setting.meaning for setting in settings_of(kind))
    assert set(kind.identity) <= {"seed", *(setting.field for setting in settings_of(kind))}
    assert kind.group() == "env" or not settings_of(kind) or kind.group() == f"env.{kind.name}"


def test_it_has_something_to_train_on_and_somebody_who_shows_it(kind):
    assert kind.recordings or {*kind.tasks.values()} == ({False, True} if kind.acts() else {False})
    if kind.recordings or not kind.acts():
        with pytest.raises(ValueError, match=f"{kind.name} has no scripted demonstrators"):
            kind().demonstrator("task")


def test_what_it_cannot_do_is_one_sentence(kind):
    if not kind.on_device():
        with pytest.raises(ValueError, match=f"the environment {kind.name} does not run on the device"):
            kind().make_device("task")
    if not kind.events:
        with pytest.raises(ValueError, match=f"the environment {kind.name} counts no events"):
            kind().demonstrated_info("task", 1, [0])


def test_where_it_can_act_is_asked_of_what_it_defines():
    assert registry.names(lambda environment: environment.acts()) == (
        "vizdoom", "voxel", "craftax", "minerl", "gymnasium",
    )  # fmt: skip
    assert registry.names(lambda environment: environment.on_device()) == ("voxel", "craftax")
    with pytest.raises(ValueError, match="the environment recordings does not run on the device"):
        registry.ENVIRONMENTS["recordings"]().make("task", 1)


def test_demonstrators_are_told_their_gaps():
    doom = registry.ENVIRONMENTS["vizdoom"](max_turn_degrees=5.0)
    actor = doom.demonstrator("explore", Gaps(strafe=0.0))
    assert actor.spec == doom.spec and actor.spec.factors[-1].camera.max_degrees == 5.0
    assert actor.gaps.planted == ("strafe",)


def test_settings_are_read_without_the_game_and_in_a_worker_without_jax():
    """The games may not be installed; and a worker that imports an environment's module starts no JAX."""
    blocked = "import sys; sys.modules['vizdoom'] = None; "
    without = {"registry": ("minerl", "gym"), "vizdoom": ("jax",), "minecraft": ("jax",)}
    without["gymnasium"] = ("jax", "gymnasium.spaces")
    without["clips"] = ("jax",)
    without["craftax.environment"] = ("jax", "craftax")
    for module, forbidden in without.items():
        code = f"{blocked}import prowl_jax.envs.{module}; assert not {{*{forbidden!r}}} & {{*sys.modules}}"
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_nobody_asks_whether_an_environment_has_a_certain_name():
    """What differs between environments is an attribute of theirs: a new one would not be in such a list."""
    asks = re.compile(r"env\.name\s*(?:==|!=|(?:not )?in)\s*[(\[{]?[\"']")
    assert asks.search('if c.env.name not in ("vizdoom",') and asks.search('config.env.name == "voxel"')
    asking = [path for path in ROOT.glob("experiments/**/*.py") if asks.search(path.read_text(encoding="utf-8"))]
    assert asking == []
