"""Samplers: solvers with explicit state, and the loop that runs them."""

from windvane.samplers.ancestral import DDIM, DDPM
from windvane.samplers.base import (
    BoundDenoiser,
    Denoise,
    Sampler,
    Traits,
    index_state,
    moved,
    restarted,
)
from windvane.samplers.dpmpp import DPMSolverPP
from windvane.samplers.euler import Euler, Heun
from windvane.samplers.evodiff import EVODiff
from windvane.samplers.history import History
from windvane.samplers.loop import Samples, sample, sample_batches
from windvane.samplers.plan import default_grid, start_from
from windvane.samplers.run import StepInfo, StopSampling, Trajectory
from windvane.samplers.sde import DPMSolverSDE
from windvane.samplers.singlestep import DPMSolverSinglestep, singlestep_orders
from windvane.samplers.unipc import UniPC
from windvane.samplers.wrapped import WrappedSampler

__all__ = [
    "DDIM",
    "DDPM",
    "BoundDenoiser",
    "DPMSolverPP",
    "DPMSolverSDE",
    "DPMSolverSinglestep",
    "Denoise",
    "EVODiff",
    "Euler",
    "Heun",
    "History",
    "Sampler",
    "Samples",
    "StepInfo",
    "StopSampling",
    "Traits",
    "Trajectory",
    "UniPC",
    "WrappedSampler",
    "default_grid",
    "index_state",
    "moved",
    "restarted",
    "sample",
    "sample_batches",
    "singlestep_orders",
    "start_from",
]
