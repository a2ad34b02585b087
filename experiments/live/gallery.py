"""The PAT buffer of a run as a gallery, and the run's curves: read again and again while the run goes on.

Nothing here takes the run's lock or writes into it. A checkpoint that goes while it is read, or is not whole yet, is
read again later: the gallery shows what it had.
"""

import dataclasses
import functools
import threading

import jax
import jax.numpy as jnp
import numpy as np

from experiments.live.restore import events_of
from experiments.run.metrics_log import read_metrics
from experiments.stages import build
from experiments.stages.clip_stores import clip_name
from experiments.stages.phase2 import finders, initial_state, saved_arms, starting_point
from experiments.stages.world_model import load_world_model
from prowl_jax.metrics import modes
from prowl_jax.rewards.dream import make_dream
from prowl_jax.train.checkpoint import CheckpointError, Checkpoints

MOST_POINTS = 300
KEPT_CLIPS = 64
BROUGHT = "brought"
"""In the place of a cycle: what no cycle found, but ``phase2.include`` brought."""


@dataclasses.dataclass(frozen=True)
class Shelf:
    """What an arm's buffer held after a cycle.

    Attributes:
      arm, cycle: whose, after how many cycles. params: the world model's then.
      clips: ``RealClip`` with leaves ``[n, ...]``, numpy. columns: name -> ``[n]``. names: n words that tell a clip
        from others, the same in every cycle. modes: n names of action modes.
    """

    arm: str
    cycle: int
    params: dict
    clips: object
    columns: dict
    names: list
    modes: list


