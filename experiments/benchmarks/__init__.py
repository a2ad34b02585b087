"""What ``python -m experiments.benchmark`` measures, a module a subject.

Each module has ``rows(settings)``, which yields ``Row``s one by one, so that each is shown as soon as
it is known. A rival that cannot run here is a row without a value, ``Row.not_run(name, why)``.
"""

SUBJECTS = ("train_step", "sampling", "buffer", "cycle", "environments", "input", "growth")
"""Names of the modules, in the order they run in."""
