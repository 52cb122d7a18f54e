"""Small federations for the simulator, with training that is a formula instead of a model."""

import numpy as np

from fedkseed import federation as settings
from fedkseed.genesis import Genesis
from fedkseed_client.events import Trained
from fedkseed_evaluator.machine import Evaluated
from fedkseed_simulator.circumstances import generator
from fedkseed_simulator.simulation import Simulation

NAME = "toy"
K = 128
LR = 0.5
TICK = LR / 16
STEPS = 10  # so many virtual seconds at slowness 1
CLIENTS = {"ann": 5, "bob": 1, "cec": 40, "dan": 3}


def federation(*, training=None, every=1, simulation=None, robust=None, **rounds) -> settings.Federation:
    """A federation as a TOML file would describe it; keywords are its round policy."""
    return settings.parse(
        {
            "name": NAME,
            "model": {"base": "none"},
            "objective": {"kind": "response"},
            "data": {"train": "none", "held_out": "none", "partition": {"by": "iid", "clients": len(CLIENTS)}},
            "pool": {"size": K},
            "training": {"steps": STEPS, "lr": LR} | (training or {}),
            "rounds": {"cohort": 4, "deadline_seconds": 1000.0} | rounds,
            "evaluation": {"every": every},
            "simulation": simulation or {},
            "robust": robust,
        }
    )


def genesis(name=NAME) -> bytes:
    plain = Genesis(
        federation=name,
        layout=(),
        base_digest="0" * 64,
        support_digest=None,
        pool=settings.Pool(size=K),
        objective=settings.Response(kind="response"),
        lr=LR,
        tick=TICK,
    )
    return plain.encode()


def pairs(client, base, steps=STEPS):
    """What a client measures on a version: seed indices and scalars, shape (steps,) each."""
    dice = generator(7, "pairs", client, base)
    return dice.integers(0, K, steps).astype(np.uint16), dice.normal(size=steps).astype(np.float16)


def train(client, assignment) -> Trained:
    k, g = pairs(client, assignment.base, assignment.round.steps)
    loss = 1.0 / (1 + assignment.base)
    return Trained(base=assignment.base, k=k.tobytes(), g=g.tobytes(), loss=loss, seconds=0.0, skipped=0)


def score(evaluate) -> Evaluated:
    return Evaluated(version=evaluate.version, metrics={"loss": 8.0 - evaluate.version}, examples=3, seconds=0.0)


def simulation(described, *, clients=CLIENTS, train=train, score=score, observe=lambda _: None) -> Simulation:
    return Simulation(federation=described, genesis_bytes=genesis(), clients=clients, train=train, score=score, observe=observe)


def run(described, **parts):
    return simulation(described, **parts).run()


def members(outcome):
    """(client, base) of everything that was counted, round by round."""
    return [(member.client, member.base) for commit in outcome.log for member in commit.members]
