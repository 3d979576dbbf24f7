"""`log_z` as one question: whose log Z it is, what is refused, and how sure the answer says it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from deepbelief.autoencoders.vae_builders import dense_vae
from deepbelief.belief.dbn import DBN
from deepbelief.belief.rbm_vae_builders import make_rbm_vae
from deepbelief.belief.untied import UntiedDBN
from deepbelief.energy.boltzmann import BoltzmannMachine
from deepbelief.energy.conditional_rbm import ConditionalRBM
from deepbelief.energy.convolutional_rbm import ConvolutionalRBM
from deepbelief.energy.dbm import DBM
from deepbelief.energy.partition import choose, widening
from deepbelief.energy.partition.ais import AISResult, ais
from deepbelief.energy.partition.choose import log_z
from deepbelief.energy.partition.exact import exact_log_z
from deepbelief.energy.partition.lengths import log_z_of_lengths
from deepbelief.energy.partition.widening import Effort, doubt, looked, widened, with_verdict
from deepbelief.energy.ratings_rbm import RatingsRBM
from deepbelief.energy.rbm import RBM
from deepbelief.energy.replicated_softmax import ReplicatedSoftmax
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.types import Bound
from deepbelief.units.bernoulli import Bernoulli
from tests.oracle.deep import STACKS, tiny_dbm, twin
from tests.oracle.joint import Joint
from tests.oracle.ladders import two_modes, zeros
from tests.oracle.zoo import tiny_classifier, tiny_rbm

close = torch.testing.assert_close
FEW: dict[str, Any] = {"n_chains": 40, "betas": 10, "burn_in": 20}


def truth(rbm: RBM) -> float:
    return Joint.of(rbm).log_z.item()


# -- whose log Z ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", STACKS)
def test_a_deep_boltzmann_machine_has_the_enumerated_one(stack: str, generator: torch.Generator) -> None:
    dbm = tiny_dbm(STACKS[stack], generator)
    found = log_z(dbm)
    assert found.kind == "exact"
    close(float(found), truth(twin(dbm)))


@pytest.mark.parametrize("kind", ["dbn", "untied"])
def test_a_belief_network_has_that_of_its_top_and_says_so(kind: str, generator: torch.Generator) -> None:
    dbn = DBN([tiny_rbm("bernoulli", "bernoulli", generator), tiny_rbm("bernoulli", "spin", generator)])
    found = log_z(dbn if kind == "dbn" else UntiedDBN.from_dbn(dbn))
    close(float(found), truth(dbn.top))
    assert abs(float(found) - truth(dbn.layers[0])) > 1e-3  # so that the wrong RBM would be seen
    assert found.method.startswith("log Z of the top RBM: enumeration")


def test_a_model_around_an_rbm_has_that_of_the_rbm(generator: torch.Generator) -> None:
    classifier = tiny_classifier("bernoulli", "bernoulli", generator)
    close(float(log_z(classifier)), truth(classifier.rbm))
    assert log_z(classifier).method.startswith("log Z of the joint RBM: ")
    model = make_rbm_vae(Bernoulli(4), (3, 2), hidden=[4]).double()
    close(float(log_z(model)), truth(model.rbm))


def test_annealing_and_tempering_run_on_the_part(generator: torch.Generator) -> None:
    dbm = tiny_dbm(STACKS["bernoulli"], generator)
    for method in ("ais", "tempering"):
        found = log_z(dbm, method, n_chains=200, betas=100, burn_in=100, generator=generator)
        assert abs(float(found) - truth(twin(dbm))) < 8 * found.stderr


def test_samples_must_be_states_of_the_part(generator: torch.Generator) -> None:
    dbn = DBN.of_sizes([6, 4, 3], generator=generator)
    with pytest.raises(InvalidDataError, match=r"samples must have shape \(cases, 4\). Got \(5, 6\)"):
        log_z(dbn, "ais", samples=torch.zeros(5, 6))
    assert log_z(dbn, "ais", samples=torch.zeros(5, 4), **FEW, generator=generator).kind == "estimate"


# -- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (ReplicatedSoftmax(5, 3), r"ReplicatedSoftmax, .* on the length.* Use log_z_of_lengths\(model, lengths\)"),
        (ConditionalRBM(4, 3, 2), r"ConditionalRBM, .* on the context. Use log_z\(model.rbm_given\(u\)\)"),
        (RatingsRBM(5, 3, [1.0, 2.0]), r"RatingsRBM, .* on the columns.* Use log_z\(model.rbm_of\(columns\)\)"),
        (dense_vae(Bernoulli(4), [2], hidden=[[3]]), r"log Z that can be found. Got VAE, .* Use an RBM"),
        (torch.nn.Linear(2, 2), r"log Z that can be found. Got Linear, .* Use an RBM"),
    ],
)
def test_a_model_without_one_log_z_gets_a_sentence(model: Any, sentence: str) -> None:
    for method in choose.METHODS:
        with pytest.raises(InvalidArgumentError, match=f"model must have .*{sentence}"):
            log_z(model, method)


def test_what_the_sentences_name_serves() -> None:
    conditional, ratings = ConditionalRBM(4, 3, 2), RatingsRBM(5, 3, [1.0, 2.0])
    assert log_z(conditional.rbm_given(torch.zeros(2))).kind == "exact"
    assert log_z(ratings.rbm_of(torch.tensor([0, 3]))).kind == "exact"
    assert log_z_of_lengths(ReplicatedSoftmax(5, 3), torch.tensor([4])).kind == "exact"


@pytest.mark.parametrize(
    ("model", "unable"),
    [
        (lambda: BoltzmannMachine(4), {"mean_field", "tap"}),
        (lambda: DBM([4, 3, 2]), {"mean_field", "tap"}),
        (lambda: ConvolutionalRBM((1, 4, 4), 2, 3), {"mean_field", "tap"}),
        (lambda: DBN.of_sizes([4, 3, 2]), set()),
        (lambda: RBM(4, 3), set()),
    ],
    ids=["machine", "dbm", "convolutional", "dbn", "rbm"],
)
def test_a_method_is_taken_or_refused_with_a_sentence(
    model: Callable[[], Any], unable: set[str], generator: torch.Generator
) -> None:
    made = model()
    for method in choose.METHODS:
        if method not in unable:
            assert math.isfinite(float(log_z(made, method, **FEW, generator=generator)))
            continue
        sentence = rf"method must be 'auto', .* for {type(made).__name__}. Got method='{method}'. Use log_z"
        with pytest.raises(InvalidArgumentError, match=sentence):
            log_z(made, method)


# -- how sure -------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_enumeration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small models are annealed by "auto" too, so that there is a truth to compare with."""
    monkeypatch.setattr(choose, "QUICK_STATES", 0)


