"""Imports run one way, and the package needs what it says: each rule is a row of a table."""

import ast
import configparser
import importlib.util
import pathlib
import re
import subprocess
import sys
import types
from importlib import metadata

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "prowl_jax"
EXPERIMENTS = ROOT / "experiments"

# What each part of prowl_jax may import of prowl_jax; a package may always import itself.
# settings, types, actions, minecraft -> diffusion, pat, rl, metrics -> models -> rewards -> train -> methods ->
# experiments.
# envs and data stand beside the maths and know neither it nor each other.
BASE = {"settings", "types", "actions", "minecraft", "lazy", "spans"}
MATHS = {"diffusion", "pat", "rl", "metrics"}
LAYERS = {
    "lazy": set(),
    "spans": set(),
    "settings": set(),
    "types": set(),
    "actions": set(),
    "minecraft": {"actions"},
    "diffusion": BASE,
    "pat": BASE,
    "rl": BASE,
    "metrics": BASE,
    "envs": BASE | {"data"},  # of recordings, a clip store
    "data": BASE,
    "models": BASE | MATHS,
    "rewards": BASE | MATHS | {"models"},
    "train": BASE | MATHS | {"models", "rewards"},
    "methods": BASE | MATHS | {"models", "rewards", "train", "envs"},
    "zoo": {"actions", "models"},
}

# The same for the rooms of experiments/. A part is a folder, or a file that stands above its folder, named by its path;
# what lies at the top is what a person starts: it may import any room, and no room imports it.
ROOMS = {
    "run": set(),
    "evaluation/settings": set(),
    "study/settings": {"run"},
    "dreams/settings": {"run"},
    "configs": {"run", "stages", "evaluation/settings", "study/settings", "dreams/settings"},
    "stages": {"run"},
    "converting": {"run", "stages"},
    "planning": {"run", "configs", "stages", "evaluation/settings"},
    "benchmarks": {"run", "configs", "stages"},
    "benchmarks/profile": {"run", "configs", "stages", "stages/pipeline", "planning", "benchmarks"},
    "evaluation": {"run", "stages", "benchmarks", "evaluation/settings"},
    "report": {"run", "stages", "evaluation", "evaluation/settings"},
    "live": {"run", "configs", "stages", "evaluation"},
    "stages/pipeline": {"run", "stages", "planning", "evaluation", "report"},
    "study": {"run", "configs", "stages", "planning", "evaluation", "report", "study/settings"},
    "dreams": {"run", "stages", "dreams/settings"},
    "torture": {"run", "configs", "stages", "stages/pipeline", "planning"},
}

# What the machinery of a run knows of the library: data, devices and checkpoints, but no model, reward or method.
MACHINERY = {
    "prowl_jax.data.feeder",
    "prowl_jax.envs.workers",
    "prowl_jax.settings",
    "prowl_jax.spans",
    "prowl_jax.train.checkpoint",
    "prowl_jax.train.compilation_cache",
    "prowl_jax.train.mesh",
    "prowl_jax.train.sharding",
}

