"""Every count of the energy and belief floors is a whole number in its range, or gets one sentence.

Numbers of units, chains, steps, layers and draws: neither 2.5 nor "3" nor True, and none below the least that works.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from deepbelief.autoencoders.vae_builders import dense_vae
from deepbelief.belief.annealed_bound import annealed_bound, annealed_log_weights
from deepbelief.belief.bit_decoder import BitDecoder
from deepbelief.belief.bound import importance_bound, many_log_weights, variational_bound
from deepbelief.belief.convolutional_dbn import ConvolutionalDBN
from deepbelief.belief.dbn import DBN, with_labels_in_top
from deepbelief.belief.gain import gain_of_top
from deepbelief.belief.rbm_vae_builders import make_rbm_vae
from deepbelief.belief.rbm_vae_learning import RBMVAELearning
from deepbelief.belief.spreading import spread_labels
from deepbelief.belief.unrolled import UnrolledDBN
from deepbelief.belief.untied import UntiedDBN
from deepbelief.belief.up_down import checked_steps
from deepbelief.belief.vae_stack import VAEStack, train_vae_stack
from deepbelief.data.source import ArraySource
from deepbelief.energy.boltzmann import BoltzmannMachine
from deepbelief.energy.chain_watch import measure_chains
from deepbelief.energy.classification_rbm import ClassificationRBM
from deepbelief.energy.collapsed import collapsed_bound
from deepbelief.energy.conditional_rbm import ConditionalRBM
from deepbelief.energy.convolutional_rbm import ConvolutionalRBM
from deepbelief.energy.dbm import DBM
from deepbelief.energy.dbm_network import DBMNetwork
from deepbelief.energy.gradients.cd import ContrastiveDivergence
from deepbelief.energy.gradients.conditional import CaseChains
from deepbelief.energy.gradients.deep import DBMLearning
from deepbelief.energy.gradients.fast_pcd import FastPersistentChains
from deepbelief.energy.gradients.matching import PseudoLikelihood
from deepbelief.energy.gradients.pairwise import ContrastivePairs, PersistentPairs, Posterior, TemperedPairs
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.gradients.ratings import RatingsLearning
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.energy.gradients.sparsity import check_groups
from deepbelief.energy.gradients.tap import TAP
from deepbelief.energy.gradients.tempered import TemperedChains
from deepbelief.energy.gradients.topics import DocumentChains, DocumentDivergence
from deepbelief.energy.gradients.trajectory import TrajectoryChains
from deepbelief.energy.graph import Graph
from deepbelief.energy.ising import potts_grid
from deepbelief.energy.kernels.clamped import run_chain, to_average
from deepbelief.energy.kernels.coloured import ColouredGibbs
from deepbelief.energy.kernels.gibbs import BlockGibbs
from deepbelief.energy.kernels.lengths import spread_lengths
from deepbelief.energy.kernels.tempering import ParallelTempering, burn_in, even_betas, sample_tempered
from deepbelief.energy.kernels.traces import Scalars, run_chains
from deepbelief.energy.kernels.trajectory import TrajectoryLadder, TrajectoryTempering
from deepbelief.energy.low_rank import principal_directions
from deepbelief.energy.most_probable import simulated_annealing
from deepbelief.energy.partition.adaptive import adaptive_betas
from deepbelief.energy.partition.ais import ais, linear_betas, reverse_ais
from deepbelief.energy.partition.bridge import log_z_ratio
from deepbelief.energy.partition.choose import log_z
from deepbelief.energy.partition.conservative import raise_log_likelihood
from deepbelief.energy.partition.exact import exact_log_z
from deepbelief.energy.partition.lengths import anneal_down, anneal_up, exact_log_z_of_lengths, log_z_of_lengths
from deepbelief.energy.partition.tap import mean_field_log_z
from deepbelief.energy.partition.tempering import tempered_log_z
from deepbelief.energy.partition.trajectory import TrajectoryLogZ
from deepbelief.energy.pseudolikelihood import pseudo_log_likelihood
from deepbelief.energy.ratings_rbm import RatingsRBM
from deepbelief.energy.rbm import RBM
from deepbelief.energy.replicated_softmax import ReplicatedSoftmax
from deepbelief.energy.site_posterior import mean_field
from deepbelief.energy.structure import ranked_links
from deepbelief.errors import InvalidArgumentError, check_count
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.binomial import Binomial
from deepbelief.units.catalog import make_units
from deepbelief.units.categorical import Categorical
from deepbelief.units.multinomial import Multinomial
from deepbelief.units.pooled import Pooled
from tests.contracts.counts import Count, check_refusals

G = torch.Generator().manual_seed(0)
X = (torch.rand(20, 6, generator=G) < 0.5).float()
LABELS = torch.arange(20) % 2
RBM_, MACHINE, DBM_ = RBM(6, 3), BoltzmannMachine(6, 2), DBM([6, 4, 3])
DBN_, LABELLED = DBN.of_sizes([6, 4, 3]), DBN.of_sizes([6, 4, 3], 2)
PICTURES = ConvolutionalRBM((1, 6, 6), 2, 3)
STACK = ConvolutionalDBN([PICTURES])
CONTEXT, CLASSES = ConditionalRBM(6, 3, 2), ClassificationRBM(6, 3, 2)
TOPICS, LENGTHS = ReplicatedSoftmax(5, 3), torch.tensor([1, 4])
VAE_ = make_rbm_vae(Bernoulli(6), (3, 2), hidden=[4])
ON_TOP = VAEStack(DBN_, dense_vae(Bernoulli(3), [2], hidden=[[4]]))
CHAIN = BlockGibbs(RBM_)
STATE = CHAIN.start_at(X, generator=G)
TEMPERED = ParallelTempering(RBM_, 3)
RUNGS = TrajectoryTempering(TrajectoryLadder([RBM_, RBM_]))
HOLDS: dict[str, Any] = {"clamp": None, "generator": G}

UNITS: dict[str, Count] = {
    "Bernoulli": ("size", 1, Bernoulli),
    "Binomial, size": ("size", 1, lambda n: Binomial(n, 3)),
    "Binomial, trials": ("n_trials", 1, lambda n: Binomial(3, n)),
    "Categorical, groups": ("n_groups", 1, lambda n: Categorical(n, 3)),
    "Categorical, values": ("n_values", 2, lambda n: Categorical(3, n)),
    "Multinomial, size": ("size", 2, lambda n: Multinomial(n, 3)),
    "Multinomial, draws": ("n_draws", 1, lambda n: Multinomial(3, n)),
    "Pooled, groups": ("n_groups", 1, lambda n: Pooled(n, 3)),
    "Pooled, size": ("group_size", 1, lambda n: Pooled(3, n)),
    "make_units": ("size", 1, lambda n: make_units("gaussian", n)),
    "make_units, values": ("n_values", 2, lambda n: make_units("binomial", 6, n_values=n)),
    "states": ("chunk", 1, lambda n: next(Bernoulli(3).states(n))),
}
MODELS: dict[str, Count] = {
    "RBM": ("size", 1, lambda n: RBM(n, 3)),
    "RBM, hidden": ("size", 1, lambda n: RBM(3, n)),
    "BoltzmannMachine": ("size", 1, BoltzmannMachine),
    "BoltzmannMachine, hidden": ("size", 1, lambda n: BoltzmannMachine(3, n)),
    "BoltzmannMachine.sample": ("n", 1, lambda n: MACHINE.sample(n)),
    "BoltzmannMachine.sample, steps": ("n_steps", 1, lambda n: MACHINE.sample(2, n_steps=n)),
    "BoltzmannMachine.complete": ("n_steps", 1, lambda n: MACHINE.complete(X, X > 2, n_steps=n)),
    "BoltzmannMachine.complete, average": ("n_average", 1, lambda n: MACHINE.complete(X, X > 2, n_average=n)),
    "BoltzmannMachine.enumerate": ("chunk", 1, lambda n: next(MACHINE.enumerate(n))),
    "ClassificationRBM": ("n_classes", 2, lambda n: ClassificationRBM(3, 3, n)),
    "ClassificationRBM, visible": ("size", 1, lambda n: ClassificationRBM(n, 3, 2)),
    "ClassificationRBM.sample": ("n", 1, lambda n: CLASSES.sample(n, labels=torch.tensor(1))),
    "ConditionalRBM": ("n_context", 1, lambda n: ConditionalRBM(3, 3, n)),
    "ConditionalRBM.sample": ("n_steps", 1, lambda n: CONTEXT.sample(X[:, :2], n_steps=n)),
    "ConditionalRBM.continue_sequence": ("n", 1, lambda n: ConditionalRBM(6, 3, 6).continue_sequence(X, n)),
    "ConvolutionalRBM": ("n_filters", 1, lambda n: ConvolutionalRBM((1, 6, 6), n, 3)),
    "ConvolutionalRBM, filter": ("filter_size", 1, lambda n: ConvolutionalRBM((1, 6, 6), 2, n)),
    "ConvolutionalRBM, pool": ("pool", 1, lambda n: ConvolutionalRBM((1, 6, 6), 2, 3, pool=n)),
    "ConvolutionalRBM, picture": ("every size of image_shape", 1, lambda n: ConvolutionalRBM((1, n, 6), 2, 1)),
    "ConvolutionalRBM.sample_given_pool": (
        *("n_steps", 1),
        lambda n: PICTURES.sample_given_pool(torch.ones(1, 8), n_steps=n),
    ),
    "DBM": ("size", 1, lambda n: DBM([6, n, 3])),
    "DBM.infer": ("n_steps", 1, lambda n: DBM_.infer(X, n_steps=n)),
    "DBM.sample": ("n", 1, lambda n: DBM_.sample(n)),
    "DBM.sample, steps": ("n_steps", 1, lambda n: DBM_.sample(2, n_steps=n)),
    "DBM.complete": ("n_steps", 1, lambda n: DBM_.complete(X, X > 2, n_steps=n)),
    "DBM.log_likelihood": ("n_samples", 0, lambda n: DBM_.log_likelihood(X, n_samples=n)),
    "DBM.log_likelihood, steps": ("n_steps", 1, lambda n: DBM_.log_likelihood(X, n_steps=n)),
    "DBMNetwork": ("n_outputs", 1, lambda n: DBMNetwork(DBM_, n)),
    "collapsed_bound": ("n_samples", 1, lambda n: collapsed_bound(DBM_, DBM_.infer(X), n, G)),
    "RatingsRBM": ("n_columns", 1, lambda n: RatingsRBM(n, 3, [1, 2])),
    "RatingsRBM, hidden": ("size", 1, lambda n: RatingsRBM(3, n, [1, 2])),
    "ReplicatedSoftmax": ("n_words", 2, lambda n: ReplicatedSoftmax(n, 3)),
    "ReplicatedSoftmax, hidden": ("size", 1, lambda n: ReplicatedSoftmax(3, n)),
    "ReplicatedSoftmax.sample": ("n", 1, lambda n: TOPICS.sample(n)),
    "ReplicatedSoftmax.sample, length": ("length", 1, lambda n: TOPICS.sample(2, length=n)),
    "ReplicatedSoftmax.sample, steps": ("n_steps", 1, lambda n: TOPICS.sample(2, n_steps=n)),
    "ReplicatedSoftmax.at_length": ("length", 1, TOPICS.at_length),
    "Graph.full": ("n_sites", 1, Graph.full),
    "Graph.of_edges": ("n_sites", 1, lambda n: Graph.of_edges(n, [])),
    "Graph.grid": ("each size of shape", 1, lambda n: Graph.grid((3, n))),
    "Graph.grid, periodic": ("each size of shape", 3, lambda n: Graph.grid((3, n), periodic=True)),
    "potts_grid": ("n_values", 2, lambda n: potts_grid((3, 3), n, coupling=1.0)),
    "principal_directions": ("rank", 1, lambda n: principal_directions(X, n)),
    "simulated_annealing": ("n_sweeps", 2, lambda n: simulated_annealing(MACHINE, 3, n_sweeps=n)),
    "measure_chains": ("n_sweeps", 1, lambda n: measure_chains(RBM_, None, X, n_sweeps=n, generator=G)),
    "mean_field": ("n_rounds", 1, lambda n: mean_field(MACHINE, X, known=torch.arange(8) < 6, n_rounds=n)),
    "pseudo_log_likelihood": ("n_variables", 1, lambda n: pseudo_log_likelihood(RBM_, X, n_variables=n)),
    "ranked_links": ("n", 0, lambda n: ranked_links(MACHINE, n)),
}
KERNELS: dict[str, Count] = {
    "BlockGibbs.init": ("n", 1, lambda n: CHAIN.init(n, generator=G)),
    "ColouredGibbs.init": ("n", 1, lambda n: ColouredGibbs(MACHINE).init(n, generator=G)),
    "ParallelTempering": ("n_replicas", 2, lambda n: ParallelTempering(RBM_, n)),
    "ParallelTempering.init": ("n", 1, lambda n: TEMPERED.init(n, generator=G)),
    "TrajectoryTempering.init": ("n", 1, lambda n: RUNGS.init(n, generator=G)),
    "TrajectoryTempering.sample": ("n", 1, lambda n: RUNGS.sample(n, generator=G)),
    "TrajectoryTempering.sample, steps": ("n_steps", 1, lambda n: RUNGS.sample(2, n_steps=n, generator=G)),
    "even_betas": ("n_replicas", 2, even_betas),
    "burn_in": ("n_steps", 0, lambda n: burn_in(TEMPERED, TEMPERED.init(2, generator=G), n, generator=G)),
    "burn_in, rounds": (
        *("rounds", 1),
        lambda n: burn_in(TEMPERED, TEMPERED.init(2, generator=G), 5, rounds=n, generator=G),
    ),
    "sample_tempered": ("n", 1, lambda n: sample_tempered(RBM_, n)),
    "sample_tempered, steps": ("n_steps", 1, lambda n: sample_tempered(RBM_, 2, n_steps=n)),
    "sample_tempered, replicas": ("n_replicas", 2, lambda n: sample_tempered(RBM_, 2, n_replicas=n)),
    "run_chain": ("n_steps", 1, lambda n: run_chain(CHAIN, STATE, n, **HOLDS)),
    "run_chains": ("n_steps", 1, lambda n: run_chains(CHAIN, STATE, Scalars(RBM_.free_energy, X), n, generator=G)),
    "Scalars": ("n_components", 0, lambda n: Scalars(RBM_.free_energy, X, n_components=n)),
    "to_average": ("n_steps", 1, lambda n: to_average(n, None)),
    "to_average, average": ("n_average", 1, lambda n: to_average(9, n)),
    "spread_lengths": ("n", 1, lambda n: spread_lengths(LENGTHS, n)),
}
PARTITION: dict[str, Count] = {
    "adaptive_betas": ("n_temperatures", 2, lambda n: adaptive_betas(RBM_, n)),
    "adaptive_betas, pilot": ("pilot_temperatures", 2, lambda n: adaptive_betas(RBM_, 9, pilot_temperatures=n)),
    "adaptive_betas, chains": ("pilot_chains", 2, lambda n: adaptive_betas(RBM_, 9, pilot_chains=n)),
    "linear_betas": ("n_temperatures", 2, linear_betas),
    "ais": ("n_chains", 2, lambda n: ais(RBM_, n_chains=n, betas=3)),
    "ais, betas": ("n_temperatures", 2, lambda n: ais(RBM_, betas=n)),
    "reverse_ais, betas": ("n_temperatures", 2, lambda n: reverse_ais(RBM_, X, betas=n)),
    "raise_log_likelihood": ("n_chains", 1, lambda n: raise_log_likelihood(RBM_, X, n_chains=n)),
    "raise_log_likelihood, betas": ("n_temperatures", 2, lambda n: raise_log_likelihood(RBM_, X, betas=n)),
    "log_z_ratio": ("n_replicas", 2, lambda n: log_z_ratio(RBM_, RBM_, X, X, betas=n)),
    "log_z": ("n_chains", 2, lambda n: log_z(RBM_, "ais", n_chains=n, betas=3)),
    "log_z, betas": ("n_temperatures", 2, lambda n: log_z(RBM_, "ais", betas=n)),
    "log_z, burn_in": ("burn_in", 0, lambda n: log_z(RBM_, "ais", burn_in=n, betas=3)),
    "exact_log_z": ("chunk", 1, lambda n: exact_log_z(RBM_, chunk=n)),
    "tempered_log_z": ("n_chains", 2, lambda n: tempered_log_z(RBM_, n_chains=n)),
    "tempered_log_z, replicas": ("n_replicas", 2, lambda n: tempered_log_z(RBM_, n_replicas=n)),
    "tempered_log_z, steps": ("n_steps", 2, lambda n: tempered_log_z(RBM_, n_steps=n)),
    "mean_field_log_z": ("n_steps", 1, lambda n: mean_field_log_z(RBM_, n_steps=n)),
    "TrajectoryLogZ": ("betas", 2, lambda n: TrajectoryLogZ(betas=n)),
    "anneal_up": ("n_chains", 4, lambda n: anneal_up(TOPICS, LENGTHS, n)),
    "anneal_up, sweeps": ("sweeps", 1, lambda n: anneal_up(TOPICS, LENGTHS, 9, sweeps=n)),
    "anneal_down, sweeps": ("sweeps", 1, lambda n: anneal_down(TOPICS, torch.zeros(2, 4, 3), LENGTHS, sweeps=n)),
    "exact_log_z_of_lengths": ("chunk", 1, lambda n: exact_log_z_of_lengths(TOPICS, LENGTHS, chunk=n)),
    **{
        f"log_z_of_lengths, {name}": (
            *(name, least),
            lambda n, name=name: log_z_of_lengths(TOPICS, LENGTHS, "ais", **{name: n}),
        )
        for name, least in (("n_chains", 4), ("sweeps", 1), ("n_reverse", 2), ("reverse_chains", 1), ("burn_in", 0))
    },
}
RULES: dict[str, Count] = {
    "ContrastiveDivergence": ("k", 1, ContrastiveDivergence),
    "PersistentChains": ("n_chains", 1, PersistentChains),
    "FastPersistentChains": ("n_chains", 1, FastPersistentChains),
    "FastPersistentChains, k": ("k", 1, lambda n: FastPersistentChains(9, n)),
    "TemperedChains": ("n_chains", 1, TemperedChains),
    "TemperedChains, k": ("k", 1, lambda n: TemperedChains(9, n)),
    "TemperedChains, replicas": ("n_replicas", 2, lambda n: TemperedChains(9, n_replicas=n)),
    "TrajectoryChains": ("n_chains", 1, TrajectoryChains),
    "TrajectoryChains, reservoir": ("reservoir", 1, lambda n: TrajectoryChains(reservoir=n)),
    "TrajectoryChains, ladder": ("ladder_every", 1, lambda n: TrajectoryChains(ladder_every=n)),
    "TrajectoryChains, replicas": ("n_replicas", 2, lambda n: TrajectoryChains(n_replicas=n)),
    "TAP": ("n_chains", 1, TAP),
    "TAP, k": ("k", 1, lambda n: TAP(9, n)),
    "CaseChains": ("n_cases", 1, CaseChains),
    "CaseChains, k": ("k", 1, lambda n: CaseChains(9, n)),
    "DocumentDivergence": ("k", 1, DocumentDivergence),
    "DocumentChains": ("n_chains", 1, DocumentChains),
    "DocumentChains, k": ("k", 1, lambda n: DocumentChains(9, n)),
    "DocumentChains, ladder": ("n_ladder", 0, lambda n: DocumentChains(9, n_ladder=n)),
    "PersistentPairs": ("n_chains", 1, PersistentPairs),
    "PersistentPairs, k": ("k", 1, lambda n: PersistentPairs(9, n)),
    "TemperedPairs": ("n_chains", 1, TemperedPairs),
    "TemperedPairs, k": ("k", 1, lambda n: TemperedPairs(9, n)),
    "TemperedPairs, replicas": ("n_replicas", 2, lambda n: TemperedPairs(9, n_replicas=n)),
    "ContrastivePairs": ("k", 1, ContrastivePairs),
    "Posterior": ("posterior_steps", 1, lambda n: Posterior("gibbs", n)),
    "PseudoLikelihood": ("n_variables", 1, PseudoLikelihood),
    "DBMLearning": ("mean_field_steps", 1, lambda n: DBMLearning(DBM_, PersistentChains(), mean_field_steps=n)),
    "RatingsLearning": ("k", 1, lambda n: RatingsLearning(RatingsRBM(3, 3, [1, 2]), k=n)),
    "RatingsLearning, two": ("k", 1, lambda n: RatingsLearning(RatingsRBM(3, 3, [1, 2]), k=(n, 9))),
    **{
        f"LearningSettings, {name}": (name, least, lambda n, name=name: LearningSettings(**{name: n}))
        for name, least in (
            *(("n_variables", 1), ("n_replicas", 2), ("ladder_every", 1), ("k", 1), ("n_chains", 1), ("epochs", 0)),
        )
    },
    "check_groups": ("group_size", 1, lambda n: check_groups(6, n, 0.1)),
}
BELIEF: dict[str, Count] = {
    "DBN.of_sizes": ("size", 1, lambda n: DBN.of_sizes([6, n])),
    "DBN.of_sizes, classes": ("n_classes", 2, lambda n: DBN.of_sizes([6, 4], n)),
    "DBN": ("n_classes", 2, lambda n: DBN([RBM(6, 3)], n)),
    "UntiedDBN": ("n_classes", 2, lambda n: UntiedDBN([], RBM(6, 3), n)),
    "with_labels_in_top": ("n_classes", 2, lambda n: with_labels_in_top(DBN_, n)),
    "DBN.upward": ("n_layers", 0, lambda n: DBN_.upward(X, n_layers=n)),
    "DBN.sample": ("n", 1, DBN_.sample),
    "DBN.sample, steps": ("n_steps", 1, lambda n: DBN_.sample(2, n_steps=n)),
    "DBN.complete": ("n_steps", 1, lambda n: DBN_.complete(X, X > 2, n_steps=n)),
    "DBN.log_likelihood": ("n_samples", 1, lambda n: DBN_.log_likelihood(X, n_samples=n)),
    "ConvolutionalDBN.upward": ("n_layers", 0, lambda n: STACK.upward(torch.zeros(2, 36), n_layers=n)),
    "ConvolutionalDBN.sample": ("n", 1, STACK.sample),
    "ConvolutionalDBN.sample, steps": ("n_steps", 1, lambda n: STACK.sample(2, n_steps=n)),
    "ConvolutionalDBN.sample, down": ("n_down", 1, lambda n: STACK.sample(2, n_down=n)),
    "UnrolledDBN": ("n_inputs", 1, lambda n: UnrolledDBN(n, [Bernoulli(3)], 2)),
    "UnrolledDBN, outputs": ("n_outputs", 1, lambda n: UnrolledDBN.from_dbn(DBN_, n)),
    "annealed_bound": ("n_runs", 1, lambda n: annealed_bound(DBN_, X, n_runs=n)),
    "annealed_bound, samples": ("n_samples", 2, lambda n: annealed_bound(DBN_, X, n_samples=n)),
    "annealed_bound, chunk": ("chunk", 1, lambda n: annealed_bound(DBN_, X, chunk=n)),
    "annealed_log_weights": ("n_temperatures", 1, lambda n: annealed_log_weights(DBN_, X, n, G)),
    "importance_bound": ("n_samples", 1, lambda n: importance_bound(DBN_, X, n_samples=n)),
    "variational_bound": ("n_samples", 1, lambda n: variational_bound(DBN_, X, n_samples=n)),
    "many_log_weights": ("n_samples", 1, lambda n: many_log_weights(DBN_, X, n, G)),
    "gain_of_top": ("n_samples", 1, lambda n: gain_of_top(DBN_, X, X[:, :4], X[:, :4], n_samples=n)),
    "gain_of_top, betas": ("betas", 2, lambda n: gain_of_top(DBN_, X, X[:, :4], X[:, :4], betas=n)),
    "checked_steps": ("k", 1, checked_steps),
    "checked_steps, several": ("k", 1, lambda n: checked_steps((3, n))),
    "spread_labels": ("n_neighbors", 1, lambda n: spread_labels(X, LABELS, n_neighbors=n)),
    "spread_labels, rounds": ("max_iter", 1, lambda n: spread_labels(X, LABELS, max_iter=n)),
    "BitDecoder": ("n_condition", 1, lambda n: BitDecoder(Bernoulli(6), nn.Linear(3, 6), n)),
    "make_rbm_vae": ("every size of n_bits", 1, lambda n: make_rbm_vae(Bernoulli(6), (3, n))),
    "make_rbm_vae, codes": ("n_codes", 0, lambda n: make_rbm_vae(Bernoulli(6), (3, 2), n_codes=n)),
    "make_rbm_vae, hidden": ("every size of hidden", 1, lambda n: make_rbm_vae(Bernoulli(6), (3, 2), hidden=[n])),
    "RBMVAE.infer": ("n", 1, lambda n: VAE_.infer(X, n)),
    "RBMVAE.sample": ("n", 1, VAE_.sample),
    "RBMVAE.sample, steps": ("n_steps", 1, lambda n: VAE_.sample(2, n_steps=n)),
    "RBMVAE.complete, steps": ("n_steps", 1, lambda n: VAE_.complete(X, X > 2, n_steps=n)),
    "RBMVAE.complete": ("n_average", 0, lambda n: VAE_.complete(X, X > 2, n_average=n)),
    "RBMVAE.log_likelihood": ("n_samples", 1, lambda n: VAE_.log_likelihood(X, n_samples=n)),
    "RBMVAELearning": ("n_chains", 1, lambda n: RBMVAELearning(VAE_, negative="exact", n_chains=n)),
    "RBMVAELearning, k": ("k", 1, lambda n: RBMVAELearning(VAE_, k=n)),
    "VAEStack.log_weights": ("n", 1, lambda n: ON_TOP.log_weights(X, n)),
    "VAEStack.sample": ("n", 1, lambda n: ON_TOP.sample(n)),
    "VAEStack.complete, steps": ("n_steps", 1, lambda n: ON_TOP.complete(X, X > 2, n_steps=n)),
    "VAEStack.complete": ("n_average", 0, lambda n: ON_TOP.complete(X, X > 2, n_average=n)),
    "train_vae_stack": ("top_epochs", 0, lambda n: train_vae_stack(ON_TOP, ArraySource(X), [], top_epochs=n)),
    "RBMVAELearning, steps": ("n_steps", 1, lambda n: RBMVAELearning(VAE_, negative="exact", n_steps=n)),
}
COUNTS = UNITS | MODELS | KERNELS | PARTITION | RULES | BELIEF


@pytest.mark.parametrize("place", COUNTS)
def test_what_is_no_count_gets_one_sentence(place: str) -> None:
    check_refusals(*COUNTS[place])


def test_numpy_whole_numbers_are_counts() -> None:
    five = np.int64(5)
    assert BoltzmannMachine(five).size == RBM(five, 2).visible.size == DBM([five, five, 2]).visible.size == 5  # type: ignore[arg-type, list-item]
    assert ais(RBM_, n_chains=5, betas=five, generator=G).v.shape == (5, 6)  # type: ignore[arg-type]
    assert len(ParallelTempering(RBM_, five).betas) == 5  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match=r"^n must be a whole number\. Got n=True\. Use n=1\.$"):
        check_count("n", True)
