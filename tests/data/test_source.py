"""Every source obeys one contract: order from seed and epoch, shares that partition, resume in the middle."""

import atexit
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from deepbelief.data.binarize import make_binarizer
from deepbelief.data.loader import LoaderSource
from deepbelief.data.memmap import MemmapSource
from deepbelief.data.shards import ShardSource
from deepbelief.data.source import ArraySource, SparseSource, make_source
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.protocols import BatchSource
from deepbelief.types import Batch

N, D = 53, 3
X = np.arange(N * D, dtype=np.float32).reshape(N, D)
Y = np.arange(N)
W = np.linspace(1, 2, N, dtype=np.float32)


class Items(Dataset):
    """A map-style data set whose items are (x, y, weight)."""

    def __len__(self):
        return N

    def __getitem__(self, i):
        return X[i], int(Y[i]), float(W[i])


class Stream(IterableDataset):
    """An iterable data set of the same items, `given` of them, announcing `announced`."""

    def __init__(self, given=N, announced=N):
        self.given, self.announced = given, announced

    def __len__(self):
        return self.announced

    def __iter__(self):
        return iter((X[i], int(Y[i]), float(W[i])) for i in range(self.given))


def memmap_source(**options):
    return MemmapSource(X, Y, W, block_size=5, buffer_blocks=3, **options)


def shard_source(**options):
    """A .npy file, then two parquet files, of uneven blocks; made once, as `options` are many."""
    if not SHARDS:
        folder = Path(tempfile.mkdtemp())
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        SHARDS.extend(folder / name for name in ("0.npy", "1.parquet", "2.parquet"))
        np.save(SHARDS[0], X[:20])
        for path, (first, stop) in zip(SHARDS[1:], [(20, 41), (41, N)], strict=True):
            frame = pd.DataFrame(X[first:stop], columns=list("abc"))
            frame.to_parquet(path, row_group_size=8)
    return ShardSource(SHARDS, Y, W, block_size=6, buffer_blocks=3, **options)


SHARDS: list[Path] = []
SOURCES = {
    "shards": shard_source,
    "array": lambda **options: ArraySource(X, Y, W, **options),
    "sparse": lambda **options: SparseSource(sparse.csr_matrix(X), Y, W, **options),
    "memmap": memmap_source,
    "dataset": lambda **options: LoaderSource(Items(), **options),
    "loader": lambda **options: LoaderSource(DataLoader(Items(), shuffle=True), **options),
    "stream": lambda **options: LoaderSource(Stream(), **options),
}
every_source = pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
shuffling_source = pytest.mark.parametrize("make", [SOURCES[k] for k in SOURCES if k != "stream"])


def generator():
    return torch.Generator().manual_seed(0)


def labels(source, epoch=0, **options):
    return [batch.y.tolist() for batch in source.batches(epoch, generator=generator(), **options)]


@every_source
def test_a_source_has_the_capability(make):
    source = make(batch_size=10)
    assert isinstance(source, BatchSource)
    assert (source.n_cases, source.n_features, len(source)) == (N, D, 6)


@every_source
def test_an_epoch_shows_each_case_once_with_its_own_label_and_weight(make):
    batches = list(make(batch_size=10, seed=1).batches(2, generator=generator()))
    assert [len(batch) for batch in batches] == [10, 10, 10, 10, 10, 3]
    y = torch.cat([batch.y for batch in batches])
    assert sorted(y.tolist()) == list(range(N))
    torch.testing.assert_close(torch.cat([b.x for b in batches]), torch.from_numpy(X)[y], rtol=0, atol=0)
    torch.testing.assert_close(torch.cat([b.weight for b in batches]), torch.from_numpy(W)[y], rtol=0, atol=0)


@shuffling_source
def test_seed_and_epoch_alone_determine_the_order(make):
    assert labels(make(seed=1), epoch=3) == labels(make(seed=1), epoch=3)
    assert labels(make(seed=1), epoch=3) != labels(make(seed=1), epoch=4)
    assert labels(make(seed=1), epoch=3) != labels(make(seed=2), epoch=3)
    assert labels(make(seed=1, shuffle=False, batch_size=N)) == [list(range(N))]


@every_source
@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_ranks_partition_every_batch_contiguously(make, world_size):
    source = make(batch_size=10, seed=5)
    alone = labels(source)
    ranks = [labels(make(batch_size=10, seed=5), rank=r, world_size=world_size) for r in range(world_size)]
    assert [len(rank) for rank in ranks] == [source.n_batches(world_size)] * world_size
    assert len(ranks[0]) == (5 if world_size > N % 10 else 6)
    joined = [[case for part in parts for case in part] for parts in zip(*ranks, strict=True)]
    assert joined == alone[: len(joined)]
    assert all(part for rank in ranks for part in rank)


