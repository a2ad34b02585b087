"""A run from demonstrations to report: autoencoder, world model, reference policy, phase 2, evaluation.

    python -m experiments.prowl_main --config=FILE[:arg] [--workdir=DIR] [--config.KEY=VALUE ...]

Writes: the run directory, runs/NAME unless --workdir says otherwise; its report/index.html is the page to read.
Costs: what the configuration's docstring says; the quick start 8 minutes and 4 GB on 2 cores.

Every stage is skipped when it is done; an interrupted stage goes on from its last checkpoint.
Any value of the configuration can be changed: ``--config.phase2.cycles=20``. ``--config.dry_run=True`` runs
nothing: it says what every step would need on a mesh of devices (``dry_run``). In a finished directory
``--stages=evaluation,report`` makes these two anew, with other values of what only they read if you like:
``--config.evaluation.clips=128``, ``metrics.lpips_weights``, ``metrics.frechet``.
"""

import sys

STAGES_HELP = "  --stages=NAMES         finished stages to do again, of dream_quality, evaluation, report: no training"


def main(argv):
    """Run all stages; returns the exit code."""
    # Imported here, as environment workers import this module and start without JAX.
    from experiments.run import interruption

    with interruption.importing():
        from experiments.configs.default import MEANINGS
        from experiments.planning import consistency, dry_run, preflight
        from experiments.run import command_line
        from experiments.run.directory import ANEW, with_shown
        from experiments.run.failures import guarded
        from experiments.stages import budget
        from experiments.stages.pipeline import run_all
    anew, argv = command_line.take_names(argv, "stages", tuple(ANEW))
    config, workdir = command_line.parse(
        argv, program="python -m experiments.prowl_main", meanings=MEANINGS, more_flags=(STAGES_HELP,)
    )
    command_line.checked(budget.fit, config)
    command_line.validate(config, consistency.RULES)
    if config.dry_run:
        return guarded(lambda: dry_run.main(config), config, preflight.largest)
    return guarded(lambda: run_all(config, workdir, with_shown(anew)), config, preflight.largest)


if __name__ == "__main__":
    from experiments.run.interruption import exit_process

    exit_process(main(sys.argv[1:]))
