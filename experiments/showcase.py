"""The report of a run: its figures, curves, and what the world model dreams beside what was real."""

import json

import jax
import numpy as np

from experiments import build, phase2
from experiments.evaluate import exchange_actions, make_measure, make_sets
from experiments.logging import read_metrics
from experiments.report import Gallery, Reel, write_report
from prowl_jax.pat import buffer as pat

REELS = 6


def report(run):
    """Write ``report/index.html``."""
    config = run.config
    world_model, context = build.make_world_model(config), build.make_curriculum(config).context
    measure, key = make_measure(world_model, context), build.stage_key(config, "evaluation")
    models = {arm: phase2.load_arm(run, arm) for arm in ("phase1", *config.arms)}
    sets = make_sets(run, {arm: buffer for arm, (_, buffer) in models.items() if buffer is not None})
    params = {arm: params for arm, (params, _) in models.items()}
    spec = build.spec_of(config)

    def reels(items, shown, rows, captions=None, more=None):
        items = jax.tree.map(lambda x: x[rows], items)
        outputs = {name: measure(p, clips or items, key) for name, (p, clips) in shown.items()}
        for i in range(len(rows)):
            predicted = {
                name: np.concatenate([items.frames[i, :context], frames[i]]) for name, (_, frames) in outputs.items()
            }
            figures = {f"regret {name}": float(v["latent_regret"][i]) for name, (v, _) in outputs.items()}
            figures |= {f"AFS-EPE {name}": float(v["afs_epe"][i]) for name, (v, _) in outputs.items()}
            words = [spec.describe(a) for a in items.actions[i]]
            if more is not None:
                figures = more[i] | figures
            yield Reel(items.frames[i], predicted, context, words, figures, captions[i] if captions else "")

    galleries = []
    if "prowl" in config.arms:
        buffer = models["prowl"][1]
        items, top, more = _top(buffer, build.make_curriculum(config).scoring)
        shown = {"phase 1": (params["phase1"], None), "PROWL": (params["prowl"], None)}
        galleries.append(
            Gallery(
                "Where the adversary broke the dream",
                "The trajectories with the highest composite score in PROWL's buffer after the last cycle: "
                "what happened, what the world model of phase 1 dreamt under the same actions, and what the "
                "fine-tuned one does.",
                list(reels(items, shown, top, more=more)),
            )
        )
    rows = np.arange(min(REELS, config.evaluation.clips, config.evaluation.long_clips))
    clips = sets["in_distribution"]
    swapped = jax.tree.map(lambda x: x[rows], exchange_actions(clips, context))
    shown = {"dream": (params["phase1"], None), "exchanged actions": (params["phase1"], swapped)}
    galleries.append(
        Gallery(
            "Does it follow the actions?",
            "Held-out clips of the training task: reality, the phase-1 dream under the true actions, and its "
            "dream under another clip's actions.",
            list(reels(clips, shown, rows)),
        )
    )
    shown = {arm.replace("_", " "): (p, None) for arm, p in params.items()}
    galleries.append(
        Gallery(
            "Long rollouts",
            "Dreams fed on their own output, chunk after chunk.",
            list(reels(sets["long_rollout"], shown, rows[:3])),
        )
    )
    write_report(
        run.workdir / "report" / "index.html",
        title=f"PROWL: {config.name}",
        config=json.loads(config.to_json()),
        evaluation=json.loads((run.workdir / "evaluation.json").read_text()),
        metrics=read_metrics(run.workdir),
        galleries=galleries,
    )
    return {}


def _top(buffer, scoring):
    """The buffer's best-ranked trajectories: (items, rows, figures of each)."""
    scores = np.asarray(pat.scores(buffer, scoring))
    filled = int(np.asarray(buffer.filled).sum())
    top = np.argsort(-scores)[: min(REELS, filled)]
    progress = np.asarray(pat.progress(buffer))
    more = [
        {"score": float(scores[i]), "found in cycle": int(buffer.inserted[i]), "last change": float(progress[i])}
        for i in top
    ]
    return jax.tree.map(np.asarray, buffer.items), top, more
