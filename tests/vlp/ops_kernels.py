"""The Triton kernels without a GPU: run by Triton's interpreter, or compiled for one; to a file."""

import sys

import numpy as np
import torch
import torch.nn.functional as F

from vlp.ops import contrastive, contrastive_loss, sharded_contrastive_loss, triton_kernels

# Rows, width, side of a tile and smoothing: with ragged ends of blocks of 128, and of tiles.
CASES = [(5, 16, 4096, 0.0), (128, 32, 128, 0.1), (150, 48, 4096, 0.0), (200, 32, 140, 0.1)]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def leaves(rows, width, dtype, scale=10.0):
    generator = torch.Generator().manual_seed(0)
    image, noise = (torch.randn(rows, width, generator=generator) for _ in range(2))
    pairs = (F.normalize(image, dim=1), F.normalize(image + 2 * noise, dim=1))
    tensors = [t.to(dtype) for t in pairs] + [torch.tensor(scale)]
    return [t.requires_grad_() for t in tensors]


def outcome(loss, tensors):
    return [loss.detach(), *torch.autograd.grad(loss, tensors)]


def interpreted():
    """{(dtype, case): [loss, gradients of image, text and scale]}, and two extra runs."""
    found = {}
    for name, dtype in DTYPES.items():
        for case in CASES:
            rows, width, size, smoothing = case
            contrastive.choose_tiles = lambda *_, size=size: triton_kernels.TritonTiles(size)
            tensors = leaves(rows, width, dtype)
            loss = contrastive_loss(*tensors, label_smoothing=smoothing)
            found[name, case] = outcome(loss, tensors)
    loss = contrastive_loss(*tensors, label_smoothing=smoothing)
    found["again"] = outcome(loss, tensors)
    tensors = leaves(rows, width, torch.float32)
    image, text, scale = tensors
    order = torch.arange(rows).roll(3)
    loss = sharded_contrastive_loss(
        image, text[order.argsort()], scale, order, label_smoothing=smoothing
    )
    found["rolled"] = outcome(loss, tensors)
    return found


def let_the_interpreter_multiply_bfloat16():
    """It keeps bfloat16 as 16 bits of an integer, and multiplies those (triton 3.8)."""
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    multiply = InterpreterBuilder.create_dot

    def widened(handle):
        if str(handle.dtype.scalar) != "bf16":
            return handle
        wide = (handle.data.astype(np.uint32) << 16).view(np.float32)
        return TensorHandle(wide, triton_kernels.tl.float32)

    def create_dot(self, a, b, *rest):
        return multiply(self, widened(a), widened(b), *rest)

    InterpreterBuilder.create_dot = create_dot


def compiled():
    """{(architecture, dtype, kernel): PTX}."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    shape, sums = ("i32", "i32", "i32"), "*fp32"
    found = {}
    for architecture, dtype in ((80, "bf16"), (90, "fp32")):
        one = f"*{dtype}"
        features = (one, one, sums)
        signatures = {
            "_log_sum_exps": {"features": features, "partial": (sums, sums), "shape": shape},
            "_weights": {
                "features": features,
                "normalisers": (sums, sums, "*i64"),
                "positive": "fp32",
                "weights": one,
                "shape": shape,
            },
            "_add_product": {
                "total": sums,
                "weights": one,
                "strides": ("i32", "i32"),
                "features": one,
                "shape": shape,
            },
        }
        for name, signature in signatures.items():
            source = ASTSource(getattr(triton_kernels, name), signature, {}, {})
            target = GPUTarget("cuda", architecture, 32)
            kernel = triton.compile(source, target=target, options={"num_warps": 8})
            found[architecture, dtype, name] = kernel.asm["ptx"]
    return found


if __name__ == "__main__":
    if sys.argv[1] == "interpreted":
        let_the_interpreter_multiply_bfloat16()
    torch.save({"interpreted": interpreted, "compiled": compiled}[sys.argv[1]](), sys.argv[2])
