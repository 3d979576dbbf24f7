"""What the verbs that use a trained model share: the model, the way its data were prepared, and a person's file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepbelief.errors import InvalidArgumentError

if TYPE_CHECKING:
    from torch import Tensor

    from deepbelief.belief.stack import BeliefStack
    from deepbelief.belief.unrolled import UnrolledDBN
    from deepbelief.recipes.run_data import Preparation

ModelFolder = Annotated[
    Path, typer.Argument(metavar="MODEL", help="The folder of a run, or of a saved model.", show_default=False)
]
CasesFile = Annotated[
    str, typer.Argument(metavar="FILE", help="A file like the one it was trained on, or a named set (its test cases).")
]
Label = Annotated[
    str | None, typer.Option(help="A column to leave out [default: the label the model was trained with].")
]


def load_stack(folder: Path, device: str = "cpu") -> tuple[BeliefStack, Preparation]:
    """The generative model in `folder` as a stack (one RBM is a stack of one), and its data's preparation."""
    from deepbelief.belief.dbn import DBN
    from deepbelief.belief.stack import BeliefStack
    from deepbelief.energy.rbm import RBM
    from deepbelief.recipes.run_folder import find_model
    from deepbelief.storage import load_model

    path = find_model(folder)
    model = load_model(path, device=device)
    if isinstance(model, RBM):
        model = DBN([model])
    if not isinstance(model, BeliefStack):
        raise InvalidArgumentError(
            f"MODEL must be a DBN or an RBM. Got {type(model).__name__} in {path}. Name the run's folder."
        )
    _use_threads(model)
    return model.eval(), preparation_of(path, model.visible.size)


def _use_threads(model: BeliefStack) -> None:
    """One thread for small models, whose products are too small to share."""
    import torch

    from deepbelief.recipes.run_defaults import threads_for

    sizes = [model.visible.size, *(rbm.hidden.size for rbm in model.layers)]
    torch.set_num_threads(threads_for(100, sizes) or torch.get_num_threads())


def load_classifier(folder: Path, device: str = "cpu") -> tuple[UnrolledDBN, Preparation]:
    """The fine-tuned network of the run in `folder`, and how its inputs are prepared."""
    from deepbelief.belief.unrolled import UnrolledDBN
    from deepbelief.recipes.run_folder import CLASSIFIER, MODEL, find_model
    from deepbelief.storage import CONFIG_FILE, load_model

    path = find_model(folder, CLASSIFIER)
    if not (path / CONFIG_FILE).exists() and (path / MODEL).is_dir():
        path = path / MODEL  # a run without labels: the sentence below says what to do
    model = load_model(path, device=device)
    if not isinstance(model, UnrolledDBN):
        raise InvalidArgumentError(
            f"MODEL must be a run with a fine-tuned network. Got {type(model).__name__} in {path}. "
            "Train with labels: deepbelief train FILE --label COLUMN"
        )
    return model.eval(), preparation_of(path, model.n_inputs)


def preparation_of(folder: Path, n_features: int) -> Preparation:
    """What the run wrote beside the model; a model saved from Python takes its cases as they are."""
    from deepbelief.recipes.run_data import Preparation

    return Preparation.read(folder) or Preparation(n_features)


def read_cases(name: str, how: Preparation, label: str | None = None, *, allow_nan: bool = False) -> Tensor:
    """The cases of a file or the test cases of a named set, as values in the model's range."""
    import numpy as np
    import torch

    from deepbelief.data.files import read_file
    from deepbelief.data.registry import SETS
    from deepbelief.data.sets import load_set
    from deepbelief.recipes.run_data import find_data

    find_data(name)
    if name in SETS and not Path(name).exists():
        return how.values(load_set(name, split="test").x)
    options: dict[str, Any] = {"key": how.key, "allow_nan": allow_nan}
    try:
        table = read_file(name, label=label or how.label, **options)
    except InvalidArgumentError:
        if label is not None:
            raise
        table = read_file(name, **options)  # the file has no label column, which nothing here needs
    x = table.x if isinstance(table.x, torch.Tensor) else torch.from_numpy(np.array(table.x)).flatten(1)
    return how.values(how.by_name(x, table.feature_names))


def check_out(out: Path | None, image_shape: list[int] | None = None, *, pictures: bool = False) -> None:
    """Refuse a suffix that nobody writes, before any work; `pictures` are written of cases of an `image_shape`."""
    known = [".npy", ".csv", *([".png"] if pictures and image_shape is not None else [])]
    if out is not None and out.suffix not in known:
        why = " for data that are no pictures" if pictures and image_shape is None else ""
        raise InvalidArgumentError(f"--out must end in {', '.join(known[:-1])} or {known[-1]}{why}. Got {str(out)!r}.")


def write_rows(rows: Any, out: Path | None, names: list[str] | None = None) -> None:
    """A matrix as ``.npy`` or ``.csv`` by the suffix of `out`, or as csv on standard output."""
    import io
    import sys

    import numpy as np

    from deepbelief.files import atomic_write_bytes, atomic_write_text

    array = np.asarray(rows, dtype=np.float32)
    if out is not None and out.suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, array)
        atomic_write_bytes(out, buffer.getvalue())
        return
    if out is not None and out.suffix != ".csv":
        raise InvalidArgumentError(f"--out must end in .npy or .csv. Got {str(out)!r}.")
    header = names if names and len(names) == array.shape[1] else [f"column_{i}" for i in range(array.shape[1])]
    lines = [",".join(header), *(",".join(f"{value:.7g}" for value in row) for row in array)]
    text = "\n".join(lines) + "\n"
    if out is None:
        sys.stdout.write(text)
    else:
        atomic_write_text(out, text)


def write_pictures(rows: Any, image_shape: list[int] | None, out: Path) -> None:
    """Rows of grey levels (or colours) in [0, 1] as one picture, side by side."""
    import io
    import math

    import numpy as np
    from PIL import Image

    from deepbelief.files import atomic_write_bytes

    if image_shape is None:
        raise InvalidArgumentError(f"--out must end in .npy or .csv for data that are no pictures. Got {str(out)!r}.")
    cases = np.clip(np.asarray(rows), 0, 1).reshape(-1, *image_shape)
    if len(image_shape) == 3 and image_shape[0] in (1, 3):
        cases = np.moveaxis(cases, 1, -1)
    height, width = cases.shape[1:3]
    columns = math.ceil(math.sqrt(len(cases)))
    page = np.ones((math.ceil(len(cases) / columns) * (height + 1) + 1, columns * (width + 1) + 1, *cases.shape[3:]))
    for number, case in enumerate(cases):
        top, left = (number // columns) * (height + 1) + 1, (number % columns) * (width + 1) + 1
        page[top : top + height, left : left + width] = case
    picture = Image.fromarray((255 * page).round().astype(np.uint8).squeeze())
    larger = max(1, 640 // max(picture.size))
    picture = picture.resize((picture.width * larger, picture.height * larger), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    atomic_write_bytes(out, buffer.getvalue())
