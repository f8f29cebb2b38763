"""Refinement: change something before or inside the network until its own answer agrees with the clicks."""

from nucleate.interactive.refinement.options import Cancelled, Inputs, Method, Refined, RefinementOptions, averaged
from nucleate.interactive.refinement.refine import refine, refine_many

__all__ = ["Cancelled", "Inputs", "Method", "Refined", "RefinementOptions", "averaged", "refine", "refine_many"]
