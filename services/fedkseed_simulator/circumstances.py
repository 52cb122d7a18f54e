"""What chance decides in a simulation: each draw has a generator of its own, derived from the seed and what it is for.

So nothing depends on the order of events: a client is as fast, and drops out of the same rounds, whatever the others do.
"""

import hashlib

import numpy as np

from fedkseed.federation import Simulation


def generator(seed: int, purpose: str, *about: str | int) -> np.random.Generator:
    """A generator for one purpose, for one client, for one round, ...: independent of every other one."""
    key = hashlib.sha256("\0".join(map(str, (purpose, *about))).encode()).digest()
    return np.random.default_rng(np.random.SeedSequence([seed, *np.frombuffer(key, "<u4").tolist()]))


def slowness(settings: Simulation, client: str) -> float:
    """The factor on `step_seconds` of one client: median 1 with the log-normal law, at least 1 with Pareto's."""
    dice = generator(settings.seed, "speed", client)
    match settings.speeds.law:
        case "constant":
            return 1.0
        case "log-normal":
            return float(dice.lognormal(0.0, settings.speeds.spread))
        case "pareto":
            return float(1.0 + dice.pareto(settings.speeds.spread))


def drops_out(settings: Simulation, client: str, version: int, attempt: int) -> bool:
    """Whether a client that is invited to an attempt at a round is gone for it."""
    return bool(generator(settings.seed, "dropout", client, version, attempt).random() < settings.dropout)
