"""Tell which caption belongs to which image or clip.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, section 2.3 and
figure 3 (the loss), section 2.4 (the text encoder), section 3.1.2 (names of classes as captions).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.distributed.nn import all_gather
from torch.nn import functional as F

from videossl import augment
from videossl.methods.base import Net
from videossl.methods.parts import any_clip, check_length
from videossl.methods.two_views import several

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads would not survive the fork of data workers

PAD, END = 0, 1  # of the vocabulary: after a text, and its last token


@dataclass(frozen=True)
class CLIP:
    """Captions are "caption" of a record, or else "class", the name of its class: then it learns from labels.

    The paper's text encoder has 12 blocks of width 512, 8 heads, and 49,152 tokens; its vision encoders give 512 numbers
    and more. Where captions of a batch are the same, each of their images is right for each of them: the paper, with
    400 million captions, takes them for wrong.
    """

    length: int = 1  # frames of a clip
    stride: int = 1  # frames from one of them to the next
    # of the random crop, as shares of the frame; never mirrored: captions tell sides
    area: tuple[float, float] = (0.5, 1.0)
    out: int = 256  # numbers that are compared
    width: int = 128  # of the text encoder
    depth: int = 4  # blocks of it
    heads: int = 4  # of its attention
    context: int = 77  # tokens of a caption; what is longer is cut
    vocabulary: int = 4096  # tokens that are made of the training captions, at most
    tokenizer: str = field(default="", repr=False)  # as the library's JSON; made by `prepare` where not given

    chance: ClassVar[dict[str, float]] = {}

    def __post_init__(self):
        if min(self.length, self.stride, self.out, self.depth) < 1 or self.context < 2:
            raise ValueError(f"length, stride, out and depth are counts from 1, context one from 2, but got {self}")
        if self.width % self.heads:
            raise ValueError(f"the text encoder's width, {self.width}, should be a multiple of its {self.heads} heads")
        if self.tokenizer:
            read(self.tokenizer)

    def check(self, record):
        """Raise a ValueError if the record has no words, or is too short."""
        words_of(record)
        check_length(record, self.length, self.stride)

    def prepare(self, records: Sequence[dict]) -> "CLIP":
        """Itself with byte pairs found in these captions, where no tokenizer was given.

        Raises:
            ValueError: some of the records have captions, and others none.
        """
        captions = sum(bool(record.get("caption")) for record in records)
        if 0 < captions < len(records):
            raise ValueError(
                f"{captions} of {len(records)} records have a caption, and the others none: give all one, or none to "
                "learn from the classes' names"
            )
        if self.tokenizer:
            return self
        return replace(self, tokenizer=byte_pairs([words_of(record) for record in records], self.vocabulary))

    def sample(self, record, rng: np.random.Generator):
        """A clip from anywhere, "clips" (T, C, H, W), and the caption's "tokens" (context,)."""
        return {"clips": any_clip(record, self.length, self.stride, rng), "tokens": self.tokens(words_of(record))}

    def tokens(self, text: str) -> Tensor:
        """Of a text, its end, and then nothing: (context,) int64.

        Raises:
            ValueError: there is no tokenizer yet.
        """
        if not self.tokenizer:
            raise ValueError("CLIP knows no words yet: method = method.prepare(records) finds them in the captions")
        found = [*read(self.tokenizer).encode(text).ids[: self.context - 1], END]
        return F.pad(torch.tensor(found), (0, self.context - len(found)), value=PAD)

    def build(self, trunk):
        return CLIPNet(trunk, self)


