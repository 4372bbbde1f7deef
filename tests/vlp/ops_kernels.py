"""The Triton kernels without a GPU: run by Triton's interpreter, or compiled for one; to a file.

The interpreter multiplies float32 as such whatever it is asked for; TF32 is put in its place here.
"""

import sys

import numpy as np
import torch
import torch.nn.functional as F

from vlp.ops import contrastive, contrastive_loss, sharded_contrastive_loss, triton_kernels

# Rows, width, side of a tile and smoothing: with ragged ends of blocks of 128, and of tiles.
CASES = [(5, 16, 4096, 0.0), (128, 32, 128, 0.1), (150, 48, 4096, 0.0), (200, 32, 140, 0.1)]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SEPARATED = (200, 64, 140, 0.0)  # with a scale of 100: a loss of 1e-4


def leaves(rows, width, dtype, scale=10.0, noise=2.0):
    generator = torch.Generator().manual_seed(0)
    image, other = (torch.randn(rows, width, generator=generator) for _ in range(2))
    pairs = (F.normalize(image, dim=1), F.normalize(image + noise * other, dim=1))
    tensors = [t.to(dtype) for t in pairs] + [torch.tensor(scale)]
    return [t.requires_grad_() for t in tensors]


def outcome(loss, tensors):
    return [loss.detach(), *torch.autograd.grad(loss, tensors)]


def separated():
    rows, width, *_ = SEPARATED
    return leaves(rows, width, torch.float32, scale=100.0, noise=1.1)


def of_kernels(tensors, size, smoothing):
    contrastive.choose_tiles = lambda *_: triton_kernels.TritonTiles(size)
    return outcome(contrastive_loss(*tensors, label_smoothing=smoothing), tensors)


def interpreted():
    """{(dtype, case): [loss, gradients of image, text and scale]}, and extra runs by name."""
    found = {}
    for name, dtype in DTYPES.items():
        for case in CASES:
            rows, width, size, smoothing = case
            tensors = leaves(rows, width, dtype)
            found[name, case] = of_kernels(tensors, size, smoothing)
    found["again"] = of_kernels(tensors, size, smoothing)
    tensors = leaves(rows, width, torch.float32)
    image, text, scale = tensors
    order = torch.arange(rows).roll(3)
    loss = sharded_contrastive_loss(
        image, text[order.argsort()], scale, order, label_smoothing=smoothing
    )
    found["rolled"] = outcome(loss, tensors)
    for kind in ("ieee", "tf32x3", "tf32"):
        triton_kernels.precision = lambda _, kind=kind: kind
        found["separated", kind] = of_kernels(separated(), *SEPARATED[2:])
    return found


def as_tf32(data):
    """Rounded to the 10 bits of TF32."""
    bits = np.ascontiguousarray(data).view(np.uint32)
    return ((bits + 0x1000) & np.uint32(0xFFFFE000)).view(np.float32)


def let_the_interpreter_multiply():
    """It keeps bfloat16 as 16 bits of an integer, and multiplies those; TF32 it ignores (3.8)."""
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    multiply = InterpreterBuilder.create_dot

    def widened(handle):
        if str(handle.dtype.scalar) != "bf16":
            return handle
        wide = (handle.data.astype(np.uint32) << 16).view(np.float32)
        return TensorHandle(wide, triton_kernels.tl.float32)

    def create_dot(self, a, b, total, kind, *rest):
        if "tf32" not in str(kind).lower() or str(a.dtype.scalar) != "fp32":
            return multiply(self, widened(a), widened(b), total, kind, *rest)
        parts = []
        for handle in (a, b):
            large = as_tf32(handle.data)
            small = as_tf32(handle.data - large)
            parts.append([TensorHandle(part, triton_kernels.tl.float32) for part in (large, small)])
        (a_large, a_small), (b_large, b_small) = parts
        products = [(a_small, b_large), (a_large, b_small), (a_large, b_large)]
        for one, other in products if "x3" in str(kind).lower() else products[2:]:
            total = multiply(self, one, other, total, kind, *rest)
        return total

    InterpreterBuilder.create_dot = create_dot


def signatures(dtype):
    """The types of the kernels' arguments."""
    one, sums = f"*{dtype}", "*fp32"
    features = (one, one, sums)
    types = {
        "_sums": {"features": features, "targets": "*i64", "partial": (sums,) * 4},
        "_weights": {
            "features": features,
            "normalisers": (sums, sums, sums, sums, "*i64", sums),
            "weights": one,
        },
        "_add_product": {"total": sums, "matrix": (one, ("i32", "i32")), "features": one},
    }
    last = {"shape": ("i32", "i32", "i32"), "float32": "constexpr"}
    return {name: own | last for name, own in types.items()}


def compiled():
    """{(architecture, dtype, precision, kernel): PTX}."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    found = {}
    targets = [(80, "bf16", "ieee"), (80, "fp32", "tf32x3"), (90, "fp32", "tf32x3")]
    for architecture, dtype, kind in (*targets, (90, "fp32", "ieee")):
        for name, signature in signatures(dtype).items():
            kernel = getattr(triton_kernels, name)
            source = ASTSource(kernel, signature, {"float32": kind}, {})
            target = GPUTarget("cuda", architecture, 32)
            made = triton.compile(source, target=target, options={"num_warps": 8})
            found[architecture, dtype, kind, name] = made.asm["ptx"]
    return found


if __name__ == "__main__":
    if sys.argv[1] == "interpreted":
        let_the_interpreter_multiply()
    torch.save({"interpreted": interpreted, "compiled": compiled}[sys.argv[1]](), sys.argv[2])
