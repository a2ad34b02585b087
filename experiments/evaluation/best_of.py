"""What the best of N dreams by each reward does to the figures of dreams: whether there is anything to learn from it.

Sixteen dreams of each clip are made once. For N of them the sixteen are cut into groups of N, the best of each group is
chosen, and a clip's figure is the mean over its groups; so every N has the same dreams, and pairs of N are paired.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.evaluation.reward_bench import wrapped
from experiments.run.progress import Progress
from experiments.stages import build
from prowl_jax.metrics import action_recovery
from prowl_jax.metrics.image import gradient_energy
from prowl_jax.metrics.intervals import interval_of_means
from prowl_jax.rewards import ERRORS
from prowl_jax.rewards.afs import afs
from prowl_jax.rewards.dream import group, make_dream, make_observe
from prowl_jax.rewards.inverse_dynamics import NAME
from prowl_jax.rewards.regret import regret
from prowl_jax.train.inverse_dynamics import make_recover

DREAMS, SIZES, ASKED = 16, (1, 2, 4, 8, 16), 8
"""Dreams of a clip, the N that are told, and the N that the verdict is about."""
ENOUGH = 0.05
"""Change of a figure from which on it is worth an effort: the least that RLIR claims of its own (arXiv 2509.23958)."""
ROWS = 4
"""Clips at a time."""
OF_SIBLINGS = ("group_similarity",)
"""Rewards that say something else of a dream among other siblings."""
OWN = {"regret": "regret", "afs": "afs_epe", NAME: "action_f1", f"{NAME}_whole": "action_f1"}
"""Reward -> the figure that it is, or nearly: to move that alone shows no more than that dreams differ."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of chosen dreams.

    Attributes:
      of: function of means over clips, one for each of ``chosen`` and of ``fixed``.
      chosen: of every dream, each ``[B, DREAMS, ...]``. fixed: of every clip, each ``[B, ...]``.
      better: ``f(after, before) -> bool``.
    """

    of: Callable
    chosen: tuple
    fixed: tuple = ()
    better: Callable = lambda after, before: after < before


def measure(bench, resamples=2000):
    """The table of N: a dict for ``best_of.json``.

    Args:
      bench: a ``reward_bench.Bench``. resamples: of the bootstrap over clips.

    Returns:
      ``bench.head`` with ``dreams``; ``ceilings``, what the judge reads off real frames; and ``rewards``: name ->
      ``by_n`` (N -> figure -> value, low, high, and ``change``, relative to N = 1 on the same clips), ``spread`` (the
      reward's deviation over dreams of the same clip, and over clips) and ``verdict``. ``in_use``: the same figures of
      dreams whose every chunk the judge chose of ``ASKED``, as ``world_model.best_of``; {} without a judge.
    """
    values = _dreamt(bench)
    figures, ceilings = figures_of(bench, values), {}
    if bench.judge is not None:
        of = _f1_of(bench.spec, bench.led(), values["recovered_real"][:, None])
        ceilings["action_f1"] = interval_of_means(of.of, *(x[:, 0] for x in of.chosen), resamples=resamples)
    rewards = {}
    for name in bench.rewards:
        sign = -1.0 if name in ERRORS else 1.0
        worth = {n: sign * values["rewards"].get(f"{name}_{n}", values["rewards"][name]) for n in SIZES}
        by_n = {str(n): row(figures, worth, n, resamples) for n in SIZES}
        rewards[name] = {"by_n": by_n, "spread": spread(worth[DREAMS]), "verdict": verdict(name, by_n[str(ASKED)])}
    in_use = {}
    if bench.judge is not None:
        used = figures_of(bench, {**values, **values["in_use"]})
        in_use = _told(figures, {name: [x[:, 0] for x in figure.chosen] for name, figure in used.items()}, resamples)
    return {**bench.head, "dreams": DREAMS, "ceilings": ceilings, "rewards": rewards, "in_use": in_use}


def _dreamt(bench):
    """What is known of every dream of every clip: name -> numpy ``[B, DREAMS, ...]``, ``rewards`` among them."""
    look, parts, total = make_look(bench), [], len(bench.clips.actions)
    with Progress("best of N", -(-total // ROWS)) as progress:
        for i, (clips, _, count) in enumerate(bench.batches(ROWS)):
            found = look(bench.params, jax.random.fold_in(bench.key, i), clips)
            parts.append(jax.tree.map(lambda x, n=count: np.asarray(x)[:n], found))
            progress.update(i + 1)
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def make_look(bench):
    """``look(params, key, clips) -> dict``, jitted: all that is asked of ``DREAMS`` dreams of each clip."""
    model, context, seen, asked = bench.model, bench.context, bench.seen, bench.rewards
    observe, dream = (make(model, context, bench.flow) for make in (make_observe, make_dream))
    recover = used = None
    if bench.judge is not None:
        recover = make_recover(bench.judge)
        used = group(make_dream(build.choosing(model, bench.judge, ASKED), context, bench.flow), 1)

    def figures(params, clips, dreams):
        frames = jnp.round(dreams.frames * 255.0).astype(jnp.uint8)
        found = {
            "regret": regret(params, dreams),
            "afs_epe": afs(params, dreams),
            "energy": gradient_energy(dreams.frames).mean(-1),
        }
        if recover is not None:
            last = jnp.broadcast_to(clips.frames[:, None, seen - 1 : seen], (*frames.shape[:2], 1, *frames.shape[3:]))
            shown = jnp.concatenate([last, frames], axis=2)
            read = recover(params[NAME], shown.reshape(-1, *shown.shape[2:]))
            found["recovered"] = read.reshape(*frames.shape[:2], *read.shape[1:])
        return found

    @jax.jit
    def look(params, key, clips):
        real = observe(params, clips)
        dreams = group(dream, DREAMS)(params, key, real)
        rewards = {name: _each(reward(params, dreams)) for name, reward in asked.items()}
        for name in (name for name in OF_SIBLINGS if name in asked):
            for n in SIZES[1:-1]:
                cut = jax.tree.map(lambda x, n=n: x.reshape(len(x), DREAMS // n, n, *x.shape[2:]), dreams)
                rewards[f"{name}_{n}"] = asked[name](params, cut).reshape(-1, DREAMS)
        found = {
            "rewards": rewards,
            **figures(params, clips, dreams),
            "real_energy": gradient_energy(clips.frames[:, seen:].astype(jnp.float32) / 255.0).mean(-1),
        }
        if recover is not None:
            found["recovered_real"] = recover(params[NAME], clips.frames[:, seen - 1 :])
            found["in_use"] = figures(params, clips, used(params, jax.random.fold_in(key, 1), real))
        return found

    return look


def _each(x):
    """A number a dream, also of a reward that tells its latents apart."""
    return x.reshape(*x.shape[:2], -1).mean(-1)


def figures_of(bench, values):
    """name -> ``Figure``."""

    def nearer_to_real(after, before):
        return abs(np.log(after)) < abs(np.log(before))

    figures = {
        "regret": Figure(_mean, (values["regret"],)),
        "afs_epe": Figure(_mean, (values["afs_epe"],)),
        "sharpness": Figure(np.divide, (values["energy"],), (values["real_energy"],), nearer_to_real),
    }
    if bench.judge is not None:
        figures["action_f1"] = _f1_of(bench.spec, bench.led(), values["recovered"])
    return figures


def _mean(x):
    return x


def _f1_of(spec, given, read):
    """How well actions ``[B, T, A]`` are read off dreams, ``[B, K, T, A]``: macro F1, mean over factors."""
    labels, guesses = action_recovery.tasks(spec, given), action_recovery.tasks(spec, read)

    def confusions(true, read, classes):
        pairs = ((t, one) for t, dreams in zip(true, read, strict=True) for one in dreams)
        found = np.array([action_recovery.confusion(*pair, classes) for pair in pairs])
        return found.reshape(*read.shape[:2], classes, classes)

    tables = tuple(confusions(true, guesses[name][1], n) for name, (n, true) in labels.items())

    def mean_f1(*tables):
        return np.mean([action_recovery.macro_scores(table)[2] for table in tables], axis=0)

    return Figure(mean_f1, tables, better=lambda after, before: after > before)


def spread(worth):
    """Deviation over the dreams of a clip, root mean square over clips, and over the clips' means; ``[B, DREAMS]``."""
    return {"dreams": float(np.sqrt(worth.var(1).mean())), "clips": float(worth.mean(1).std())}


def best(worth, n):
    """Which dreams are the best of their groups of ``n``: float ``[B, DREAMS]`` -> int ``[B, DREAMS / n]``.

    One whose worth is no number is the last to be chosen.
    """
    groups = np.where(np.isnan(worth), -np.inf, worth).reshape(len(worth), -1, n)
    return groups.argmax(-1) + n * np.arange(groups.shape[1])


def row(figures, worth, n, resamples):
    """The figures of the best of ``n``: name -> value, low, high and ``change``, relative to any dream, as a share."""
    chosen = best(worth[n], n)
    afters = {name: [_mean_of(x, chosen) for x in figure.chosen] for name, figure in figures.items()}
    return _told(figures, afters, resamples)


def _told(figures, afters, resamples):
    """As ``row``; ``afters``: name -> what the figure is made of, of the dreams that it is told of, ``[B, ...]``."""
    found = {}
    for name, figure in figures.items():
        after = afters[name]
        before = [x.mean(1) for x in figure.chosen]
        found[name] = interval_of_means(figure.of, *after, *figure.fixed, resamples=resamples)

        change = _change(figure.of, len(after))
        found[name]["change"] = interval_of_means(change, *after, *before, *figure.fixed, resamples=resamples)
        now, plain = found[name]["value"], figure.of(*(x.mean(0) for x in (*before, *figure.fixed)))
        found[name]["better"] = bool(figure.better(now, plain))
    return found


def _change(of, count):
    """By which share ``of`` changes: of ``count`` means after, as many before, and what both have."""

    def change(*means):
        after, before, fixed = means[:count], means[count : 2 * count], means[2 * count :]
        return of(*after, *fixed) / of(*before, *fixed) - 1.0

    return change


def _mean_of(values, chosen):
    """The mean over the chosen dreams of each clip: ``[B, DREAMS, ...]`` -> ``[B, ...]``."""
    return values[np.arange(len(values))[:, None], chosen].mean(1)


def moved(figure):
    """Whether the interval of a figure's change leaves out 0."""
    return figure["change"]["low"] > 0 or figure["change"]["high"] < 0


def verdict(reward, figures):
    """A sentence: which figures the best of ``ASKED`` by a reward moves, and whether to go on."""
    head, names = f"best of {ASKED} by {reward}", [name for name, figure in figures.items() if moved(figure)]
    if not names:
        return f"{head} moves no figure: NO GO, learning from it will not either"
    said = []
    for name in names:
        way, own = "better" if figures[name]["better"] else "worse", ", its own" if OWN.get(reward) == name else ""
        said.append("{} {value:+.1%} ({low:+.1%}, {high:+.1%}), {}{}".format(name, way, own, **figures[name]["change"]))
    return f"{head} moves {'; '.join(said)}: {_outcome(reward, figures, names)}"


def _outcome(reward, figures, names):
    gained = [name for name in names if figures[name]["better"]]
    if not gained:
        return "NO GO, nothing gets better"
    if all(abs(figures[name]["change"]["value"]) < ENOUGH for name in gained):
        return f"HARDLY, nothing gets better by {ENOUGH:.0%}"
    if set(gained) == {OWN.get(reward)}:
        return "nothing but what it measures itself gets better"
    return "go"


def table(result):
    """The result as text."""
    head = "{name}, step {step}: {dreams} dreams of each of {clips} held-out clips of {task}, {frames} frames long"
    lines = [head.format(**result)]
    if result["judge"]:
        lines.append(f"F1 of actions read off the real frames: {_cell(result['ceilings']['action_f1'])}")
    else:
        lines.append("no judge of actions: its rewards and F1 are left out")
    for name, of in result["rewards"].items():
        figures = list(of["by_n"]["1"])
        apart = "deviation {dreams:.2g} over the dreams of a clip, {clips:.2g} over clips".format(**of["spread"])
        lines += ["", f"best by {name} ({apart})", f"    N   {''.join(f'{figure:<24}' for figure in figures)}".rstrip()]
        for n, cells in of["by_n"].items():
            lines.append(f"  {n:>3}   {''.join(f'{_cell(cells[figure]):<24}' for figure in figures)}".rstrip())
    if result["in_use"]:
        lines += ["", IN_USE.format(ASKED), f"        {''.join(f'{name:<24}' for name in result['in_use'])}".rstrip()]
        lines.append(f"        {''.join(f'{_cell(cell):<24}' for cell in result['in_use'].values())}".rstrip())
    lines += ["", *(line for of in result["rewards"].values() for line in wrapped(of["verdict"]))]
    return "\n".join([*lines, "", *NOTE])


def _cell(figure):
    return "{value:.3f} ({low:.3f}, {high:.3f})".format(**figure)


IN_USE = "chosen by the judge chunk by chunk, as in use with world_model.best_of={}"
NOTE = (
    "With 95 % intervals, bootstrap over clips. sharpness: gradient energy over that of the real frames. A figure",
    "moves where the interval of its change against any dream of the same clips leaves out 0.",
)
