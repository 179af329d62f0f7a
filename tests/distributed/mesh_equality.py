"""Every mesh and variant trains like one process: run them all and print how far they are apart.

    python tests/distributed/mesh_equality.py /tmp/equality --steps 20

Meshes are data x pipeline. A difference is the largest of any loss, norm, score, weight, moment
and average, absolute or relative to the value of one process where that is above 1. Ends with code
1 if one is above 1e-5. One data rank has nobody to share state with: no ``sharded`` there; and
MindSpore's own pipeline has no data axis.
`--meshes` and `--variants` choose some; results that are in the folder already are not made again.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from pipeline_equality import VARIANTS
from ranks import run_ranks

SCRIPT = Path(__file__).with_name("pipeline_equality.py")
MESHES = ("1x1", "2x1", "4x1", "1x2", "2x2", "1x4")
REFERENCE = "1x1_whole"
TOLERANCE = 1e-5


def difference(found: Path, expected: Path) -> float:
    """Return how far the results of two runs are apart."""
    one, other = np.load(expected), np.load(found)
    assert sorted(one.files) == sorted(other.files), found
    assert not one["report/1/is_finite"], "the second step is bad by design"
    apart = 0.0
    for name in one.files:
        if not name.endswith("stop_votes"):  # the share of the ranks that ask to stop
            finite = np.isfinite(one[name])
            assert np.array_equal(finite, np.isfinite(other[name])), name
            errors = np.abs(other[name] - one[name]) / np.maximum(1.0, np.abs(one[name]))
            apart = max([apart, *errors[finite].ravel().tolist()])
    return apart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--meshes", nargs="+", default=MESHES, choices=MESHES)
    parser.add_argument("--variants", nargs="+", default=tuple(VARIANTS), choices=VARIANTS)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--depth", type=int, default=2, help="blocks a level; 1x4 needs 2")
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds for each mesh")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    far = False
    print(f"| mesh | {' | '.join(options.variants)} |\n|---{'|---' * len(options.variants)}|")
    for mesh in dict.fromkeys(("1x1", *options.meshes)):
        data, pipeline = map(int, mesh.split("x"))
        possible = [v for v in options.variants if VARIANTS[v].fits(data, pipeline)]
        wanted = {v: options.folder / f"{mesh}_{v}.npz" for v in possible}
        if mesh == "1x1":
            wanted["whole"] = options.folder / f"{REFERENCE}.npz"
        missing = [variant for variant, file in wanted.items() if not file.exists()]
        if missing:
            sizes = ("--depth", str(options.depth), "--steps", str(options.steps))
            run_ranks(
                SCRIPT,
                *(str(options.folder), mesh, *missing, *sizes),
                ranks=data * pipeline,
                folder=options.folder,
                timeout=options.timeout,
            )
        if mesh in options.meshes:
            reference = options.folder / f"{REFERENCE}.npz"
            apart = {v: difference(wanted[v], reference) for v in possible}
            far |= max(apart.values()) > TOLERANCE
            cells = [f"{apart[v]:.1e}" if v in apart else "-" for v in options.variants]
            print(f"| {mesh} | {' | '.join(cells)} |", flush=True)
    sys.exit(far)


if __name__ == "__main__":
    main()
