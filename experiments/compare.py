"""Blind comparison: people, or metrics, vote on pairs of dreams without knowing which world model dreamt them.

    python -m experiments.compare --runs RUN[:ARM] RUN[:ARM] ... [--weights NAME|FILE ...] [--real]
                                  [--votes=votes.jsonl] [--clips=32] [--frames=32] [--seed=0]
                                  [--host=127.0.0.1] [--port=0] [--no-browser]
    python -m experiments.compare --runs ... --judge=METRIC[,METRIC]
    python -m experiments.compare --votes=votes.jsonl --summary

Writes: --votes (votes.jsonl), a JSON line a vote, added to those that are there.
Costs: --clips times --frames dreamt frames a model, and compiling it; then next to nothing.

Two dreams of the same context, actions and noise stand side by side on a page, left or right at random: keys 1 and 2
prefer one, 0 says that there is no difference; --real shows beside them what really happened. RUN alone is the run's
world model before phase 2, RUN:ARM after it; runs are only read. The clips are what the first run has held out, or
where only --weights are named, recorded for it. With --judge metrics vote in people's stead: regret, psnr, ssim,
afs_epe or sharpness. The result is each pair's share with a binomial interval, and Elo with a bootstrap interval
(docs/play.md). Who stops can go on later, under the same name.
"""

import argparse
import functools
import pathlib
import sys

from experiments.configs import quickstart
from experiments.live.flags import serve, server_flags
from experiments.run import places
from experiments.run.command_line import Parser, UsageError, fail, print_result
from experiments.run.finished_run import count, several


def main(argv):
    """Serve, or let metrics vote, or count; returns the exit code."""
    options = _parser().parse_args(argv)
    named = len(options.runs) + len(options.weights)
    if options.summary:
        if named:
            fail("--summary counts what --votes holds, and takes no --runs or --weights")
        return print_result(_summary, options.votes)
    if named < 2:
        fail("two models are compared at least: name them with --runs RUN:ARM RUN:ARM, or --weights NAME NAME")
    try:
        if options.votes.is_dir():
            raise UsageError(f"--votes={options.votes} is a folder; name a file in it")
        places.folder_to_write(options.votes.parent, "--votes")
        if options.judge:
            return _judge(options)
        options.poll = functools.partial(_poll, options)
        return serve("pages_of_compare", "serve_compare", options)
    except UsageError as error:
        fail(error)
    except KeyboardInterrupt:
        print("interrupted: what was voted stands in the file, and the same command goes on", file=sys.stderr)
        return 130


def _summary(path):
    from experiments.evaluation import votes

    if not path.exists():
        raise UsageError(f"--votes={path}: there is no such file")
    return votes.text(votes.summary(votes.read(path)))


def _poll(options):
    """The ``Poll`` that the options ask for. JAX is imported after the command line has been checked."""
    from experiments.evaluation import contest
    from experiments.evaluation.poll import Poll
    from experiments.study.grid import open_run
    from prowl_jax.train.compilation_cache import enable_compilation_cache

    enable_compilation_cache()
    example, only_read = quickstart.get_config(), functools.partial(open_run, owned=False)
    who = [contest.of_run(text, example, only_read) for text in options.runs]
    who += [contest.of_weights(name, example) for name in options.weights]
    return Poll(contest.make_contest(who, options.clips, options.frames, options.seed), options.votes, options.real)


def _judge(options):
    from experiments.evaluation import votes
    from experiments.run.progress import Progress

    poll = _poll(options)
    with Progress("dreams", poll.contest.batches) as progress:
        poll.dream(progress.update)
    for judge in options.judge:
        poll.judged(judge)
    print(votes.text(poll.result()))
    print(f"written: {options.votes}")
    return 0


def _parser():
    parser = Parser("python -m experiments.compare", __doc__)
    add = parser.add_argument
    add("--runs", nargs="+", default=(), metavar="RUN[:ARM]", help="run directories, and whose world model")
    add("--weights", nargs="+", default=(), metavar="NAME|FILE", help="shipped weights, or files of them")
    add("--real", action="store_true", help="show what really happened beside the dreams")
    add("--votes", type=pathlib.Path, default=pathlib.Path("votes.jsonl"), metavar="FILE", help="(votes.jsonl)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--judge", type=several(_metric), default=(), metavar="METRIC,...", help="metrics vote")
    how.add_argument("--summary", action="store_true", help="print what the votes say, and end")
    add("--clips", type=count, default=32, metavar="N", help="of each pair of models (32)")
    add("--frames", type=count, default=32, metavar="N", help="dreamt ones that are shown (32)")
    add("--seed", type=lambda text: count(text, 0), default=0, metavar="N", help="of clips, noise, order, sides (0)")
    server_flags(parser)
    return parser


def _metric(text):
    from experiments.evaluation.judges import JUDGES

    if text not in JUDGES:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(JUDGES)}")
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
