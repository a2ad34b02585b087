"""What a run says first, which code and chance it is, and whether it then says how far it is."""

from experiments.run import processes, provenance
from experiments.run.progress import Progress


def set_quiet(config):
    """Show lines of progress in this process, unless ``config.quiet``, or another process shows them."""
    Progress.muted = config.quiet or not processes.is_main()


def say(config, seeds=None):
    """Print the line that every run begins with: version, commit, libraries, seed (or ``seeds``); heed ``quiet``."""
    set_quiet(config)
    seeds = (config.seed,) if seeds is None else seeds
    print(f"{provenance.version()}; seed {', '.join(map(str, seeds))}", flush=True)
