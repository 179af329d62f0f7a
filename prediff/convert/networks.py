"""Which of the three networks a file holds, and which of its entries are that network's weights."""

from collections.abc import Mapping
from typing import Literal, TypeVar, get_args

from hpc.errors import UserError

Network = Literal["autoencoder", "denoiser", "alignment"]
Weights = Literal["raw", "ema"]
T = TypeVar("T")

TITLES: dict[Network, str] = {
    "autoencoder": "the autoencoder (VAE)",
    "denoiser": "the denoiser (Earthformer-UNet)",
    "alignment": "the alignment network",
}
# Parts that together only this network has, whatever its width and depth.
_SIGNATURES: dict[Network, tuple[str, ...]] = {
    "autoencoder": ("encoder.", "decoder."),
    "denoiser": ("first_proj.", "up_self_blocks."),
    "alignment": ("first_proj.", "out."),
}
# Where training checkpoints keep a network: none for a plain state dict, then the reference
# trainer's own network, then the frozen autoencoder beside it; MindEarth's wrappers last.
_PREFIXES = ("", "torch_nn_module.", "first_stage_model.", "net.", "main_model.")
_EMA_PREFIX = "model_ema."
# What PyTorch's DistributedDataParallel and torch.compile put before every name.
_WRAPPERS = ("module.", "_orig_mod.")
INDEX_BUFFER = "relative_position_index"


def identify(names: Mapping[str, object]) -> Network:
    """Tell which network a state dict with reference names belongs to.

    Raises:
        UserError: none of the three.
    """
    for network in get_args(Network):
        if all(any(name.startswith(part) for name in names) for part in _SIGNATURES[network]):
            return network
    shown = ", ".join(sorted(names)[:3]) or "no tensors at all"
    raise UserError(
        f"this is none of PreDiff's three networks: it holds {len(names)} entries ({shown}, ...)"
    )


def require_network(names: Mapping[str, object], wanted: Network) -> None:
    """Raise ``UserError`` naming what a state dict is when it is not the wanted network."""
    found = identify(names)
    if found != wanted:
        raise UserError(f"this is {TITLES[found]}, not {TITLES[wanted]}")


def network_entries(
    entries: Mapping[str, T], *, network: Network | None = None, weights: Weights = "raw"
) -> dict[str, T]:
    """Pick one network out of a state dict and name it as the official files do.

    Args:
        entries: a plain state dict, or a training checkpoint's with its prefixes; what a wrapper
            put before every name is taken off.
        network: the one that is wanted; None takes the main one.
        weights: ``"ema"`` takes the exponential moving averages, stored as ``model_ema.NAME``
            with the dots removed from NAME, in place of the raw weights.

    Raises:
        UserError: the network is not there, or has no averages.
    """
    entries = _unwrapped(entries)
    found: list[str] = []
    for prefix in _PREFIXES:
        group = {k[len(prefix) :]: k for k in entries if k.startswith(prefix)}
        if prefix == "":
            group = {k: k for k in group if not k.startswith((*_PREFIXES[1:], _EMA_PREFIX))}
        try:
            kind = identify(group)
        except UserError:
            continue
        if network is None or kind == network:
            if weights == "ema":
                group = _averages(entries, group)
            return {name: entries[stored] for name, stored in group.items()}
        found.append(TITLES[kind])
    if network is not None and found:
        raise UserError(f"this is {' and '.join(found)}, not {TITLES[network]}")
    identify(entries)
    raise AssertionError("a plain state dict would have been found")


def _unwrapped(entries: Mapping[str, T]) -> Mapping[str, T]:
    while wrapper := next((w for w in _WRAPPERS if _all_begin(entries, w)), None):
        entries = {name.removeprefix(wrapper): entry for name, entry in entries.items()}
    return entries


def _all_begin(entries: Mapping[str, object], start: str) -> bool:
    return bool(entries) and all(name.startswith(start) for name in entries)


def _averages(entries: Mapping[str, object], group: Mapping[str, str]) -> dict[str, str]:
    chosen: dict[str, str] = {}
    missing = []
    for name, stored in group.items():
        shadows = [_EMA_PREFIX + path.replace(".", "") for path in (name, stored)]
        present = [shadow for shadow in shadows if shadow in entries]
        if present:
            chosen[name] = present[0]
        elif name.endswith(INDEX_BUFFER):  # a constant, which has no average
            chosen[name] = stored
        else:
            missing.append(name)
    if missing:
        raise UserError(
            f"no moving average for {len(missing)} of {len(group)} weights ({missing[0]}, ...); "
            "convert the raw weights instead"
        )
    if len(set(chosen.values())) != len(chosen):
        raise UserError("two weights share one moving average; convert the raw weights instead")
    return chosen