# (files, modules they must not import, at which depth, why). "top" means an import that runs with
# the module; "any" also forbids one inside a function.
RULES = (
    (
        ("diffusion/*", "pat/*", "rl/*", "metrics/*"),
        ("flax", "optax", "orbax"),
        "any",
        "the maths packages take arrays and callables",
    ),
    (
        (
            *("envs/base.py", "envs/vizdoom.py", "envs/demonstrators.py", "envs/minerl*.py"),
            *("envs/area_average.py", "envs/gaps.py", "envs/held_keys.py", "envs/activities.py", "envs/behaviours.py"),
            *("envs/environment.py", "envs/vizdoom_game.py", "envs/minecraft.py", "envs/worker*.py"),
            *("actions.py", "minecraft.py"),
        ),
        ("jax", "jaxlib", "flax", "chex", "optax"),
        "any",
        "environment workers start without JAX",
    ),
    (("**/*",), ("ml_collections", "absl"), "any", "configs and flags stop at experiments/"),
    (("**/*",), ("experiments", "tests"), "any", "the library does not know its experiments"),
    (
        (
            *("data/vpt.py", "data/video.py", "data/*recordings.py", "data/pool.py", "data/columns.py"),
            *("data/tables.py", "data/own.py", "data/films.py", "data/arrays.py", "data/minari.py", "data/lerobot.py"),
        ),
        ("jax", "jaxlib", "flax", "chex", "optax"),
        "any",
        "processes that read recordings start without JAX",
    ),
    (
        ("**/*",),
        ("torch", "safetensors", "cv2", "av", "pyarrow", "h5py", "minerl", "gym", "gymnasium", "craftax", "evosax"),
        "top",
        "these are optional and slow: import them where they are used",
    ),
    (
        ("**/*",),
        ("matplotlib", "jinja2", "pytest", "hypothesis", "rlax", "skimage"),
        "any",
        "these belong to experiments and tests",
    ),
)

# What prowl_jax may require of a user who only installs it.
REQUIRED = {"jax", "flax", "optax", "orbax-checkpoint", "chex", "ml-collections", "numpy", "absl-py"}


