"""A dry run says what a step needs without doing it: counted by hand, linear in the layers, of any configuration."""

import pathlib
import subprocess
import sys

import jax
import pytest

from experiments.configs.minerl_wan import get_config
from experiments.planning import dry_run
from experiments.run.command_line import UsageError
from experiments.stages import build
from prowl_jax.models.dit.dit import DiT
from prowl_jax.train.mesh import make_mesh, split_rows
from prowl_jax.train.state import count

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture(scope="module")
def config():
    config = get_config("reduced")
    config.dry_run = True
    config.world_model.sampler_steps = 1
    return config


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(devices=jax.devices()[:1])


def phase_1(config, mesh):
    return lambda layers: dry_run.steps(config, mesh, layers)[0]


@pytest.fixture(scope="module")
def without_phase_2(config):
    other = config.copy_and_resolve_references()
    other.arms = ()
    return other


def test_phase_1_holds_its_state_and_its_batch(without_phase_2, mesh):
    """Parameters, average and two moments in float32, beside a batch of 4 windows of 6 latents and 21 actions."""
    config, of_depth = without_phase_2, phase_1(without_phase_2, mesh)
    figures = dry_run.measure_step(config, of_depth, 1)
    shapes = jax.eval_shape(
        lambda: DiT(
            channels=4, width=48, depth=1, heads=2, ffn=192, action_sizes=build.spec_of(config).sizes,
            chunk=3, action_frames=4,
        ).init(
            jax.random.key(0), jax.numpy.zeros((1, 6, 4, 6, 4)), jax.numpy.zeros((1, 2)),
            jax.numpy.zeros((1, 6, 4, 9), int),
        )
    )  # fmt: skip
    batch = 4 * 4 * (6 * 4 * 6 * 4 + 21 * 9)
    assert figures["arguments"] == pytest.approx(16 * count(shapes) + batch, rel=0.001)
    assert figures["times"] == config.world_model.steps and figures["flops"] > 0 < figures["temporary"]
    step = of_depth(1)
    memory = step.program.lower(*step.arguments).compile().memory_analysis()
    assert figures["arguments"] == pytest.approx(memory.argument_size_in_bytes, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("remat", [False, True])
def test_what_two_depths_say_of_a_fifth_is_so(without_phase_2, mesh, remat):
    """What is counted exactly, the most that stands at once too; what the compiler arranges, nearly."""
    config = without_phase_2.copy_and_resolve_references()
    config.world_model.remat = remat
    of_depth = phase_1(config, mesh)
    continued = dry_run.measure_step(config, of_depth, 5, compiling=not remat)
    whole = dry_run.measure_step(config, of_depth, 5, compiling=not remat, depths=((5,), (5,)))
    assert continued["estimated"] == whole["estimated"] == remat
    for name in ("flops", "arguments", "kept"):
        assert continued[name] == pytest.approx(whole[name], rel=1e-4), name
    assert continued["temporary"] == pytest.approx(whole["temporary"], rel=0.01 if remat else 0.1)


def test_the_estimate_is_above_what_a_compiler_needs_that_does_the_same(without_phase_2, mesh):
    """Without rematerialisation, in float32, on one device, where the CPU's compiler is asked for the same."""
    step = phase_1(without_phase_2, mesh)(2)
    _, peak = step.gradient()
    memory = step.program.lower(*step.arguments).compile().memory_analysis()
    assert memory.temp_size_in_bytes < peak < 2 * memory.temp_size_in_bytes


def test_every_step_of_the_paper_s_size_is_laid_out_without_a_file_or_an_allocation():
    """Shapes only. The published counts: 1.42 B parameters, attn2, norm2 and the text embedder trained."""
    config = get_config("focused")
    config.dry_run = True
    assert (config.adversary.kl_cost, config.phase2.lambda_afs) == (1.5, 0.25)
    everything, trained = dry_run.parameters(config)
    frames = 4 * 4096  # which Wan does not have: one embedding for each frame of a latent
    assert everything == 1_418_996_800 + frames
    assert trained == 283_484_160 + 8_653_824 + frames


def test_the_steps_of_phase_2_are_those_of_the_loop(config, mesh):
    found = dry_run.steps(config, mesh, 2)
    names = ["phase 1 step", "encode and flow", "score", "PPO", "phase 2, 2 steps", "rescore"]
    assert [step.name for step in found] == names
    assert [step.times for step in found] == [4, 1, 1, 1, 1, 1]
    outputs = {step.name: jax.eval_shape(step.program, *step.arguments) for step in found}
    assert {name: raw.shape for name, raw in outputs["score"].items()} == {"regret": (4,), "afs": (4,)}
    assert outputs["encode and flow"].flow.shape == (4, 12, 32, 48, 2)


def test_an_oracle_that_is_asked_is_among_what_a_score_is_given(config, mesh):
    other = config.copy_and_resolve_references()
    other.phase2.watched = ("reducible",)
    plain, asked = (
        next(step for step in dry_run.steps(one, mesh, 2) if step.name == "score") for one in (config, other)
    )
    raw = jax.eval_shape(asked.program, *asked.arguments)
    assert raw.keys() == {"regret", "afs", "reducible"} and "oracle" not in plain.arguments[0]
    assert count(asked.arguments[0]["oracle"]) == count(asked.arguments[0]["dit"])


def test_arms_without_a_policy_are_all_told_and_learning_has_a_memory(mesh):
    """NFT's and GRPO's programs; what a gradient keeps is of branches, K a group, not of demonstrations."""
    config = get_config("rewards_reduced")
    config.dry_run = True
    config.world_model.sampler_steps = 2
    found = dry_run.steps(config, mesh, 2)
    names = [f"{arm}: {part}" for arm in ("nft", "grpo") for part in ("branch", "learn, 2 steps")]
    assert [step.name for step in found] == ["phase 1 step", *names]
    kept = {step.name: step.gradient()[0] for step in found if step.gradient and step.name != "phase 1 step"}
    assert kept.keys() == {names[1], names[3]} and min(kept.values()) > 0
    branches = found[2].arguments[-2]
    assert branches.latents.shape[:3] == (2, 4, 6)
    assert branches.latents.sharding.spec == split_rows(mesh, 1).spec, "updates are done one after the other"
    config.arms = ("best_of_n",)
    chosen = next(step for step in dry_run.steps(config, mesh, 2) if step.name == "phase 2, 2 steps").arguments[3]
    assert chosen.latents.shape[:2] == (2, 4) and chosen.latents.sharding.spec == split_rows(mesh, 1).spec


def test_hours_are_flops_over_rate():
    figures = {
        "phase 1 step": {"times": 10, "flops": 989e12 * 0.35 * 360, "arguments": 1e9, "kept": 2e9},
        "score": {"times": 5, "flops": 989e12 * 0.35 * 720, "arguments": 60e9, "temporary": 30e9},
    }
    rows = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in
            dry_run.hours(figures, 2) if line.startswith("| ")}  # fmt: skip
    assert rows["H100 SXM"][:5] == ["989", "0.5", "0.5", "80", "too little"] and rows["H200 SXM"][4] == "there"


