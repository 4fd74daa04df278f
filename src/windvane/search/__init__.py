"""Search: more quality from a frozen model, by spending evaluations on what a reward likes."""

from windvane.energies.image_rewards import BUILTIN
from windvane.search.budget import Budget, Spent
from windvane.search.chain import Chain
from windvane.search.ensemble import log_z, resampled
from windvane.search.noise_search import BestOf, RandomNoise, ZeroOrder, neighbours
from windvane.search.particles import FeynmanKac
from windvane.search.path_search import Paths
from windvane.search.resampling import effective_size, multinomial, systematic
from windvane.search.result_files import load_found, save_found
from windvane.search.rewards import MeanRank, RewardError, Verifier, as_verifier, ranks
from windvane.search.search_loop import Found, Job, Method, Moment, run
from windvane.search.tree import DiffusionTree
from windvane.search.tree_folder import grow_in_folder

__all__ = [
    "BUILTIN",
    "BestOf",
    "Budget",
    "Chain",
    "DiffusionTree",
    "FeynmanKac",
    "Found",
    "Job",
    "MeanRank",
    "Method",
    "Moment",
    "Paths",
    "RandomNoise",
    "RewardError",
    "Spent",
    "Verifier",
    "ZeroOrder",
    "as_verifier",
    "effective_size",
    "grow_in_folder",
    "load_found",
    "log_z",
    "multinomial",
    "neighbours",
    "ranks",
    "resampled",
    "run",
    "save_found",
    "systematic",
]
