"""The GPU kernels against the golden vectors and, bit for bit, against those of the processor.

On a machine without a GPU they are carried out by Triton's interpreter, and compiled for GPUs to see what they would do there.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fedkseed import objectives
from fedkseed.errors import LedgerError, SettingError
from fedkseed.federation import Pool
from fedkseed.model import found, open_base
from fedkseed.pool import kernels
from fedkseed.pool.device import DeviceSweep, Placed
from fedkseed.pool.seed_pool import TILE, UNITS, key
from fedkseed.pool.sweep import Span, Sweep
from fedkseed.reading import Reader
from fedkseed.workbench import set_up
from fedkseed.zo import layout, passes
from fedkseed.zo.layout import flat
from fedkseed.zo.materialise import Weights
from fedkseed.zo.trainer import train
from tests.benches import federation, sparse
from tests.vectors import VECTORS, array, pool, title, trained

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
FAMILIES = ["hadamard", "rademacher", "gaussian"]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
LENGTHS = {0: 4097, 16: 1, 32: 127, 2**20 + 16: 4096, 2**31: 130}  # by first tile; a position may be above 2^32, a tile not
SPECIAL = [
    0.0,
    -0.0,
    1e-45,
    -1e-45,
    6e-8,
    -3e-8,
    6.1e-5,
    65504.0,
    65519.0,
    65520.0,
    3.39e38,
    np.inf,
    -np.inf,
    np.nan,
    1.0,
    -1.0,
]
TICK = 3.1e-7


def tensor(stored: np.ndarray) -> torch.Tensor:
    """An array of the host on the device; uint16 are the bit patterns of bfloat16."""
    line = torch.from_numpy(stored.copy())
    return (line.view(torch.bfloat16) if stored.dtype == np.uint16 else line).to(DEVICE)


def values(length: int, dtype: torch.dtype) -> torch.Tensor:
    """Ordinary numbers and special ones in turn, so that they meet every lane."""
    numbers = np.random.default_rng(length).standard_normal(length).astype(np.float32)
    places = np.arange(length // 3) * 3
    numbers[places] = np.resize(np.array(SPECIAL, np.float32), places.size)
    return torch.from_numpy(numbers).to(dtype)


def bits(line: torch.Tensor) -> bytes:
    """What a tensor holds, all that is not a number being one bit pattern."""
    host = line.cpu().clone()
    host[host.isnan()] = torch.nan
    return host.view(torch.uint8).numpy().tobytes()


def sparse_coefficients(size: int) -> np.ndarray:
    coefficients, rng = np.zeros(size, dtype=np.int64), np.random.default_rng(5)
    coefficients[rng.choice(size, 4, replace=False)] = rng.integers(-(2**40), 2**40, 4)
    return coefficients


@pytest.mark.parametrize("vector", VECTORS["directions"], ids=title)
def test_gpu_kernels_perturb_along_the_golden_directions(vector):
    out = torch.empty(TILE, device=DEVICE)
    span = Placed(first_tile=vector["tile"], base=torch.zeros(TILE, device=DEVICE), out=out)
    nothing = np.zeros(vector["K"], dtype=np.int64)
    DeviceSweep(pool(vector), [span]).materialise_(nothing, 1.0, along=vector["index"], shift=1.0 / vector["unit"])
    assert hashlib.sha256(out.cpu().numpy().astype(np.int8).tobytes()).hexdigest() == vector["sha256_int8"]


@pytest.mark.parametrize("vector", [v for v in VECTORS["displacements"] if v["family"] != "hadamard"], ids=title)
def test_gpu_kernels_sum_unstructured_directions_exactly(vector):
    coefficients, gaussian = array(vector["coefficients_i64le"], np.int64), vector["family"] == "gaussian"
    indices = np.flatnonzero(coefficients)
    total, z, words = np.empty(TILE, np.int64), np.empty(TILE, np.int8), np.empty((6, 128), np.uint32)
    kernels.displacement_(total, z, words, vector["tile"], indices, coefficients[indices], gaussian, *key(pool(vector)))
    assert hashlib.sha256(total.astype("<i8").tobytes()).hexdigest() == vector["sum_i64le_sha256"]
    out = torch.empty(TILE, device=DEVICE)
    span = Placed(first_tile=vector["tile"], base=torch.zeros(TILE, device=DEVICE), out=out)
    DeviceSweep(pool(vector), [span]).materialise_(coefficients, 1 / UNITS[vector["family"]])
    assert out.cpu().numpy().tobytes() == (np.float32(0) - total.astype(np.float32)).tobytes()


@pytest.mark.parametrize("vector", VECTORS["models"], ids=title)
def test_whole_models_are_rebuilt_bit_for_bit(vector):
    tensors = trained(vector)
    spans = [Placed(first_tile=t, base=tensor(base), out=torch.empty_like(tensor(base))) for t, base, _ in tensors]
    DeviceSweep(pool(vector), spans).materialise_(array(vector["coefficients_i64le"], np.int64), vector["tick"])
    assert [bits(span.out) for span in spans] == [bits(tensor(weights)) for _, _, weights in tensors]


@pytest.mark.parametrize(("along", "shift"), [(0, 0.0), (5, -1e-3)])
@pytest.mark.parametrize("wanted", DTYPES, ids=str)
@pytest.mark.parametrize("stored", DTYPES, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_rebuild_has_the_bits_of_the_processor(family, stored, wanted, along, shift):
    """Of tensors that begin anywhere and end in the midst of a row, with zeros of both signs, subnormals, infinities, NaN."""
    made, coefficients = Pool(family=family, size=128, seed=2**64 - 5), sparse_coefficients(128)
    bases = {tile: values(length, stored) for tile, length in LENGTHS.items()}
    here = {tile: torch.empty_like(base, dtype=wanted) for tile, base in bases.items()}
    there = {tile: torch.empty_like(base, dtype=wanted, device=DEVICE) for tile, base in bases.items()}
    spans = [Span(first_tile=tile, base=flat(base), out=flat(here[tile])) for tile, base in bases.items()]
    device_spans = [Placed(first_tile=tile, base=base.to(DEVICE), out=there[tile]) for tile, base in bases.items()]
    with np.errstate(all="ignore"):  # what overflows is meant to
        Sweep(made, spans, 1).materialise_(coefficients, TICK, along=along, shift=shift)
        DeviceSweep(made, device_spans).materialise_(coefficients, TICK, along=along, shift=shift)
    assert [bits(out) for out in there.values()] == [bits(out) for out in here.values()]


@pytest.mark.parametrize("size", [256, 1024, 8192, 65536])
def test_blocks_of_every_size_have_the_masks_of_the_processor(size):
    made, base = Pool(family="hadamard", size=size, seed=3), values(9000, torch.float32)
    coefficients = np.random.default_rng(0).standard_normal(size)  # as in local training: not whole
    here, there = torch.empty(9000), torch.empty(9000, device=DEVICE)
    with np.errstate(all="ignore"):
        Sweep(made, [Span(first_tile=48, base=flat(base), out=flat(here))], 1).materialise_(coefficients, TICK)
        DeviceSweep(made, [Placed(first_tile=48, base=base.to(DEVICE), out=there)]).materialise_(coefficients, TICK)
    assert bits(there) == bits(here)


@pytest.mark.parametrize("wanted", DTYPES, ids=str)
@pytest.mark.parametrize("family", ["rademacher", "gaussian"])
def test_steps_have_the_bits_of_the_processor(family, wanted):
    """The first moves nothing, as the first of local training."""
    made, master = Pool(family=family, size=16, seed=4), values(5000, torch.float32)
    masters, outs = (
        (master.clone(), master.to(DEVICE, copy=True)),
        (torch.empty(5000, dtype=wanted), torch.empty(5000, dtype=wanted, device=DEVICE)),
    )
    here = Sweep(made, [Span(first_tile=7, base=flat(masters[0]), out=flat(outs[0]))], 1)
    there = DeviceSweep(made, [Placed(first_tile=7, base=masters[1], out=outs[1])])
    for last, move in ((0, 0.0), (3, 0.1), (15, -1e-9)):
        with np.errstate(all="ignore"):
            here.step_(last, move, 9, 1e-3)
            there.step_(last, move, 9, 1e-3)
        assert bits(masters[1]) == bits(masters[0])
        assert bits(outs[1]) == bits(outs[0])


@pytest.mark.parametrize("coefficient", [0, 1, -1])
@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_moves_without_coefficients_or_with_too_small_ones(family, coefficient):
    """Not even the sign of zero."""
    base, out = values(5000, torch.float32).to(DEVICE), torch.empty(5000, device=DEVICE)
    coefficients = np.zeros(128, np.int64)
    coefficients[3] = coefficient
    span = Placed(first_tile=0, base=base, out=out)
    DeviceSweep(Pool(family=family, size=128, seed=1), [span]).materialise_(coefficients, 1e-60)
    assert bits(out) == bits(base)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_float32_is_rounded_to_sixteen_bits_as_torch_does(dtype):
    """Half to even, through subnormals and overflow: the half-way point after every number, and its neighbours."""
    drop = 13 if dtype == torch.float16 else 16
    starts = torch.arange(0, 2**16, 7, dtype=torch.int32).to(torch.int16).view(dtype).float()
    halves = (starts.view(torch.int32) + 2 ** (drop - 1))[:, None] + torch.tensor([-1, 0, 1], dtype=torch.int32)
    numbers = halves.reshape(-1).view(torch.float32)
    out = torch.empty_like(numbers, dtype=dtype, device=DEVICE)
    span = Placed(first_tile=0, base=numbers.to(DEVICE), out=out)
    with np.errstate(all="ignore"):
        DeviceSweep(Pool(family="hadamard", size=128, seed=0), [span]).materialise_(np.zeros(128, np.int64), 1.0)
    assert bits(out) == bits(numbers.to(dtype))


def test_coefficients_that_could_not_be_summed_exactly_are_refused():
    span = Placed(first_tile=0, base=torch.zeros(5, device=DEVICE), out=torch.zeros(5, device=DEVICE))
    with pytest.raises(LedgerError, match=r"2\^53"):
        DeviceSweep(Pool(family="gaussian", size=2, seed=0), [span]).materialise_(np.full(2, 2**49), 1.0)


@pytest.mark.parametrize("part", ["full", "sparse"])
@pytest.mark.parametrize("family", FAMILIES)
def test_weights_that_are_trained_are_those_of_the_processor(tiny_base, family, part):
    """Perturbed, stepped and scattered on the device, evaluated by the processor: the same losses, so the same pairs."""
    base = open_base(tiny_base) if part == "full" else sparse(open_base(tiny_base))
    settings = federation(tiny_base, family)
    genesis, task = found(settings, base), objectives.bind(settings.objective, base.tokenizer)
    examples = [task.encode({"text": "w1 w2", "label": 0}), task.encode({"text": "w3", "label": 1})]
    prepared = Reader(base.model, task).prepare(examples)
    slots = layout.place(genesis.pool, genesis.layout, base.support)
    measured = []
    for where, make in ((torch.device("cpu"), passes.by_processor), (DEVICE, passes.by_device)):
        kept = {name: p.detach().to(where, copy=True) for name, p in open_base(tiny_base).parameters.items()}
        working = {name: p.clone() for name, p in kept.items()}
        weights = Weights(pool=genesis.pool, slots=slots, base=kept, working=working, tick=genesis.tick, threads=1, passes=make)

        def loss(batch, working=working):
            for name, parameter in base.parameters.items():
                parameter.data = working[name].cpu()
            return Reader(base.model, task).mean_loss(batch)

        directions = np.array([3, 200])
        result = train(
            weights, loss, [prepared] * 2, coefficients=sparse_coefficients(256) >> 30, directions=directions, eps=1e-2, lr=1e-2
        )
        measured.append((result.gradients.tobytes(), result.loss, [bits(line) for line in working.values()]))
    assert measured[0] == measured[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_working_model_is_trained_and_scored_where_it_is(tiny_base, family):
    """On a GPU its losses are others in the last digits, but a ledger's weights are those of the processor."""
    settings, digests = federation(tiny_base, family), []
    for device in ("cpu", DEVICE.type):
        base = open_base(tiny_base)
        genesis, task = found(settings, base), objectives.bind(settings.objective, base.tokenizer)
        examples = [task.encode({"text": "w1 w2", "label": 0}), task.encode({"text": "w3", "label": 1})]
        weights, reader = set_up(genesis, base, dtype=torch.float32, device=device).weights, Reader(base.model, task)
        chance, nothing = np.random.default_rng(0), np.zeros(256, np.int64)
        result = train(
            weights,
            reader.mean_loss,
            map(reader.prepare, [examples] * 3),
            coefficients=nothing,
            directions=chance.integers(0, 256, 3),
            eps=1e-2,
            lr=1e-3,
        )
        assert result.loss == pytest.approx(np.log(2), abs=0.1)
        weights.materialise_(sparse_coefficients(256) >> 30)
        assert reader.score(examples, 2)["loss"] > 0
        digests.append(layout.weights_digest(genesis.layout, base.parameters))
        assert {p.device.type for p in base.parameters.values()} == {device}
    assert digests[0] == digests[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_device_is_compared_with_the_processor_before_it_is_used(family):
    passes.check(DEVICE, family)

    def other(made, tensors, threads):
        return passes.by_device(Pool(family=made.family, size=made.size, seed=made.seed + 1), tensors)

    with pytest.raises(SettingError, match=f"device {DEVICE}: its weights are not, bit for bit"):
        passes.check(DEVICE, family, other)


@pytest.mark.parametrize(
    ("name", "said"),
    [("cuda:99", "torch finds"), ("mps", "only cpu and cuda"), ("gpu", "not a name"), ("cuda:x", "not a name")],
)
def test_a_device_that_cannot_be_used_is_named(name, said):
    with pytest.raises(SettingError, match=f"device {name}: {said}"):
        passes.find(name)


def test_without_triton_everything_but_a_gpu_works():
    program = """
import sys
sys.modules["triton"] = None
from fedkseed import errors, model
from fedkseed.zo import passes
assert passes.find().type == "cpu"
try:
    passes.find("cuda")
except errors.SettingError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "device cuda: triton is not installed: pip install 'fedkseed[gpu]'\n"


@pytest.mark.parametrize("capability", [80, 90])
def test_compiled_for_a_gpu_nothing_is_fused_and_no_subnormal_flushed(tmp_path, capability):
    """The machine code of every kernel, made without the GPU it is for."""
    environment = {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    program = Path(__file__).with_name("compiled.py")
    ran = subprocess.run(
        [sys.executable, str(program), str(capability)], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["hadamard_", "rebuild_", "step_"]
