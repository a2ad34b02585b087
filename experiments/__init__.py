"""Commands and configurations around ``prowl_jax``. Before any of them imports JAX: XLA's faster kernels on a CPU."""

from experiments.run.xla_flags import prefer_eigen_convolutions

prefer_eigen_convolutions()
