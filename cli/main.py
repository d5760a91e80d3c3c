"""The command line: mounts the commands."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.benchmark import benchmark
from cli.bundle import bundle
from cli.card import card
from cli.command import Group, mount
from cli.compare import compare
from cli.data import data
from cli.demo import demo
from cli.distill import distill
from cli.doctor import doctor
from cli.evaluate import evaluate
from cli.export import export
from cli.gate import gate
from cli.inspect import inspect
from cli.methods import methods
from cli.networks import networks
from cli.predict import predict
from cli.prune import prune
from cli.quantize import quantize
from cli.report import report
from cli.train import train
from cli.verify import verify

app = typer.Typer(
    name="edgepress",
    cls=Group,
    help="Distil, prune and export small vision networks, and prove on the shipped file what they cost.",
    epilog="Every command explains itself with -h. `edgepress --install-completion` lets the shell complete words.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: importing rich for its panels costs more than all the rest
)


def _show_version(asked: bool) -> None:
    from importlib.metadata import version

    if asked:
        typer.echo(f"edgepress {version('edgepress')}")
        raise typer.Exit


_Version = Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")]


@app.callback()
def _edgepress(version: _Version = False) -> None:
    pass


_COMPUTING = (train, distill, compare, prune, quantize, evaluate, predict)

_OPENING = (*_COMPUTING, export, verify, benchmark, inspect)

for _command in (*_OPENING, report, gate, card, bundle, networks, methods, data, doctor, demo):
    mount(app, _command, computes=_command in _COMPUTING, opens=_command in _OPENING)


if __name__ == "__main__":
    app()
