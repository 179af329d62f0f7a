"""Synthetic storms: moving, growing and decaying multi-cell rain over a stratiform background.

One event is a square of 384 km seen every 10 minutes. A linear flow (steering, rotation, strain)
carries everything. In it live
- systems: lines, clusters, bands or scattered showers that grow and decay and drift a little;
- stratiform rain wherever a system is active, with the structure of a renewing random texture;
- convective cells, born in active systems, which ripen and die within an hour or two.

The constants are tuned by eye and by number. Over 300 events the coded values have mean 31 and
standard deviation 45 (SEVIR: 33.4 and 47.5), and following the true flow has less than half the
squared error of persistence at every lead time up to an hour. Lengths are km, times minutes,
values VIL as coded by SEVIR (0-254).
Legend: T frames, H and W pixels (y, x), N cells, M systems. Vectors are (y, x).
"""

from dataclasses import dataclass

import numpy as np

from prediff.data.texture import RenewingTexture

DOMAIN_KM = 384.0
FRAME_MINUTES = 10.0

_LOWEST, _HIGHEST = 6, 254  # weaker echoes are not seen; 255 means missing in SEVIR
_SATURATION = 262.0
_CELL_LEAD = 70.0  # cells may be up to this old at the first frame


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of weather: how often, how many systems of what size, and their cells.

    Ranges are (lowest, highest); ``trail`` stretches the stratiform rain behind the system.
    """

    share: float
    systems: tuple[int, int]
    half_length: tuple[float, float]
    half_width: tuple[float, float]
    strength: tuple[float, float]
    life: float
    trail: float
    cells: float
    cell_strength: float
    evenly_along: bool


KINDS = {
    "line": Kind(
        share=0.3, systems=(1, 3), half_length=(120, 260), half_width=(20, 36),
        strength=(0.85, 1.2), life=1, trail=3.2, cells=100, cell_strength=1, evenly_along=True,
    ),
    "cluster": Kind(
        share=0.3, systems=(3, 6), half_length=(50, 110), half_width=(40, 75),
        strength=(0.75, 1.15), life=1, trail=1.5, cells=45, cell_strength=1, evenly_along=False,
    ),
    "scattered": Kind(
        share=0.1, systems=(1, 1), half_length=(280, 360), half_width=(280, 360),
        strength=(0.45, 0.85), life=2, trail=1.5, cells=220, cell_strength=1, evenly_along=True,
    ),
    "band": Kind(
        share=0.3, systems=(1, 2), half_length=(240, 380), half_width=(90, 170),
        strength=(0.8, 1.2), life=2, trail=1.5, cells=70, cell_strength=0.75, evenly_along=False,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Flow:
    """Velocity ``steering + gradient @ x`` in km a minute, x in km from the domain's centre.

    The gradient ``[2, 2]`` has trace 0: the flow turns and strains but gathers nothing.
    """

    steering: np.ndarray
    gradient: np.ndarray

    def carry(self, points: np.ndarray, minutes: np.ndarray | float) -> np.ndarray:
        """Return where points ``[..., 2]`` are after ``minutes [...]`` (negative: were before).

        The exponential of the flow, as series that are exact to metres within some hours.
        """
        t = np.asarray(minutes, float)
        z = -np.linalg.det(self.gradient) * t**2  # trace 0, so gradient @ gradient = -det
        cosh = 1 + z / 2 + z**2 / 24 + z**3 / 720
        sinh = t * (1 + z / 6 + z**2 / 120)
        integral = t**2 * (1 / 2 + z / 24 + z**2 / 720)
        return (
            cosh[..., None] * points
            + sinh[..., None] * (points @ self.gradient.T + self.steering)
            + integral[..., None] * (self.gradient @ self.steering)
        )


@dataclass(frozen=True, kw_only=True)
class Systems:
    """M storm systems; arrays ``[M]``, or ``[M, 2]`` for vectors."""

    kind: Kind
    flow: Flow
    centre: np.ndarray  # at minute 0
    drift: np.ndarray  # relative to the flow, km a minute
    axis: np.ndarray  # angle of the long axis
    half_length: np.ndarray
    half_width: np.ndarray
    strength: np.ndarray
    peak: np.ndarray  # minute of the greatest activity
    life: np.ndarray  # standard deviation of the activity in time

    def activity(self, which: np.ndarray, minutes: np.ndarray | float) -> np.ndarray:
        """Return the activity of systems ``which`` relative to their strength, 0 to 1."""
        return np.exp(-0.5 * ((minutes - self.peak[which]) / self.life[which]) ** 2)

    def position(self, which: np.ndarray, minutes: np.ndarray | float) -> np.ndarray:
        """Return the centres of systems ``which`` at ``minutes``."""
        drifted = self.drift[which] * np.asarray(minutes, float)[..., None]
        return self.flow.carry(self.centre[which], minutes) + drifted

    def cover(self, points: np.ndarray, minutes: float) -> np.ndarray:
        """Return how much the active systems cover points ``[H, W, 2]``, about 0 to 1."""
        everyone = np.arange(len(self.peak))
        away = points[..., None, :] - self.position(everyone, minutes)
        cos, sin = np.cos(self.axis), np.sin(self.axis)
        along = (away[..., 1] * cos + away[..., 0] * sin) / self.half_length
        # Positive across is behind the system as it moves.
        across = (away[..., 0] * cos - away[..., 1] * sin) / self.half_width
        across = across / np.where(across > 0, self.kind.trail, 1.5)
        active = self.strength * self.activity(everyone, minutes)
        return (active * np.exp(-0.5 * (along**4 + across**2))).sum(-1)


@dataclass(frozen=True, kw_only=True)
class Cells:
    """N convective cells; arrays ``[N]``, or ``[N, 2]`` for vectors."""

    flow: Flow
    born: np.ndarray
    place: np.ndarray  # of birth
    drift: np.ndarray  # relative to the flow, km a minute
    life: np.ndarray
    strength: np.ndarray  # VIL at its best
    radius: np.ndarray  # along its long axis
    slenderness: np.ndarray  # short axis over long axis
    axis: np.ndarray

    def intensity(self, points: np.ndarray, minutes: float) -> np.ndarray:
        """Return the VIL ``[H, W]`` of all cells together at points ``[H, W, 2]``."""
        alive = np.flatnonzero((self.born < minutes) & (minutes < self.born + self.life))
        elapsed = minutes - self.born[alive]
        age = elapsed / self.life[alive]
        centre = self.flow.carry(self.place[alive], elapsed)
        centre += self.drift[alive] * elapsed[:, None]
        radius = self.radius[alive] * (0.7 + 0.5 * age)
        cos, sin = np.cos(self.axis[alive]), np.sin(self.axis[alive])
        along = _linear_map(points, centre, sin / radius, cos / radius)
        narrow = radius * self.slenderness[alive]
        across = _linear_map(points, centre, cos / narrow, -sin / narrow)
        profile = 1 / (1 + 0.45 * (along**2 + across**2)) ** 2
        # Growth is faster than decay; the factor makes the maximum 1.
        ripeness = age**0.9 * (1 - age) ** 1.2 * (2.1 / 0.9) ** 0.9 * (2.1 / 1.2) ** 1.2
        return np.einsum("n,nhw->hw", (self.strength[alive] * ripeness).astype("f4"), profile)


def _linear_map(
    points: np.ndarray, centre: np.ndarray, y_factor: np.ndarray, x_factor: np.ndarray
) -> np.ndarray:
    """Return ``y_factor * (y - centre_y) + x_factor * (x - centre_x)`` as ``[N, H, W]`` float32."""
    y, x = points[:, 0, 0].astype("f4"), points[0, :, 1].astype("f4")
    from_y = (y_factor[:, None] * (y - centre[:, :1])).astype("f4")
    from_x = (x_factor[:, None] * (x - centre[:, 1:])).astype("f4")
    return from_y[:, :, None] + from_x[:, None, :]


def storm_event(generator: np.random.Generator, *, size: int, frames: int) -> np.ndarray:
    """Return one synthetic event ``[T, H, W]`` uint8.

    Args:
        generator: source of all draws; the same state gives the same event.
        size: pixels of the domain's side, which is 384 km long whatever the number of pixels.
        frames: number of frames, 10 minutes apart.
    """
    duration = frames * FRAME_MINUTES
    pixel_km = DOMAIN_KM / size
    kind = list(KINDS.values())[generator.choice(len(KINDS), p=[k.share for k in KINDS.values()])]
    flow = _draw_flow(generator)
    systems = _draw_systems(generator, kind, flow, duration)
    cells = _draw_cells(generator, systems, duration, pixel_km)
    texture = RenewingTexture(
        generator,
        size=size,
        pixel_km=pixel_km,
        minutes=FRAME_MINUTES,
        slope=generator.uniform(2.9, 3.5),
    )
    axis = (np.arange(size) + 0.5) * pixel_km - DOMAIN_KM / 2
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)

    event = np.empty((frames, size, size), np.uint8)
    for frame in range(frames):
        minutes = frame * FRAME_MINUTES
        if frame:
            texture.advance()
        structure = texture.sample(flow.carry(points, duration / 2 - minutes))
        cover = np.minimum(systems.cover(points, minutes), 1.1)
        stratiform = 40 * np.maximum(0.9 * structure - 2.1 + 3.1 * cover, 0) ** 1.2
        convective = cells.intensity(points, minutes) * np.clip(1 + 0.22 * structure, 0.3, 2)
        vil = (stratiform**1.5 + convective**1.5) ** (1 / 1.5)
        vil = vil / (1 + (vil / _SATURATION) ** 5) ** 0.2
        event[frame] = np.where(vil < _LOWEST, 0, vil).round().clip(0, _HIGHEST)
    return event


def _draw_flow(generator: np.random.Generator) -> Flow:
    speed = generator.uniform(20, 60) / 60
    heading = np.deg2rad(generator.normal(25, 45))  # north of east; rows run southward
    rotation = generator.normal(0, 8e-4)
    stretch, shear = generator.normal(0, 4e-4, 2)
    return Flow(
        steering=speed * np.array([-np.sin(heading), np.cos(heading)]),
        gradient=np.array([[stretch, shear + rotation], [shear - rotation, -stretch]]),
    )


def _draw_systems(
    generator: np.random.Generator, kind: Kind, flow: Flow, duration: float
) -> Systems:
    low, high = kind.systems
    count = generator.integers(low, high + 1)
    peak = generator.uniform(-0.1, 1.1, count) * duration
    drift = generator.normal(0, 0.12, (count, 2))
    # Placed so that a system is inside the domain about when it is strongest.
    seen = np.clip(peak, 0.2 * duration, 0.8 * duration)
    place = generator.uniform(-0.38, 0.38, (count, 2)) * DOMAIN_KM
    across_the_flow = np.arctan2(flow.steering[0], flow.steering[1]) + np.pi / 2
    return Systems(
        kind=kind,
        flow=flow,
        centre=flow.carry(place - drift * seen[:, None], -seen),
        drift=drift,
        axis=across_the_flow + generator.normal(0, 0.4, count),
        half_length=generator.uniform(*kind.half_length, count),
        half_width=generator.uniform(*kind.half_width, count),
        strength=generator.uniform(*kind.strength, count),
        peak=peak,
        life=generator.uniform(100, 220, count) * kind.life,
    )


def _draw_cells(
    generator: np.random.Generator, systems: Systems, duration: float, pixel_km: float
) -> Cells:
    numbers = generator.poisson(systems.kind.cells, len(systems.peak))
    parent = np.repeat(np.arange(len(numbers)), numbers)
    born = generator.uniform(-_CELL_LEAD, duration, len(parent))
    kept = generator.random(len(parent)) < systems.activity(parent, born)
    parent, born = parent[kept], born[kept]
    count = len(parent)
    if systems.kind.evenly_along:
        along = generator.uniform(-1, 1, count)
    else:
        along = generator.normal(0, 0.5, count)
    along = along * systems.half_length[parent]
    across = generator.normal(0, 0.45, count) * systems.half_width[parent]
    axis = systems.axis[parent]
    offset = np.stack(
        [
            along * np.sin(axis) + across * np.cos(axis),
            along * np.cos(axis) - across * np.sin(axis),
        ],
        axis=-1,
    )
    life = np.exp(generator.normal(np.log(75), 0.4, count)).clip(30, 170)
    radius = np.exp(generator.normal(np.log(9.5), 0.35, count)).clip(4, 20) * (life / 75) ** 0.4
    vigour = 0.45 + 0.55 * systems.strength[parent] * systems.activity(parent, born)
    return Cells(
        flow=systems.flow,
        born=born,
        place=systems.position(parent, born) + offset,
        drift=generator.normal(0, 0.05, (count, 2)),
        life=life,
        strength=(165 * generator.gamma(6, 1 / 6, count) * vigour).clip(40, 330)
        * systems.kind.cell_strength,
        radius=np.maximum(radius, 0.85 * pixel_km),
        slenderness=generator.uniform(0.5, 1, count),
        axis=axis + generator.normal(0, 0.5, count),
    )
