"""Cuboid attention against the reference's layers, and against its definition cell by cell."""

import itertools

import mindspore as ms
import numpy as np
import pytest
from denoiser_fixtures import layer_arrays, layer_input, reference, set_reference_weights

from hpc.errors import UserError
from prediff.models.cuboid import CuboidSelfAttention, attention_pattern

ms.set_context(mode=ms.PYNATIVE_MODE)


def reference_layer(name, **options):
    cell = CuboidSelfAttention(dim=16, num_heads=4, **options)
    return set_reference_weights(cell, prefix=name, shapes=reference()["layers"][name])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("attn_axial_t", {"cuboid_size": (6, 1, 1)}),
        ("attn_axial_h", {"cuboid_size": (1, 8, 1)}),
        ("attn_axial_w", {"cuboid_size": (1, 1, 8)}),
        ("attn_local", {"cuboid_size": (2, 4, 4), "shift_size": (0, 0, 0)}),
    ],
)
def test_layers_equal_the_reference(name, options):
    y = reference_layer(name, **options)(ms.Tensor(layer_input(name)))
    np.testing.assert_allclose(y.asnumpy(), layer_arrays()[f"{name}/out"], atol=1e-5)


def by_definition(cell, x, *, cuboid_size, shift_size, strategy, padding, heads, scale=None):
    """MODEL.md section 2.5 for every query cell by itself, in float64."""
    weight = {name: p.asnumpy().astype(np.float64) for name, p in cell.parameters_and_names()}
    data, channels = x.shape[1:4], x.shape[-1]
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    u = (x - mean) / np.sqrt(var + 1e-5) * weight["norm.weight"] + weight["norm.bias"]
    size = [min(b, d) for b, d in zip(cuboid_size, data, strict=True)]
    shift = [
        0 if d <= b or kind == "d" else s
        for s, d, b, kind in zip(shift_size, data, cuboid_size, strategy, strict=True)
    ]
    grid = [-(-d // b) * b for d, b in zip(data, size, strict=True)]
    if padding == "nearest":
        for axis in range(3):
            source = np.arange(grid[axis]) * data[axis] // grid[axis]
            u = u.take(source, axis + 1)
    else:
        u = np.pad(u, [(0, 0)] + [(0, g - d) for g, d in zip(grid, data, strict=True)] + [(0, 0)])
    qkv = u @ weight["qkv.weight"].T
    if "qkv.bias" in weight:
        qkv = qkv + weight["qkv.bias"]
    width = channels // heads
    q, k, v = np.moveaxis(qkv.reshape(*u.shape[:4], 3, heads, width), 4, 0)
    scale = width**-0.5 if scale is None else scale

    def place(cell_index):
        """(cuboid, position in the cuboid, region, real) of one cell of the unrolled grid."""
        cuboid, position, region = [], [], []
        for axis in range(3):
            b, length, s = size[axis], grid[axis], shift[axis]
            i = (cell_index[axis] - s) % length
            count = length // b
            cuboid.append(i // b if strategy[axis] == "l" else i % count)
            position.append(i % b if strategy[axis] == "l" else i // count)
            region.append(0 if s == 0 or i < length - b else (2 if i >= length - s else 1))
        real = all(c < d for c, d in zip(cell_index, data, strict=True))
        return tuple(cuboid), tuple(position), tuple(region), real

    cells = list(itertools.product(*map(range, grid)))
    places = {c: place(c) for c in cells}
    built = list(itertools.product(*map(range, cuboid_size)))
    out = np.zeros_like(u)
    for query in cells:
        cuboid, position, region, real = places[query]
        keys = [c for c in cells if places[c][0] == cuboid]
        scores = np.full((x.shape[0], heads, len(keys)), -1e18)
        visible = np.zeros(len(keys))
        for n, key in enumerate(keys):
            _, key_position, key_region, key_real = places[key]
            if key_region != region or (padding == "ignore" and not (real and key_real)):
                continue
            visible[n] = 1
            # Tokens are numbered within the cuboid in use, and looked up in the one built for.
            rank = [np.ravel_multi_index(p, size) for p in (position, key_position)]
            p, r = built[rank[0]], built[rank[1]]
            row = 0
            for axis in range(3):
                b = cuboid_size[axis]
                row = row * (2 * b - 1) + p[axis] - r[axis] + b - 1
            product = (q[(slice(None), *query)] * k[(slice(None), *key)]).sum(-1)
            scores[:, :, n] = product * scale
            if "relative_bias" in weight:
                scores[:, :, n] += weight["relative_bias"][row]
        e = np.exp(scores - scores.max(-1, keepdims=True))
        attention = e / e.sum(-1, keepdims=True) * visible
        values = np.stack([v[(slice(None), *c)] for c in keys], 2)
        merged = np.einsum("bhn,bhnd->bhd", attention, values)
        out[(slice(None), *query)] = merged.reshape(-1, channels)
    if "projection.weight" in weight:
        out = out @ weight["projection.weight"].T + weight["projection.bias"]
    if padding == "nearest":
        for axis in range(3):
            source = np.arange(data[axis]) * grid[axis] // data[axis]
            out = out.take(source, axis + 1)
        return out
    return out[:, : data[0], : data[1], : data[2]]


def with_random_weights(cell, seed=0):
    random = np.random.RandomState(seed)
    for _, parameter in cell.parameters_and_names():
        value = 0.5 * random.standard_normal(parameter.shape)
        parameter.set_data(ms.Tensor(value.astype(np.float32)))
    return cell


L, D = "l", "d"
CASES = [
    # data, cuboid, shift, strategy
    ((4, 4, 6), (2, 2, 3), (0, 0, 0), (L, L, L)),
    ((4, 4, 6), (2, 2, 3), (1, 1, 1), (L, L, L)),
    ((3, 5, 7), (2, 2, 3), (1, 1, 2), (L, L, L)),
    ((3, 5, 4), (2, 3, 2), (0, 0, 0), (D, D, D)),
    ((4, 6, 4), (2, 2, 2), (1, 1, 1), (L, D, L)),
    ((3, 4, 5), (4, 8, 2), (2, 4, 1), (L, L, L)),
    ((2, 4, 4), (5, 2, 9), (0, 1, 0), (L, L, D)),
    ((5, 3, 2), (5, 1, 1), (0, 0, 0), (L, L, L)),
    ((2, 5, 3), (1, 5, 1), (0, 0, 0), (D, D, D)),
    ((1, 1, 3), (1, 1, 1), (0, 0, 0), (L, L, L)),
    ((6, 2, 2), (4, 2, 2), (3, 1, 1), (L, L, L)),
]


@pytest.mark.parametrize("padding", ["zeros", "ignore", "nearest"])
@pytest.mark.parametrize(("data", "cuboid", "shift", "strategy"), CASES)
def test_every_way_to_cut_equals_the_definition(data, cuboid, shift, strategy, padding):
    options = {"cuboid_size": cuboid, "shift_size": shift, "strategy": strategy, "padding": padding}
    cell = with_random_weights(CuboidSelfAttention(dim=8, num_heads=2, qkv_bias=True, **options))
    x = np.random.RandomState(1).standard_normal((2, *data, 8)).astype(np.float32)
    expected = by_definition(cell, x.astype(np.float64), heads=2, **options)
    np.testing.assert_allclose(cell(ms.Tensor(x)).asnumpy(), expected, atol=2e-5)


def test_scale_bias_table_and_last_projection_are_optional():
    options = {"cuboid_size": (2, 2, 1), "shift_size": (0, 1, 0)}
    common = {**options, "strategy": (L, L, L), "padding": "ignore"}
    cell = CuboidSelfAttention(
        dim=6,
        num_heads=3,
        qk_scale=0.3,
        use_relative_pos=False,
        use_final_proj=False,
        **common,
    )
    names = {name for name, _ in with_random_weights(cell).parameters_and_names()}
    assert names == {"norm.weight", "norm.bias", "qkv.weight"}
    x = np.random.RandomState(1).standard_normal((1, 3, 5, 2, 6)).astype(np.float32)
    expected = by_definition(cell, x.astype(np.float64), heads=3, scale=0.3, **common)
    np.testing.assert_allclose(cell(ms.Tensor(x)).asnumpy(), expected, atol=1e-5)


def test_shifted_cuboids_with_padding_compile_and_equal_eager_execution():
    cell = with_random_weights(
        CuboidSelfAttention(
            dim=8, num_heads=2, cuboid_size=(2, 2, 3), shift_size=(1, 1, 1), padding="ignore"
        )
    )
    x = ms.Tensor(np.random.RandomState(1).standard_normal((1, 3, 5, 7, 8)).astype(np.float32))
    eager = cell(x).asnumpy()
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        compiled = cell(x).asnumpy()
    finally:
        ms.set_context(mode=ms.PYNATIVE_MODE)
    np.testing.assert_allclose(compiled, eager, atol=1e-6)


def test_a_layer_follows_the_grid_of_its_input():
    options = {"cuboid_size": (2, 2, 2), "strategy": (L, L, L), "shift_size": (0, 0, 0)}
    cell = with_random_weights(CuboidSelfAttention(dim=4, num_heads=1, **options))
    for data in ((2, 2, 4), (2, 4, 2), (2, 2, 4)):
        x = np.random.RandomState(1).standard_normal((1, *data, 4)).astype(np.float32)
        expected = by_definition(cell, x.astype(np.float64), heads=1, padding="zeros", **options)
        np.testing.assert_allclose(cell(ms.Tensor(x)).asnumpy(), expected, atol=1e-5)


def test_attention_dropout_acts_in_training_with_a_key_only():
    cell = with_random_weights(
        CuboidSelfAttention(dim=8, num_heads=2, cuboid_size=(4, 1, 1), attn_drop=0.5, proj_drop=0.5)
    )
    x = ms.Tensor(np.random.RandomState(1).standard_normal((2, 4, 3, 3, 8)).astype(np.float32))
    keys = ms.Tensor(np.array([7, -9], np.int32))
    plain = cell(x).asnumpy()
    np.testing.assert_array_equal(cell(x, keys).asnumpy(), plain)
    cell.set_train()
    np.testing.assert_array_equal(cell(x).asnumpy(), plain)
    dropped = cell(x, keys).asnumpy()
    assert not np.allclose(dropped, plain)
    # A sample's masks depend on its own key, not on the batch that it is part of.
    alone = cell(x[1:], keys[1:]).asnumpy()
    np.testing.assert_allclose(alone[0], dropped[1], atol=1e-6)


def test_global_vectors_see_all_tokens_and_are_seen_by_all():
    cell = with_random_weights(
        CuboidSelfAttention(dim=8, num_heads=2, cuboid_size=(2, 1, 1), use_global_vector=True)
    )
    random = np.random.RandomState(3)
    x = random.standard_normal((1, 4, 2, 3, 8)).astype(np.float32)
    g = random.standard_normal((1, 2, 8)).astype(np.float32)

    def run(x, g):
        y, new = cell(ms.Tensor(x), None, ms.Tensor(g))
        return y.asnumpy(), new.asnumpy()

    y, new = run(x, g)
    moved = x.copy()
    moved[0, 3, 1, 2] *= -1
    y_moved, new_moved = run(moved, g)
    assert np.abs(new_moved - new).max() > 1e-3
    np.testing.assert_allclose(y_moved[0, :2], y[0, :2], atol=1e-6)
    moved = g.copy()
    moved[0, 1] *= -1
    y_moved, new_moved = run(x, moved)
    assert (np.abs(y_moved - y).max(-1) > 1e-5).all()
    assert np.abs(new_moved[0, 0] - new[0, 0]).max() > 1e-3


def test_global_vectors_equal_the_definition():
    """One cuboid over everything: tokens and vectors together attend to tokens and vectors."""
    cell = with_random_weights(
        CuboidSelfAttention(
            dim=8,
            num_heads=2,
            cuboid_size=(2, 2, 2),
            padding="ignore",
            use_relative_pos=False,
            use_global_vector=True,
        )
    )
    random = np.random.RandomState(3)
    x = random.standard_normal((1, 2, 1, 1, 8)).astype(np.float32)
    g = random.standard_normal((1, 3, 8)).astype(np.float32)
    y, new = cell(ms.Tensor(x), None, ms.Tensor(g))
    weight = {name: p.asnumpy().astype(np.float64) for name, p in cell.parameters_and_names()}

    def qkv(rows, prefix):
        u = (rows - rows.mean(-1, keepdims=True)) / np.sqrt(rows.var(-1, keepdims=True) + 1e-5)
        u = u * weight[f"{prefix}norm.weight"] + weight[f"{prefix}norm.bias"]
        return (u @ weight[f"{prefix}qkv.weight"].T).reshape(-1, 3, 2, 4)

    rows = np.concatenate([qkv(x.reshape(-1, 8), ""), qkv(g[0], "global_part.")]).astype(np.float64)
    scores = np.einsum("ihd,jhd->hij", rows[:, 0], rows[:, 1]) / 2
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    merged = np.einsum("hij,jhd->ihd", weights, rows[:, 2]).reshape(-1, 8)
    expected = merged[:2] @ weight["projection.weight"].T + weight["projection.bias"]
    np.testing.assert_allclose(y.asnumpy().reshape(-1, 8), expected, atol=1e-5)
    p = "global_part.projection"
    expected = merged[2:] @ weight[f"{p}.weight"].T + weight[f"{p}.bias"]
    np.testing.assert_allclose(new.asnumpy()[0], expected, atol=1e-5)


def test_starting_weights_follow_the_rules():
    cell = CuboidSelfAttention(dim=64, num_heads=4, cuboid_size=(1, 16, 16), seed=1)
    np.testing.assert_allclose(cell.qkv.weight.asnumpy().std(), 64**-0.5, rtol=0.03)
    np.testing.assert_allclose(cell.relative_bias.asnumpy().std(), 0.02, rtol=0.05)
    assert not cell.projection.weight.asnumpy().any()
    again = CuboidSelfAttention(dim=64, num_heads=4, cuboid_size=(1, 16, 16), seed=1)
    np.testing.assert_array_equal(cell.qkv.weight.asnumpy(), again.qkv.weight.asnumpy())


@pytest.mark.parametrize("name", sorted(reference()["patterns"]))
def test_named_patterns_equal_the_reference(name):
    found = attention_pattern(name, (13, 16, 16))
    assert [[list(entry) for entry in column] for column in found] == reference()["patterns"][name]


def test_patterns_shrink_to_small_grids():
    assert attention_pattern("video_swin_4x8", (3, 6, 5)).cuboid_sizes == [(3, 5, 5)] * 2
    assert attention_pattern("video_swin_4x8", (3, 6, 5)).shift_sizes == [(0, 0, 0), (1, 2, 2)]
    assert attention_pattern("spatial_lg_8", (5, 8, 8)) == attention_pattern(
        "divided_st", (5, 8, 8)
    )
    assert attention_pattern("spatial_lg_4", (5, 8, 4)).cuboid_sizes[1:] == [(1, 4, 4)] * 2
    assert attention_pattern("axial_space_dilate_8", (5, 4, 4)).cuboid_sizes[1] == (1, 1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 3}, "16 channels do not split into 3 heads"),
        ({"num_heads": 4, "cuboid_size": (0, 1, 1)}, "cuboid_size"),
        ({"num_heads": 4, "shift_size": (-1, 0, 0)}, "shift_size"),
        ({"num_heads": 4, "strategy": ("l", "l", "x")}, "strategy"),
        ({"num_heads": 4, "padding": "mirror"}, "padding 'mirror' is unknown"),
        ({"num_heads": 4, "attn_drop": 1.0}, "dropout probability"),
    ],
)
def test_layers_that_cannot_work_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        CuboidSelfAttention(**{"dim": 16, "cuboid_size": (2, 2, 2), **options})


@pytest.mark.parametrize("name", ["axal", "video_swin_2", "spatial_lg_0", "axial_space_dilate_"])
def test_unknown_patterns_are_refused(name):
    with pytest.raises(UserError, match="attention pattern"):
        attention_pattern(name, (4, 4, 4))


def test_patterns_on_an_empty_grid_are_refused():
    with pytest.raises(UserError, match="three positive sizes"):
        attention_pattern("axial", (4, 0, 4))
