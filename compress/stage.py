"""A place in a network as plain data, which a card keeps and which is read without torch."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Stage:
    """A named place in a network.

    Attributes:
        name: Shared by student, auxiliary and teacher ("map1", "embedding", "logits").
        tap: Dotted name of the module whose output is the feature; "" is the network itself.
        owns: Dotted names of the modules (or lone parameters) whose parameters belong to this stage.
        width: Channels of the feature.
        before: The feature is what goes into the tap instead of what comes out of it.
        channels_last: The tap's value is a map (B, H, W, C); the feature that is shown is (B, C, H, W) as of all maps.
    """

    name: str
    tap: str
    owns: tuple[str, ...]
    width: int
    before: bool = False
    channels_last: bool = False

    def to_list(self) -> list[str | int | bool | list[str]]:
        """The stage as JSON-able data; `from_list` reads it back."""
        data: list[str | int | bool | list[str]] = [self.name, self.tap, list(self.owns), self.width, self.before]
        return [*data, True] if self.channels_last else data

    @classmethod
    def from_list(cls, data: object) -> Stage:
        """The stage that `to_list` wrote.

        Raises:
            ValueError: The data is not a name, a module, names of modules, a width and one or two truth values.
        """
        match data:
            case [str(name), str(tap), list(owns), int(width), bool(before)] if all(isinstance(o, str) for o in owns):
                return cls(name, tap, tuple(owns), width, before)
            case [*first, True] if len(first) == 5:
                return replace(cls.from_list(first), channels_last=True)
        raise ValueError(
            f"a stage is [name, tap, owns, width, before], with true where channels are last; got {data!r:.80}"
        )
