"""Every family of OpenCLIP's models, small: the same modules with few layers, narrow, with random weights.

Tokenizers and configurations that come from the hub are made here, in the form that theirs have.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import open_clip
import timm
import torch
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from safetensors.torch import save_file
from test_tokenizer import TEXTS, bert_like, gemma_like, saved
from timm.models.vision_transformer import VisionTransformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from clipsearch.encoders import registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# One of each kind of image tower and of each kind of text tower; see `image_kind` and `text_kind`.
REPRESENTATIVES = (
    "ViT-B-32",
    "ViT-M-16-alt",
    "ViT-L-14-CLIPA",
    "ViT-L-14-worldwide",
    "ViT-L-14-worldwide-quickgelu",
    "ViT-H-14-worldwide",
    "ViT-H-14-worldwide-quickgelu",
    "RN50",
    "RN50-quickgelu",
    "EVA01-g-14",
    "EVA02-B-16",
    "MobileCLIP-B",
    "MobileCLIP2-S0",
    "MobileCLIP2-L-14",
    "PE-Core-T-16-384",
    "ViT-B-16-SigLIP",
    "ViT-B-16-SigLIP-i18n-256",
    "ViT-SO400M-16-SigLIP-i18n-256",
    "ViT-B-32-SigLIP2-256",
    "ViTamin-S",
    "coca_ViT-B-32",
    "coca_base",
    "coca_roberta-ViT-B-32",
    "convnext_tiny",
    "convnext_large_d",
    "swin_base_patch4_window7_224",
    "vit_medium_patch16_gap_256",
    "vit_relpos_medium_patch16_cls_224",
    "roberta-ViT-B-32",
    "xlm-roberta-base-ViT-B-32",
    "mt5-base-ViT-B-32",
    "nllb-clip-base",
    "nllb-clip-base-siglip",
)
# A Chinese text tower, as in the checkpoints that pair OpenCLIP's image towers with a Chinese BERT.
CHINESE = "chinese-bert-ViT-B-32"

_SIZES = {
    *("image_size", "layers", "width", "heads", "head_width", "patch_size", "vocab_size", "context_length"),
    *("mlp_ratio", "timm_drop", "timm_drop_path", "timm_model_pretrained"),
}
_SMALLER = {
    "eva_giant_patch14_224": "eva02_tiny_patch14_224",
    "eva02_base_patch16_clip_224": "eva02_tiny_patch14_224",
    "vit_base_mci_224": "vit_tiny_patch16_224",
    "vit_large_patch14_clip_224": "vit_tiny_patch16_224",
    "convnext_tiny": "convnext_atto",
    "convnext_large": "convnext_atto",
    "swin_base_patch4_window7_224": "swin_tiny_patch4_window7_224",
}
_WIDTH = 64


@timm.models.register_model
def vit_small_siglip_of_tests(pretrained: bool = False, **options: Any) -> VisionTransformer:  # noqa: ARG001 - as timm calls it
    """SigLIP's image tower with two layers: no class token, pooled by attention."""
    for name in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
        options.pop(name, None)
    sizes = {"patch_size": 32, "embed_dim": _WIDTH, "depth": 2, "num_heads": 4}
    return VisionTransformer(**{**options, **sizes, "class_token": False, "global_pool": "map"})


def image_kind(config: dict[str, Any]) -> str:
    """What distinguishes image towers but for their size."""
    vision = config["vision_cfg"]
    own = "resnet" if isinstance(vision.get("layers"), list) else "vit"
    made = vision.get("timm_model_name") or f"open_clip {own}"
    for family in ("vit_relpos", "vit_pe", "siglip", "mci", "vitamin", "eva02", "eva", "convnext", "swin"):
        made = family if family in made else made
    options = {key: value for key, value in vision.items() if key not in {*_SIZES, "timm_model_name"}}
    return json.dumps([made.split("_")[0], options], sort_keys=True)


def text_kind(config: dict[str, Any]) -> str:
    """What distinguishes text towers but for their size and the text that their tokenizer was made from."""
    text = {key: value for key, value in config["text_cfg"].items() if key not in _SIZES}
    for name in ("hf_tokenizer_name", "hf_model_name"):
        if name in text:
            text[name] = _family(text[name])
    return json.dumps([text, config.get("quick_gelu"), config.get("custom_text")], sort_keys=True)


