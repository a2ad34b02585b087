"""Files of weights (``prowl_jax.zoo``) from runs, and what ``python -m experiments.zoo`` says of them."""

import json
import pathlib

from experiments.run.config_file import UsageError
from experiments.run.directory import Run
from experiments.run.files import write_json
from experiments.run.provenance import in_words, provenance, without_folders
from experiments.stages import build
from experiments.stages.inverse_dynamics import load_inverse_dynamics
from experiments.stages.reference import load_reference
from experiments.stages.world_model import load_world_model, read_beginning
from prowl_jax import zoo
from prowl_jax.envs.gaps import Gaps
from prowl_jax.train.checkpoint import Checkpoints
from prowl_jax.train.state import count

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
SHARED = ("dit", "autoencoder", "latent_mean", "latent_std")
STAGES = {"world_model": "world_model", "policy": "reference", "inverse_dynamics": "inverse_dynamics"}
"""Part of a file -> the stage that makes it."""


def export(config, workdir, output):
    """Write the weights of a run to ``output``, and their card beside it; returns what to print.

    The reference policy and the inverse dynamics model go with them where their stages are done.

    Raises:
      UsageError: the run began with weights and has no phase 1 of its own.
      FileNotFoundError: phase 1 has no checkpoint yet.
    """
    if config.base:
        raise UsageError(f"--workdir={workdir} began with base={config.base} and has no phase 1 of its own to export")
    run = Run(workdir, config, owned=False)
    params, others = load_world_model(run), {}
    for part, done, network, load in (
        ("policy", _has_own_policy(run), build.make_policy, load_reference),
        ("inverse_dynamics", "inverse_dynamics" in run.stages(), build.make_inverse_dynamics, load_inverse_dynamics),
    ):
        if done:
            others |= {part: network(config), f"{part}_params": load(run)}
    model = zoo.Model(
        world_model=build.make_world_model(config),
        params={name: params[name] for name in SHARED},
        spec=build.spec_of(config),
        frame_shape=build.frame_shape(config),
        environment=build.environment_of(config),
        **others,
    )
    card = card_of(run, model)  # what it asks for is there before a file is
    sha256 = zoo.save(output, model)
    card = without_folders({**card, "file": output.name, "bytes": output.stat().st_size, "sha256": sha256})
    beside = output.with_suffix(".json")
    write_json(beside, card)
    return f"written: {output} ({card['bytes'] / 1e6:.1f} MB) and {beside.name}\n{shown(card)}"


def _has_own_policy(run):
    """Whether the run has cloned a reference policy; VPT's is published elsewhere and is not handed on."""
    return "reference" in run.stages() and not run.config.reference.weights


def card_of(run, model):
    """Where a ``zoo.Model`` of a run is from: the command, how long, how far, on what data, and how good it dreams."""
    config, stages = run.config, run.stages()
    with Checkpoints(run.checkpoints("world_model"), alone=True) as checkpoints:
        step = checkpoints.latest()
    quality = run.workdir / "dream_quality.json"
    return {
        "name": config.name,
        "command": f"python -m experiments.prowl_main --config={config_file(config.name)}",
        "steps": step,
        "of_steps": config.world_model.steps,
        "hours": _hours(run),
        "began_with": read_beginning(run),
        "data": {
            "environment": build.environment_of(config),
            "task": config.env.task,
            "episodes": config.demonstrations.episodes,
            "episode_frames": config.demonstrations.episode_frames,
            "gaps": {thing: left for thing, left in Gaps(**config.demonstrations.gaps).chances.items() if left < 1},
            "checksums": _checksums(run),
        },
        "parts": {part: _part(model, part, stages.get(stage)) for part, stage in STAGES.items()},
        "licence": "Apache-2.0; the data are of this project's own making",
        "cannot": "other worlds, looks, hours or frame sizes than those it was trained on; what its gaps leave out",
        "dream_quality": json.loads(quality.read_text()) if quality.exists() else None,
        "provenance": provenance(config, run.workdir),
    }


def config_file(name):
    """The ``--config`` of a configuration of this project by its name, of ``base_voxel_next`` base_voxel.py:next."""
    files = [path.stem for path in CONFIGS.glob("*.py") if f"{name}_".startswith(f"{path.stem}_")]
    stem = max(files, key=len, default=name)
    variant = name.removeprefix(stem).removeprefix("_")
    return f"experiments/configs/{stem}.py" + (f":{variant}" if variant else "")


def _hours(run):
    """What phase 1 has taken so far, in hours; None where the run has not noted it (ended before it could)."""
    noted, stages = run.workdir / ".spent_world_model", run.stages()
    if "world_model" in stages:
        return round(stages["world_model"]["seconds"] / 3600.0, 2)
    return round(float(noted.read_text()) / 3600.0, 2) if noted.exists() else None


def _part(model, part, figures):
    """Of a part that is in the file its parameters and the figures of its stage, else None."""
    params = model.params["dit"] if part == "world_model" else getattr(model, f"{part}_params")
    if params is None:
        return None
    measured = {name: value for name, value in (figures or {}).items() if name.startswith(("held_out", "marginal"))}
    return {"parameters": count(params), **measured}


def _checksums(run):
    index = run.data(run.config.env.task) / "index.json"
    return json.loads(index.read_text()).get("checksums") if index.exists() else None


def listed():
    """A line for each shipped model."""
    lines = []
    for name in zoo.names():
        card = zoo.read_card(name)
        lines.append(f"{name:10} {card.get('bytes', 0) / 1e6:5.1f} MB  {progress(card)}")
    return "\n".join(lines) or "no weights are shipped"


def checked(name):
    """Load a file whole; returns its card in words."""
    model, card = zoo.load(name), zoo.read_card(name)
    networks = {part: getattr(model, part) for part in STAGES}
    lacks = [part.replace("_", " ") for part, network in networks.items() if network is None]
    words = f"{name}: whole; a {type(model.world_model.dit).__name__} of {count(model.params['dit']):,} parameters"
    words += f"; without {' and '.join(lacks)}" if lacks else "; with policy and inverse dynamics model"
    return "\n".join([words, shown(card) if card else "it has no card"])


def progress(card):
    """How far a model was trained, in words."""
    hours = "hours not noted" if card["hours"] is None else f"{card['hours']:.1f} hours"
    words = f"{card['steps']:,} of {card['of_steps']:,} steps, {hours}: {card['command']}"
    return f"{words}; after {progress(card['began_with'])}" if card.get("began_with") else words


def shown(card):
    """A card in words, without its figures of the dreams' quality."""
    lines = [progress(card), f"data: {json.dumps(card['data'], ensure_ascii=False)}", f"cannot: {card['cannot']}"]
    for part, figures in (card.get("parts") or {}).items():
        told = "  ".join(f"{k} {v:,}" if isinstance(v, int) else f"{k} {v:.4g}" for k, v in (figures or {}).items())
        lines.append(f"{part.replace('_', ' ')}: {told or 'not in the file'}")
    lines += in_words(card.get("provenance"))
    return "\n".join(lines)
