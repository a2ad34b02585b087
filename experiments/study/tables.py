"""The tables of studies as Markdown:  python -m experiments.study.tables results/study_*.json

prints what stands in docs/results.md between its markers; a test holds the document to the files.
"""

import pathlib
import statistics
import sys

from experiments.evaluation import votes
from experiments.report.tables import METRICS as REPORTED
from experiments.report.tables import MINUS, MISSING, number, words
from experiments.run.provenance import in_words
from experiments.stages.arms import CONTROL
from experiments.study import compared_tables

SETTINGS = (
    ("held-out tasks", "held_out", "all"),
    ("hardest tertile", "held_out", "hardest_tertile"),
    ("hardest decile", "held_out", "hardest_decile"),
    ("others' buffers", "cross_buffer", "all"),
    ("in distribution", "in_distribution", "all"),
    ("long rollout", "long_rollout", "all"),
)
"""The settings of the paper's table: words, set, subset."""
CRITICAL = (
    ("all", "critical", "all"),
    ("first cycle", "critical", "first_cycle"),
    ("held out", "critical", "held_out"),
    ("unseen", "critical", "unseen"),
)
SHARES = (*CRITICAL, *SETTINGS[:3], SETTINGS[4])
"""What the share of the mendable is told of."""
METRICS = (("latent regret", "latent_regret"), ("AFS-EPE", "afs_epe"))
APPEARANCE = (("PSNR", "psnr"), ("SSIM", "ssim"))
SHARPNESS = (("sharpness", "gradient_energy"),)
AGAINST = {CONTROL: (*METRICS, *APPEARANCE, *SHARPNESS), "phase1": (*METRICS, *SHARPNESS)}
"""What is compared with which baseline: words, metric."""
BETTER = {"psnr": ", higher is better", "ssim": ", higher is better", "gradient_energy": ", higher is sharper"}
FRAME_METRICS = {
    "action_precision": "precision",
    "action_recall": "recall",
    "action_f1": "F1",
    "camera_l1": "camera, bins off",
    "frechet_inverse_dynamics": "Fréchet distance",
    "frechet_alexnet": "Fréchet distance, AlexNet",
    "frechet_vgg16": "Fréchet distance, VGG-16",
}
"""Metrics of a whole set: key, words."""
APART = {
    "mendable": "mended by the oracle",
    "spread": "spread of its own dreams",
    "floor": "the autoencoder's floor",
    "rest": "the rest",
    "spread_of_theta_0": "spread of theta_0's",
}
"""Part of an error: key, words."""
GLANCE = (
    ("regret", "latent_regret", "critical", "unseen"),
    ("AFS-EPE", "afs_epe", "critical", "unseen"),
    ("regret, planted gaps", "latent_regret", "critical", "unseen_gaps"),
    ("regret, place never shown", "latent_regret", "critical", "unseen_desert"),
    ("held-out tasks: regret", "latent_regret", "held_out", "all"),
    ("in distribution: regret", "latent_regret", "in_distribution", "all"),
    ("sharpness on held-out tasks", "gradient_energy", "held_out", "all"),
)
"""What settles a study with oracles, of one line an arm: words, metric, set, subset."""
GLANCED = (
    "Per cent of what the frozen reference has, which spent the same updates, tokens and environment steps; 95 % as "
    "below. The first four columns are of critical clips that no arm saw; beside them the share of the "
    "mendable in their regret, and how often in 1,000 steps each policy does what is planted when it acts on its own."
)
MENDABLE = (
    "(theta_0 − arm) / (theta_0 − oracle) in per cent, 95 % as below: 0 where nothing was mended, 100 "
    "where as much as fine-tuning on wide data can; – where it is not sure that anything can be."
)
PROGRESS = (
    "How much more regret the policy finds for every 1,000 environment steps, per cent, and its interval over seeds: "
    "in the loop against what the control finds in the same cycle, each by its own world model; and by theta_0, which "
    "learns nothing, from starts that no arm has seen, against what pi_ref finds there."
)
NOTHING = "No study has been run yet.\n"


