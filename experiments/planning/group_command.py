"""What commands share whose configuration has a group of its own, such as a study."""

from experiments.run import interruption


def run_with_group(argv, group, command, example, load):
    """The main of ``python -m experiments.COMMAND``: do what is left; returns the exit code.

    Args:
      group: the name of the group. example: a file that has it, under ``experiments/configs``.
      load: imports and returns (the group's settings, rules beside ``consistency.RULES``, ``f(config, workdir)`` that
        does the work and returns the exit code).
    """
    with interruption.importing():
        from experiments.configs.default import MEANINGS
        from experiments.planning import consistency, preflight
        from experiments.run import command_line, groups
        from experiments.run.failures import guarded
        from prowl_jax.train.compilation_cache import enable_compilation_cache

        settings, rules, work = load()
    meanings = {**MEANINGS, **groups.meanings(settings)}
    config, workdir = command_line.parse(argv, program=f"python -m experiments.{command}", meanings=meanings)
    if group not in config:
        command_line.fail(f"--config has no group {group!r}; name experiments/configs/{example}")
    command_line.validate(config, (*consistency.RULES, *rules))
    enable_compilation_cache()
    return guarded(lambda: work(config, workdir), config, preflight.largest)
