"""A policy learns from the rewards of a ``DeviceEnv``, real or dreamt: PPO, and CMA-ES on what few numbers it has.

    dreams  <- act(pi, DreamEnv(theta))                   real contexts, imagined frames, rewards and ends by heads
    A_t     =  GAE of the rewards                          an end is worth nothing after it; a limit of steps is no end
    pi      <- PPO(pi, dreams; pi_ref)                     KL-anchored to pi_ref, as Dreamer 4's is to its prior

World Models (arXiv 1803.10122) searches a linear controller by CMA-ES; DIAMOND (arXiv 2405.12399) learns an
actor-critic from dreams of 15 steps with lambda-returns. The environment is an argument: the same program learns in
dreams of any temperature, and another one of the same shapes in reality. Where reality is a ``HostEnv`` (``host``), the
policy acts from Python, and only what it learns is a program.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from prowl_jax.methods.acting import make_act_out
from prowl_jax.methods.acting_on_host import make_host_act_out
from prowl_jax.rl.gae import gae
from prowl_jax.rl.pmpo import PMPOConfig, pmpo_loss
from prowl_jax.rl.ppo import PPOConfig, ppo_loss
from prowl_jax.settings import COUNT, NATURAL, POSITIVE, SHARE, check, one_of, setting
from prowl_jax.train.state import apply_gradients

OBJECTIVES = ("ppo", "pmpo")


@dataclasses.dataclass(frozen=True)
class Imagination:
    """How PPO learns from rewards.

    Attributes:
      ppo, pmpo: the loss's weights; ``ppo.kl_cost`` and ``pmpo.prior_cost`` hold the policy to the one that was cloned.
        The value's weight is ``ppo``'s in both.
    """

    updates: int = setting(200, "rounds of acting and learning", COUNT)
    rows: int = setting(32, "dreams of a round", COUNT)
    steps: int = setting(32, "of each of them", COUNT, source="DIAMOND: 15")
    reward_scale: float = setting(1.0, "by which rewards are multiplied before they are learned from", POSITIVE)
    discount: float = setting(0.985, "gamma", SHARE, source="DIAMOND: 0.985")
    lambda_: float = setting(0.95, "of GAE", SHARE, source="DIAMOND: 0.95")
    learning_rate: float = setting(3e-4, "of Adam", POSITIVE)
    max_norm: float = setting(1.0, "largest global norm of a gradient", POSITIVE)
    epochs: int = setting(2, "passes over the dreams of a round", COUNT)
    minibatches: int = setting(4, "parts of each pass; they divide the rows", COUNT)
    objective: str = setting("ppo", "or pmpo: by the signs of advantages alone", one_of(OBJECTIVES))
    ppo: PPOConfig = PPOConfig(kl_cost=0.0)
    pmpo: PMPOConfig = PMPOConfig()

    def __post_init__(self):
        check(self)
        if self.rows % self.minibatches:
            raise ValueError(f"rows={self.rows} are not whole minibatches={self.minibatches}")

    @property
    def optimizer(self):
        """Adam at a constant rate with clipping, PPO's usual choice."""
        return optax.chain(optax.clip_by_global_norm(self.max_norm), optax.adam(self.learning_rate, eps=1e-5))


@dataclasses.dataclass(frozen=True)
class Evolution:
    """How CMA-ES searches. World Models: a population of 64, 16 rollouts each, sigma 0.1."""

    generations: int = setting(60, "of the search", COUNT)
    population: int = setting(32, "candidates of a generation", COUNT, source="World Models: 64")
    rollouts: int = setting(4, "dreams of each, begun alike by all", COUNT, source="World Models: 16")
    steps: int = setting(0, "of a rollout; 0: the limit of an episode", NATURAL)
    sigma: float = setting(0.1, "deviation of the first generation", POSITIVE, source="World Models: 0.1")
    components: int = setting(8, "principal components of the latents that the controller sees", COUNT)

    def __post_init__(self):
        check(self)


def make_returns(policy, steps, host=False):
    """What a policy gains in an episode: a pure function, to be used under ``jit`` unless the environment is a host's.

    Returns:
      ``returns(env, params, env_keys [B], key) -> {"return": [B], "steps": [B], "over": [B]}``: the sum of the rewards
      of the first episode of each key, at most ``steps`` long, how many steps it had, and whether it was over before.
    """

    def keep(seen, actions, log_prob, value, after, kl):
        del seen, actions, log_prob, value, kl
        return after.info["reward"], after.info["over"]

    act_out = (make_host_act_out if host else make_act_out)(policy, steps=steps, keep=keep)

    def returns(env, params, env_keys, key):
        _, (reward, over), done = act_out(env, params, params, env_keys, key)
        ended = jnp.cumsum(done, axis=0)
        alive = jnp.concatenate([jnp.ones_like(ended[:1]), ended[:-1] == 0]).astype(jnp.float32)
        return {"return": (alive * reward).sum(0), "steps": alive.sum(0), "over": (alive * over).sum(0) > 0}

    return returns


def advantages(reward, value, over, done, discount, lambda_):
    """GAE where episodes end within the rows, and some of them at a limit.

    Where an episode is over, nothing follows. Where it only reached its limit, what would have followed is worth what
    the last frame was (its value stands for the one after, which nobody saw).

    Args:
      reward, over, done: ``[T, B]``. value: float ``[T + 1, B]``, of the frames acted on and the one after them.

    Returns:
      float ``[T, B]``.
    """
    limit = done & ~over
    reward = reward + discount * jnp.where(limit, value[:-1], 0.0)
    discounts = jnp.where(done, 0.0, discount)
    return jax.vmap(gae, (1, 1, 1, None), 1)(reward, value, discounts, lambda_)


