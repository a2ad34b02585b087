r"""The shipped base model of the world of blocks, trained from nothing: hours on two cores, which may be stopped.

  XLA_FLAGS=--xla_force_host_platform_device_count=2 \
    python -m experiments.prowl_main --config=experiments/configs/base_voxel.py

(A device a core, each with half of a batch; where other programs keep a core busy, one device is better.)

Textured 64x64 frames of four worlds at noon, demonstrators who never strafe and never walk back (the planted gaps), a
convolutional denoiser of 2.8 M parameters over pixels, then the reference policy and the inverse dynamics model; no
phase 2. Twelve core-hours (a second of one core a step); `docs/world_model.md` says what they buy. The rate is constant
until the last fifth, so a training of fewer steps (``--config.world_model.steps=``) is the same one, finished earlier.
``:next`` goes on from the shipped weights, on own frames alone, by a rate that falls. ``:gaps`` is the base of the
proof (``proof.py``), shipped as ``voxel_gaps``: its demonstrators do not turn fast either, by more than 3 degrees a
step, which a model that saw it would have no trouble with; two and a half core-hours. ``:tiny`` is the smallest run,
for tests.
"""

from experiments.configs import voxel


def get_config(arg="full"):
    """The whole training (``full``), more of it (``next``), with more gaps (``gaps``), or the smallest (``tiny``)."""
    if arg not in ("full", "next", "gaps", "tiny"):
        raise ValueError(f"base_voxel has the variants 'full', 'next', 'gaps' and 'tiny', not {arg!r}")
    c = voxel.get_config("tiny" if arg == "tiny" else "full")
    c.name = "base_voxel" if arg == "full" else f"base_voxel_{arg}"
    c.arms = ()
    c.env.update(held_out_tasks=("control",))
    c.env.voxel.update(worlds=4, look="textured", hour=6000)
    c.demonstrations.gaps.update(strafe=0.0, back=0.0)
    pixel_world_model(c)
    if arg != "tiny":
        c.env.num_envs = 48
        c.demonstrations.update(episodes=480, episode_frames=300, held_out_task_episodes=24)
        long_training(c)
    if arg == "next":
        c.world_model.update(weights="voxel", steps=3000, learning_rate=4e-4, fall=0.7)
        c.world_model.unet.update(own_frames=(4,), own_since=(0.0,))
    if arg == "gaps":
        c.demonstrations.gaps.update(fast_turn=0.0, fast_degrees=3.0)
        c.world_model.steps = 6000
        c.inverse_dynamics.steps = 0  # one of such demonstrations would not know fast turns
    if arg == "tiny":
        small = {"widths": (16, 24), "blocks": (1, 1), "motion_widths": (8,), "motion_blocks": (1,), "width": 16}
        c.world_model.unet.update(small)
    return c


def long_training(c):
    """Phase 1 of hours on a CPU, and what belongs to it."""
    c.world_model.update(steps=40000, batch=32, learning_rate=8e-4, warm_up=200, fall=0.2, ema_decay=0.999)
    c.reference.update(steps=1500)
    c.inverse_dynamics.update(steps=3000)
    c.checkpoint_every = 200


def pixel_world_model(c):
    """A configuration's world model made the convolutional one over pixels."""
    c.autoencoder.kind = "pixels"
    c.world_model.network = "unet"
    c.world_model.window = 3  # of the context and the frame predicted: what phase 2 trains on
    c.world_model.unet.update(predict_residual=True, own_by="sampler", sampler_levels=(1.0, 0.4, 0.1, 0.0))
