"""Every count of the evaluation and applications floors is a whole number in its range, or gets one sentence."""

from __future__ import annotations

import pytest
import torch

from deepbelief.applications.denoising import Denoiser, median_filter
from deepbelief.applications.recommendation import titles_for
from deepbelief.belief.dbn import DBN
from deepbelief.belief.rbm_vae_builders import make_rbm_vae
from deepbelief.energy.ising import ising_grid
from deepbelief.energy.rbm import RBM
from deepbelief.evaluation.biased_factors import fit_factors
from deepbelief.evaluation.chain_data import compare_with_data
from deepbelief.evaluation.chains import diagnose_model
from deepbelief.evaluation.classification import calibration_error, hardest_cases
from deepbelief.evaluation.completion import completion_results
from deepbelief.evaluation.feature_network import FeatureNetwork, feature_networks
from deepbelief.evaluation.features import cluster_agreement, few_label_curve, knn_accuracy
from deepbelief.evaluation.filters import shown_units, unit_drivers
from deepbelief.evaluation.gather import GalleryBudget
from deepbelief.evaluation.kernel_distance import kernel_distance
from deepbelief.evaluation.latent import interpolate
from deepbelief.evaluation.likelihood import chunked_log_likelihood, model_log_z
from deepbelief.evaluation.measured import random_rows
from deepbelief.evaluation.memorisation import copying_test
from deepbelief.evaluation.modes import count_classes, grid, mode_results, ring
from deepbelief.evaluation.pictures import class_samples, geometric_steps
from deepbelief.evaluation.prdc import kth_distances, prdc
from deepbelief.evaluation.samples import nearest_distances, two_sample_test
from deepbelief.units.bernoulli import Bernoulli
from tests.contracts.counts import Count, check_refusals