def main(argv):
    """Print the tables of the files; returns the exit code."""
    from experiments.run.command_line import Parser, fail
    from experiments.study.results import load_results

    parser = Parser("python -m experiments.study.tables", __doc__)
    parser.add_argument("files", nargs="*", type=pathlib.Path, help="results of studies")
    try:
        print(document([load_results(path) for path in parser.parse_args(argv).files]), end="")
    except ValueError as error:
        fail(error)
    return 0


def document(results):
    """The tables of all studies."""
    return "\n".join(markdown(one) for one in results) or NOTHING


def markdown(results):
    """The tables of one study."""
    seeds, settings, budget = results["seeds"], results["settings"], results["budget"]
    spent = ", ".join(f"{number(v)} {words(k)}" for k, v in budget["each_arm"].items()) + _steps_apart(budget)
    opening = (
        f"{settings['environment']}, task `{settings['task']}`, seeds {', '.join(map(str, seeds))}, world model "
        f"{settings['world_model']}; {results['machine']}; {number(budget['total_minutes'])} minutes, those of seeds "
        f"at the same time added up. Phase 1 saw {number(budget['phase1_tokens'])} tokens; "
        f"then each arm of each seed spent {spent}.\n\n{' '.join(in_words(results.get('provenance')))}"
    )
    parts = [f"## {words(results['study'])}", opening, *_glance(results), _arms(results)]
    for against, compared in AGAINST.items():
        if against in results["differences"]:
            name = _model(against) if against == "phase1" else f"the {words(against)}"
            for title, metric in compared:
                parts.append(f"### {_capital(title)} against {name}{BETTER.get(metric, '')}")
                parts.append(_differences(results, against, metric, SETTINGS))
    parts += compared_tables.sections(results, markdown_table)
    parts += _appearance(results)
    parts += _actions_read(results)
    parts.append("### Regret on the critical trajectories against theta_0")
    parts.append(_differences(results, "phase1", "latent_regret", CRITICAL))
    parts += _mendable(results)
    parts += _found_apart(results)
    if results["events"]:
        parts += ["### Events in 1,000 steps of policies that act on their own", _event_rates(results)]
        groups = [g for g in results["sets"].get("events", {"clips": {}})["clips"] if g != "all"]
        if groups:
            columns = [(words(g), "events", g) for g in ("all", *groups)]
            parts += ["### Regret on clips with an event against theta_0"]
            parts += [_differences(results, "phase1", "latent_regret", columns)]
    parts += ["### Regret of what the policies find and the buffers keep", _loop(results)]
    parts += _beyond_learning(results)
    parts += _starts(results)
    parts += _progress(results)
    parts += _dose(results)
    parts += _modes(results)
    parts += ["### Regret by predicted frame against theta_0", _long(results)]
    parts += _voted(results)
    of = settings.get("drawn", "clips")
    parts.append(
        "Differences in per cent of the baseline, lower is better where nothing else is said. "
        f"In brackets: 95 % interval, bootstrap over seeds and {of}, bold where it leaves out 0; "
        f"in braces: over {of} alone, for these very models. "
        "Other brackets: lowest and highest seed."
    )
    return "\n\n".join(parts) + "\n"


def _glance(results):
    """One line an arm against the control, of what settles the study; nothing without an oracle."""
    shares, there = results.get("mendable_share"), results["differences"].get(CONTROL)
    if not shares or not there:
        return []
    columns = [c for c in GLANCE if c[3] in there.get(c[2], {}).get(c[1], {})]
    planted = [name for name in next(iter(results["events"].values()), ()) if name.startswith("does_")]
    rows = []
    for arm in ("phase1", CONTROL, *(a for a in (*results["arms"], *results["oracles"]) if a != CONTROL)):
        cells = [MISSING if arm == CONTROL else _alone(there[s][m][sub].get(arm)) for _, m, s, sub in columns]
        share = shares.get(arm, {}).get("critical", {}).get("unseen")
        done = results["events"].get(arm, {})
        rows.append([_model(arm), *cells, _share(share), *(_range(done.get(name, ())) for name in planted)])
    head = [title for title, *_ in columns] + ["share of the mendable, %", *map(words, planted)]
    return ["### At a glance", GLANCED, markdown_table(["arm", *head], rows)]