@every_source
@pytest.mark.parametrize("start", [1, 3, 5, 6, 99])
def test_resuming_skips_batches_and_changes_nothing_else(make, start):
    assert labels(make(batch_size=10), start=start) == labels(make(batch_size=10))[start:]
    halves = {"rank": 1, "world_size": 2}
    assert labels(make(batch_size=10), start=start, **halves) == labels(make(batch_size=10), **halves)[start:]


@every_source
def test_chunks_keep_the_original_order(make):
    chunks = list(make().chunks(20))
    assert [len(chunk) for chunk in chunks] == [20, 20, 13]
    torch.testing.assert_close(torch.cat([c.x for c in chunks]), torch.from_numpy(X), rtol=0, atol=0)
    assert torch.cat([c.y for c in chunks]).tolist() == Y.tolist()


@every_source
def test_scale_comes_before_transform_which_gets_the_steps_generator(make):
    source = make(scale=0.5, transform=lambda x, g: x + torch.rand(1, generator=g))
    batch = next(source.batches(0, generator=generator()))
    noise = torch.rand(1, generator=generator())
    torch.testing.assert_close(batch.x, torch.from_numpy(X)[batch.y] * 0.5 + noise)
    torch.testing.assert_close(next(source.chunks()).x, torch.from_numpy(X) * 0.5)  # no generator, no transform


@every_source
def test_the_global_random_stream_is_left_alone(make):
    before = torch.random.get_rng_state()
    labels(make(batch_size=10))
    assert torch.equal(before, torch.random.get_rng_state())


@every_source
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rank": 2, "world_size": 2}, "rank must be at least 0 and at most 1"),
        ({"world_size": 11}, "batch_size must be at least 11"),
        ({"start": -1}, "start must be at least 0"),
    ],
)
def test_impossible_shares_are_refused_before_the_first_batch(make, options, sentence):
    with pytest.raises(InvalidArgumentError, match=sentence):
        make(batch_size=10).batches(0, generator=generator(), **options)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"seed": -1}])
def test_impossible_settings_are_refused(options):
    with pytest.raises(InvalidArgumentError):
        ArraySource(X, **options)


def test_more_ranks_than_cases_are_refused():
    with pytest.raises(InvalidArgumentError, match="3 cases for 4 ranks"):
        ArraySource(X[:3]).batches(0, generator=generator(), world_size=4)


def test_bytes_stay_bytes_until_the_batch_is_made():
    source = ArraySource(np.full((4, 2), 255, dtype=np.uint8), scale=1 / 255)
    assert source.data.dtype == torch.uint8
    assert source.x.dtype == next(source.chunks()).x.dtype == torch.float32
    torch.testing.assert_close(source.x, torch.ones(4, 2))


def test_sparse_data_stay_sparse_and_are_checked():
    source = SparseSource(sparse.random(40, 30, density=0.1, format="coo", random_state=0))
    assert sparse.issparse(source.data)
    with pytest.raises(InvalidDataError, match="NaN"):
        SparseSource(sparse.csr_matrix([[0.0, np.nan]]))
    with pytest.raises(InvalidDataError, match=r"Got shape \(0, 3\)"):
        SparseSource(sparse.csr_matrix((0, 3)))


def test_make_source_picks_by_type(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, X)
    expected = {
        ArraySource: [X, X.tolist(), torch.from_numpy(X), pd.DataFrame(X), TensorDataset(torch.from_numpy(X))],
        SparseSource: [sparse.csr_matrix(X), sparse.coo_array(X)],
        MemmapSource: [path, str(path), np.load(path, mmap_mode="r")],
        LoaderSource: [Items(), DataLoader(Items()), Stream()],
    }
    for kind, values in expected.items():
        for value in values:
            source = make_source(value)
            assert type(source) is kind
            torch.testing.assert_close(next(source.chunks()).x, torch.from_numpy(X))
    source = make_source(X)
    assert make_source(source) is source


def test_a_tensor_dataset_lends_labels_and_weights():
    source = make_source(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y), torch.from_numpy(W)))
    assert source.y.tolist() == Y.tolist()
    torch.testing.assert_close(source.weight, torch.from_numpy(W))


@pytest.mark.parametrize(
    "x", [X / X.max(), sparse.csr_matrix(X / X.max()), Items()], ids=["array", "sparse", "dataset"]
)
@pytest.mark.parametrize("name", ["threshold", "stochastic"])
def test_make_source_binarizes_what_it_is_given(x, name):
    scale = 1 / X.max() if isinstance(x, Items) else None
    source = make_source(x, binarizer=make_binarizer(name), scale=scale, transform=lambda x, g: x * 2)
    values = torch.cat([batch.x for batch in source.batches(0, generator=generator())]).unique()
    assert values.tolist() == [0.0, 2.0]


def test_labels_beside_a_dataset_are_refused():
    with pytest.raises(InvalidArgumentError, match="Dataset's own items"):
        make_source(Items(), Y)