class CLIPNet(Net):
    """Metrics: "accuracy", how often an image's own caption is the most like it of the batch; "guessing", the chance of that.

    Attributes:
        scale: logarithm of what cosines are multiplied by, learned; at most 100 is taken.
    """

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.method = trunk, method
        words = read(method.tokenizer).get_vocab_size() if method.tokenizer else method.vocabulary
        self.picture = nn.Linear(trunk.dim, method.out, bias=False)
        self.text = Text(words, method.context, method.width, method.depth, method.heads, method.out)
        self.scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def forward(self, batch):
        clips = augment.pixels(batch["clips"])
        if len(clips) < 2:
            raise ValueError(
                "a batch of one example: other examples are what it is told from, so give --batch 2 or more"
            )
        size = self.trunk.size
        clips = augment.crop(clips, size, self.method.area) if self.training else augment.centre(clips, size)
        pictures = F.normalize(self.picture(self.trunk(clips)), dim=1)
        texts, tokens = F.normalize(self.text(batch["tokens"]), dim=1), batch["tokens"]
        if several():
            pictures, texts, tokens = (torch.cat(all_gather(part.contiguous())) for part in (pictures, texts, tokens))
        same = (tokens[:, None] == tokens[None]).all(2)
        logits = pictures @ texts.T * self.scale.exp().clamp(max=100)
        with torch.no_grad():
            right = same.gather(1, logits.argmax(1, keepdim=True)).float().mean()
        return matched(logits, same), {"accuracy": right, "guessing": same.float().mean()}

    def names(self, classes: Sequence[str], prompts: Sequence[str] = ("{}",)) -> Tensor:
        """What each class's name means: unit vectors (classes, out).

        Args:
            classes: names.
            prompts: sentences with {} for the name, such as "a photo of a {}."; of several the mean is taken.
        """
        device = self.scale.device
        meant = []
        for prompt in prompts:
            tokens = torch.stack([self.method.tokens(prompt.format(name)) for name in classes]).to(device)
            meant.append(F.normalize(self.text(tokens), dim=1))
        return F.normalize(torch.stack(meant).mean(0), dim=1)

    def likeness(self, features: Tensor, classes: Sequence[str], prompts: Sequence[str] = ("{}",)) -> Tensor:
        """How much clips are like each class's name, cosines: features (..., dim) of the trunk to (..., classes)."""
        pictures = self.picture(features.to(self.scale.device))
        return F.normalize(pictures, dim=-1) @ self.names(classes, prompts).T


class Text(nn.Module):
    """A transformer whose tokens see those before them; its last one is what a text means: (N, context) to (N, out)."""

    def __init__(self, words: int, context: int, width: int, depth: int, heads: int, out: int):
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.places = nn.Parameter(torch.empty(context, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.out = nn.Linear(width, out, bias=False)
        nn.init.normal_(self.words.weight, std=0.02)
        nn.init.normal_(self.places, std=0.01)

    def forward(self, tokens: Tensor) -> Tensor:
        longest = int((tokens != PAD).sum(1).max())  # what is after an end is seen by nothing
        tokens = tokens[:, :longest]
        later = nn.Transformer.generate_square_subsequent_mask(longest, tokens.device)
        x = self.blocks(self.words(tokens) + self.places[:longest], mask=later, is_causal=True)
        ends = (tokens == END).int().argmax(1)
        return self.out(x[torch.arange(len(x), device=x.device), ends])


def matched(logits: Tensor, same: Tensor) -> Tensor:
    """Cross entropy of each row and of each column (N, N), half each; where several are the `same`, all are right."""
    shares = same / same.sum(1, keepdim=True)
    return (F.cross_entropy(logits, shares) + F.cross_entropy(logits.T, shares)) / 2


def words_of(record: dict) -> str:
    """What is said of a record.

    Raises:
        ValueError: nothing is.
    """
    text = record.get("caption") or record.get("class")
    if not text:
        raise ValueError(
            'no "caption", nor "class" (the name of its class), of which CLIP learns: put it into the records'
        )
    return str(text)


def byte_pairs(texts: Sequence[str], vocabulary: int) -> str:
    """A tokenizer that merges the pairs of bytes most frequent in texts, in small letters; it can read any text. As JSON.

    Source: Sennrich, Haddow, Birch, "Neural Machine Translation of Rare Words with Subword Units", ACL 2016.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["[PAD]", "[END]"],  # PAD and END, in this order
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(texts), trainer)
    return tokenizer.to_str()


@lru_cache(maxsize=8)
def read(tokenizer: str) -> Tokenizer:
    """The tokenizer of this JSON.

    Raises:
        ValueError: it is none.
    """
    try:
        return Tokenizer.from_str(tokenizer)
    except Exception as error:  # the library raises no kind of its own
        raise ValueError(
            f"this is no tokenizer as JSON ({error}): leave it out, and one is made of the captions"
        ) from error
