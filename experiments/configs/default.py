"""Every setting at its default; the other configurations are this one and what they change.

  python -m experiments.prowl_main --config=experiments/configs/default.py --help

prints all keys with their meanings. A default is the paper's value where it prints one, and is otherwise meant for
small frames on a CPU; to start with, take the quick start.
"""

from ml_collections import ConfigDict

from experiments.evaluation.settings import EvaluationSettings
from experiments.run import groups
from experiments.run.directory import RunSettings
from experiments.run.divergence import DivergenceSettings
from experiments.run.figure_writers import LogSettings
from experiments.run.processes import ProcessSettings
from experiments.run.training_loop import LoopSettings
from experiments.stages.arms import ArmSettings, KLCosts
from experiments.stages.autoencoder import AutoencoderTraining
from experiments.stages.budget import BudgetSettings
from experiments.stages.build.base import BaseSettings
from experiments.stages.build.environment import ENV_GROUPS
from experiments.stages.build.judges import MetricsSettings
from experiments.stages.build.phase2 import METHOD_GROUPS, Phase2Optimizer, Phase2Settings
from experiments.stages.build.policy import ReferenceSettings
from experiments.stages.build.world_model import (
    AutoencoderSettings,
    OwnFrames,
    TrainableSettings,
    WorldModelSettings,
)
from experiments.stages.demonstrations import DemonstrationSettings
from experiments.stages.inverse_dynamics import InverseDynamicsTraining
from experiments.stages.phase2.parts import CameraSettings
from experiments.stages.reference import CloningTraining
from experiments.stages.world_model import WorldModelTraining
from prowl_jax.diffusion.autoregressive import FrameLevels
from prowl_jax.diffusion.forcing import Forcing
from prowl_jax.diffusion.shortcut import Shortcut
from prowl_jax.envs.gaps import Gaps
from prowl_jax.methods import prowl
from prowl_jax.methods.base import Budget
from prowl_jax.metrics.modes import ModeRule
from prowl_jax.models.autoencoders.pixels import Pixels
from prowl_jax.models.autoencoders.small import Autoencoder
from prowl_jax.models.dit.dit import DiT
from prowl_jax.models.error_head import ErrorHead
from prowl_jax.models.inverse_dynamics import InverseDynamicsNetwork
from prowl_jax.models.policies.small import PolicyNetwork
from prowl_jax.models.unet.unet import UNet
from prowl_jax.models.unet.world_model import UNetWorldModel
from prowl_jax.models.world_model import WorldModel
from prowl_jax.pat.buffer import Scoring
from prowl_jax.pat.priority import Priority
from prowl_jax.pat.rescoring import Rescoring
from prowl_jax.rewards.disagreement import Ensemble
from prowl_jax.rl.ppo import PPOConfig
from prowl_jax.train.adversary import Adversary
from prowl_jax.train.mesh import MeshSettings

GROUPS = {
    "": (RunSettings, BudgetSettings, BaseSettings, ArmSettings, LoopSettings, DivergenceSettings),
    **ENV_GROUPS,
    "demonstrations": (DemonstrationSettings,),
    "demonstrations.gaps": (Gaps,),
    "autoencoder": (AutoencoderSettings, Pixels, Autoencoder, AutoencoderTraining),
    "world_model": (WorldModelSettings, DiT, WorldModel, Forcing, WorldModelTraining),
    "world_model.shortcut": (Shortcut,),
    "world_model.unet": (UNet, UNetWorldModel, OwnFrames),
    "world_model.unet.levels": (FrameLevels,),
    "reference": (ReferenceSettings, PolicyNetwork, CloningTraining),
    "inverse_dynamics": (InverseDynamicsNetwork, InverseDynamicsTraining),
    "adversary": (Adversary, PPOConfig, CameraSettings),
    "adversary.kl_costs": (KLCosts,),
    "adversary.ensemble": (Ensemble,),
    "adversary.error_head": (ErrorHead,),
    "phase2": (
        *(Phase2Settings, Budget, prowl.Config, prowl.Composite, Scoring, Priority, Rescoring),
        *(Phase2Optimizer, TrainableSettings),
    ),
    **METHOD_GROUPS,
    "evaluation": (EvaluationSettings,),
    "evaluation.modes": (ModeRule,),
    "metrics": (MetricsSettings,),
    "mesh": (MeshSettings, ProcessSettings),
    "log": (LogSettings,),
}
"""Group of keys -> the classes whose settings it holds: their default, meaning and check stand there."""

MEANINGS = groups.meanings(GROUPS)
"""Key -> what it means, for ``--help``."""


def get_config():
    """A ``ConfigDict`` with every key."""
    config = groups.make_config(GROUPS)
    config.evaluation.targets = ConfigDict()  # check -> bound, shown beside it and in the report's curves
    return config
