"""Critical trajectories from seeds and places that no arm saw: chosen by what is done in them and by theta_0, once.

Candidates are recordings of ``KINDS`` on the training task and of the held-out tasks' own demonstrators, under seeds of
which nobody learned, oracles neither. Of each, those count in which something happens that is planted as a gap or is an
event, where there are enough, and of them those on which theta_0's regret is highest are kept. It is measured with
other noise than they were chosen by, so that the choice takes no luck with it. Nothing of it depends on an arm.
"""

import jax
import numpy as np

from experiments.stages import build
from experiments.study.gate import happened_in, make_scorer
from experiments.study.recorded import limits_of, record
from prowl_jax.types import Clip

KINDS = ("gaps", "wide")
CANDIDATES = 3
"""So many are looked at for each one that is kept."""
FRAMES = 160


def choose(found, observe):
    """(``RealClip`` of ``study.unseen_clips`` critical trajectories, kind -> bool ``[n]``, the episode of each)."""
    config = found.run.config
    model, context = build.make_world_model(config), build.make_budget(config).context
    length = model.frames_of(context + config.phase2.horizon)
    kinds = (*KINDS, *config.env.held_out_tasks)
    kinds = tuple(dict.fromkeys("gaps" if kind == "control" else kind for kind in kinds))
    score, kept, of, episodes = make_scorer(config, 1), [], [], []
    for i, kind in enumerate(kinds):
        count = len(range(i, found.study.unseen_clips, len(kinds)))
        if not count:
            continue
        recorded = record(config, kind, "test", max(count // 2, 1), max(length, FRAMES))
        clips, happened = recorded.spread(CANDIDATES * count, length)
        regret = score(found.arms["phase1"].params, clips)["regret"]
        rows = critical_rows(regret, in_question(config, happened_in(happened, model.frames_of(context))), count)
        kept.append(jax.tree.map(lambda x, rows=rows: x[rows], clips))
        of += [kind] * len(rows)
        numbers = recorded.spread_episodes(CANDIDATES * count, length)[rows]
        episodes += [f"unseen_{kind}/{n}" for n in numbers]
    clips = Clip(*(np.concatenate(x) for x in zip(*((c.frames, c.actions) for c in kept), strict=True)))
    return observe(clips), {kind: np.array(of) == kind for kind in dict.fromkeys(of)}, np.array(episodes)


def in_question(config, happened):
    """bool ``[n]``: whether a planted gap was done, or an event of the world happened; None where nothing is known."""
    planted = {f"does {thing}" for thing in limits_of(config).planted}
    known = [shown for name, shown in happened.items() if name in planted or not name.startswith("does ")]
    return np.any(known, axis=0) if known else None


def critical_rows(regret, asked, count):
    """Row numbers of the ``count`` of highest regret, of those that are ``asked`` before all others."""
    first = np.zeros(len(regret), bool) if asked is None else asked
    return np.sort(np.lexsort((-regret, ~first))[:count])
