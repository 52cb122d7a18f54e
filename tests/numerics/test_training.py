"""Zeroth-order training on a real, small, random Llama: against autograd, against itself, and does it learn."""

import numpy as np
import pytest
import torch

from fedkseed.federation import Federation
from fedkseed.model import Base, found, open_base
from fedkseed.objectives import Encoded
from fedkseed.reading import Reader
from fedkseed.workbench import set_up
from fedkseed.zo import layout
from fedkseed.zo.estimator import evaluations, projected_gradient
from fedkseed.zo.materialise import Weights
from fedkseed.zo.trainer import Measured, train
from tests.benches import federation, sparse

FAMILIES = ["hadamard", "rademacher", "gaussian"]
EXAMPLES = [{"text": f"w{i} w{(i * 7) % 54}", "label": i % 2} for i in range(40)]  # an even word first: terrible


def bench(base: Base, settings: Federation, threads: int = 2) -> tuple[Weights, Reader, list[Encoded]]:
    made = set_up(found(settings, base), base, dtype=torch.float32, threads=threads)
    return made.weights, made.reader, [made.task.encode(example) for example in EXAMPLES]


def learn(base: Base, settings: Federation, steps: int, threads: int = 2, per_batch: int = 1) -> tuple[Measured, float, float]:
    """Train on the toy task; give what was measured and the loss before and after."""
    weights, reader, examples = bench(base, settings, threads)
    coefficients = np.zeros(256, np.int64)
    weights.materialise_(coefficients)
    before = reader.score(examples, 40)["loss"]
    measured = train(
        weights,
        reader.mean_loss,
        map(reader.prepare, [examples] * (steps // per_batch)),
        coefficients=coefficients,
        directions=np.random.default_rng(0).integers(0, 256, steps),
        per_batch=per_batch,
        eps=settings.training.eps,
        lr=settings.training.lr,
    )
    np.add.at(coefficients, measured.seed_indices, np.rint(16 * measured.gradients.astype(np.float64)).astype(np.int64))
    weights.materialise_(coefficients)
    return measured, before, reader.score(examples, 40)["loss"]


@pytest.mark.parametrize("part", ["full", "sparse"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_projected_gradient_is_the_directional_derivative(tiny_base, family, part):
    base = open_base(tiny_base) if part == "full" else sparse(open_base(tiny_base))
    weights, reader, examples = bench(base, federation(tiny_base, family))
    nothing = np.zeros(256, np.int64)
    weights.materialise_(nothing)
    prepared = reader.prepare(examples)
    gradients = torch.autograd.grad(reader.losses(prepared)[0].mean(), list(base.parameters.values()))
    origin = {name: p.detach().clone() for name, p in base.parameters.items()}
    for k in (0, 1, 200):
        weights.materialise_(nothing, along=k, shift=1.0)
        derivative = sum(
            float(torch.sum(gradient.double() * (p.detach().double() - origin[name].double())))
            for gradient, (name, p) in zip(gradients, base.parameters.items(), strict=True)
        )
        losses = []
        for shift in (1e-3, -1e-3):
            weights.materialise_(nothing, along=k, shift=shift)
            losses.append(float(reader.mean_loss(prepared)))
        assert projected_gradient(*losses, 2e-3) == pytest.approx(derivative, rel=0.03, abs=2e-3)


@pytest.mark.parametrize("part", ["full", "sparse"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_small_model_learns_a_toy_task(tiny_base, family, part):
    base = open_base(tiny_base) if part == "full" else sparse(open_base(tiny_base))
    lr = 1e-3 if part == "full" else 5e-3
    measured, before, after = learn(base, federation(tiny_base, family, lr), 250)
    assert measured.skipped == 0
    assert after < 0.6 * before


@pytest.mark.parametrize("family", FAMILIES)
def test_it_learns_from_directions_that_share_an_unperturbed_loss(tiny_base, family):
    measured, before, after = learn(sparse(open_base(tiny_base)), federation(tiny_base, family, 5e-3), 256, per_batch=8)
    assert len(measured.gradients) == 256
    assert after < 0.6 * before


@pytest.mark.parametrize("family", FAMILIES)
def test_two_runs_measure_the_same_bits_on_any_number_of_threads(tiny_base, family):
    runs = [learn(open_base(tiny_base), federation(tiny_base, family, 1e-3), 30, threads)[0] for threads in (1, 2, 2)]
    assert len({(run.seed_indices.tobytes(), run.gradients.tobytes(), run.loss) for run in runs}) == 1


def test_a_step_without_a_finite_loss_is_skipped_and_counted(tiny_base):
    base = open_base(tiny_base)
    weights, _, _ = bench(base, federation(tiny_base))
    losses = iter([1.0, 0.5, float("nan"), 0.5, 1.0, float("inf"), 1.0, 0.75])
    measured = train(
        weights,
        lambda _: next(losses),
        [0] * 4,
        coefficients=np.zeros(256, np.int64),
        directions=np.arange(4),
        eps=0.5,
        lr=1e-3,
    )
    assert measured.seed_indices.tolist() == [0, 3]
    assert measured.gradients.tolist() == [0.5, 0.25]
    assert measured.skipped == 2
    assert measured.loss == pytest.approx(4.75 / 6)


@pytest.mark.parametrize("part", ["full", "sparse"])
@pytest.mark.parametrize("family", FAMILIES)
def test_local_weights_take_several_steps_before_they_are_shown(tiny_base, family, part):
    base = open_base(tiny_base) if part == "full" else sparse(open_base(tiny_base))
    weights, _, _ = bench(base, federation(tiny_base, family))
    coefficients = np.zeros(256, np.int64)
    here = weights.local(coefficients)
    for k, ticks in ((1, 4000), (2, -3000), (1, 500), (9, 5000)):
        here.move_(k, ticks)
        coefficients[k] += ticks
    here.perturb_(0, 0.0)
    shown = {name: p.detach().clone() for name, p in base.parameters.items()}
    weights.materialise_(coefficients)
    for name, p in base.parameters.items():
        torch.testing.assert_close(shown[name], p.detach(), rtol=1e-5, atol=1e-6)


def test_directions_of_a_batch_are_measured_against_one_loss_and_followed_together(tiny_base):
    base = open_base(tiny_base)
    weights, _, _ = bench(base, federation(tiny_base))
    seen = []

    def loss(batch):
        seen.append((batch, next(iter(base.parameters.values())).detach().clone()))
        return [1.0, 0.75, float("nan"), 0.5, 3.0, 2.0][len(seen) - 1]

    measured = train(
        weights, loss, "ab", coefficients=np.zeros(256, np.int64), directions=np.arange(4), per_batch=3, eps=0.5, lr=0.1
    )
    assert [batch for batch, _ in seen] == ["a"] * 4 + ["b"] * 2
    assert measured.seed_indices.tolist() == [0, 1, 3]
    assert measured.gradients.tolist() == [1.0, 0.5, 2.0]
    assert (measured.skipped, measured.loss) == (1, pytest.approx(7.25 / 5))
    weights.materialise_(np.zeros(256, np.int64))
    torch.testing.assert_close(seen[3][1], next(iter(base.parameters.values())).detach())  # the shared loss is unperturbed
    assert not torch.equal(seen[5][1], seen[3][1])
    assert len(seen) == evaluations(3, 3) + evaluations(1, 3)


@pytest.mark.parametrize(("steps", "per_batch", "passes"), [(200, 1, 400), (40, 8, 45), (8, 8, 9), (9, 8, 11)])
def test_a_batch_takes_one_evaluation_more_than_it_has_directions(steps, per_batch, passes):
    assert evaluations(steps, per_batch) == passes


@pytest.mark.parametrize(("plus", "minus"), [(float("nan"), 0.0), (float("inf"), 0.0), (70_000.0, 0.0)])
def test_an_unusable_scalar_is_none(plus, minus):
    assert projected_gradient(plus, minus, 1.0) is None


def test_a_tied_tensor_counts_once(tiny_base):
    names = [spec.name for spec in open_base(tiny_base).layout]
    assert "model.embed_tokens.weight" in names
    assert "lm_head.weight" not in names
    assert names == sorted(names)


def test_a_sparse_support_never_touches_the_rest(tiny_base):
    base = sparse(open_base(tiny_base), 0.1)
    before = {name: p.detach().clone() for name, p in base.parameters.items()}
    weights, _, _ = bench(base, federation(tiny_base))
    weights.materialise_(np.full(256, 10**6), along=1, shift=1.0)
    for name, p in base.parameters.items():
        moved = np.flatnonzero((p != before[name]).numpy())
        assert moved.size
        assert set(moved) <= set(base.support[name])


def test_the_digest_covers_names_dtypes_shapes_and_bytes(tiny_base):
    base = open_base(tiny_base)
    digest = layout.weights_digest(base.layout, base.parameters)
    with torch.no_grad():
        base.parameters["model.norm.weight"][3] += 1e-6
    assert layout.weights_digest(base.layout, base.parameters) != digest
