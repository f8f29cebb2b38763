"""Refinement: change something before or inside the network until its own answer agrees with the clicks."""

from nucleate.interactive.refinement.options import EncoderInputs, Method, RefinementOptions, RefinementResult, average_views
from nucleate.interactive.refinement.refine import refine, refine_many

__all__ = ["EncoderInputs", "Method", "RefinementOptions", "RefinementResult", "average_views", "refine", "refine_many"]