@pytest.mark.usefixtures("no_enumeration")
def test_a_tight_bracket_is_annealings_own_to_the_bit(generator: torch.Generator) -> None:
    rbm, start = tiny_rbm("bernoulli", "bernoulli", generator), generator.get_state()
    plain = log_z(rbm, "ais", **FEW, generator=generator)
    after = generator.get_state()
    generator.set_state(start)
    assert log_z(rbm, **FEW, generator=generator) == plain
    assert torch.equal(generator.get_state(), after)  # nothing more was drawn
    gap = plain.high - plain.low  # type: ignore[operator]
    assert plain.method.endswith(f"; bracket {gap:.2f} nats, error {plain.stderr:.2f}")


@pytest.fixture
def temperatures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of temperatures of all forward runs."""
    seen: list[int] = []

    def counted(model: Any, *, betas: int, **options: Any) -> AISResult:
        seen.append(betas)
        return ais(model, betas=betas, **options)

    monkeypatch.setattr(widening, "ais", counted)
    return seen


@pytest.mark.usefixtures("no_enumeration")
@pytest.mark.parametrize("doublings", [0, 1, 3])
def test_temperatures_double_so_often_at_most(
    doublings: int, temperatures: list[int], generator: torch.Generator
) -> None:
    machine = BoltzmannMachine(6, coupling_std=3.0, generator=generator).double()
    found = log_z(machine, **FEW, tolerance=0.0, doublings=doublings, generator=generator)
    assert temperatures == [10 * 2**k for k in range(doublings + 1)]
    # and tempering once, if any further effort was allowed
    assert found.method.endswith(f", best of {doublings + 2} attempts: wide" if doublings else ": wide")


@pytest.mark.usefixtures("no_enumeration")
def test_modes_that_annealing_misses_are_left_to_tempering(generator: torch.Generator) -> None:
    rbm = two_modes(3.0)
    few: dict[str, Any] = {"n_chains": 40, "burn_in": 150, "samples": zeros(rbm, 40), "generator": generator}
    alone = log_z(rbm, "ais", betas=3, **few, tolerance=1.5)
    assert doubt(alone) > 1.5
    assert alone.method.endswith(": wide")
    found = log_z(rbm, betas=3, **few, tolerance=1.5, doublings=1)
    assert found.method.startswith("parallel tempering")
    assert found.method.endswith(", best of 3 attempts")
    assert found.low <= truth(rbm) <= found.high  # type: ignore[operator]
    assert abs(float(found) - float(exact_log_z(rbm))) < 8 * found.stderr < 1.5


def bounds(gaps: list[float]) -> list[Bound]:
    return [Bound(0.0, "estimate", 0.1, f"try {k}", -gap / 2, gap / 2) for k, gap in enumerate(gaps)]


def tried(gaps: list[float], tempering: float, patch: pytest.MonkeyPatch, **changes: Any) -> str:
    """What `widened` says when annealing and then tempering leave these gaps, with a tolerance of 1 nat."""
    left = iter(bounds(gaps))
    patch.setattr(widening, "annealed", lambda model, effort: (next(left), torch.zeros(2, 2)))
    patch.setattr(widening, "tempered", lambda model, effort: bounds([tempering])[0])
    effort = Effort(2, 10, 0, None, None, None, None, adaptive=False)
    return widened(RBM(2, 2), replace(effort, **changes), 1.0, len(gaps) - 1).method


def test_the_narrowest_bracket_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    say = lambda *arguments, **changes: tried(*arguments, monkeypatch, **changes)
    assert say([0.5, 0.1], 0.1) == "try 0; bracket 0.50 nats, error 0.10"  # good enough: nothing more is tried
    assert say([3.0, 0.5, 0.1], 0.1) == "try 1; bracket 0.50 nats, error 0.10, best of 2 attempts"
    assert say([3.0, 2.0, 5.0], 4.0) == "try 1; bracket 2.00 nats, error 0.10, best of 4 attempts: wide"
    assert say([3.0, 2.0], 1.5) == "try 0; bracket 1.50 nats, error 0.10, best of 3 attempts: wide"
    assert say([math.nan, 2.0], 3.0) == "try 1; bracket 2.00 nats, error 0.10, best of 3 attempts: wide"


@pytest.mark.parametrize("given", [True, False])
def test_the_chains_of_the_reverse_runs_move_on(given: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[torch.Tensor | None] = []

    def remembered(model: Any, effort: Effort) -> tuple[Bound, torch.Tensor]:
        starts.append(effort.samples)
        return bounds([3.0])[0], torch.full((2, 2), float(len(starts)))

    monkeypatch.setattr(widening, "annealed", remembered)
    monkeypatch.setattr(widening, "can_temper", lambda model: False)
    samples = torch.zeros(2, 2) if given else None
    widened(RBM(2, 2), Effort(2, 10, 0, samples, None, None, None, adaptive=False), 1.0, 2)
    values = [None if start is None else start[0, 0].item() for start in starts]
    assert values == ([0.0, 1.0, 2.0] if given else [None, None, None])  # without samples, the forward runs' ends


def looks(gap: float, patch: pytest.MonkeyPatch, *, betas: int = 10_000, doublings: int = 2) -> tuple[str, list[int]]:
    """What `widened` says when a look leaves this gap and all else none, and the temperatures of each run."""
    seen: list[int] = []

    def annealed(model: Any, effort: Effort) -> tuple[Bound, torch.Tensor]:
        seen.append(effort.betas)
        torch.rand(1, generator=effort.generator)
        wide, method = gap if effort.betas < betas else 0.0, f"{effort.betas}, {effort.burn_in}"
        return Bound(0.0, "estimate", 0.0, method, -wide / 2, wide / 2), torch.zeros(2, 2)

    patch.setattr(widening, "annealed", annealed)
    generator = torch.Generator().manual_seed(0)
    said = widened(RBM(2, 2), Effort(2, betas, 50, None, generator, None, None, adaptive=False), 1.0, doublings).method
    again = torch.Generator().manual_seed(0)
    torch.rand(1, generator=again)
    assert torch.equal(generator.get_state(), again.get_state())  # one run's numbers, whichever it was
    return said, seen


def test_a_look_with_a_tenth_of_the_temperatures_is_enough_where_it_is_tight(monkeypatch: pytest.MonkeyPatch) -> None:
    assert looks(0.04, monkeypatch) == ("1000, 50; bracket 0.04 nats, error 0.00", [1000])
    assert looks(0.06, monkeypatch) == ("10000, 50; bracket 0.00 nats, error 0.00", [1000, 10_000])
    assert looks(0.0, monkeypatch, betas=9_999) == ("9999, 50; bracket 0.00 nats, error 0.00", [9_999])
    assert looks(0.0, monkeypatch, doublings=0)[1] == [10_000]


@pytest.mark.usefixtures("no_enumeration")
def test_a_look_is_right_within_its_own_words(temperatures: list[int], generator: torch.Generator) -> None:
    rbm = tiny_rbm("bernoulli", "bernoulli", generator)
    found = log_z(rbm, generator=generator)
    assert temperatures == [1000]
    assert abs(float(found) - truth(rbm)) < 5 * found.stderr
    assert doubt(found) < 0.05


@pytest.mark.parametrize(("strength", "content"), [(1.0, True), (2.0, False)])
def test_a_look_is_content_only_where_it_knows_both_modes(
    strength: float, content: bool, generator: torch.Generator
) -> None:
    """Reverse runs from one of two modes disagree with the forward runs, which come to both, unless chains mix."""
    rbm = two_modes(strength)
    found = looked(rbm, Effort(100, 10_000, 500, zeros(rbm, 100), generator, None, None, adaptive=False), 0.05)
    assert (found is not None) is content
    assert found is None or abs(float(found) - truth(rbm)) < 5 * found.stderr


def test_a_large_error_is_wide_however_close_the_ends_are() -> None:
    sure = with_verdict(Bound(0.0, "estimate", 0.9, "AIS", -0.05, 0.05), tolerance=1.0)
    assert sure.method == "AIS; bracket 0.10 nats, error 0.90"
    assert with_verdict(sure, tolerance=0.5).method.endswith(": wide")


@pytest.mark.parametrize("bad", [{"tolerance": -1.0}, {"tolerance": math.nan}, {"doublings": -1}, {"doublings": 0.5}])
def test_wrong_limits_get_a_sentence(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{next(iter(bad))} must be"):
        log_z(RBM(2, 2), **bad)
