"""Writing a latent store and reading it, here and with other people's tools."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from build_latents import (
    FRAMES,
    IDENTITY,
    LATENT,
    build,
    encode,
    event_ids,
    read_event,
)

from hpc.cluster.mpi import SeparateRanks
from hpc.errors import UserError
from prediff.latents.layout import (
    StoreLayout,
    default_events_per_shard,
    group_path,
    list_groups,
)
from prediff.latents.open_files import OpenFiles
from prediff.latents.reader import open_store
from prediff.latents.verify import describe_group, verify_group


def expected_moments(events: int) -> tuple[np.ndarray, np.ndarray]:
    pairs = [encode(read_event(event)) for event in range(events)]
    mean, std = (np.stack(part).astype(np.float16) for part in zip(*pairs, strict=True))
    return mean, std


def test_windows_come_back_as_they_were_encoded(tmp_path):
    report = build(tmp_path)
    mean, std = expected_moments(10)
    assert report.complete
    assert (report.shards_computed, report.shards_kept) == (4, 0)
    rng = np.random.default_rng(0)
    with open_store(tmp_path, identity=IDENTITY, variant="identity") as reader:
        assert reader.event_ids == tuple(event_ids(10))
        for length in (1, 3, FRAMES):
            events = rng.integers(0, 10, 20)
            starts = rng.integers(0, FRAMES - length + 1, 20)
            got_mean, got_std = reader.read_windows(events=events, starts=starts, length=length)
            for row, (event, start) in enumerate(zip(events, starts, strict=True)):
                np.testing.assert_array_equal(got_mean[row], mean[event, start : start + length])
                np.testing.assert_array_equal(got_std[row], std[event, start : start + length])


def test_intensity_is_the_mean_pixel_of_each_frame(tmp_path):
    build(tmp_path)
    with open_store(tmp_path, identity=IDENTITY, variant="identity") as reader:
        got = reader.read_array("intensity", events=[9, 2], starts=[1, 0], length=3)
    expected = [read_event(9)[1:4].mean((1, 2, 3)), read_event(2)[:3].mean((1, 2, 3))]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_windows_fill_the_callers_arrays(tmp_path):
    build(tmp_path)
    out = tuple(np.empty((2, 3, *LATENT), np.float16) for _ in range(2))
    with open_store(tmp_path, identity=IDENTITY, variant="identity") as reader:
        got = reader.read_windows(events=[0, 1], starts=[2, 0], length=3, out=out)
        again = reader.read_windows(events=[0, 1], starts=[2, 0], length=3)
    assert got[0] is out[0]
    assert got[1] is out[1]
    np.testing.assert_array_equal(again[0], out[0])
    np.testing.assert_array_equal(again[1], out[1])


def test_new_arrays_start_at_a_page(tmp_path):
    build(tmp_path)
    with open_store(tmp_path, identity=IDENTITY, variant="identity") as reader:
        mean, std = reader.read_windows(events=[0], starts=[0], length=FRAMES)
    assert mean.ctypes.data % 4096 == 0
    assert std.ctypes.data % 4096 == 0


def test_plain_zarr_reads_the_same_values_without_a_warning(tmp_path):
    zarr = pytest.importorskip("zarr")
    report = build(tmp_path)
    mean, std = expected_moments(10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        root = zarr.open_group(tmp_path, mode="r")
        group = root[str(report.group.relative_to(tmp_path))]
        np.testing.assert_array_equal(group["mean"][:], mean)
        np.testing.assert_array_equal(group["std"][4, 2], std[4, 2])
        assert list(group["event"][:]) == event_ids(10)
        assert group.attrs["vae_sha256"] == IDENTITY.vae_sha256
        assert group["mean"].shards == (3, FRAMES, *LATENT)
        assert group["mean"].chunks == (1, FRAMES, *LATENT)


def test_xarray_opens_it_with_event_ids_as_coordinate(tmp_path):
    xarray = pytest.importorskip("xarray")
    report = build(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = xarray.open_zarr(report.group, chunks=None)
    assert data["mean"].dims == ("event", "frame", "h", "w", "c")
    assert data["mean"].dtype == np.float16
    np.testing.assert_array_equal(
        data["std"].sel(event="S00007").values, expected_moments(10)[1][7]
    )
    np.testing.assert_allclose(
        data["intensity"].sel(event="S00003").values,
        read_event(3).mean((1, 2, 3)),
        rtol=1e-6,
    )
    assert data.attrs["format_version"] == 1


def test_large_events_start_at_pages_and_zarr_still_reads_them(tmp_path):
    zarr = pytest.importorskip("zarr")
    shape = (16, 16, 32)

    def encode_large(frames):
        mean = np.broadcast_to(frames.mean((1, 2, 3))[:, None, None, None], (len(frames), *shape))
        return mean, np.ones_like(mean)

    report = build(tmp_path, events=5, latent_shape=shape, encode=encode_large)
    array = report.layout.arrays[0]
    assert array.alignment == 4096
    size = array.shard_file(report.group, 0).stat().st_size
    assert size - (3 * 16 + 4) == 3 * (array.item_bytes + 4096)
    expected = [read_event(event).mean((1, 2, 3)) for event in range(5)]
    stored = zarr.open_array(report.group / "mean", mode="r")[:]
    np.testing.assert_allclose(stored[:, :, 3, 7, 31], expected, rtol=1e-3)
    with open_store(tmp_path, identity=IDENTITY, variant="identity") as reader:
        got = reader.read_array("mean", events=[4, 1], starts=[0, 0], length=FRAMES)
    np.testing.assert_array_equal(got, stored[[4, 1]])


def test_all_zero_latents_are_stored_like_any_others(tmp_path):
    zarr = pytest.importorskip("zarr")

    def encode_zero(frames):
        zeros = np.zeros((len(frames), *LATENT), np.float32)
        return zeros, zeros

    report = build(tmp_path, encode=encode_zero)
    assert not np.any(zarr.open_array(report.group / "mean", mode="r")[:])
    with open_store(tmp_path, identity=IDENTITY, variant="identity") as reader:
        assert not np.any(reader.read_array("mean", events=[1], starts=[0], length=FRAMES))


def test_an_unfinished_store_reads_as_nan_in_other_tools_never_as_zeros(tmp_path):
    zarr = pytest.importorskip("zarr")
    report = build(tmp_path)
    report.layout.arrays[0].shard_file(report.group, 1).unlink()
    stored = zarr.open_array(report.group / "mean", mode="r")[:]
    assert np.isnan(stored[3:6]).all()
    assert not np.isnan(stored[:3]).any()


def test_every_batch_has_one_size_and_padding_leaves_no_trace(tmp_path):
    sizes = []

    def encode_and_note(frames):
        sizes.append(len(frames))
        return encode(frames)

    build(tmp_path / "by_eight", encode=encode_and_note, batch_frames=8)
    # 15 frames a shard are two batches of 8; the last shard has one event of 5 frames.
    assert sizes == [8, 8, 8, 8, 8, 8, 8]
    mean, std = expected_moments(10)
    for batch_frames in (1, 4, 100):
        path = tmp_path / f"by_{batch_frames}"
        build(path, batch_frames=batch_frames)
        with open_store(path, identity=IDENTITY, variant="identity") as reader:
            got = reader.read_windows(events=range(10), starts=[0] * 10, length=FRAMES)
        np.testing.assert_array_equal(got[0], mean)
        np.testing.assert_array_equal(got[1], std)


def test_variants_live_side_by_side(tmp_path):
    build(tmp_path)
    build(
        tmp_path, variant="rot90", read_event=lambda event: np.rot90(read_event(event), 1, (1, 2))
    )
    assert [group.name for group in list_groups(tmp_path)] == ["identity", "rot90"]
    reads = {}
    for variant in ("identity", "rot90"):
        with open_store(tmp_path, identity=IDENTITY, variant=variant) as reader:
            reads[variant] = reader.read_array("mean", events=[3], starts=[0], length=FRAMES)
    assert not np.array_equal(reads["identity"], reads["rot90"])


def test_a_second_build_computes_nothing(tmp_path):
    build(tmp_path)

    def encode_never(frames):
        raise AssertionError("nothing was to be encoded")

    report = build(tmp_path, encode=encode_never, events_per_shard=None)
    assert (report.shards_computed, report.shards_kept) == (0, 4)
    assert report.layout.events_per_shard == 3


def test_progress_counts_all_frames_and_ends_at_the_last(tmp_path):
    seen = []
    build(tmp_path, progress=seen.append)
    assert (seen[-1].frames_done, seen[-1].frames_total) == (50, 50)
    assert (seen[-1].shards_done, seen[-1].shards_total) == (4, 4)
    assert seen[-1].frames_per_second > 0
    assert seen[-1].eta_seconds == 0


def test_info_tells_size_and_hashes(tmp_path):
    report = build(tmp_path)
    info = describe_group(report.group)
    files = [file for file in report.group.glob("*/c.*.*") if file.is_file()]
    assert info.layout.identity == IDENTITY
    assert info.shards_present == 4
    assert info.bytes_present == sum(file.stat().st_size for file in files)
    assert info.builders == ()
    assert verify_group(report.group).whole


def test_a_shard_is_on_the_disk_before_its_marker_promises_it(tmp_path, disk_watch):
    report = build(tmp_path)
    disk_watch.assert_power_cut_safe()
    parts = [*(array.name for array in report.layout.arrays), "manifest"]
    last = disk_watch.renamed_to[-2 * len(parts) :]
    assert [path.relative_to(report.group).parts[0] for path in last] == parts * 2


def test_nothing_is_left_aside_after_a_build(tmp_path):
    report = build(tmp_path)
    left = [file.name for file in (report.group / "manifest").iterdir()]
    assert sorted(left) == [f"shard_{shard:06d}.json" for shard in range(4)]
    assert not list(tmp_path.rglob("*.aside"))


def test_separate_ranks_share_the_work_by_rule(tmp_path):
    first = build(tmp_path / "two", ranks=SeparateRanks(rank=0, size=2))
    assert not first.complete
    second = build(tmp_path / "two", ranks=SeparateRanks(rank=1, size=2))
    assert second.complete
    assert (first.shards_computed, second.shards_computed) == (2, 2)
    alone = build(tmp_path / "one")
    for array in alone.layout.arrays:
        for shard in range(4):
            one, two = (array.shard_file(g, shard).read_bytes() for g in (alone.group, first.group))
            assert one == two


def test_default_shards_are_large_for_sevir_and_many_for_small_sets():
    sevir = default_events_per_shard(num_events=20393, num_frames=25, latent_shape=(16, 16, 64))
    assert sevir == 81
    assert sevir * 25 * 16 * 16 * 64 * 2 <= 64 * 2**20
    assert default_events_per_shard(num_events=200, num_frames=25, latent_shape=(4, 4, 8)) == 3
    assert default_events_per_shard(num_events=10, num_frames=25, latent_shape=(4, 4, 8)) == 1


def test_the_layout_hash_depends_on_every_field():
    fields = {
        "dataset": "storms",
        "variant": "identity",
        "vae_sha256": "a" * 64,
        "catalog_sha256": "b" * 64,
        "events_sha256": "c" * 64,
        "num_events": 10,
        "num_frames": 5,
        "latent_shape": (4, 4, 3),
        "events_per_shard": 3,
    }
    changed = {
        key: (value + 1 if isinstance(value, int) else (1, 1, 1) if key == "latent_shape" else "d")
        for key, value in fields.items()
    }
    hashes = {StoreLayout(**fields).sha256}
    for key, value in changed.items():
        hashes.add(StoreLayout(**(fields | {key: value})).sha256)
    assert len(hashes) == 1 + len(fields)


def test_names_that_cannot_be_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"variant name '\.\./evil'"):
        group_path(tmp_path, identity=IDENTITY, variant="../evil")


@pytest.mark.parametrize("batch_frames", [3, 4, 7, 30])
def test_frames_keep_their_event_and_place_however_batches_cut_them(tmp_path, batch_frames):
    events = 7  # in one shard: events end within batches, and several events within one batch
    build(tmp_path, events=events, events_per_shard=events, batch_frames=batch_frames)
    with open_store(tmp_path, identity=IDENTITY, variant="identity") as reader:
        stored = {
            name: reader.read_array(name, events=range(events), starts=[0] * events, length=FRAMES)
            for name in ("mean", "std")
        }
    for event in range(events):
        for name, expected in zip(("mean", "std"), encode(read_event(event)), strict=True):
            np.testing.assert_array_equal(stored[name][event], expected.astype(np.float16))


def test_open_files_stay_within_their_limit_and_those_in_use_stay_open(tmp_path):
    files = OpenFiles(2)
    owner = object()
    for number in range(4):
        (tmp_path / str(number)).write_bytes(bytes([number]))

    def locate(key: tuple[object, int]) -> Path:
        return tmp_path / str(key[1])

    open_before = len(os.listdir("/proc/self/fd"))
    in_use = files.acquire([(owner, 0), (owner, 1), (owner, 2)], locate)
    assert [os.pread(file.descriptor, 1, 0) for file in in_use] == [b"\0", b"\1", b"\2"]
    files.release(in_use)
    (last,) = files.acquire([(owner, 3)], locate)
    assert len(os.listdir("/proc/self/fd")) == open_before + 2
    assert os.pread(last.descriptor, 1, 0) == b"\3"
    files.release([last])
    files.close(lambda key: key[0] is owner)
    assert len(os.listdir("/proc/self/fd")) == open_before