def _family(repo: str) -> str:
    return next(name for name in _TOKENIZERS if name in repo)


def unigram(folder: Path, *, ends: str, special: tuple[str, ...]) -> Path:
    """A tokenizer as sentencepiece's unigram models are written."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=400, special_tokens=list(special), unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    content = json.loads(backend.to_str())
    # Sums of these are exact, so that the same of two segmentations that are equally likely is taken by
    # everybody: `tokenizers` reads other numbers with an error in the last digit.
    content["model"]["vocab"] = [[word, round(score * 64) / 64] for word, score in content["model"]["vocab"]]
    return _finished(Tokenizer.from_str(json.dumps(content)), folder, ends, special)


def nllb_like(folder: Path) -> Path:
    """Byte-pair encoding after the language of the text."""
    special = ("<s>", "<pad>", "</s>", "<unk>", "eng_Latn")
    backend = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=list(special), show_progress=False)
    backend.train_from_iterator(TEXTS, trainer)
    return _finished(backend, folder, "eng_Latn $A </s>", special)


def roberta_like(folder: Path) -> Path:
    """Byte-pair encoding of bytes."""
    special = ("<s>", "<pad>", "</s>", "<unk>")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(TEXTS, trainer)
    return _finished(backend, folder, "<s> $A </s>", special)


def _finished(backend: Tokenizer, folder: Path, ends: str, special: tuple[str, ...]) -> Path:
    marks = [(token, special.index(token)) for token in ends.split() if token != "$A"]
    backend.post_processor = processors.TemplateProcessing(single=ends, special_tokens=marks)
    roles = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return saved(backend, folder, tokenizer_class="PreTrainedTokenizerFast", padding_side="right", **roles)


def _t5_like(folder: Path) -> Path:
    return unigram(folder, ends="$A </s>", special=("<pad>", "</s>", "<unk>"))


def _xlm_like(folder: Path) -> Path:
    return unigram(folder, ends="<s> $A </s>", special=("<s>", "<pad>", "</s>", "<unk>"))


_TOKENIZERS: dict[str, Callable[[Path], Path]] = {
    "SigLIP2": lambda folder: gemma_like(folder, padding_side="right"),
    "SigLIP-i18n": _t5_like,
    "SigLIP": _t5_like,
    "mt5": _t5_like,
    "xlm": _xlm_like,
    "nllb": nllb_like,
    "roberta": roberta_like,
    "bert": bert_like,
    "chinese": bert_like,
}
_BERT = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
_BERT |= {"max_position_embeddings": 514}
_T5 = {"d_model": 64, "num_layers": 2, "num_decoder_layers": 1, "num_heads": 4, "d_kv": 16, "d_ff": 128}
_T5 |= {"feed_forward_proj": "gated-gelu", "is_encoder_decoder": True, "tie_word_embeddings": False}
_M2M = {"d_model": 64, "encoder_layers": 2, "decoder_layers": 1, "is_encoder_decoder": True}
_M2M |= {f"{side}_attention_heads": 4 for side in ("encoder", "decoder")}
_M2M |= {f"{side}_ffn_dim": 128 for side in ("encoder", "decoder")}
_TOWERS: dict[str, dict[str, Any]] = {
    "mt5": {"model_type": "mt5", "pad_token_id": 0, **_T5},
    "nllb": {"model_type": "m2m_100", "pad_token_id": 1, **_M2M},
    "xlm": {"model_type": "xlm-roberta", "pad_token_id": 1, **_BERT},
    "roberta": {"model_type": "roberta", "pad_token_id": 1, **_BERT},
    "chinese": {"model_type": "bert", "pad_token_id": 0, **_BERT},
}


def config_of(name: str) -> dict[str, Any]:
    """OpenCLIP's `model_cfg` of a representative."""
    config: dict[str, Any]
    if name != CHINESE:
        config = json.loads(json.dumps(registry.architecture_config(name)))
        return config
    config = config_of("xlm-roberta-base-ViT-B-32")
    repo = "hfl/chinese-roberta-wwm-ext"
    config["text_cfg"] = {"hf_model_name": repo, "hf_tokenizer_name": repo, "hf_pooler_type": "cls_pooler"}
    return config