class Gallery:
    """The buffers of a run's arms.

    Args:
      run: a ``Run`` that is not owned.
    """

    def __init__(self, run):
        self.run, self._lock = run, threading.RLock()
        self._shelves, self._history, self._read = {}, {}, {}
        self._clips, self._events, self._finding = {}, {}, threading.Lock()

    def arms(self):
        """Names of the arms that have saved a cycle."""
        return saved_arms(self.run)

    def shelf(self, arm):
        """The newest ``Shelf`` of an arm; None where it has found nothing yet."""
        with self._lock:
            paths = self.run.checkpoints(f"phase2/{arm}").glob("[0-9]*")
            saved = sorted(int(path.name) for path in paths if path.name.isdigit())
            for step in [s for s in saved if s not in self._read.setdefault(arm, set())]:
                self._take(arm, step)
            return self._shelves.get(arm)

    def history(self, arm, name):
        """[cycle, score, regret] of a clip after every cycle that was seen, in order."""
        return [[cycle, *values] for cycle, values in sorted(self._history.get((arm, name), {}).items())]

    def events(self, arm):
        """Names of the events in an arm's clips; the first time, those that are new are acted again, which takes time.

        Empty where the environment cannot be set to where they began.
        """
        shelf = self.shelf(arm)
        if shelf is None or "found in cycle" not in shelf.columns:
            return []
        with self._finding:
            new = [i for i, name in enumerate(shelf.names) if (arm, name) not in self._events]
            clips = jax.tree.map(lambda x: np.asarray(x)[new], shelf.clips)
            found = events_of(self.run, clips, shelf.columns["found in cycle"][new])
            self._events.update({(arm, shelf.names[i]): events for i, events in zip(new, found, strict=True)})
        return sorted({event for name in shelf.names for event in self._events[arm, name] or ()})

    def cards(self, arm, sort="score", rising=False, mode="", cycle=None, event="", offset=0, limit=24):
        """(how many there are, rows of the asked ones): what the gallery shows without pictures."""
        shelf = self.shelf(arm)
        if shelf is None:
            return 0, []
        values = shelf.columns[sort if sort in shelf.columns else "score"]
        order = np.argsort(values if rising else -values, kind="stable")
        found_in = shelf.columns.get("found in cycle")
        order = [i for i in order if not mode or shelf.modes[i] == mode]
        brought = np.array([name in self.finders for name in shelf.names], bool)
        if cycle == BROUGHT:
            order = [i for i in order if brought[i]]
        elif cycle is not None:
            order = [i for i in order if found_in is not None and found_in[i] == cycle and not brought[i]]
        order = [i for i in order if not event or event in (self._events.get((arm, shelf.names[i])) or ())]
        return len(order), [self._card(shelf, int(i)) for i in order[offset : offset + limit]]

    def clip(self, arm, name):
        """(header, bytes) of one clip: frames real, before, after; flows of reality and after. None: it is gone."""
        shelf = self.shelf(arm)
        if shelf is None or name not in shelf.names:
            return None
        key, i = (arm, name, shelf.cycle), shelf.names.index(name)
        if key not in self._clips:
            with self._lock:
                while len(self._clips) >= KEPT_CLIPS:
                    self._clips.pop(next(iter(self._clips)))
                self._clips[key] = self._dreamt(shelf, i)
        header, pictures = self._clips[key]
        return header | self._card(shelf, i), pictures

    def curves(self):
        """'stage/arm' -> metric -> [[step, value], ...], thinned to ``MOST_POINTS``."""
        lines = {}
        for row in read_metrics(self.run.workdir):
            where = "/".join(x for x in (row["stage"], row.get("arm")) if x)
            for name, value in row.items():
                if name not in ("stage", "arm", "step") and value is not None:
                    lines.setdefault(where, {}).setdefault(name, []).append([row["step"], value])
        return {where: {name: _thinned(points) for name, points in m.items()} for where, m in lines.items()}

    @functools.cached_property
    def finders(self):
        """Name of a clip -> who found it, of those that ``phase2.include`` brought."""
        return finders(self.run.config)

    @functools.cached_property
    def before(self):
        """theta_0's parameters, on the device."""
        return jax.device_put(load_world_model(self.run))

    def _card(self, shelf, i):
        columns = {name: round(float(column[i]), 4) for name, column in shelf.columns.items()}
        events = self._events.get((shelf.arm, shelf.names[i])) or ()
        card = {"name": shelf.names[i], "mode": shelf.modes[i], "columns": columns, "events": list(events)}
        by = self.finders.get(shelf.names[i])
        if by:  # of no cycle
            columns.pop("found in cycle", None)
        return card | {"by": by}

    def _take(self, arm, step):
        """Read one checkpoint; what cannot be read is left for later, or gone."""
        config, run = self.run.config, self.run
        method = build.make_method(config, arm)
        start = starting_point(run, method)
        try:
            with Checkpoints(run.checkpoints(f"phase2/{arm}"), alone=True) as checkpoints:
                state, _ = checkpoints.restore(initial_state(config, method, start), step)
        except (CheckpointError, FileNotFoundError, OSError):
            return
        self._read[arm].add(step)
        found = method.found(state)
        if found is None:
            return
        names = [clip_name(found.clips, i) for i in range(len(found.clips.actions))]
        rule = build.make_mode_rule(config)
        kinds = [_mode(rule, config, actions) for actions in found.clips.actions]
        for i, name in enumerate(names):
            row = [round(float(found.columns[c][i]), 4) for c in ("score", "regret") if c in found.columns]
            self._history.setdefault((arm, name), {})[step] = row
        if step >= max(self._read[arm]):
            params = jax.device_put(method.world_model_params(state, start))
            self._shelves[arm] = Shelf(arm, step, params, found.clips, found.columns, names, kinds)

    @functools.cached_property
    def _dream(self):
        config, model = self.run.config, build.make_world_model(self.run.config)
        dream = make_dream(model, build.make_budget(config).context, build.make_flow(config), common_noise=True)

        @jax.jit
        def dreamt(params, clip):
            made = dream(params, jax.random.key(config.phase2.noise_seed), clip)
            return jnp.round(made.frames * 255.0).astype(jnp.uint8)[0], made.flow[0]

        return dreamt

    def _dreamt(self, shelf, i):
        """What ``clip`` answers, but for what a card says."""
        clip = jax.tree.map(lambda x: np.asarray(x)[i : i + 1], shelf.clips)
        before, _ = self._dream(self.before, clip)
        after, flow = self._dream(shelf.params, clip)
        spec, real = build.spec_of(self.run.config), clip.frames[0]
        every = max(1, real.shape[1] // 8)
        flows = [np.asarray(f, np.float32)[:, every // 2 :: every, every // 2 :: every] for f in (clip.flow[0], flow)]
        header = {
            "frames": len(real), "dreamt": len(after), "height": real.shape[1], "width": real.shape[2],
            "arrows": flows[0].shape[1:3], "every": every, "cycle": shelf.cycle,
            "actions": [spec.describe(a) or "nothing" for a in clip.actions[0]],
            "history": self.history(shelf.arm, shelf.names[i]),
        }  # fmt: skip
        pictures = [np.ascontiguousarray(x, np.uint8).tobytes() for x in (real, before, after)]
        quarters = [np.clip(np.round(4 * f), -127, 127).astype(np.int8).tobytes() for f in flows]
        return header, pictures + quarters


def _thinned(points):
    """At most ``MOST_POINTS`` of them, the first and the newest among them."""
    return [*points[: -1 : -(-len(points) // (MOST_POINTS - 1))], points[-1]]


def _mode(rule, config, actions):
    """The commonest mode of a clip's steps, in words; ``any`` where the actions tell none apart."""
    spec = build.spec_of(config)
    if not modes.tell_apart(spec):
        return "any"
    try:
        windows = modes.modes_of(spec, actions[:-1], rule, stride=1)
    except ValueError:  # shorter than a window
        return "short"
    values, counts = np.unique(windows, return_counts=True)
    return modes.names(values[counts.argmax()])
