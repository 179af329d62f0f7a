"""Cuboid self-attention: the layer, and the named patterns that stack it.

Shapes: B batch; T, H, W grid; C channel; h heads; D = C/h; N cuboids; L tokens of a cuboid;
R relative positions; G global vectors.

Reference names (checkpoint import): ``norm`` -> `norm`, ``qkv`` -> `qkv`, ``proj`` -> `projection`,
``relative_position_bias_table`` -> `relative_bias`.
"""

import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore import dtype as mstype

from hpc.errors import UserError
from hpc.ops.cuboid_attention.geometry import (
    Axes,
    CuboidGeometry,
    check_cuboid,
    cuboid_geometry,
    nearest_source,
    relative_position_count,
)
from hpc.ops.cuboid_attention.op import CuboidAttention
from hpc.ops.dropout import KeyedDropout
from hpc.ops.initialization import GeneratorOf, initialize, table_values
from hpc.ops.linear import Linear
from hpc.ops.normalization import LayerNorm
from hpc.ops.padding import pad_with_zeros
from hpc.ops.precision import check_compute_dtype
from prediff.models.attention_patterns import AttentionPattern, attention_pattern
from prediff.models.global_vectors import GlobalVectorAttention

__all__ = ["AttentionPattern", "CuboidSelfAttention", "attention_pattern"]


