"""Subcommands that bring in and hand out weights and settings of other implementations."""

from pathlib import Path
from typing import Annotated, Literal

import typer
import yaml

from hpc.durable_files import storage_errors_as_advice, write_durably
from hpc.errors import UserError, one_line
from prediff.commands.options import ConfigOption, NameOption, SetOption

convert_app = typer.Typer(
    help="Weights and settings of the PyTorch code and of MindEarth.", no_args_is_help=True
)
NetworkName = Literal["autoencoder", "denoiser", "alignment"]
WeightsOption = Annotated[
    Literal["raw", "ema"], typer.Option("--weights", help="ema: the moving average of the weights")
]


@convert_app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="official .pt, training .ckpt, or MindEarth .ckpt")],
    config: ConfigOption = None,
    name: NameOption = "tiny",
    set_: SetOption = None,
    network: Annotated[
        NetworkName | None,
        typer.Option("--network", help="which one of the file [default: its main one]"),
    ] = None,
    weights: WeightsOption = "raw",
) -> None:
    """Make a file's weights the checkpoint of the stage that trains them; the stage is then done.

    Nothing of the file is executed. To train on from them: `prediff train STAGE --name RUN
    --resume CHECKPOINT`.

    Example: prediff convert import pretrained_vae.pt --name paper --config configs/sevirlr.yaml
    """
    from prediff.check import check_settings
    from prediff.convert.import_weights import import_weights
    from prediff.run_folder import open_run

    folder, resolved = open_run(
        name=name, config=config, data=None, overrides=set_ or (), save=False
    )
    check_settings(resolved)
    found = import_weights(folder, resolved, file=file, network=network, weights=weights)
    typer.echo(f"{file}: {found.report}")
    typer.echo(f"saved as {found.checkpoint}")


@convert_app.command("export")
def export(
    out: Annotated[Path, typer.Option("--out", help="safetensors file to write")],
    network: Annotated[NetworkName, typer.Option("--network", help="which one of the run")],
    name: NameOption = "tiny",
    weights: WeightsOption = "raw",
) -> None:
    """Write a trained network under the names of the PyTorch code, which loads it strictly.

    Example: prediff convert export --name first --network denoiser --out denoiser.safetensors
    """
    from prediff.convert.import_weights import export_weights
    from prediff.run_folder import open_run

    folder, resolved = open_run(
        name=name, config=None, data=None, overrides=(), save=False, must_exist=True
    )
    count = export_weights(folder, resolved, network=network, weights=weights, file=out)
    typer.echo(f"{out}: {count} tensors of the {network}")


@convert_app.command("config")
def config(
    file: Annotated[Path, typer.Argument(help="MindEarth's diffusion.yaml")],
    out: Annotated[Path, typer.Option("--out", help="YAML file to write")],
) -> None:
    """Translate MindEarth's settings, and name every key that is dropped with the reason.

    Example: prediff convert config diffusion.yaml --out configs/mine.yaml
    """
    from prediff.config import load_config, setting
    from prediff.config.bounded_yaml import load_yaml
    from prediff.convert.mindearth_config import translate
    from prediff.replaceable import refuse_foreign

    settings, _ = load_yaml(file)
    try:
        values, dropped = translate(settings)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    load_config(None, [setting(key, value) for key, value in values.items()])
    text = yaml.safe_dump(values, sort_keys=False, default_flow_style=None)
    head = f"# From {one_line(file.name)}; what is not here has its default.\n"
    refuse_foreign(out, is_ours=lambda path: path.read_bytes().startswith(b"# From "))
    with storage_errors_as_advice(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_durably(out, head + text)
    for key, reason in dropped:
        typer.echo(f"dropped {key}: {reason}")
    typer.echo(f"wrote {out}; {len(dropped)} keys dropped")
