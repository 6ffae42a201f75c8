"""The classes of the four training sets, and the concepts that each one stands for."""

from __future__ import annotations

from typing import Final

from clipsearch.builtin.captions import concepts

DATASETS: Final = ("tiny200", "caltech101", "grocery", "clothing")
"""The archives of training photos, by file name without ".zip"."""

_TINY: Final = {
    "american lobster": "lobster", "arabian camel": "camel", "european fire salamander": "salamander",
    "tabby": "tabby cat", "standard poodle": "poodle", "beach wagon": "station wagon", "beacon": "lighthouse",
    "bighorn": "bighorn sheep", "black stork": "stork", "hog": "pig", "jinrikisha": "rickshaw",
    "king penguin": "penguin", "lesser panda": "red panda", "monarch": "monarch butterfly",
    "teddy": "teddy bear",
}  # fmt: skip
_CALTECH: Final = {
    "faces": "face", "faces easy": "face", "leopards": "leopard", "motorbikes": "motorcycle",
    "airplanes": "airplane", "binocular": "binoculars", "cougar body": "cougar", "hawksbill": "turtle",
    "sea horse": "sea horse", "water lilly": "water lily",
}  # fmt: skip
_CLOTHING: Final = {"outwear": "coat", "shoes": "shoe"}
_GROCERY: Final = {
    "anjou": "anjou pear", "conference": "conference pear", "kaiser": "kaiser pear", "carrots": "carrot",
    "satsumas": "satsuma", "brown cap mushroom": "brown mushroom", "yellow onion": "onion",
    "red grapefruit": "grapefruit",
}  # fmt: skip
_PRODUCTS: Final = {
    "bravo apple juice": ("bravo juice", "apple juice"),
    "bravo orange juice": ("bravo juice", "orange juice"),
    "god morgon apple juice": ("god morgon juice", "apple juice"),
    "god morgon orange juice": ("god morgon juice", "orange juice"),
    "god morgon orange red grapefruit juice": ("god morgon juice", "orange juice", "grapefruit juice"),
    "god morgon red grapefruit juice": ("god morgon juice", "grapefruit juice"),
    "tropicana apple juice": ("tropicana juice", "apple juice"),
    "tropicana golden grapefruit": ("tropicana juice", "grapefruit juice"),
    "tropicana juice smooth": ("tropicana juice", "orange juice"),
    "tropicana mandarin morning": ("tropicana juice", "mandarin juice"),
    "arla ecological medium fat milk": ("milk", "arla product"),
    "arla lactose medium fat milk": ("milk", "arla product"),
    "arla medium fat milk": ("milk", "arla product"),
    "arla standard milk": ("milk", "arla product"),
    "garant ecological medium fat milk": ("garant milk",),
    "garant ecological standard milk": ("garant milk",),
    "oatly oat milk": ("oat milk",),
    "oatly natural oatghurt": ("oatghurt",),
    "arla ecological sour cream": ("sour cream", "arla product"),
    "arla sour cream": ("sour cream", "arla product"),
    "arla sour milk": ("sour milk", "arla product"),
    "alpro fresh soy milk": ("soy milk",),
    "alpro shelf soy milk": ("soy milk",),
    "alpro blueberry soyghurt": ("soyghurt",),
    "alpro vanilla soyghurt": ("soyghurt",),
    "arla mild vanilla yoghurt": ("vanilla yoghurt", "arla product"),
    "arla natural mild low fat yoghurt": ("natural yoghurt", "arla product"),
    "arla natural yoghurt": ("natural yoghurt", "arla product"),
    "valio vanilla yoghurt": ("vanilla yoghurt",),
    "yoggi strawberry yoghurt": ("strawberry yoghurt",),
    "yoggi vanilla yoghurt": ("vanilla yoghurt",),
}


def concepts_of(dataset: str, label: str) -> tuple[str, ...]:
    """Return the concepts that a label of a dataset stands for, the first one naming it.

    Raises KeyError when the concepts file has no line for it.
    """
    if dataset == "tiny200":
        name = label.split(",", maxsplit=1)[0].strip().lower()
        names: tuple[str, ...] = (_TINY.get(name, name),)
    elif dataset == "caltech101":
        names = (_CALTECH.get(label.lower(), label.lower()),)
    elif dataset == "grocery":
        fine = label.split("|")[1].lower()
        names = _PRODUCTS.get(fine, (_GROCERY.get(fine, fine),))
    else:
        names = (_CLOTHING.get(label.lower(), label.lower()),)
    for name in names:
        if name not in concepts():
            raise KeyError(f"{dataset} label {label!r}: no concept {name!r}")
    return names
