"""A dry run: what a job would do on a cluster, from formulas, on any laptop.

Operations and parameters come from `prediff.models.denoiser_cost`, times from a device's figures
and the efficiencies that `ASSUMPTIONS` names, the pipeline's bubble from the simulator.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import psutil

from hpc.cluster.mesh import Mesh
from hpc.errors import UserError
from hpc.monitor.peak import NPUS, Published, job_peak
from hpc.pipeline.costs import StageCosts
from hpc.pipeline.schedule import folded_one_forward_one_backward
from hpc.pipeline.simulate import simulate
from prediff.config import Config
from prediff.models.cost import Cost
from prediff.models.denoiser_cost import DenoiserCost
from prediff.training.parallelize import parallelize_denoiser

GIGA = 1e9


@dataclass(frozen=True, kw_only=True)
class Device:
    """What a device can do; rates are of one rank."""

    name: str
    peak: float
    """Operations a second of products in 16 bits, as published."""
    convolution: float
    """Share of the peak that convolutions reach."""
    linear: float
    """Share of the peak that affine maps and attention products reach."""
    memory: float
    """Bytes."""
    memory_bandwidth: float
    """Bytes a second."""
    near: float
    """Bytes a second between two devices of a node."""
    far: float
    """Bytes a second between devices of two nodes."""
    float32_share: float
    """Rate in float32 over the rate in 16 bits."""
    host: float
    """Seconds of the host between two compiled chunks, and for a message."""


def _npu(name: str, figures: Published) -> Device:
    return Device(
        name=name,
        peak=figures.operations,
        convolution=0.35,
        linear=0.45,
        memory=figures.memory,
        memory_bandwidth=0.6 * figures.bandwidth,
        near=25 * GIGA,
        far=20 * GIGA,
        float32_share=0.25,
        host=2e-4,
    )


DEVICES: Mapping[str, Device] = {
    **{name: _npu(name, figures) for name, figures in NPUS.items()},
    "cpu": Device(  # peak and memory are those of this host, when it is planned for
        name="cpu",
        peak=135 * GIGA,
        convolution=0.7,
        linear=0.65,
        memory=24 * GIGA,
        memory_bandwidth=25 * GIGA,
        near=0.1 * GIGA,
        far=0.1 * GIGA,
        float32_share=1.0,
        host=5e-3,
    ),
}

ASSUMPTIONS = (
    "products reach {linear:.0%} and convolutions {convolution:.0%} of {peak:.3g} TFLOP/s, float32 "
    "{float32_share:.0%} of that: assumed for NPUs, measured on two cores for the CPU",
    "memory {memory:.0f} GB at {memory_bandwidth:.3g} GB/s, links {near:.3g} GB/s in a node and "
    "{far:.3g} GB/s between nodes: assumed, but for 60 % of the 910B2's published memory bandwidth",
    "each kept activation is written and read once; reading data is hidden by prefetching",
    "a pipeline's backward pass computes the forward pass again, but for the last chunk",
    "messages overlap with computing; all-reduces and updates do not",
)


@dataclass(frozen=True, kw_only=True)
class RankPlan:
    """What one rank of a pipeline holds."""

    blocks: str
    parameters: int
    memory: float
    """Bytes."""
    messages: int
    """Sent in a step."""
    message_bytes: float


@dataclass(frozen=True, kw_only=True)
class MeshPlan:
    """A mesh and what it would do."""

    mesh: Mesh
    micro_batches: int
    samples: int
    """Of a micro-batch on one rank."""
    ranks: tuple[RankPlan, ...]
    """Of one pipeline; all data ranks are alike."""
    bubble: float
    step_seconds: float
    mfu: float
    """Useful operations, without recomputation, over the peak of all devices."""
    fits: bool


@dataclass(frozen=True)
class Plan:
    """All meshes of a job."""

    device: Device
    nodes: int
    configured: MeshPlan
    best: MeshPlan
    meshes: tuple[MeshPlan, ...]


def state_bytes(parameters: int, *, sharing: int) -> float:
    """Return what a rank keeps of a network between steps, in float32.

    Weight and gradient, and two moments and the average, which `sharing` ranks share out.
    """
    return 4 * parameters * (2 + 3 / sharing)


def update_bytes(parameters: int, *, sharing: int) -> float:
    """Return what an update holds besides: flat weights before and after, clipped gradients."""
    return 4 * parameters * (2 + 1 / sharing)


def plan(*, config: Config, nodes: int, per_node: int, device: str = "910B2") -> Plan:
    """Return what training the denoiser would do on a cluster.

    Args:
        config: of the run; ``parallel.pipeline`` is the mesh that it asks for.
        nodes: hosts.
        per_node: devices of each.
        device: name in `DEVICES`. A CPU is the cores of a host like this one, shared by its ranks.

    Raises:
        UserError: the cluster is empty, the device unknown, or the configured mesh cannot run; the
            message says what would. Or the pipeline is MindSpore's own, which it knows nothing of.
    """
    if nodes < 1 or per_node < 1:
        raise UserError(f"{nodes} nodes of {per_node} devices: both must be at least 1")
    if config.parallel.pipeline_engine != "folded":
        raise UserError("plans are of the folded pipeline: set parallel.pipeline_engine to folded")
    if config.is_one_pass:
        raise UserError(
            "plans are of the latent denoiser: a one-pass network (diffusion.objective crps) "
            "trains data parallel on any ranks that divide train_diffusion.global_batch"
        )
    if device not in DEVICES:
        raise UserError(f"device {device!r} is unknown: choose {', '.join(DEVICES)}")
    ranks, wanted = nodes * per_node, config.parallel.pipeline
    chosen = this_host(ranks=per_node) if device == "cpu" else DEVICES[device]
    cluster = _Cluster(config, chosen, ranks=ranks, per_node=per_node)
    found = {}
    refused: dict[int, UserError] = {}
    for stages in (p for p in range(1, ranks + 1) if ranks % p == 0 or p == wanted):
        try:
            found[stages] = cluster.lay_out(stages)
        except UserError as error:
            refused[stages] = error
    fitting = [option for option in found.values() if option.fits]
    works = ", ".join(f"{o.mesh.data}x{o.mesh.pipeline}" for o in fitting)
    if not fitting and found:
        least = min(max(r.memory for r in option.ranks) for option in found.values())
        raise UserError(
            f"no mesh of {ranks} {device} fits: the least memory a rank is {least / GIGA:.1f} GB "
            f"of {cluster.device.memory / GIGA:.0f} GB: lower train_diffusion.micro_batch or set "
            "denoiser.recompute"
        )
    if wanted in refused:
        advice = f"; meshes (data x pipeline) that work: {works}" if works else ""
        raise UserError(f"{refused[wanted]}{advice}")
    if not found[wanted].fits:
        most = max(rank.memory for rank in found[wanted].ranks)
        raise UserError(
            f"parallel.pipeline={wanted} needs {most / GIGA:.1f} GB a rank and a {device} has "
            f"{cluster.device.memory / GIGA:.0f} GB: meshes (data x pipeline) that fit: {works}"
        )
    best = min(fitting, key=lambda option: option.step_seconds)
    return Plan(cluster.device, nodes, found[wanted], best, tuple(found.values()))


def this_host(*, ranks: int) -> Device:
    """Return the CPU with this host's memory and its peak, which is measured in half a second."""
    peak = job_peak(ranks=ranks, hosts=1, folder=None) or DEVICES["cpu"].peak
    return replace(DEVICES["cpu"], peak=peak, memory=psutil.virtual_memory().total)