def _alone(row):
    """``_interval`` of what is over seeds, with one digit."""
    if row is None or None in row:
        return _interval(row)
    relative, low, high = (f"{100 * x:+.1f}".replace("-", MINUS) for x in (row[0], *row[-2:]))
    text = f"{relative} ({low}, {high})"
    return f"**{text}**" if row[-2] * row[-1] > 0 else text


def _steps_apart(budget):
    """The environment steps of arms that differ in them; nothing where all are alike, or older studies do not say."""
    fewest, most = budget.get("environment_steps", (0, 0))
    if fewest == most:
        return ""
    return f", {number(fewest)} to {number(most)} environment steps ({100 * (most / fewest - 1):.2g} % apart)"


def _mendable(results):
    """The share of the mendable that each arm mended: by set, by event, by frame; nothing without an oracle."""
    shares = results.get("mendable_share")
    if not shares:
        return []
    groups = [g for g in results["sets"].get("events", {"clips": {}})["clips"] if g != "all"]
    frames = [f for f in next(iter(shares.values()))["critical"] if f.startswith("frame_")]
    blocks = {
        "by set": SHARES,
        "by event": [(words(g), "events", g) for g in groups],
        "by predicted frame, critical trajectories": [(words(f), "critical", f) for f in frames],
    }
    parts = ["### Share of the mendable in regret", MENDABLE]
    for block, columns in blocks.items():
        columns = [c for c in columns if c[2] in next(iter(shares.values())).get(c[1], {})]
        rows = [
            [words(arm), *(_share(sets[name][subset]) for _, name, subset in columns)] for arm, sets in shares.items()
        ]
        if columns:
            parts += [f"{_capital(block)}:", markdown_table(["arm", *(title for title, _, _ in columns)], rows)]
    return parts


def _found_apart(results):
    """What theta_0's error on what each policy found is made of; nothing without an oracle."""
    found = results.get("found_apart")
    if not found:
        return []
    rows = []
    for arm, parts in found.items():
        rows.append([words(arm), number(parts["error"][0]), *(_percent(parts[name]) for name in APART)])
    head = ["found by", "squared error of a pixel", *APART.values()]
    return ["### theta_0's squared error on what each policy found, taken apart, %", markdown_table(head, rows)]


def _percent(cell):
    return MISSING if None in cell else f"{100 * cell[0]:.0f} ({100 * cell[1]:.0f} to {100 * cell[2]:.0f})"


def _share(cell):
    return MISSING if cell is None else f"{100 * cell[0]:.0f} ({100 * cell[1]:.0f} to {100 * cell[2]:.0f})"


def _model(arm):
    """An arm in words; phase 1 leaves theta_0."""
    return "theta_0" if arm == "phase1" else words(arm)


def _capital(title):
    """As a title begins; an abbreviation stays as it is."""
    return title.capitalize() if title.islower() else title


