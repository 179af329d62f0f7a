"""Cuboid attention and its gradient in float64 numpy, straight from the definition."""

import numpy as np

from hpc.ops.cuboid_attention.geometry import CuboidGeometry


def attention(geometry: CuboidGeometry, qkv, table, dropout=None):
    """Return `[B,T,H,W,C]`; see ReferenceCuboidAttention for the arguments."""
    return _run(geometry, qkv, table, dropout, None)


def attention_gradient(geometry: CuboidGeometry, qkv, table, dropout, dout):
    """Return (dqkv, dtable) of sum(attention * dout)."""
    return _run(geometry, qkv, table, dropout, dout)


def _run(geometry, qkv, table, dropout, dout):
    batch, heads, width = qkv.shape[0], qkv.shape[5], qkv.shape[6]
    tokens, relative = geometry.tokens, geometry.relative_positions
    flat = qkv.astype(np.float64).reshape(batch, -1, 3, heads, width)[:, tokens]
    q, k, v = (flat[:, :, :, part].transpose(0, 1, 3, 2, 4) for part in range(3))
    scale = width**-0.5
    table = np.asarray(table, np.float64)
    scores = scale * q @ k.swapaxes(-1, -2) + table[relative].transpose(2, 0, 1)
    visible = np.ones((1, 1, 1, 1)) if geometry.mask is None else geometry.mask[:, None]
    scores = np.where(visible, scores, -1e18)
    p = np.exp(scores - scores.max(-1, keepdims=True)) * visible
    p = p / np.maximum(p.sum(-1, keepdims=True), 1e-300)
    kept = 1.0 if dropout is None else dropout.astype(np.float64)
    if dout is None:
        return _to_grid((p * kept) @ v, tokens, qkv.shape)
    do = (
        dout.astype(np.float64).reshape(batch, -1, heads, width)[:, tokens].transpose(0, 1, 3, 2, 4)
    )
    dv = (p * kept).swapaxes(-1, -2) @ do
    dp = (do @ v.swapaxes(-1, -2)) * kept
    ds = p * (dp - (p * dp).sum(-1, keepdims=True))
    dq, dk = scale * ds @ k, scale * ds.swapaxes(-1, -2) @ q
    dqkv = np.zeros((batch, tokens.size, 3, heads, width))
    for part, gradient in enumerate((dq, dk, dv)):
        dqkv[:, tokens, part] = gradient.transpose(0, 1, 3, 2, 4)
    dtable = np.zeros_like(table)
    np.add.at(dtable, relative, ds.sum((0, 1)).transpose(1, 2, 0))
    return dqkv.reshape(qkv.shape), dtable


def _to_grid(out, tokens, shape):
    batch, heads, width = shape[0], shape[5], shape[6]
    grid = np.zeros((batch, tokens.size, heads * width))
    grid[:, tokens] = out.transpose(0, 1, 3, 2, 4).reshape(batch, *tokens.shape, heads * width)
    return grid.reshape(*shape[:4], heads * width)