G = torch.Generator().manual_seed(0)
X = (torch.rand(20, 6, generator=G) < 0.5).float()
LABELS = torch.arange(20) % 2
RBM_ = RBM(6, 3)
DBN_, LABELLED = DBN.of_sizes([6, 4, 3]), DBN.of_sizes([6, 4, 3], 2)
VAE_ = make_rbm_vae(Bernoulli(6), (3, 2), hidden=[4])
EVALUATION: dict[str, Count] = {
    "fit_factors": ("n_factors", 1, lambda n: next(fit_factors(None, 2, 2, n_factors=n))),  # type: ignore[arg-type]
    "fit_factors, passes": (
        *("every number of checks", 1),
        lambda n: next(fit_factors(None, 2, 2, checks=(n,))),  # type: ignore[arg-type]
    ),
    "diagnose_chains": ("n_steps", 16, lambda n: diagnose_model(RBM_, X, n_steps=n, generator=G)),
    "mode_results": (
        *("n_samples", 1),
        lambda n: mode_results(count_classes(LABELS, 2), n_samples=n, data="ring", model_name="GAN"),
    ),
    "compare_with_data": ("n_clusters", 2, lambda n: compare_with_data(X, X, X, n_clusters=n, generator=G)),
    "diagnose_model": ("n_chains", 2, lambda n: diagnose_model(RBM_, X, n_chains=n, generator=G)),
    "calibration_error": ("n_bins", 1, lambda n: calibration_error(X[:, :2].softmax(1), LABELS, n_bins=n)),
    "hardest_cases": ("k", 1, lambda n: hardest_cases(X[:, :2].softmax(1), LABELS, k=n)),
    "completion_results": (
        "k",
        1,
        lambda n: completion_results(DBN_, X, X > 2, train=X, data="bits", model_name="DBN", k=n, generator=G),
    ),
    "FeatureNetwork": ("n_classes", 2, lambda n: FeatureNetwork(6, n)),
    "FeatureNetwork, features": ("n_features", 1, lambda n: FeatureNetwork(6, 2, n_features=n)),
    "feature_networks": ("n_networks", 1, lambda n: feature_networks(X, None, n_networks=n, generator=G)),
    "cluster_agreement": ("n_clusters", 1, lambda n: cluster_agreement(X, LABELS, n_clusters=n, generator=G)),
    "knn_accuracy": ("k", 1, lambda n: knn_accuracy(X, LABELS, X, LABELS, k=n)),
    "few_label_curve": (
        *("n_draws", 1),
        lambda n: few_label_curve(X, LABELS, X, LABELS, n_draws=n, generator=G),
    ),
    "few_label_curve, labels": (
        *("labels_per_class", 1),
        lambda n: few_label_curve(X, LABELS, X, LABELS, labels_per_class=[n], generator=G),
    ),
    "shown_units": ("most", 1, lambda n: shown_units(DBN_, 0, n)),
    "shown_units, layer": ("layer", 0, lambda n: shown_units(DBN_, n, 9)),
    "unit_drivers": ("k", 1, lambda n: unit_drivers(DBN_, X, k=n)),
    "unit_drivers, units": ("n_units", 1, lambda n: unit_drivers(DBN_, X, n_units=n)),
    "GalleryBudget": ("samples", 1, GalleryBudget),
    "GalleryBudget, codes": ("codes", 1, lambda n: GalleryBudget(codes=n)),
    "kernel_distance": ("chunk", 1, lambda n: kernel_distance(X, X, chunk=n)),
    "interpolate": ("n", 2, lambda n: interpolate(VAE_, X[:1], X[1:2], n=n)),  # type: ignore[arg-type]
    "model_log_z": ("n_chains", 2, lambda n: model_log_z(RBM_, X, n_chains=n, betas=3, generator=G)),
    "chunked_log_likelihood": ("chunk", 1, lambda n: chunked_log_likelihood(RBM_, X, chunk=n, generator=G)),
    "random_rows": ("most", 1, lambda n: random_rows(9, n, G)),
    "copying_test": ("n_cells", 1, lambda n: copying_test(X, X, X, n_cells=n, generator=G)),
    "ring": ("n_modes", 1, ring),
    "grid": ("side", 1, grid),
    "count_classes": ("n_classes", 1, lambda n: count_classes(LABELS, n)),
    "geometric_steps": ("last", 1, lambda n: geometric_steps(n, 3)),
    "geometric_steps, frames": ("n_frames", 2, lambda n: geometric_steps(9, n)),
    "class_samples": ("n", 1, lambda n: class_samples(LABELLED, n, 2, generator=G)),
    "prdc": ("k", 1, lambda n: prdc(X, X, k=n)),
    "kth_distances": ("k", 1, lambda n: kth_distances(X, n)),
    "nearest_distances": ("chunk", 1, lambda n: nearest_distances(X, X, chunk=n)),
    "two_sample_test": ("folds", 2, lambda n: two_sample_test(X, X, folds=n, generator=G)),
}
GRID = ising_grid((3, 3), coupling=1.0)
APPLICATIONS: dict[str, Count] = {
    "Denoiser.posterior_mean": (
        "n_steps",
        1,
        lambda n: Denoiser(GRID, 0.1).posterior_mean(torch.ones(1, 9), n_steps=n),
    ),
    "Denoiser.posterior_mean, burn_in": (
        *("burn_in", 0),
        lambda n: Denoiser(GRID, 0.1).posterior_mean(torch.ones(1, 9), burn_in=n),
    ),
    "Denoiser.learn_noise": ("n_rounds", 1, lambda n: Denoiser(GRID, 0.1).learn_noise(torch.ones(1, 9), n_rounds=n)),
    "median_filter": ("size", 1, lambda n: median_filter(torch.ones(1, 3, 3), n)),
    "titles_for": ("n", 1, lambda n: titles_for(None, None, 0, n)),  # type: ignore[arg-type]
    "titles_for, fewest": ("fewest", 0, lambda n: titles_for(None, None, 0, fewest=n)),  # type: ignore[arg-type]
}
COUNTS = EVALUATION | APPLICATIONS


@pytest.mark.parametrize("place", COUNTS)
def test_what_is_no_count_gets_one_sentence(place: str) -> None:
    check_refusals(*COUNTS[place])
