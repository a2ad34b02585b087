"""What a command is asked of: a run directory, or weights, around which a run is recorded. Starts without JAX."""

from contextlib import nullcontext


def config_of_weights(name, example):
    """``card_run.config_of``, for ``finished_run.parse_options``."""
    from experiments.stages.card_run import config_of

    return config_of(name, example)


def asked_run(options, config, episodes, frames=None, held_out=1.0):
    """A context manager of the ``Run`` in ``options.workdir``, only read, or of one recorded for ``options.weights``.

    ``episodes``, ``frames`` and ``held_out`` are what is recorded, see ``card_run.recorded``.
    """
    from experiments.run.directory import Run
    from experiments.stages.card_run import recorded

    if options.weights:
        return recorded(config, episodes, frames, held_out)
    return nullcontext(Run(options.workdir, config, False))