def test_too_few_devices_are_one_line(config):
    other = config.copy_and_resolve_references()
    other.mesh.update(data=jax.device_count() + 3, fsdp=1)
    with pytest.raises(UsageError, match=r"XLA_FLAGS=--xla_force_host_platform_device_count=\d+$"):
        dry_run.pretend(other)


def test_the_command_prints_its_tables_for_eight_devices(tmp_path):
    """With a batch that does not divide, one line; nothing is written."""
    command = "experiments.prowl_main --config=experiments/configs/minerl_wan.py:reduced --config.dry_run=True"
    arguments = [sys.executable, "-m", *command.split(), f"--workdir={tmp_path / 'run'}"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and "8 devices" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_paper_s_size_as_a_user_asks_for_it(show):
    """Traced, on eight pretended devices; products by the formula of the benchmark, memory by hand."""
    command = "-m experiments.planning.dry_run --config=experiments/configs/minerl_wan.py --config.mesh.fsdp=8"
    done = subprocess.run(
        [sys.executable, *command.split()], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    show(f"python {command}", done.stdout.strip())
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if "|" in line]
    cells = {line[0]: line[1:] for line in lines}
    assert "1,419.0 M; phase 2 trains 292.2 M" in done.stdout
    times, flops, arguments, kept, most, _ = cells["phase 1 step"]
    tokens, width = 21 * 22 * 40, 1536
    assert times == "20,000"
    assert float(arguments) == pytest.approx(4 * 4 * 1.419 / 8, rel=0.03)  # parameters, average, two moments, a batch
    inputs = 30 * 8 * tokens * width * 2  # of the layers, in bfloat16, 8 rows a device
    assert inputs / 1e9 < float(kept) < 1.5 * inputs / 1e9 and float(kept) < float(most.removeprefix("< "))
    a_token = 2 * (6 * width**2 + 2 * width * 8960)  # four matrices of self-attention, two of the cross-attention
    attended = sum(4 * (3 * 880) ** 2 * (i + 1) * width for i in range(7))  # each chunk with all up to itself
    assert float(flops) == pytest.approx(3 * 64 * 30 * (tokens * a_token + attended) / 1e15, rel=0.02)
    hours = 20_000 * float(flops) * 1e15 / (8 * 989e12 * dry_run.MFU * 3600)
    assert float(cells["H100 SXM"][1]) == pytest.approx(hours, rel=0.01)
    assert {"encode and flow", "score", "PPO", "phase 2, 100 steps", "rescore", "TPU v5p"} < cells.keys()


def test_with_remat_a_layer_more_keeps_its_input_more(without_phase_2, mesh):
    """Read off the traced step: 4 windows of 6 latents of 2 x 3 tokens, 48 wide, in float32."""
    other = without_phase_2.copy_and_resolve_references()
    kept = {}
    for remat in (True, False):
        other.world_model.remat = remat
        two, three = (dry_run.steps(other, mesh, layers)[0].gradient()[0] for layers in (2, 3))
        kept[remat] = three - two
    assert kept[True] == pytest.approx(4 * 6 * 6 * 48 * 4, rel=0.02)
    assert kept[False] > 10 * kept[True]