class _Cluster:
    def __init__(self, config: Config, device: Device, *, ranks: int, per_node: int) -> None:
        self.config, self.device = config, device
        self.ranks, self.per_node = ranks, per_node
        self.costs = DenoiserCost(config)
        self.each = [self.costs.cost(block) for block in self.costs.blocks]
        self.wide = config.denoiser.precision == "float32"
        self.number_bytes = 4 if self.wide else 2

    def lay_out(self, stages: int) -> MeshPlan:
        """Return the plan of a number of stages; UserError if it cannot be."""
        parallel = self.config.parallel.model_copy(update={"pipeline": stages})
        config = self.config.model_copy(update={"parallel": parallel})
        decided = parallelize_denoiser(config, ranks=self.ranks)
        mesh, micro_batches = decided.mesh, decided.micro_batches
        global_batch = config.train_diffusion.global_batch
        samples = global_batch // mesh.data // micro_batches
        bounds = decided.bounds if stages > 1 else (0, len(self.each))
        if stages == 1:
            seconds = [self._seconds(cost, samples) for cost in self.each]
            passes = 4 if config.denoiser.recompute else 3
            compute, bubble = passes * sum(seconds) * micro_batches, 0.0
            live: tuple[int, ...] = (0,)
        else:
            compute, bubble, live = self._simulate(bounds, micro_batches, samples)
        ranks = tuple(
            self._rank(mesh, bounds, stage, samples, micro_batches, live[stage])
            for stage in range(stages)
        )
        heaviest = max(r.parameters for r in ranks)
        copies = sum(rank.parameters for rank in ranks) - self.costs.parameters(self.costs.blocks)
        tied = 2 * 4 * copies / stages / self.device.near
        step = compute + tied + self._reduce(mesh, 4 * heaviest) + self._update(mesh, heaviest)
        useful = 3 * sum(cost.operations for cost in self.each) * global_batch
        return MeshPlan(
            mesh=mesh,
            micro_batches=micro_batches,
            samples=samples,
            ranks=ranks,
            bubble=bubble,
            step_seconds=step,
            mfu=useful / (step * self.device.peak * self._devices()),
            fits=max(rank.memory for rank in ranks) <= self.device.memory,
        )

    def _devices(self) -> float:
        """Return devices; the ranks of a CPU host share one."""
        return self.ranks / self._sharing()

    def _sharing(self) -> int:
        return self.per_node if self.device.name == "cpu" else 1

    def _seconds(self, cost: Cost, samples: int) -> float:
        """Return the seconds of a forward pass."""
        rate = self.device.peak * (self.device.float32_share if self.wide else 1.0)
        product = cost.convolution / self.device.convolution
        product += (cost.linear + cost.attention) / self.device.linear
        traffic = 2 * cost.activations * self.number_bytes / self.device.memory_bandwidth
        return self._sharing() * samples * (product / rate + traffic)

    def _chunk_seconds(self, bounds: tuple[int, ...], chunk: int, samples: int) -> float:
        part = self.each[bounds[chunk] : bounds[chunk + 1]]
        return sum(self._seconds(cost, samples) for cost in part)

    def _simulate(
        self, bounds: tuple[int, ...], micro_batches: int, samples: int
    ) -> tuple[float, float, tuple[int, ...]]:
        chunks = len(bounds) - 1
        forward = [self._chunk_seconds(bounds, c, samples) for c in range(chunks)]
        sizes = {(c, c + 1): self._message(bounds, c, samples) for c in range(chunks - 1)}
        costs = StageCosts(
            forward=(*forward[:-1], 0.0),
            backward=(*(3 * f for f in forward[:-1]), 3 * forward[-1]),
            message_bytes=sizes,
            bandwidth=self.device.near if chunks // 2 <= self.per_node else self.device.far,
            host=self.device.host,
        )
        blocking = self.device.name != "cpu"
        schedule = folded_one_forward_one_backward(
            stages=chunks // 2, micro_batches=micro_batches, costs=costs, blocking=blocking
        )
        found = simulate(schedule, costs)
        return found.makespan, found.bubble, found.peak_live

    def _message(self, bounds: tuple[int, ...], chunk: int, samples: int) -> float:
        """Return the bytes that go from a chunk to the next one; the stream is float32."""
        return 4.0 * samples * self.costs.stream_numbers(self.costs.blocks[bounds[chunk + 1] - 1])

    def _state_sharing(self, mesh: Mesh) -> int:
        """Return the ranks that share out the optimizer's state of a stage."""
        return mesh.data if self.config.parallel.shard_optimizer else 1

    def _rank(
        self,
        mesh: Mesh,
        bounds: tuple[int, ...],
        stage: int,
        samples: int,
        micro_batches: int,
        live: int,
    ) -> RankPlan:
        last, stages = len(bounds) - 2, mesh.pipeline
        held = sorted({stage, last - stage})
        blocks = [b for c in held for b in range(bounds[c], bounds[c + 1])]
        parameters = self.costs.parameters([self.costs.blocks[b] for b in blocks])
        edges = [c for c in range(last) if c != stages - 1 and (c in held or c + 1 in held)]
        sizes = [self._message(bounds, c, samples) for c in edges] if stages > 1 else []
        kept = max(self._chunk_activations(bounds, c) for c in held)
        activations = samples * self.number_bytes * kept
        stashed = live * max(sizes, default=0.0)
        sharing = self._state_sharing(mesh)
        memory = state_bytes(parameters, sharing=sharing) + stashed
        memory += max(activations, update_bytes(parameters, sharing=sharing))
        return RankPlan(
            blocks=" ".join(f"{bounds[c]}-{bounds[c + 1] - 1}" for c in held),
            parameters=parameters,
            memory=memory,
            messages=len(sizes) * micro_batches,
            message_bytes=sum(sizes) * micro_batches,
        )

    def _chunk_activations(self, bounds: tuple[int, ...], chunk: int) -> float:
        part = range(bounds[chunk], bounds[chunk + 1])
        if not self.config.denoiser.recompute:
            return sum(self.each[b].activations for b in part)
        streams = sum(self.costs.stream_numbers(self.costs.blocks[b]) for b in part)
        return max(self.each[b].activations for b in part) + 2 * streams

    def _reduce(self, mesh: Mesh, gradient_bytes: float) -> float:
        """Return the seconds of the all-reduce over the data axis, not overlapped."""
        if mesh.data == 1:
            return 0.0
        in_node = mesh.size <= self.per_node
        rate = self.device.near if in_node else self.device.far
        return 2 * (mesh.data - 1) / mesh.data * gradient_bytes / rate

    def _update(self, mesh: Mesh, parameters: int) -> float:
        sharing = self._state_sharing(mesh)
        moved = 2 * state_bytes(parameters, sharing=sharing)
        moved += update_bytes(parameters, sharing=sharing)
        return self._sharing() * moved / self.device.memory_bandwidth