class SmallModel:
    """A representative on a hub.

    Args:
        name: Its own.
        folder: Gets the repositories that the model is made of.

    Attributes:
        network: OpenCLIP's module.
        repositories: Folders by name: `tester/small` holds the model.
    """

    REPO = "tester/small"

    def __init__(self, name: str, folder: Path) -> None:
        config = _shrunk(config_of(name))
        text = config["text_cfg"]
        self._text, self._files = text, folder / "tokenizer"
        self.repositories = {self.REPO: folder / "model"}
        if repo := text.get("hf_tokenizer_name"):
            words = _TOKENIZERS[_family(repo)](self._files)
            self.repositories[repo] = words
            vocabulary = Tokenizer.from_file(str(words / "tokenizer.json")).get_vocab_size()
            if "hf_model_name" in text:
                described = {**_TOWERS[_family(repo)], "vocab_size": vocabulary}
                (words / "config.json").write_text(json.dumps(described))
            else:
                text["vocab_size"] = vocabulary
        (folder / "model").mkdir()
        preprocess = {
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
            "interpolation": "bicubic",
            "resize_mode": "squash",
        }
        written = {"model_cfg": config, "preprocess_cfg": preprocess}
        (folder / "model" / "open_clip_config.json").write_text(json.dumps(written))
        self.network = _built(config, self._files)
        weights = {key: value.clone().contiguous() for key, value in self.network.state_dict().items()}
        save_file(weights, folder / "model" / "open_clip_model.safetensors")

    def texts(self, texts: list[str]) -> Any:
        """OpenCLIP's embeddings, `(n, dim)` unit rows, its own tokenizer before them."""
        length = self._text.get("context_length", 77)
        tokenizer: Any = SimpleTokenizer(context_length=length)
        if "hf_tokenizer_name" in self._text:
            options = self._text.get("tokenizer_kwargs", {})
            tokenizer = HFTokenizer(str(self._files), context_length=length, **options)
        with torch.no_grad():
            return self.network.encode_text(tokenizer(texts), normalize=True).numpy()

    def images(self, pixels: Any) -> Any:
        """OpenCLIP's embeddings of `(n, height, width, 3)` bytes."""
        batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            return self.network.encode_image((batch - 0.5) / 0.5, normalize=True).numpy()


def _shrunk(config: dict[str, Any]) -> dict[str, Any]:
    vision, text = config["vision_cfg"], config["text_cfg"]
    config["embed_dim"] = _WIDTH
    if name := vision.get("timm_model_name"):
        smaller = "vit_small_siglip_of_tests" if "siglip" in name else _SMALLER.get(name, name)
        vision |= {"timm_model_name": smaller, "timm_model_pretrained": False}
        if smaller != name:
            vision["image_size"] = 224
    elif isinstance(vision["layers"], list):
        vision |= {"layers": [1, 1, 1, 1], "width": 8, "image_size": 64}
    else:
        vision |= {"layers": 2, "width": _WIDTH, "head_width": 16, "image_size": 64, "patch_size": 16}
    if "hf_model_name" not in text:
        text |= {"width": _WIDTH, "heads": 4, "layers": 2}
    if decoder := config.get("multimodal_cfg"):
        decoder |= {"width": _WIDTH, "heads": 4, "layers": 1, "dim_head": 16}
    return config


def _built(config: dict[str, Any], files: Path) -> Any:
    config = json.loads(json.dumps(config))
    text = config["text_cfg"]
    if "hf_model_name" in text:
        text |= {"hf_model_name": str(files), "hf_model_pretrained": False}
    own_text = config.pop("custom_text", False) or "hf_model_name" in text
    kind = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = (kind if own_text else open_clip.CLIP)(**config)
        for name, weight in network.named_parameters():
            # OpenCLIP starts biases at zero and norms at one, and words so small that all texts are alike.
            if name == "text_decoder.text_projection":  # CoCa's, left as memory happens to be
                weight.data = 0.05 * torch.randn_like(weight)
            elif weight.ndim == 1 and weight.numel() > 1:
                weight.data += 0.05 * torch.randn_like(weight)
            elif any(part in name for part in ("token_embedding", "word_embeddings")):
                weight.data = torch.randn_like(weight)
            elif any(part in name for part in ("embed_tokens", "shared")):
                weight.data = torch.randn_like(weight) / 8  # NLLB multiplies by the root of its width
            elif name.startswith("text.") and "att" in name and weight.ndim > 1:
                weight.data *= 4  # the pooled token hears the others
    return network.eval()
