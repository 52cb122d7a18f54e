"""Compiles the GPU kernels for a GPU that need not be there, and looks at the instructions: python compiled.py CAPABILITY."""

import re
import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from fedkseed.pool import triton_kernels

HAS_TO_ROUND = {"hadamard_": ("FADD",), "rebuild_": ("DMUL", "DADD", "FADD"), "step_": ("FMUL", "FADD")}
PLACE = {"length": "i64", "first": "i32", "seed": "u64"}
KERNELS = {
    "hadamard_": ({"base": "*fp32", "out": "*i16", "table": "*fp32"}, {"size": 4096}),
    "rebuild_": (
        {
            "base": "*i16",
            "out": "*fp16",
            "indices": "*i64",
            "coefficients": "*i64",
            "count": "i32",
            "numbers": "*fp64",
            "along": "i32",
        },
        {"gaussian": True, "shifted": True},
    ),
    "step_": (
        {"master": "*fp32", "out": "*fp32", "last": "i32", "move": "fp32", "along": "i32", "shift": "fp32"},
        {"gaussian": False, "moved": True},
    ),
}

for name, (types, constants) in KERNELS.items():
    kernel = getattr(triton_kernels, name)
    signature = {argument: (PLACE | types).get(argument, "constexpr") for argument in kernel.arg_names}
    fixed = {(kernel.arg_names.index(argument),): value for argument, value in constants.items()}
    source = ASTSource(fn=kernel, signature=signature, constexprs=fixed)
    compiled = triton.compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32), options=triton_kernels.OPTIONS)
    instructions = set(re.findall(r"\b[A-Z][A-Z0-9.]+\b", compiled.asm["sass"]))
    kinds = {instruction.split(".")[0] for instruction in instructions}
    assert not kinds & {"FFMA", "DFMA", "HFMA2"}, kinds
    assert not [instruction for instruction in instructions if "FTZ" in instruction.split(".")], instructions
    assert kinds >= set(HAS_TO_ROUND[name]), kinds
    print(name)
