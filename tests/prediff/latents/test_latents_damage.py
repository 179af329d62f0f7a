"""Whatever happens to a store, its reader gives the right numbers or refuses in one line."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import build_latents
import numpy as np
import pytest
from build_latents import FRAMES, IDENTITY, LATENT, build, encode, read_event

from hpc.errors import UserError
from prediff.latents.layout import StoreIdentity, group_path, list_groups
from prediff.latents.reader import LatentReader, open_store
from prediff.latents.verify import drop_damaged, verify_group


@pytest.fixture(scope="module")
def whole_store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    build(path)
    return path


@pytest.fixture
def store(whole_store, tmp_path):
    path = tmp_path / "latents.zarr"
    shutil.copytree(whole_store, path)
    return path


def group_of(path: Path) -> Path:
    return group_path(path, identity=IDENTITY, variant="identity")


def read_everything(path: Path) -> tuple[np.ndarray, ...]:
    with open_store(path, identity=IDENTITY, variant="identity") as reader:
        everything = {"events": range(10), "starts": [0] * 10, "length": FRAMES}
        return tuple(reader.read_array(name, **everything) for name in ("mean", "std", "intensity"))


def one_line(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_every_flipped_bit_is_detected_before_use(store):
    """200 random bits over all files of the group that a reader or `verify` depends on."""
    expected = read_everything(store)
    group = group_of(store)
    files = [file for file in group.rglob("*") if file.is_file()]
    rng = np.random.default_rng(4)
    weights = np.array([file.stat().st_size for file in files], float)
    refused = verified = 0
    for file in rng.choice(files, 200, p=weights / weights.sum()):
        original = file.read_bytes()
        flipped = bytearray(original)
        flipped[rng.integers(len(flipped))] ^= 1 << rng.integers(8)
        file.write_bytes(flipped)
        try:
            for got, right in zip(read_everything(store), expected, strict=True):
                np.testing.assert_array_equal(got, right)
        except UserError:
            refused += 1
        check = verify_group(group)
        verified += not check.whole
        assert not check.whole, f"a flipped bit in {file.relative_to(group)} was not noticed"
        file.write_bytes(original)
    assert verified == 200
    assert refused > 100


def test_every_flipped_bit_of_a_shard_is_refused_by_the_reader(store):
    """200 random bits of shard files alone: none may be read, padding aside."""
    layout = open_store(store, identity=IDENTITY, variant="identity").layout
    rng = np.random.default_rng(5)
    for _ in range(200):
        array = layout.arrays[rng.integers(2)]
        file = array.shard_file(group_of(store), rng.integers(layout.num_shards))
        original = file.read_bytes()
        index = 16 * layout.events_per_shard + 4
        position = int(rng.integers(len(original)))
        slot = -(-(array.item_bytes + 4) // array.alignment) * array.alignment
        in_padding = position < len(original) - index and position % slot >= array.item_bytes + 4
        flipped = bytearray(original)
        flipped[position] ^= 1 << rng.integers(8)
        file.write_bytes(flipped)
        if in_padding:
            assert not verify_group(group_of(store)).whole
        else:
            with pytest.raises(UserError, match="is damaged"):
                read_everything(store)
        file.write_bytes(original)


def test_zarr_itself_refuses_a_flipped_bit(store):
    zarr = pytest.importorskip("zarr")
    file = group_of(store) / "mean" / "c.2.0.0.0.0"
    data = bytearray(file.read_bytes())
    data[17] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match="checksum"):
        zarr.open_array(group_of(store) / "mean", mode="r")[:]


def test_a_missing_shard_is_refused_and_named(store):
    (group_of(store) / "std" / "c.2.0.0.0.0").unlink()
    with pytest.raises(UserError) as error:
        open_store(store, identity=IDENTITY, variant="identity")
    assert "1 of 4 shards" in one_line(error)
    assert "(2)" in one_line(error)
    assert "prediff cache latents" in one_line(error)


def test_a_shard_without_marker_is_refused(store):
    (group_of(store) / "manifest" / "shard_000001.json").unlink()
    with pytest.raises(UserError, match=r"1 of 4 shards .* \(1\)"):
        open_store(store, identity=IDENTITY, variant="identity")


def test_a_truncated_shard_is_refused(store):
    os.truncate(group_of(store) / "mean" / "c.0.0.0.0.0", 100)
    with pytest.raises(UserError, match=r"1 of 4 shards .* \(0\)"):
        open_store(store, identity=IDENTITY, variant="identity")


def test_a_shard_cut_while_it_is_read_is_refused_without_killing_the_process(store):
    with open_store(store, identity=IDENTITY, variant="identity") as reader:
        reader.read_windows(events=[0], starts=[0], length=FRAMES)
        os.truncate(group_of(store) / "mean" / "c.0.0.0.0.0", 50)
        with pytest.raises(UserError, match="ends at byte"):
            reader.read_windows(events=[0], starts=[0], length=FRAMES)


def test_a_shard_taken_away_after_opening_is_refused(store):
    with open_store(store, identity=IDENTITY, variant="identity") as reader:
        (group_of(store) / "mean" / "c.0.0.0.0.0").unlink()
        with pytest.raises(UserError, match="taken away"):
            reader.read_windows(events=[0], starts=[0], length=FRAMES)


def test_a_whole_shard_of_another_vae_in_the_place_of_ours_is_refused(store, tmp_path):
    build(tmp_path / "other", encode=lambda frames: tuple(2 * x for x in encode(frames)))
    name = Path("mean") / "c.1.0.0.0.0"
    shutil.copy(group_of(tmp_path / "other") / name, group_of(store) / name)
    with pytest.raises(UserError, match="event 3: its checksum is wrong"):
        read_everything(store)


def test_a_store_of_another_vae_is_refused_naming_both(store):
    ours = StoreIdentity(dataset="storms", vae_sha256="f0" * 32, catalog_sha256="c2" * 32)
    with pytest.raises(UserError) as error:
        open_store(store, identity=ours, variant="identity")
    assert IDENTITY.vae_sha256 in one_line(error)
    assert ours.vae_sha256 in one_line(error)


def test_a_folder_renamed_to_another_vae_is_refused_naming_both(store):
    ours = StoreIdentity(dataset="storms", vae_sha256="f0" * 32, catalog_sha256="c2" * 32)
    group_of(store).parent.rename(store / "storms" / f"vae_{ours.vae_sha256[:12]}")
    for attempt in (open_store, build):
        changes = {"identity": ours, "variant": "identity"}
        with pytest.raises(UserError) as error:
            attempt(store, **changes)
        assert IDENTITY.vae_sha256 in one_line(error)
        assert ours.vae_sha256 in one_line(error)


def test_another_catalog_is_refused_naming_both_by_reader_and_builder(store):
    ours = StoreIdentity(dataset="storms", vae_sha256="a1" * 32, catalog_sha256="d3" * 32)
    for attempt in (open_store, build):
        with pytest.raises(UserError) as error:
            attempt(store, identity=ours, variant="identity")
        assert IDENTITY.catalog_sha256 in one_line(error)
        assert ours.catalog_sha256 in one_line(error)


def test_other_shapes_or_events_are_refused_by_the_builder(store):
    with pytest.raises(UserError, match="event list"):
        build(store, events=11)
    with pytest.raises(UserError, match="number of frames 5, but number of frames 4"):
        build(store, num_frames=4)
    with pytest.raises(UserError, match="latent shape"):
        build(store, latent_shape=(4, 4, 4))
    with pytest.raises(UserError, match="events per shard 3, but events per shard 2"):
        build(store, events_per_shard=2)
    read_everything(store)


def test_another_format_version_is_refused_naming_both(store):
    file = group_of(store) / "zarr.json"
    document = json.loads(file.read_text())
    document["attributes"]["format_version"] = 7
    file.write_text(json.dumps(document))
    before = file.read_bytes()
    for attempt in (open_store, build):
        with pytest.raises(UserError, match=r"version 7, this program reads 1"):
            attempt(store, identity=IDENTITY, variant="identity")
    assert file.read_bytes() == before


def test_no_store_or_another_variant_or_data_set_is_one_line_of_advice(store, tmp_path):
    with pytest.raises(UserError, match=r"no latent store at .*make one with"):
        open_store(tmp_path / "nowhere", identity=IDENTITY, variant="identity")
    with pytest.raises(UserError, match="no variant 'rot90' of these latents, only identity"):
        open_store(store, identity=IDENTITY, variant="rot90")
    other = StoreIdentity(dataset="sevir", vae_sha256="a1" * 32, catalog_sha256="c2" * 32)
    with pytest.raises(UserError, match="holds latents of storms, none of sevir"):
        open_store(store, identity=other, variant="identity")


def test_a_builder_computes_only_what_is_damaged_and_restores_the_bytes(store):
    group = group_of(store)
    before = {file: file.read_bytes() for file in group.rglob("*") if file.is_file()}
    damaged = group / "std" / "c.1.0.0.0.0"
    data = bytearray(damaged.read_bytes())
    data[5] ^= 64
    damaged.write_bytes(data)
    (group / "mean" / "c.3.0.0.0.0").unlink()
    (group / "event" / "c.0").write_bytes(b"")
    (group / "zarr.json").write_text("{")
    report = build(store)
    assert (report.shards_computed, report.shards_kept) == (2, 2)
    assert {file: file.read_bytes() for file in group.rglob("*") if file.is_file()} == before


def test_verify_names_what_is_damaged_and_repair_drops_just_that(store):
    (group,) = list_groups(store)
    assert verify_group(group).whole
    file = group / "mean" / "c.2.0.0.0.0"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    seen = []
    check = verify_group(group, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert list(check.shards) == [2]
    assert "SHA-256" in check.shards[2]
    drop_damaged(check)
    assert not file.exists()
    with pytest.raises(UserError, match=r"1 of 4 shards .* \(2\)"):
        open_store(store, identity=IDENTITY, variant="identity")
    report = build(store)
    assert (report.shards_computed, report.shards_kept) == (1, 3)
    assert verify_group(group).whole


@pytest.mark.parametrize("bad", [np.nan, np.inf, 70000.0])
@pytest.mark.parametrize("moment", [0, 1])
def test_latents_that_float16_cannot_hold_are_refused_naming_the_event(tmp_path, bad, moment):
    def encode_badly(frames):
        moments = list(encode(frames))
        event = np.flatnonzero(np.all(frames == read_event(7)[2], axis=(1, 2, 3)))
        moments[moment] = moments[moment].copy()
        moments[moment][event, 1, 1, 1] = bad
        return tuple(moments)

    with pytest.raises(UserError, match="event S00007") as error:
        build(tmp_path, encode=encode_badly)
    one_line(error)
    report = build(tmp_path)
    assert (report.shards_computed, report.shards_kept) == (2, 2)


def test_broken_frames_are_refused_naming_the_event(tmp_path):
    def read_nan(event):
        frames = read_event(event)
        frames[2, 3, 4] = np.nan if event == 4 else 0
        return frames

    with pytest.raises(UserError, match="event S00004: its frames have values that are not finite"):
        build(tmp_path, read_event=read_nan)
    with pytest.raises(UserError, match=r"event S00000: frames of shape \(4, 8, 8, 1\)"):
        build(tmp_path / "a", read_event=lambda event: read_event(event)[:4])
    with pytest.raises(UserError, match=r"the VAE gives latents of shape \(4, 4, 3\)"):
        build(tmp_path / "b", latent_shape=(4, 4, 8))


def test_no_events_or_events_named_twice_are_refused(tmp_path):
    with pytest.raises(UserError, match="no events"):
        build(tmp_path, event_ids=[])
    with pytest.raises(UserError, match="twice"):
        build(tmp_path, event_ids=["S1", "S1"])


def test_a_full_disk_stops_the_build_in_one_line_and_loses_nothing(tmp_path):
    """A file size limit of the process gives the same kind of error as a full disk."""
    script = Path(build_latents.__file__)
    done = subprocess.run(
        [sys.executable, script, tmp_path, "--events", "10"],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("cannot write")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("*.aside"))
    assert build(tmp_path).complete


def test_a_disk_that_will_be_too_small_is_refused_before_anything_is_encoded(tmp_path, monkeypatch):
    usage = shutil._ntuple_diskusage(total=10**6, used=10**6 - 100, free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"needs .* GB more, the disk has 1e-07 GB free"):
        build(tmp_path, encode=lambda frames: pytest.fail("it encoded"))


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_is_one_line_of_advice(tmp_path, monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match=r"cannot write .* Choose another place"):
        build(tmp_path)


def test_threads_may_read_at_once(store):
    expected = read_everything(store)[0]
    reader = LatentReader(group_of(store))
    rng = np.random.default_rng(0)

    def read(events):
        return reader.read_array("mean", events=events, starts=[1] * len(events), length=3)

    batches = [rng.integers(0, 10, 16) for _ in range(50)]
    with ThreadPoolExecutor(8) as pool:
        for events, got in zip(batches, pool.map(read, batches), strict=True):
            np.testing.assert_array_equal(got, expected[events, 1:4])
    assert got.shape == (16, 3, *LATENT)
    reader.close()