def make_ppo_step(policy, settings, host=False):
    """One round of acting and learning.

    Returns:
      ``step(state, env, reference, key) -> (state, metrics)``, one program, or, where the environment is a ``host``'s,
      acting and then a program that learns; state donated. ``metrics`` are those of
      the objective's loss after the round, ``return`` (rewards of a row), and ``over`` (ends of a row).
    """

    def keep(seen, actions, log_prob, value, after, kl):
        del kl
        seen = seen.frames, seen.previous, seen.first
        return (*seen, actions, log_prob, value), (after.info["reward"], after.info["over"])

    act_out = (make_host_act_out if host else make_act_out)(policy, steps=settings.steps, keep=keep)

    def said(params, frames, previous, first):
        return policy.apply(params, policy.initial_state(len(frames)), frames, previous, first)

    def loss(params, part):
        frames, previous, first, actions, log_prob, reference, advantage, target = part
        logits, value, _ = said(params, frames, previous, first)
        mask = jnp.ones_like(advantage)
        if settings.objective == "pmpo":
            steps = logits, value, reference, actions, advantage, target
            return pmpo_loss(*steps, policy.sizes, settings.pmpo, settings.ppo.value_cost)
        return ppo_loss(
            logits, value, reference, actions, log_prob, advantage, target, mask, policy.sizes, settings.ppo
        )

    def learn(state, reference, acted, order_key):
        seen, (columns, (reward, over)), done = acted
        one = seen.frames[:, None], seen.previous[:, None], seen.first[:, None]
        _, last, _ = policy.apply(state.params, seen.memory, *one)
        value = jnp.concatenate([columns[-1], last.T])
        advantage = advantages(settings.reward_scale * reward, value, over, done, settings.discount, settings.lambda_)
        target = advantage + value[:-1]
        if settings.objective == "ppo":  # the other asks for the sign
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-6)
        frames, previous, first, actions, log_prob, _ = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), columns)
        anchor, _, _ = said(reference, frames, previous, first)
        whole = frames, previous, first, actions, log_prob, anchor, advantage.T, target.T

        def minibatch(state, rows):
            part = jax.tree.map(lambda x: x[rows], whole)
            return apply_gradients(state, jax.grad(lambda p: loss(p, part)[0])(state.params), settings.optimizer), None

        orders = jax.vmap(lambda k: jax.random.permutation(k, settings.rows))(
            jax.random.split(order_key, settings.epochs)
        )
        orders = orders.reshape(settings.epochs * settings.minibatches, -1)
        state, _ = jax.lax.scan(minibatch, state, orders)
        value, metrics = loss(state.params, whole)
        return state, {"loss": value, "return": reward.sum(0).mean(), "over": over.sum(0).mean(), **metrics}

    learn_alone = jax.jit(learn, donate_argnums=0)

    def step(state, env, reference, key):
        env_key, act_key, order_key = jax.random.split(key, 3)
        keys = jax.random.split(env_key, settings.rows)
        acted = act_out(env, state.params, state.params, keys, act_key)
        return (learn_alone if host else learn)(state, reference, acted, order_key)

    return step if host else jax.jit(step, donate_argnums=0)


def make_evolution(controller, settings, steps):
    """CMA-ES (Hansen, arXiv 1604.00772; the library ``evosax``) on the ``map`` of a controller.

    Returns:
      (``init(params, key) -> state``, ``step(state, params, env, key) -> (state, metrics)``, jitted,
      ``params_of(state, params)``, the controller at the mean of the search).

    Raises:
      ImportError: evosax is not installed (the extra ``evolve``).
    """
    from evosax.algorithms import CMA_ES  # optional

    returns = make_returns(controller, settings.steps or steps)

    def strategy(params):
        return CMA_ES(population_size=settings.population, solution=params["map"])

    def init(params, key):
        search = strategy(params)
        return _strong(search.init(key, params["map"], _begin(search, settings)))

    @jax.jit
    def step(state, params, env, key):
        search = strategy(params)
        ask, env_key, act_key, tell = jax.random.split(key, 4)
        candidates, state = search.ask(ask, state, _begin(search, settings))
        keys = jax.random.split(env_key, settings.rollouts)  # the same for all: chance is no advantage
        gained = jax.vmap(lambda m: returns(env, {**params, "map": m}, keys, act_key)["return"].mean())(candidates)
        state, _ = search.tell(tell, candidates, -gained, state, _begin(search, settings))
        figures = {"return": gained.mean(), "best": gained.max(), "sigma": state.std}
        return _strong(state), {"loss": -gained.mean(), **figures}

    def params_of(state, params):
        return {**params, "map": strategy(params).get_mean(state)}

    return init, step, params_of


def _strong(tree):
    """Arrays that keep their types whatever they meet: of weak ones the second generation would be another program."""
    return jax.tree.map(lambda x: jax.lax.convert_element_type(jnp.asarray(x), jnp.asarray(x).dtype), tree)


def _begin(search, settings):
    return search.default_params.replace(std_init=jnp.float32(settings.sigma))