def markdown_table(head, rows):
    """A table of texts in markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _interval(row):
    """``-3.01 (-5.12, -0.93) {-4.05, -2.00}``, bold where the first interval leaves out 0; it may be alone, or none."""
    if row is None or row[0] is None:
        return MISSING
    if None in row:
        return f"{100 * row[0]:+.2f}".replace("-", MINUS)
    relative, *bounds = (f"{100 * x:+.2f}".replace("-", MINUS) for x in row)
    text = f"{relative} ({', '.join(bounds[-2:])})"
    if len(bounds) == 4:
        text += f" {{{', '.join(bounds[:2])}}}"
    return f"**{text}**" if row[-2] * row[-1] > 0 else text


def _differences(results, against, metric, columns):
    """Rows of arms, columns of (words, set, subset)."""
    there = results["differences"][against]
    columns = [c for c in columns if c[1] in there and c[2] in there[c[1]][metric]]
    rows = []
    for arm in (*results["arms"], *results.get("oracles", {})):
        if arm != against:
            cells = [_interval(there[name][metric][subset].get(arm)) for _, name, subset in columns]
            rows.append([words(arm), *cells])
    return markdown_table(["arm", *(title + _clips(results, name, subset) for title, name, subset in columns)], rows)


def _clips(results, name, subset):
    """``", 384 clips"``, of all seeds together; nothing where every arm has its own set."""
    there = results["sets"].get(name)
    return f", {number(sum(there['clips'][subset]))} clips" if there else ""


def _arms(results):
    """What each arm is, its anchor, and what became of its policy."""
    rows = []
    for arm, described in results["arms"].items():
        cycles, minutes = results["cycles"][arm], results["budget"]["arm_minutes"][arm]
        kl = [max((kl for kl in seed if kl is not None), default=None) for seed in cycles["kl_to_reference"]]
        camera = [_mean(_second_half(seed)) for seed in cycles["camera_speed_over_reference"]]
        cost = number(described["kl_cost"])
        rows.append([words(arm), described["says"], cost, _range(kl), _range(camera), number(_mean(minutes))])
    head = ["arm", "what", "c_kl", "largest KL of a cycle to the reference", "camera over the reference's, second half"]
    return markdown_table([*head, "minutes a seed"], rows)


def _loop(results):
    """The regret of what each policy finds and of what its buffer keeps, over the cycles."""
    rows = []
    for arm in results["arms"]:
        cycles = results["cycles"][arm]
        found, kept, delta = (cycles[key] for key in ("regret", "pat_mean_regret", "pat_mean_progress"))
        figures = [[seed[0] for seed in found], [seed[-1] for seed in found], [_mean(_second_half(s)) for s in found]]
        figures += [list(map(_spread, found)), [seed[0] for seed in kept], [seed[-1] for seed in kept]]
        rows.append([words(arm), *map(_range, figures), _range([_mean(seed) for seed in delta])])
    head = ["arm", "found, first cycle", "last cycle", "second half", "spread over the cycles"]
    return markdown_table([*head, "in the buffer, first cycle", "last cycle", "mean Delta of the buffer"], rows)


def _beyond_learning(results):
    """How much of each buffer no model can learn, over the cycles; nothing where no oracle was asked."""
    rows = []
    for arm in results["arms"]:
        names = ("pat_unlearnable", "pat_hard", "pat_reducible_share")
        lost, hard, share = ([s for s in results["cycles"][arm].get(n, ()) if s and None not in s] for n in names)
        if lost:
            over = [[seed[at] for seed in lost] for at in (0, len(lost[0]) // 2, -1)]
            rows.append([words(arm), *map(_range, [*over, *([s[-1] for s in seeds] for seeds in (hard, share))])])
    head = ["share of the buffer of", "hard, and nothing reducible, first cycle", "middle cycle", "last cycle"]
    head += ["hard, last cycle", "reducible share of its regret, last cycle"]
    return ["### What of each buffer is beyond learning", markdown_table(head, rows)] if rows else []


def _starts(results):
    """What the state in which trajectories begin decides of their reward; nothing where none branch."""
    rows = []
    for arm in results["arms"]:
        names = ("reward_of_start", "reward_between_starts", "reward_within_starts")
        parts = [results["cycles"][arm].get(name) for name in names]
        if all(parts):
            rows.append([words(arm), *(_range([_mean(seed) for seed in seeds]) for seeds in parts)])
    head = ["arm", "share of the reward's variance that the start decides", "variance between starts", "within one"]
    return ["### What the start of a trajectory decides", markdown_table(head, rows)] if rows else []


def _progress(results):
    """How far PPO came for its environment steps; nothing in older studies."""
    rows = []
    for arm, of in results.get("ppo_progress", {}).items():
        control = MISSING if "in_the_loop" not in of else _slope(of["in_the_loop"])
        theta_0, last = MISSING, MISSING
        if "by_theta_0" in of:
            theta_0, last = _slope(of["by_theta_0"]), _range(list(of["by_theta_0"]["curve"].values())[-1])
        steps, variance = number(of["environment_steps_a_cycle"]), _range(of["reward_variance"])
        rows.append([words(arm), steps, variance, control, theta_0, last])
    head = ["arm", "environment steps a cycle", "variance of what is paid", "against what the control finds"]
    head += ["by theta_0, against what pi_ref finds", "after the last cycle, %"]
    return ["### PPO's progress", PROGRESS, markdown_table(head, rows)] if rows else []


def _slope(cell):
    if cell["mean"] is None:
        return MISSING
    bounds = "" if cell["low"] is None else f" ({cell['low']:+.3g}, {cell['high']:+.3g})"
    text = f"{cell['mean']:+.3g}{bounds}".replace("-", MINUS)
    return f"**{text}**" if bounds and cell["low"] * cell["high"] > 0 else text


DOSED = {"cycles": "cycles", "trajectories": "trajectories a cycle", "base": "theta_0's regret in distribution"}
"""Axis of the dose curve: words."""


def _dose(results):
    """What hunting gains over the control, against how much it was given; nothing where no dose was asked for."""
    parts = []
    for axis, title in DOSED.items():
        there = [row for row in results.get("dose", ()) if row["axis"] == axis]
        columns = list(dict.fromkeys((row["metric"], row["set"], row["subset"]) for row in there))
        cells = {}
        for row in there:
            key = row["value"], row.get("base", ""), row["arm"]
            place = row["metric"], row["set"], row["subset"]
            cells.setdefault(key, {})[place] = _interval([row[k] for k in ("relative", "low", "high")])
            cells[key]["seeds"] = number(row["seeds"])
        rows = [
            [f"{number(value)} {base}".strip(), words(arm), of["seeds"], *(of.get(c, MISSING) for c in columns)]
            for (value, base, arm), of in cells.items()
        ]
        head = [title, "arm", "seeds", *(", ".join(map(words, column)) for column in columns)]
        parts += [f"By {title}:", markdown_table(head, rows)] if rows else []
    return ["### When does hunting pay: against the control", *parts] if parts else []


def dense_rows(results):
    """(set, metric -> arm -> difference from the frozen reference) of the clips with the most action.

    The set is the held-out tasks, where there are none the training task; None where neither was noted.
    """
    there = results["differences"].get(CONTROL, {})
    for name in ("held_out", "in_distribution"):
        rows = {m: subsets["action_dense"] for m, subsets in there.get(name, {}).items() if "action_dense" in subsets}
        if rows:
            return name, rows
    return None


def dense_words(metric):
    """A metric in words, and whether more of it is better."""
    title, sign = REPORTED.get(metric, (metric, 0))
    return title.split(",")[0] + (", higher is better" if sign > 0 else "")


def _appearance(results):
    found = dense_rows(results)
    if found is None:
        return []
    name, rows = found
    arms = [arm for arm in results["arms"] if arm != CONTROL]
    table = [[words(arm), *(_interval(rows[m].get(arm)) for m in rows)] for arm in arms]
    where = {"held_out": "Held-out tasks", "in_distribution": "In distribution"}[name]
    where += f"{_clips(results, name, 'action_dense')}: the tertile with the most action."
    title = "### Appearance against AFS-EPE on action-dense clips, against the frozen reference"
    return [title, where, markdown_table(["arm", *map(dense_words, rows)], table)]


def _modes(results):
    """The clips with a strictly novel mode, all of them and mode by mode; nothing where there is none."""
    there = results["differences"].get(CONTROL, {}).get("modes")
    if there is None:
        return []
    clips = {mode: sum(seeds) for mode, seeds in results["sets"]["modes"]["clips"].items()}
    modes = sorted(clips, key=lambda mode: (mode != "all", -clips[mode]))
    arms = [arm for arm in results["arms"] if arm != CONTROL]
    counted = results["novel_modes"]
    parts = [f"Strictly novel modes of a seed: {_range(counted)}. Told one by one are those that most clips hold."]
    for title, metric in METRICS:
        rows = [[m, number(clips[m]), *(_interval(there[metric][m].get(arm)) for arm in arms)] for m in modes]
        parts += [f"{_capital(title)}:", markdown_table(["mode", "clips", *map(words, arms)], rows)]
    return ["### Clips with a strictly novel action mode against the frozen reference", *parts]


def _actions_read(results):
    """The metrics of whole sets that are read off the frames; nothing where none were asked for."""
    parts = []
    for title, name in (
        ("Held-out tasks, the mean over the tasks", "held_out"),
        ("In distribution", "in_distribution"),
    ):
        one = results["sets"].get(name, {})
        there = {"real_frames": one.get("real_frames", {}), **one.get("of_set", {})}
        if any(there.values()):
            names = [m for m in FRAME_METRICS if any(m in figures for figures in there.values())]
            rows = [[_model(who), *(_range(figures.get(m, ())) for m in names)] for who, figures in there.items()]
            parts += [f"{title}:", markdown_table(["frames of", *(FRAME_METRICS[m] for m in names)], rows)]
    return ["### Actions read off the dream", _judge(results["inverse_dynamics"]), *parts] if parts else []


def _judge(figures):
    """How good the model is that reads the actions."""
    names = {"accuracy": "whole actions right", "commonest_f1": "F1 of always answering the commonest value"}
    said = [f"{(FRAME_METRICS | names)[k]} {number(v)}" for k, v in figures.items() if k in FRAME_METRICS | names]
    return "The model that reads them, on held-out real frames: " + (", ".join(said) or "not known") + "."


def _event_rates(results):
    """What everybody did on their own; of the demonstrations, only how often each event happened."""
    events = results["events"]
    names = list(next(iter(events.values())))
    rows = []
    for who, rates in events.items():
        acted = results["acted"].get(who, {})
        beside = [_range(acted.get(key, ())) for key in ("steps", "kl_to_reference", "camera_speed_over_reference")]
        rows.append([words(who), *beside, *(_range(rates[name]) for name in names)])
    head = ["who", "steps a seed", "KL to the reference", "camera over the reference's"]
    return markdown_table([*head, *map(words, names)], rows)


def _long(results):
    curves = results["long_rollout"]["differences"]
    length = len(next(iter(curves.values())))
    frames = sorted({1, length // 4, length // 2, 3 * length // 4, length} - {0})
    rows = [[words(arm), *(_interval(curve[t - 1]) for t in frames)] for arm, curve in curves.items()]
    return markdown_table(["arm", *(f"frame {t}" for t in frames)], rows)


def _voted(results):
    """What people and metrics said who did not know whose dream they saw; nothing where nobody was asked."""
    tables = votes.tables(results.get("votes", ()))
    parts = [part for title, head, rows in tables for part in (f"{title}:", markdown_table(head, rows))]
    return ["### Blind comparison of dreams", *parts] if parts else []


def _second_half(cycles):
    return cycles[len(cycles) // 2 :]


def _spread(values):
    """The standard deviation of the values that are known."""
    known = [v for v in values if v is not None]
    return statistics.pstdev(known) if known else None


def _mean(values):
    values = [v for v in values if v is not None]
    return sum(values) / len(values) if values else None


def _range(values):
    """The mean of the seeds, and the lowest and highest in brackets."""
    known = [v for v in values if v is not None]
    if len(set(known)) < 2:
        return number(known[0] if known else None)
    return f"{number(_mean(known))} ({number(min(known))} to {number(max(known))})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
