"""The report of a run: its figures, curves, and what the world model dreams beside what was real."""

import functools
import json
import shlex

import jax
import numpy as np

from experiments.evaluation.evaluate import batch_of, exchange_actions, make_measure, make_sets, with_policy
from experiments.report.page import EXPLORED_AT, Gallery, Reel, write_report
from experiments.report.quality import opening
from experiments.report.reels import save_stacked
from experiments.run.metrics_log import read_metrics
from experiments.run.places import read_json
from experiments.stages import build, phase2
from experiments.stages.arms import WHOLE
from experiments.stages.clip_stores import clip_name

REELS, LONG_REELS = 6, 3


def report(run):
    """Write ``report/index.html``, and ``report/dream.webp``: two clips, real beside dreamt."""
    config = run.config
    context, model = build.make_budget(config).context, build.make_world_model(config)
    seen = model.frames_of(context)
    models = {arm: phase2.load_arm(run, arm) for arm in ("phase1", *build.arms(config))}
    sets = make_sets(run, {arm: done.found for arm, done in models.items() if done.found is not None})
    params = {arm: done.params for arm, done in models.items()}
    reels = functools.partial(
        _reels, make_measure(model, context, build.make_flow(config)), batch_of(config), seen,
        build.spec_of(config), build.stage_key(config, "evaluation"),
    )  # fmt: skip

    galleries = []
    hunters = [arm for arm in with_policy(models) if f"buffer/{arm}" in sets and len(sets[f"buffer/{arm}"].actions)]
    if hunters:
        arm = hunters[0]
        items, top, columns, brought = _top(models[arm].found, phase2.finders(config))
        shown = {"before": (params["phase1"], items), "after": (params[arm], items)}
        galleries.append(
            Gallery(
                "Where the adversary broke the dream",
                f"The trajectories with the highest score of all that {_in_words(arm)} kept after the last cycle: "
                "what happened; before: what the world model of phase 1 dreamt under the same actions; after: what "
                f"the fine-tuned one does.{brought}",
                reels(items, shown, top, columns),
            )
        )
    clips, long = sets["in_distribution"], sets["long_rollout"]
    swapped = exchange_actions(clips, seen)
    shown = {"dream": (params["phase1"], clips), "exchanged actions": (params["phase1"], swapped)}
    follow = len(galleries)
    galleries.append(
        Gallery(
            "Does it follow the actions?",
            "Held-out clips of the training task: reality, the phase-1 dream under the true actions, and its "
            "dream under another clip's actions.",
            reels(clips, shown, np.arange(min(REELS, len(clips.actions)))),
        )
    )
    if "training" in sets:
        learned = sets["training"]
        galleries.append(
            Gallery(
                "Learned by heart",
                "Clips of the training episodes: with few recordings, this is all that can be learned.",
                reels(learned, {"dream": (params["phase1"], learned)}, np.arange(min(REELS, len(learned.actions)))),
            )
        )
    shown = {arm.replace("phase1", "phase 1").replace("_", " "): (p, long) for arm, p in params.items()}
    galleries.append(
        Gallery(
            "Long rollouts",
            "Dreams fed on their own output, chunk after chunk.",
            reels(long, shown, np.arange(min(LONG_REELS, len(long.actions)))),
        )
    )
    write_report(
        run.workdir / "report" / "index.html",
        title=f"PROWL: {config.name}",
        config=json.loads(config.to_json()),
        evaluation=read_json(run.workdir / "evaluation.json"),
        metrics=read_metrics(run.workdir),
        galleries=galleries,
        opening=opening(run.workdir),
        explore=_explore(run.workdir) if hunters else None,
    )
    save_stacked(run.workdir / "report" / "dream.webp", galleries[follow].reels[:2])
    return {}


def _reels(measure, batch, seen, spec, key, items, shown, rows, columns=None):
    """A ``Reel`` for each of ``rows``: reality, and every dream of ``shown``.

    ``seen`` is the frames of the context. ``shown`` is name -> (parameters, clips whose context and actions are
    dreamt); ``columns`` holds further figures of each row. Rows are filled up to ``batch``, the evaluation's, so that
    its compiled program serves here too.
    """
    filled = np.resize(rows, batch)
    dreams = {
        name: measure(params, jax.tree.map(lambda x: x[filled], clips), key) for name, (params, clips) in shown.items()
    }
    reels = []
    for i, row in enumerate(rows):
        given, actions = items.frames[row, :seen], items.actions[row]
        figures = dict(columns[i]) if columns else {}
        for name, (values, _) in dreams.items():
            figures[f"regret {name}"] = float(values["latent_regret"][i])
        for name, (values, _) in dreams.items():
            figures[f"AFS-EPE {name}"] = float(values["afs_epe"][i])
        predicted = {name: np.concatenate([given, frames[i]]) for name, (_, frames) in dreams.items()}
        reels.append(Reel(items.frames[row], predicted, seen, [spec.describe(a) for a in actions], figures))
    return reels


def _top(found, finders):
    """The trajectories that an arm made most of, ``methods.base.Found``: (clips, rows, figures of each, a sentence).

    ``finders``: as ``phase2.finders``; what they found belongs to no cycle, and the sentence says how much was kept.
    """
    top = np.argsort(-found.columns["score"])[:REELS]
    who = [finders.get(clip_name(found.clips, i)) for i in range(len(found.clips.actions))] if finders else []
    columns = [{name: column[i].item() for name, column in found.columns.items()} for i in top]
    for i, column in zip(top, columns, strict=True):
        if who and who[i]:
            column["found"] = f"by {who[i]}"
            column.pop("found in cycle", None)
    kept = sum(one is not None for one in who)
    sentence = f" Of {len(finders)} trajectories that were brought (phase2.include) it kept {kept}." if finders else ""
    return found.clips, top, columns, sentence


def _explore(workdir):
    """The command that shows what was found, with the run's place as its owner gave it."""
    return f"python -m experiments.explore --workdir={shlex.quote(str(workdir))} --port={EXPLORED_AT}"


def _in_words(arm):
    """An arm's name in a sentence."""
    return "PROWL" if arm == WHOLE else arm.replace("_", " ")
