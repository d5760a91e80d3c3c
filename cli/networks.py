"""edgepress networks"""

from __future__ import annotations


def networks() -> None:
    """List the networks.

    Their names, and whose they are; each takes any number of input channels. Besides these, timm:NAME is a network of
    timm, with the extra timm, and FILE.py:FACTORY one of your own.

    Examples:
        edgepress networks
        edgepress networks --json
    """
    from cli import say
    from compress.models import MODELS, model_names

    others = [name for name in model_names() if name not in MODELS]
    families = {"edgepress": list(MODELS), "torchvision": others}
    lines = [f"{name}  {family}" for family, names in families.items() for name in names]
    say.result(families, *lines)
