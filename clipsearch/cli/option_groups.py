"""Groups of options that several commands share: a command takes one with a single parameter."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def with_options(command: Callable[..., int], name: str, group: Callable[..., object]) -> Callable[..., int]:
    """Give a command the options of a group in the place of one of its parameters.

    Args:
        command: For Typer.
        name: Of the parameter; it gets what `group` makes of the options.
        group: Its parameters are the options.
    """
    options = inspect.signature(group, eval_str=True).parameters
    own = inspect.signature(command, eval_str=True)
    parameters: list[inspect.Parameter] = []
    for parameter in own.parameters.values():
        parameters += options.values() if parameter.name == name else [parameter]

    def run(**given: Any) -> int:
        chosen = {option: given.pop(option) for option in options}
        return command(**{name: group(**chosen)}, **given)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run
