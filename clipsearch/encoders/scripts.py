"""The writing of a query: a model that has never seen a script makes noise of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from clipsearch.encoders import registry
from clipsearch.encoders.registry import LATIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clipsearch.types import ModelSource

# The first letter beyond the Latin blocks of Unicode: Greek begins there.
_BEYOND_LATIN = "\u0370"
_NAMES = {"CJK": "Chinese", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean"}
_WORD = re.compile(r"[^\W\d_]+")


def foreign_scripts(texts: Sequence[str]) -> list[str]:
    """The scripts other than Latin that words of some texts are written in, by Unicode's names: `CYRILLIC`.

    A single cased letter is a symbol (`5 µm`, `π`), no word of a language; a single ideograph is one.
    """
    beyond = [text for text in texts if max(text, default="") >= _BEYOND_LATIN]
    if not beyond:
        return []
    import unicodedata  # what is Latin alone need not wait for it

    found: dict[str, None] = {}
    for text in beyond:
        for word in _WORD.findall(unicodedata.normalize("NFKC", text)):
            # Modifiers belong to several scripts; a letter too new for this Python has no name.
            named = [(unicodedata.name(one, "").partition(" ")[0], unicodedata.category(one)) for one in word]
            foreign = [(name, kind) for name, kind in named if name not in ("", LATIN) and kind != "Lm"]
            if len(foreign) > 1 or any(kind == "Lo" for _, kind in foreign):
                found |= dict.fromkeys(name for name, _ in foreign)
    return list(found)


def advice(texts: Sequence[str], source: ModelSource) -> str | None:
    """One sentence where words are in a script that a model was not trained on, naming the preset that was.

    None for any other text, and for a model of which nobody knows what it was trained on.
    """
    foreign = foreign_scripts(texts)
    if not foreign:
        return None
    if registry.scripts_of(source) != (LATIN,):
        return None
    preset = next(preset for preset in registry.PRESETS.values() if preset.scripts is None)
    names = list(dict.fromkeys(_NAMES.get(script, script.capitalize()) for script in foreign))
    if "Japanese" in names:
        names = [name for name in names if name != "Chinese"]  # which it is written in, too
    writing = " and ".join(names)
    return (
        f"{source} knows little of {writing} writing; {preset.name} was trained on it: "
        f"clipsearch index --model {preset.name}"
    )
