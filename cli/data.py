"""edgepress data"""

from __future__ import annotations


def data() -> None:
    """List the data sets.

    Which are known, where they are looked for, and what is there.

    Examples:
        edgepress data
        edgepress data --json
    """
    from dataclasses import asdict

    from cli import say
    from compress.data import data_root, status

    rows = status()
    lines = []
    for row in rows:
        lines.append(row.name)
        lines.append(
            f"  {row.about}; {row.classes} classes, {row.train:,} + {row.test:,} images; licence: {row.licence}"
        )
        missing = "downloaded when it is asked for" if row.downloads else f"would be at {row.looked[0]}"
        lines.append(f"  at {row.path}" if row.path else f"  not on this machine; {missing}")
    lines.append("")
    lines.append(f"Named sets are looked for under {data_root()} (EDGEPRESS_DATA changes it). Any folder of images")
    lines.append(
        "works by its path: train/<class>/* and test/<class>/* or val/<class>/*, or <class>/* alone; with masks,"
    )
    lines.append("images/<split>/* and masks/<split>/*.png. A name with :N, such as cub200:30, is its first N classes")
    say.result({"root": data_root(), "data": [asdict(row) for row in rows]}, *lines)
