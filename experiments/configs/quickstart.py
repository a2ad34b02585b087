"""PROWL in a quarter of an hour on two CPU cores: ViZDoom, 48x64 frames, a world model of 1.3 M parameters.

  python -m experiments.prowl_main --config=experiments/configs/quickstart.py

``:tiny`` after the file name is the same run with everything as small as it goes, for tests.
"""

import ml_collections

from experiments.configs import _unet


def get_config(arg="full"):
    """The quick start (``full``), or the smallest run that goes through every line (``tiny``)."""
    if arg not in ("full", "tiny"):
        raise ValueError(f"quickstart has the variants 'full' and 'tiny', not {arg!r}")
    c = ml_collections.ConfigDict()
    c.name = "quickstart"
    c.seed = 0
    c.dry_run = False  # compile every step for a mesh of pretended devices and say what it needs (docs/wan.md)
    c.base = ""  # weights to begin with (python -m experiments.zoo), or a .safetensors file; "": train from nothing
    c.arms = ("frozen_reference", "prowl")  # rows of experiments/stages/arms.py

    c.env = ml_collections.ConfigDict()
    c.env.name = "vizdoom"  # or voxel (configs/voxel.py), minerl (docs/minerl.md), recordings: no phase 2
    c.env.task = "explore"  # what is trained on
    c.env.held_out_tasks = ("look_around", "gather", "freedoom")
    c.env.num_envs = 16
    c.env.workers = 2
    c.env.restarts = 3  # so often in a row all games may fail; fewer start again, what they played is dropped
    c.env.frame_height = 48
    c.env.frame_width = 64
    c.env.frame_skip = 3  # tics of 1/35 s a step
    c.env.max_turn_degrees = 8.0  # a step
    c.env.minerl = ml_collections.ConfigDict()
    c.env.minerl.python = ""  # the interpreter that MineRL is installed in
    c.env.minerl.make = "minerl"  # or minestudio, module:function, file.py:function
    c.env.minerl.episode_steps = 0  # 0: as long as the task lasts
    c.env.voxel = ml_collections.ConfigDict()
    c.env.voxel.worlds = 64  # in the pool, 128 KiB each
    c.env.voxel.episode_steps = 1200  # of 1/20 s; 0: without end
    c.env.voxel.look = "textured"
    c.env.voxel.hour = -1

    c.demonstrations = ml_collections.ConfigDict()
    c.demonstrations.source = ""  # recordings of people, for Minecraft; "": scripts
    c.demonstrations.seed = -1  # of episodes, voxel worlds and what is held out; -1: the run's
    c.demonstrations.gaps = ml_collections.ConfigDict(dict(strafe=1.0, back=1.0))
    c.demonstrations.episodes = 192
    c.demonstrations.episode_frames = 256
    c.demonstrations.held_out_task_episodes = 16
    c.demonstrations.verify = True  # hold the stores against their checksums at every start: reads all of them
    c.demonstrations.held_out_fraction = 0.1  # of the training task's episodes

    c.autoencoder = ml_collections.ConfigDict()
    c.autoencoder.kind = "small"  # or wan: Wan2.1's, a latent of four frames, never trained (docs/wan.md)
    c.autoencoder.weights = ""  # of Wan's autoencoder; "random" shows only that everything fits together
    c.autoencoder.block = 4  # pixels of a side that kind=pixels folds into channels
    c.autoencoder.channels = 8
    c.autoencoder.widths = (32, 64)
    c.autoencoder.blocks = 1
    c.autoencoder.steps = 600
    c.autoencoder.batch = 32
    c.autoencoder.learning_rate = 3e-3
    c.autoencoder.kl_weight = 1e-4

    c.world_model = ml_collections.ConfigDict()
    c.world_model.network = "dit"  # or unet: a convolutional denoiser of pixels (autoencoder.kind=pixels)
    c.world_model.size = "Ti"
    c.world_model.weights = ""  # Wan's transformer, or what was exported, to start phase 1 from; "": from scratch
    c.world_model.patch = 2
    c.world_model.chunk = 1  # latents that share a noise level; here a latent is a frame (paper: 3, of 4 frames)
    c.world_model.window = 3
    c.world_model.attention = (
        "einsum"  # or xla; on a GPU cudnn, which wants bfloat16; blocked, where the weights do not fit
    )
    c.world_model.dtype = "float32"  # of the products; parameters are float32 always. bfloat16 on a GPU
    c.world_model.remat = False  # compute blocks twice instead of keeping them for the gradient: large models
    c.world_model.action_modulation = True
    c.world_model.action_text = ""  # what python -m experiments.embed_actions wrote; "": embed the factors
    c.world_model.rope_base = 20.0  # a grid of 3x4 tokens
    c.world_model.steps = 3000
    c.world_model.batch = 32
    c.world_model.learning_rate = 4e-3
    c.world_model.weight_decay = 0.01
    c.world_model.warm_up = 50
    c.world_model.fall = 1.0  # share of the steps, the last, in which the rate falls
    c.world_model.ema_decay = 0.99
    c.world_model.shift = 10.0  # of the training noise levels: a little signal tells the motion without the action
    c.world_model.clean_prefix = 1.0  # share of clips in which every predicted chunk follows a clean one
    c.world_model.sampler_steps = 4
    c.world_model.sampler_shift = 5.0
    c.world_model.cache = "window"  # or rolling: each latent is run once as context, not once for every chunk after it

    c.world_model.unet = _unet.get_config()

    c.reference = ml_collections.ConfigDict()
    c.reference.weights = ""  # of a VPT policy, for Minecraft; "": clone a small network
    c.reference.features = 96
    c.reference.memory = 4
    c.reference.hidden = 192
    c.reference.steps = 250
    c.reference.batch = 16
    c.reference.clip = 16
    c.reference.learning_rate = 1e-3

    c.inverse_dynamics = ml_collections.ConfigDict()  # reads actions off dreams, for the evaluation
    c.inverse_dynamics.steps = 0  # 0: not trained
    c.inverse_dynamics.batch = 16
    c.inverse_dynamics.clip = 16
    c.inverse_dynamics.window = 4  # frames that it sees around a step
    c.inverse_dynamics.width = 32
    c.inverse_dynamics.features = 64
    c.inverse_dynamics.hidden = 128
    c.inverse_dynamics.learning_rate = 1e-3

    c.adversary = ml_collections.ConfigDict()
    c.adversary.learning_rate = 3e-4  # paper: 3e-5, for VPT's 248 M parameters
    c.adversary.kl_cost = 0.1
    c.adversary.final_kl_cost = -1.0  # < 0: constant
    c.adversary.kl_bound = -1.0  # nats a step; < 0: none
    c.adversary.clip = 0.2
    c.adversary.value_cost = 0.5
    c.adversary.entropy_cost = 0.0
    c.adversary.lambda_ = 0.95
    c.adversary.epochs = 3
    c.adversary.minibatches = 2
    c.adversary.camera_alarm = 3.0  # times the reference's camera speed
    c.adversary.kl_costs = (
        ml_collections.ConfigDict()
    )  # of the arms unanchored, broad and focused (paper: 0.5, 1.0, 1.5)
    c.adversary.kl_costs.weak = 0.02
    c.adversary.kl_costs.middle = 0.1
    c.adversary.kl_costs.strong = 0.3
    c.adversary.ensemble = ml_collections.ConfigDict()  # whose disagreement is a reward
    c.adversary.ensemble.members = 5
    c.adversary.ensemble.width = 128
    c.adversary.ensemble.steps = 500  # on the demonstrations, before the first cycle
    c.adversary.ensemble.learning_rate = 1e-3

    c.phase2 = ml_collections.ConfigDict()
    c.phase2.program = "host"  # or device: whole cycles under one jit, where the environment is on the device
    c.phase2.cycles_per_call = 1  # of the device program
    c.phase2.cycles = 8
    c.phase2.trajectories = 32  # a cycle
    c.phase2.overlap = True  # collect for the next cycle while this one trains: the same numbers, sooner
    c.phase2.warm_up = 60  # steps of the reference before a trajectory begins, away from where episodes start
    c.phase2.horizon = 8  # latents predicted and scored
    c.phase2.updates = 30  # world-model steps a cycle
    c.phase2.batch = 32
    c.phase2.pat_share = 0.5
    c.phase2.capacity = 128  # paper: 256
    c.phase2.learning_rate = 1e-4
    c.phase2.ema_decay = 0.98
    c.phase2.trainable = "action_conditioning"  # or lora: low-rank updates of all attention, and the adapter
    c.phase2.lora_rank = 16
    c.phase2.lambda_afs = 0.10
    c.phase2.delta_scale = 1.0
    c.phase2.priority = "rank"  # or softmax, power, uniform
    c.phase2.temperature = 1.0
    c.phase2.staleness = 0.3
    c.phase2.rescore = "all"  # paper; "due": what was sampled since its score, or is scored long ago
    c.phase2.rescore_age = 4  # due: from more cycles than this on
    c.phase2.rescore_rows = 0  # due: at most so many a cycle; 0: no bound

    c.evaluation = ml_collections.ConfigDict()
    c.evaluation.training_clips = 0  # of training episodes, to see what is learned by heart
    c.evaluation.targets = ml_collections.ConfigDict()  # check -> bound, shown beside it and in the report's curves
    c.evaluation.targets.autoencoder_psnr_db = 25.0
    c.evaluation.targets.regret_over_repeat_last_frame = 0.85
    c.evaluation.targets.regret_exchanged_actions_over_true = 1.1
    c.evaluation.targets.minutes = 15.0
    c.evaluation.targets.peak_memory_gb = 4.0
    c.evaluation.targets.camera_speed_over_reference = 3.0  # of every arm's policy
    c.evaluation.action_prior = ""  # recordings whose players the policies are compared with, for Minecraft
    c.evaluation.clips = 128  # of every set
    c.evaluation.horizon = 8
    c.evaluation.long_clips = 32
    c.evaluation.long_horizon = 32
    c.evaluation.resamples = 2000
    c.evaluation.modes = ml_collections.ConfigDict()  # of composite actions, docs/metrics.md
    c.evaluation.modes.window = 12  # steps, a chunk of the paper; at most phase2.horizon are taken
    c.evaluation.modes.share = 0.25  # of the steps in which a movement belongs to the mode
    c.evaluation.modes.degrees = 1.0  # a step, above which the camera rotates

    c.metrics = ml_collections.ConfigDict()
    c.metrics.flow = "small"  # of AFS-EPE; or sea_raft, as in the paper, which needs its weights
    c.metrics.flow_weights = ""  # what python -m experiments.convert sea_raft wrote
    c.metrics.lpips_weights = ""  # what python -m experiments.convert lpips wrote; "": no LPIPS
    c.metrics.frechet = ""  # inverse_dynamics or lpips_trunk: the network of a Frechet distance; "": none

    c.mesh = ml_collections.ConfigDict()
    c.mesh.data = -1  # all devices that fsdp leaves
    c.mesh.fsdp = 1  # devices that the world model's parameters are split over
    c.mesh.distributed = False  # several processes, docs/scaling.md

    c.log = ml_collections.ConfigDict()  # where figures go beside metrics.jsonl
    c.log.tensorboard = False  # WORKDIR/tensorboard; needs the extra tensorboard
    c.log.wandb = ""  # a project of Weights & Biases; needs the extra wandb

    c.log_every = 50
    c.checkpoint_every = 400  # steps, in the long stages
    c.checkpoint_keep = 2  # of the latest, in every stage
    c.checkpoint_best = False  # keep the one with the lowest loss as well
    c.loss_limit = 1e4  # a larger loss has exploded: nothing of it is saved
    c.on_nan = "stop"  # or rewind: back to the last checkpoint and around the batch of the bad step
    c.rewinds = 3  # at most so many in a stage
    if arg == "tiny":
        _shrink(c)
    return c


def _shrink(c):
    """As small as it goes while every line still runs: about a minute, no figure means anything."""
    c.name = "tiny"
    c.env.num_envs = 4
    c.demonstrations.update(episodes=8, episode_frames=40, held_out_task_episodes=4, held_out_fraction=0.25)
    c.autoencoder.update(widths=(16, 32), blocks=1, steps=12, batch=8)
    c.world_model.update(size="XXS", steps=12, batch=4, warm_up=2, sampler_steps=2)
    c.reference.update(features=32, hidden=32, steps=8, batch=4, clip=8)
    c.inverse_dynamics.update(steps=4, batch=4, clip=8, width=8, features=16, hidden=16)
    c.metrics.frechet = "inverse_dynamics"
    c.adversary.update(epochs=1, minibatches=2)
    c.adversary.ensemble.update(members=2, width=16, steps=4)
    c.phase2.update(cycles=2, trajectories=4, warm_up=2, updates=2, batch=4, capacity=8)
    c.evaluation.update(clips=8, long_clips=4, long_horizon=12, resamples=100)
    c.log_every = 4
    c.checkpoint_every = 5
