"""From a configuration to objects: the last place that knows ``ConfigDict``.

Callers import the folder and say ``build.make_world_model(config)``: every public name is here.
"""

from experiments.stages.build.base import check_base, environment_of, load_base, load_oracle, unet_weights
from experiments.stages.build.checks import check_device, check_files, check_mesh, make_config_mesh, read_included
from experiments.stages.build.environment import (
    action_maps,
    data_seed,
    frame_shape,
    gaps_of,
    make_device_env,
    make_env,
    make_environment,
    spec_of,
    stage_key,
)
from experiments.stages.build.judges import (
    flow_params,
    load_judge,
    load_lpips,
    make_flow,
    make_inverse_dynamics,
    make_mode_rule,
)
from experiments.stages.build.phase2 import (
    arms,
    make_budget,
    make_ensemble,
    make_error_head,
    make_method,
    make_shared,
    phase2_optimizer,
    prowl_settings,
)
from experiments.stages.build.policy import make_policy, vpt_params
from experiments.stages.build.recordings import check_outside, people
from experiments.stages.build.rewards import (
    choosing,
    has_given_judge,
    has_judge,
    lpips_rewards,
    make_rewards,
    make_used_world_model,
)
from experiments.stages.build.world_model import (
    load_dit,
    make_autoencoder,
    make_forcing,
    make_frame_levels,
    make_loss,
    make_world_model,
    shortest_episode,
    split_phase2,
    training_clips,
    wan_autoencoder_params,
)

__all__ = [
    "action_maps",
    "arms",
    "check_base",
    "check_device",
    "check_files",
    "check_mesh",
    "check_outside",
    "choosing",
    "data_seed",
    "environment_of",
    "flow_params",
    "frame_shape",
    "gaps_of",
    "has_given_judge",
    "has_judge",
    "load_base",
    "load_dit",
    "load_judge",
    "load_lpips",
    "load_oracle",
    "lpips_rewards",
    "make_autoencoder",
    "make_budget",
    "make_config_mesh",
    "make_device_env",
    "make_ensemble",
    "make_env",
    "make_environment",
    "make_error_head",
    "make_flow",
    "make_forcing",
    "make_frame_levels",
    "make_inverse_dynamics",
    "make_method",
    "make_loss",
    "make_mode_rule",
    "make_policy",
    "make_rewards",
    "make_shared",
    "make_used_world_model",
    "make_world_model",
    "people",
    "phase2_optimizer",
    "prowl_settings",
    "read_included",
    "shortest_episode",
    "spec_of",
    "split_phase2",
    "stage_key",
    "training_clips",
    "unet_weights",
    "vpt_params",
    "wan_autoencoder_params",
]
