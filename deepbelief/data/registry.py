"""The named data sets: what each holds, whose it is, its files with their checksums, and where they are published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from deepbelief.data import formats

Arrays = tuple[NDArray[np.uint8], NDArray[Any] | None]
Reader = Callable[[str, list[Path]], Arrays]
DIGITS = tuple(str(i) for i in range(10))


@dataclass(frozen=True)
class FileSpec:
    """One file: its name, the sha256 sums that are right for it (none: not published), and where to download it."""

    name: str
    sha256: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()


class HasFiles(Protocol):
    """What finding and fetching the files of a set looks at."""

    @property
    def name(self) -> str: ...

    @property
    def parts(self) -> Mapping[str, tuple[tuple[FileSpec, ...], ...]]: ...

    @property
    def subfolders(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class SetSpec:
    """One named set.

    ``parts`` maps each part that its publishers made ("train", "test", "valid" or "all") to the ways of having it:
    groups of files, the first group present wins, and the last one is what is downloaded (or asked for). ``read`` turns
    a part's files into (bytes (n, d), labels or None).
    """

    name: str
    description: str
    cases: int
    image_shape: tuple[int, ...]
    scale: float
    class_names: tuple[str, ...] | None
    source: str
    licence: str
    read: Reader
    parts: Mapping[str, tuple[tuple[FileSpec, ...], ...]]
    folders: tuple[str, ...] = ()
    stratified: bool = False

    @property
    def n_features(self) -> int:
        """Columns per case."""
        return int(np.prod(self.image_shape))

    @property
    def subfolders(self) -> tuple[str, ...]:
        """Folder names under which its files are looked for."""
        return (self.name, *self.folders)


def _idx_parts(sums: Mapping[str, str], mirrors: tuple[str, ...]) -> dict[str, tuple[tuple[FileSpec, ...], ...]]:
    def spec(name: str) -> FileSpec:
        return FileSpec(name, (sums[name],), tuple(mirror + name for mirror in mirrors))

    return {
        part: ((spec(f"{stem}-images-idx3-ubyte.gz"), spec(f"{stem}-labels-idx1-ubyte.gz")),)
        for part, stem in (("train", "train"), ("test", "t10k"))
    }


_MNIST = SetSpec(
    name="mnist",
    description="Handwritten digits, 60,000 to train and 10,000 to test; 'valid' is the last 10,000 of train",
    cases=70_000,
    image_shape=(28, 28),
    scale=1 / 255,
    class_names=DIGITS,
    source="Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Proc. IEEE 86(11), 1998",
    licence="not stated by the publishers",
    read=formats.read_idx_pair,
    parts=_idx_parts(
        {
            "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    ),
)

_FASHION = SetSpec(
    name="fashion-mnist",
    description="Articles of clothing, 60,000 to train and 10,000 to test; 'valid' is the last 10,000 of train",
    cases=70_000,
    image_shape=(28, 28),
    scale=1 / 255,
    class_names=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    source="H. Xiao, K. Rasul, R. Vollgraf, arXiv:1708.07747, 2017",
    licence="MIT",
    read=formats.read_idx_pair,
    parts=_idx_parts(
        {
            "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    ),
)

_BINARIZED_NPZ = FileSpec("binarized_mnist.npz", ("ca5e6ebfef6a022efafe4e4227dd12adc5d89f7f2477f7b83ebdb9508b853d0b",))
_BINARIZED_AMAT = {
    "train": "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
    "valid": "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
    "test": "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
}

_BINARIZED = SetSpec(
    name="binarized-mnist",
    description="MNIST binarized once (Larochelle's fixed draw), 50,000 to train, 10,000 to validate, 10,000 to test",
    cases=70_000,
    image_shape=(28, 28),
    scale=1.0,
    class_names=None,
    source="R. Salakhutdinov, I. Murray, ICML 2008; H. Larochelle, I. Murray, AISTATS 2011",
    licence="not stated by the publishers",
    read=formats.read_binarized,
    folders=("binarized_mnist",),
    parts={
        part: (
            (_BINARIZED_NPZ,),
            (
                FileSpec(
                    f"binarized_mnist_{part}.amat",
                    (sha256,),
                    (
                        "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"
                        f"binarized_mnist_{part}.amat",
                    ),
                ),
            ),
        )
        for part, sha256 in _BINARIZED_AMAT.items()
    },
)

_OLIVETTI = SetSpec(
    name="olivetti",
    description="400 grey faces of 40 people; test is a fixed draw of 2 of the 10 pictures of each person",
    cases=400,
    image_shape=(64, 64),
    scale=1 / 255,
    class_names=tuple(f"person {i}" for i in range(40)),
    source="F. Samaria, A. Harter, WACV 1994 (AT&T Laboratories Cambridge)",
    licence="not stated by the publishers",
    read=formats.read_olivetti,
    folders=("olivetti-faces",),
    stratified=True,
    parts={
        "all": (
            (
                FileSpec(
                    "olivettifaces.mat",
                    (
                        "b1988d02c72fe5b8ee82b5ef3bb7982eafc74f1e1ff0ae0ade35061ad0af534d",
                        "b612fb967f2dc77c9c62d3e1266e0c73d5fca46a4b8906c18e454d41af987794",
                    ),
                    ("https://ndownloader.figshare.com/files/5976027",),
                ),
            ),
        )
    },
)

_FREY = SetSpec(
    name="frey",
    description="1,965 frames of one face on video, in order of time; test is the last fifth of the frames",
    cases=1_965,
    image_shape=(28, 20),
    scale=1 / 255,
    class_names=None,
    source="B. Frey; used in S. Roweis, L. Saul, G. Hinton, NIPS 2001",
    licence="not stated by the publishers",
    read=formats.read_frey,
    folders=("frey-faces",),
    parts={
        "all": (
            (FileSpec("freyfaces.npz", ("5db99f69da672b9fc331ea4de9bb84cc8a2e89161bbd53bbe211aa5137b03128",)),),
            (FileSpec("frey_rawface.mat"),),
        )
    },
)

_DIGITS = SetSpec(
    name="digits",
    description="scikit-learn's 8x8 handwritten digits, built in; test is a fixed stratified draw of 20%",
    cases=1_797,
    image_shape=(8, 8),
    scale=1 / 16,
    class_names=DIGITS,
    source="E. Alpaydin, C. Kaynak, UCI Optical Recognition of Handwritten Digits, 1998",
    licence="CC BY 4.0",
    read=formats.read_digits,
    stratified=True,
    parts={"all": ((),)},
)

SETS: dict[str, SetSpec] = {spec.name: spec for spec in (_DIGITS, _MNIST, _FASHION, _BINARIZED, _OLIVETTI, _FREY)}