def test_a_loader_lends_its_batch_size_and_order():
    source = LoaderSource(DataLoader(Items(), batch_size=7, shuffle=False))
    assert [y for batch in labels(source) for y in batch] == list(range(N))
    assert source.batch_size == 7


def test_workers_of_a_loader_change_nothing():
    alone = labels(LoaderSource(DataLoader(Items(), batch_size=20, shuffle=True)))
    assert labels(LoaderSource(DataLoader(Items(), batch_size=20, shuffle=True, num_workers=1))) == alone


class Pictures(Dataset):
    """Items as mappings, with x an image."""

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return {"x": np.full((2, 3), i, dtype=np.uint8), "y": i}


def test_images_in_mappings_are_flattened():
    source = LoaderSource(Pictures(), batch_size=2)
    assert (source.n_features, source.image_shape) == (6, (2, 3))
    assert all((batch.x == batch.y[:, None]).all() for batch in source.batches(0, generator=generator()))


class Odd(Dataset):
    """Four items of a kind of one's own."""

    def __init__(self, item):
        self.item = item

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return self.item


class Endless(IterableDataset):
    """No length."""

    def __iter__(self):
        return iter(X)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: LoaderSource(Odd((1, 2, 3, 4))), "(x,), (x, y) or (x, y, weight). Got 4 parts"),
        (lambda: LoaderSource(Odd({"image": 1})), "must have the key 'x'"),
        (lambda: LoaderSource(Odd(object())), "must be tensors, arrays or numbers. Got object"),
        (lambda: LoaderSource(Odd(1.0)), "must have 2 dimensions"),
        (lambda: LoaderSource(Endless()), "must have a length"),
        (lambda: LoaderSource(Stream(0)), "must give at least one item"),
        (lambda: labels(LoaderSource(Stream(50, 60))), "must give the 60 items that it announces. Got 50"),
        (
            lambda: LoaderSource(DataLoader(Items(), sampler=torch.utils.data.SubsetRandomSampler([1, 2]))),
            "sampler must be torch's own",
        ),
    ],
)
def test_bad_datasets_get_a_sentence(make, sentence):
    with pytest.raises((InvalidDataError, InvalidArgumentError)) as caught:
        make()
    assert sentence in str(caught.value)


def test_a_stream_without_length_may_be_given_one():
    source = LoaderSource(Endless(), n_cases=N, batch_size=10)
    assert sum(len(batch) for batch in source.batches(0, generator=generator())) == N


def test_a_part_of_a_mapped_file_stays_that_part(tmp_path):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    torch.testing.assert_close(next(MemmapSource(mapped).chunks()).x, torch.from_numpy(X))
    torch.testing.assert_close(next(MemmapSource(mapped[10:20]).chunks()).x, torch.from_numpy(X[10:20]))
    torch.testing.assert_close(next(MemmapSource(mapped[::-1]).chunks()).x, torch.from_numpy(X[::-1].copy()))


def test_memmap_shuffles_blocks_and_within_them():
    source = MemmapSource(X, Y, batch_size=1, block_size=4, buffer_blocks=2)
    order = [case for batch in labels(source) for case in batch]
    neighbours = sum(b == a + 1 for a, b in pairwise(order))
    assert neighbours < N // 2
    first_group = {case // 4 for case in order[:8]}
    assert len(first_group) <= 3  # two blocks, or three where the short last one is among them


def test_memmap_takes_images_and_checks_as_it_reads(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((6, 2, 4), dtype=np.float32))
    source = MemmapSource(path)
    assert (source.n_features, source.image_shape) == (8, (2, 4))
    bad = np.zeros((6, 2), dtype=np.float32)
    bad[4, 1] = np.nan
    with pytest.raises(InvalidDataError, match=r"cases 0 to 5\) must be finite. Got NaN in row 4, column 1"):
        next(MemmapSource(bad, shuffle=False).batches(0, generator=generator()))


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros((0, 3)), np.array([["a"]])])
def test_memmap_refuses_what_is_no_table(array):
    with pytest.raises(InvalidDataError):
        MemmapSource(array)


def test_memmap_refuses_missing_files_and_pickles(tmp_path):
    with pytest.raises(FileNotFoundError, match="must exist"):
        MemmapSource(tmp_path / "none.npy")
    np.save(tmp_path / "objects.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidDataError, match=r"must be a NumPy \.npy array of numbers"):
        MemmapSource(tmp_path / "objects.npy")


def test_a_batch_moves_whole_and_stays_itself_where_it_is() -> None:
    here, there = torch.device("cpu"), torch.device("meta")
    batch = Batch(torch.zeros(2, 3), torch.zeros(2))
    assert batch.to(here) is batch
    scattered = Batch(torch.zeros(2, 3, device=there), torch.zeros(2), torch.ones(2)).to(there)
    assert scattered.y is not None
    assert scattered.weight is not None
    assert {part.device for part in (scattered.x, scattered.y, scattered.weight)} == {there}