class CuboidSelfAttention(nn.Cell):
    """Attention within cuboids, norm included, residual not: `[B,T,H,W,C] -> [B,T,H,W,C]`.

    Args:
        dim: C, a multiple of `num_heads`.
        num_heads: h.
        cuboid_size: cells (T, H, W) that attend to each other; an axis no longer than it is whole.
        shift_size: roll of the grid before it is cut.
        strategy: ``"l"`` local or ``"d"`` dilated for each axis.
        padding: what fills the grid up to whole cuboids: ``"zeros"`` (they take part), ``"ignore"``
            (they are masked) or ``"nearest"`` (the grid is resized there and back).
        qkv_bias: bias of the joint q, k, v map.
        qk_scale: factor of q, D**-0.5 by default.
        attn_drop: dropout of the attention weights.
        proj_drop: dropout of the output.
        use_final_proj: map the merged heads by a last linear layer.
        use_relative_pos: add the learned relative-position bias.
        use_global_vector: every token also sees G global vectors `[B,G,C]`, and they see all
            tokens and each other; the layer then returns both, and takes the vectors as its third
            argument.
        grid: (T, H, W) of the data. Needed inside a larger graph; a layer that is called by itself
            finds it from its input.
        compute_dtype: dtype of the products; norm and softmax stay float32.
        backend: of the attention, see `hpc.ops.cuboid_attention.op`.
        seed: of the starting values; None leaves zeros for the owner of the layer to fill.

    Raises:
        UserError: settings that cannot work.

    Source: Gao et al. 2022 (Earthformer), equations 2 to 7; MODEL.md section 2.5.
    """

    def __init__(
        self,
        *,
        dim: int,
        num_heads: int,
        cuboid_size: Axes,
        shift_size: Axes = (0, 0, 0),
        strategy: tuple[str, str, str] = ("l", "l", "l"),
        padding: str = "zeros",
        qkv_bias: bool = False,
        qk_scale: float | None = None,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        use_final_proj: bool = True,
        use_relative_pos: bool = True,
        use_global_vector: bool = False,
        grid: Axes | None = None,
        compute_dtype: mstype.Type = mstype.float32,
        backend: str = "auto",
        seed: int | None = 0,
    ):
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise UserError(f"cuboid attention: {dim} channels do not split into {num_heads} heads")
        check_compute_dtype(compute_dtype)
        check_cuboid(
            cuboid_size=cuboid_size, shift_size=shift_size, strategy=strategy, padding=padding
        )
        self.dim, self.num_heads, self.width = dim, num_heads, dim // num_heads
        self.cuboid = {
            "cuboid_size": tuple(cuboid_size),
            "shift_size": tuple(shift_size),
            "strategy": tuple(strategy),
            "padding": padding,
        }
        self.scale = self.width**-0.5 if qk_scale is None else qk_scale
        self.compute_dtype, self.backend = compute_dtype, backend
        self.use_relative_pos, self.use_final_proj = use_relative_pos, use_final_proj
        self.use_global_vector = use_global_vector
        self.norm = LayerNorm(dim)
        self.qkv = Linear(dim, 3 * dim, has_bias=qkv_bias)
        if use_relative_pos:
            table = np.zeros((relative_position_count(cuboid_size), num_heads), np.float32)
            self.relative_bias = Parameter(Tensor(table), name="relative_bias")
        if use_final_proj:
            self.projection = Linear(dim, dim, initial="zeros")
        self.attention_dropout = KeyedDropout(attn_drop)
        self.projection_dropout = KeyedDropout(proj_drop)
        if use_global_vector:
            self.global_part = GlobalVectorAttention(
                dim=dim,
                num_heads=num_heads,
                scale=self.scale,
                use_final_proj=use_final_proj,
                attn_drop=attn_drop,
                proj_drop=proj_drop,
                compute_dtype=compute_dtype,
            )
        self.geometry: CuboidGeometry | None = None
        if grid is not None:
            self.fit_grid(tuple(grid))
        if seed is not None:
            initialize(self, seed=seed)

    def initial_values(self, generator_of: GeneratorOf) -> dict[str, np.ndarray]:
        """Return the starting bias table."""
        if not self.use_relative_pos:
            return {}
        shape = self.relative_bias.shape
        return {"relative_bias": table_values(shape, generator=generator_of("relative_bias"))}

    def fit_grid(self, data: Axes) -> None:
        """Prepare for inputs whose grid is `data`, (T, H, W)."""
        geometry = cuboid_geometry(data=data, **self.cuboid)
        self.geometry = geometry
        self.core = CuboidAttention(
            geometry,
            heads=self.num_heads,
            width=self.width,
            scale=self.scale,
            backend=self.backend,
        )
        self.data, self.margins, self.padded = geometry.data, geometry.margins, geometry.grid
        self.has_padding = any(geometry.margins)
        self.growth = ((0, 0), *((0, margin) for margin in geometry.margins), (0, 0))
        self.resize = geometry.padding == "nearest"
        self.weights_shape = (geometry.cuboids, self.num_heads, geometry.volume)
        if self.has_padding and self.resize:
            sizes = list(zip(geometry.data, geometry.grid, strict=True))
            self.grow_index = tuple(Tensor(nearest_source(small, big)) for small, big in sizes)
            self.shrink_index = tuple(Tensor(nearest_source(big, small)) for small, big in sizes)
        if self.use_global_vector:
            self.global_part.fit_grid(geometry)

    def __call__(self, x, *args, **kwargs):
        if self.geometry is None or self.geometry.data != tuple(x.shape[1:4]):
            self.fit_grid(tuple(x.shape[1:4]))
        return super().__call__(x, *args, **kwargs)

    def construct(self, x, dropout_key=None, global_vectors=None):
        u = self._grow(self.norm(x)).astype(self.compute_dtype)
        qkv = self.qkv(u).reshape(u.shape[0], *self.padded, 3, self.num_heads, self.width)
        table = self.relative_bias if self.use_relative_pos else None
        if not self.use_global_vector:
            shape = (*self.weights_shape, self.weights_shape[2])
            dropout = self.attention_dropout.factor(dropout_key, shape)
            y = self.core(qkv, table, dropout)
            return self._finish(y, dropout_key)
        keys, values, new_vectors = self.global_part(qkv, global_vectors, dropout_key)
        shape = (*self.weights_shape, self.weights_shape[2] + keys.shape[2])
        dropout = self.attention_dropout.factor(dropout_key, shape)
        y = self.core(qkv, table, dropout, keys, values)
        return self._finish(y, dropout_key), new_vectors

    def _finish(self, y, dropout_key):
        if self.use_final_proj:
            y = self.projection_dropout(self.projection(y), dropout_key)
        return self._shrink(y)

    def _grow(self, x):
        """Pad the end of T, H and W to whole cuboids."""
        if self.has_padding and self.resize:
            for axis in range(3):
                if self.margins[axis]:
                    x = ops.gather(x, self.grow_index[axis], axis + 1)
        elif self.has_padding:
            x = pad_with_zeros(x, self.growth)
        return x

    def _shrink(self, x):
        """Undo `_grow`: crop the padding, or resize back."""
        if self.has_padding and self.resize:
            for axis in range(3):
                if self.margins[axis]:
                    x = ops.gather(x, self.shrink_index[axis], axis + 1)
        elif self.has_padding:
            x = x[:, : self.data[0], : self.data[1], : self.data[2]]
        return x