def imports(source, module):
    """Every import in ``source`` as ``(dotted name, line, runs with the module)``.

    Relative imports are made absolute with the dotted name ``module``; for ``from a import b``
    both ``a`` and ``a.b`` are named, since b may be a module.
    """
    found = []

    def walk(node, top):
        for child in ast.iter_child_nodes(node):
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            if isinstance(child, ast.Import):
                found.extend((alias.name, child.lineno, top) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    package = module.split(".")[: -child.level]
                    base = ".".join([*package, base] if base else package)
                found.append((base, child.lineno, top))
                found.extend((f"{base}.{alias.name}", child.lineno, top) for alias in child.names)
            walk(child, top and not inside)

    walk(ast.parse(source), True)
    return found


def broken_layers(part, path, source):
    """Sentences about imports in ``source`` that run against the layers; ``path`` is under prowl_jax."""
    allowed = LAYERS[part] | {part}
    module = "prowl_jax." + ".".join(path.with_suffix("").parts)
    sentences = []
    for name, line, _ in imports(source, module):
        parts = name.split(".")
        if parts[0] == "prowl_jax" and len(parts) > 1 and parts[1] not in allowed | {"__version__"}:
            sentences.append(
                f"prowl_jax/{path}:{line} imports {name}; {part} may import of prowl_jax only "
                f"{', '.join(sorted(allowed))}"
            )
    return list(dict.fromkeys(sentences))


def broken_rule(rule, path, source):
    """Sentences about imports in ``source`` that break ``rule``."""
    _, forbidden, depth, why = rule
    module = "prowl_jax." + ".".join(path.with_suffix("").parts)
    sentences = []
    for name, line, top in imports(source, module):
        if name.split(".")[0] in forbidden and (top or depth == "any"):
            sentences.append(f"prowl_jax/{path}:{line} imports {name}; {why}")
    return list(dict.fromkeys(sentences))


def modules():
    return sorted(p.relative_to(PACKAGE) for p in PACKAGE.rglob("*.py"))


def part_of(path):
    """The layer of a file: its package, or its own name where it lies at the top."""
    return path.parts[0].removesuffix(".py")


def room_of(path):
    """The part of a file under experiments/: its own row of ``ROOMS``, else its folder's; None for a command."""
    own = path.with_suffix("").as_posix()
    return own if own in ROOMS else path.parts[0] if len(path.parts) > 1 else None


def related(name, known):
    """Whether the dotted ``name`` is ``known``, something in it, or a package around it."""
    return f"{name}.".startswith(f"{known}.") or f"{known}.".startswith(f"{name}.")


def broken_rooms(path, source):
    """Sentences about imports in ``source`` that run against ``ROOMS``; ``path`` is under experiments."""
    room = room_of(path)
    sentences = []
    for name, line, _ in imports(source, "experiments." + ".".join(path.with_suffix("").parts)):
        whose, *parts = name.split(".")
        if whose == "prowl_jax" and room == "run" and not any(related(name, known) for known in MACHINERY):
            sentences.append(f"experiments/{path}:{line} imports {name}; a run's machinery knows no model or method")
        if whose != "experiments" or not parts:
            continue
        target = next((p for p in ("/".join(parts[:2]), parts[0]) if p in ROOMS), None)
        if target is None and (EXPERIMENTS / f"{parts[0]}.py").exists():
            sentences.append(f"experiments/{path}:{line} imports {name}; what is started is imported by nobody")
        if target not in {None, room, *(ROOMS[room])}:
            sentences.append(
                f"experiments/{path}:{line} imports {name}; {room} may import of experiments only "
                f"{', '.join(sorted(ROOMS[room] | {room}))}"
            )
    return list(dict.fromkeys(sentences))


def rooms():
    return [path.relative_to(EXPERIMENTS) for path in sorted(EXPERIMENTS.glob("*/**/*.py"))]


def test_every_room_has_a_layer():
    unknown = {path.parts[0] for path in rooms()} - set(ROOMS)
    assert not unknown, f"give {sorted(unknown)} a row in ROOMS"


@pytest.mark.parametrize("room", ROOMS)
def test_imports_of_the_rooms_run_one_way(room):
    broken = []
    for path in rooms():
        if room_of(path) == room:
            broken += broken_rooms(path, (EXPERIMENTS / path).read_text())
    assert not broken, "\n".join(broken)


def test_breaches_of_the_rooms_are_seen():
    path = pathlib.Path("run/lock.py")
    for source in (
        "from experiments.stages import build",
        "def f():\n    from experiments.planning import preflight",
        "from prowl_jax.models.dit.dit import DiT",
        "from prowl_jax.train import world_model",
        "from prowl_jax.rl import ppo",
        "from experiments import prowl_main",
    ):
        assert broken_rooms(path, source), source
    for source in (
        "from experiments.run import lock",
        "from prowl_jax.train.mesh import replicate",
        "from . import lock",
    ):
        assert not broken_rooms(path, source), source
    assert broken_rooms(pathlib.Path("stages/autoencoder.py"), "from experiments.stages import pipeline")
    assert not broken_rooms(pathlib.Path("torture/cycles.py"), "from experiments.stages.pipeline import run_all")


def test_every_part_has_a_layer():
    unknown = {part_of(p) for p in modules()} - set(LAYERS) - {"__init__"}
    assert not unknown, f"give {sorted(unknown)} a row in LAYERS"


@pytest.mark.parametrize("part", LAYERS)
def test_imports_run_one_way(part):
    broken = []
    for path in modules():
        if part_of(path) == part:
            broken += broken_layers(part, path, (PACKAGE / path).read_text())
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{','.join(rule[0])}-not-{rule[1][0]}")
def test_rules(rule):
    paths = dict.fromkeys(p for glob in rule[0] for p in PACKAGE.glob(glob) if p.suffix == ".py")
    broken = []
    for path in paths:
        broken += broken_rule(rule, path.relative_to(PACKAGE), path.read_text())
    assert not broken, "\n".join(broken)


PACKAGES = ["prowl_jax", *(f"prowl_jax.{folder.name}" for folder in sorted(PACKAGE.iterdir()) if folder.is_dir())]
PACKAGES = [name for name in PACKAGES if not name.endswith("__pycache__")]


def test_packages_import_what_they_name_when_it_is_asked_for():
    lazy = [name for name in PACKAGES if not name.endswith(("methods", "rewards", "zoo"))]
    code = (
        f"import sys, {', '.join(lazy)}\n"
        "assert not {'jax', 'flax', 'numpy'} & set(sys.modules), 'a package imports more than its names'\n"
        "assert prowl_jax.data.columns.parse('a').spec.sizes == (2,) and 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("name", PACKAGES)
def test_every_package_names_what_is_public(name):
    package = importlib.import_module(name)
    named = package.__all__
    assert named and sorted(named, key=str.lower) == sorted(set(named), key=str.lower)
    assert set(named) <= set(dir(package)) and not hasattr(package, "nothing_of_the_kind")
    for public in named:
        thing = getattr(package, public)
        home = getattr(thing, "__name__" if isinstance(thing, types.ModuleType) else "__module__", name)
        assert home.startswith(name) or not home.startswith("prowl_jax"), f"{name} names {public}, which is {home}'s"
        inside = importlib.util.find_spec(f"{name}.{public}") if name not in ("prowl_jax.rewards",) else None
        assert inside is None or isinstance(thing, types.ModuleType), f"{name}.{public} is the name of a module as well"


def test_type_checkers_are_told_that_the_package_is_typed():
    data = setup_cfg()["options.package_data"]
    assert "py.typed" in lines(data["prowl_jax"]) and (PACKAGE / "py.typed").exists()


def test_breaches_are_seen():
    path = pathlib.Path("pat/buffer.py")
    assert broken_layers("pat", path, "import jax\nfrom prowl_jax.train import state\n")[0].startswith(
        "prowl_jax/pat/buffer.py:2 imports prowl_jax.train; pat may import"
    )
    for source in (
        "import prowl_jax.models.dit.dit",
        "from prowl_jax import metrics",
        "from ..rl import gae",
        "def f():\n    from prowl_jax.metrics.image import psnr",
        "if True:\n    import prowl_jax.envs.base as base",
    ):
        assert broken_layers("pat", path, source), source
    for source in (
        "from . import score",
        "from prowl_jax.pat.score import x",
        "from prowl_jax.types import Clip",
    ):
        assert not broken_layers("pat", path, source), source
    flax, _, _, _, _, torch, _ = RULES
    assert broken_rule(flax, path, "def f():\n    import flax.linen as nn")
    assert broken_rule(torch, path, "try:\n    import torch\nexcept ImportError:\n    pass")
    assert not broken_rule(torch, path, "def f():\n    import torch")


def setup_cfg():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def lines(text):
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def names(requirements):
    return {re.match(r"[\w.-]+", r)[0].lower().replace("_", "-") for r in requirements}


def test_the_package_requires_the_allowed_and_no_more():
    required = lines(setup_cfg()["options"]["install_requires"])
    assert names(required) == REQUIRED
    assert [r for r in required if r.startswith("jax")] == ["jax>=0.10,<0.13"]
    assert all(">" in r for r in required), "every requirement has a lower bound"


def test_a_wheel_installs_one_package():
    find = setup_cfg()["options.packages.find"]
    assert lines(find["include"]) == ["prowl_jax*"]


def test_requirements_files_say_what_setup_cfg_says():
    config = setup_cfg()
    extras = config["options.extras_require"]
    run = lines(config["options"]["install_requires"])
    run += [line for extra in ("data", "report", "zoo", "play") for line in lines(extras[extra])]
    assert set(lines((ROOT / "requirements.txt").read_text())) == set(run)
    assert lines((ROOT / "requirements-dev.txt").read_text()) == [
        "-r requirements.txt",
        *lines(extras["dev"]),
    ]


def test_an_installed_package_declares_the_same():
    try:
        declared = metadata.requires("prowl_jax")
    except metadata.PackageNotFoundError:
        pytest.skip("prowl_jax is not installed, only imported from the checkout")
    assert names(r for r in declared if "extra ==" not in r) == REQUIRED


def test_importing_starts_no_device():
    """A dry run pretends devices and processes find each other: both before anything is computed."""
    code = (
        "import experiments.planning.dry_run, prowl_jax.zoo\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge.backends_are_initialized()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
