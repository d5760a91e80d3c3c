"""edgepress data"""

from __future__ import annotations

import typer


def data() -> None:
    """List the data sets.

    Which are known, where they are looked for, and what is there.
    """
    from compress.data import data_root, status

    for row in status():
        typer.secho(row.name, bold=True)
        typer.echo(f"  {row.about}; {row.classes} classes, {row.train:,} + {row.test:,} images; licence: {row.licence}")
        typer.echo(f"  {'at ' + str(row.path) if row.path else 'not on this machine; downloaded when it is asked for'}")
    typer.echo(f"\nNamed sets are looked for under {data_root()} (EDGEPRESS_DATA changes it). Any folder of images")
    typer.echo("works by its path: train/<class>/* and test/<class>/* or val/<class>/*")
