"""What a request may ask for."""

from __future__ import annotations

import math

from nucleate import errors
from nucleate.v1 import annotator_pb2 as pb

MAX_CLICKS = 64  # a session takes no more on one object
MAX_NUCLEI = 100_000
MAX_JITTER = 50.0
MAX_PATCHES = 1000
SIDES = (32, 4096)


def check_annotation(request: pb.AnnotatePatchRequest) -> None:
    """Raise `errors.InvalidInput` for a target or a number of clicks that makes no sense."""
    if not 0 < request.target_iou <= 1:
        raise errors.InvalidInput(f"target_iou is {request.target_iou}: give more than 0 and at most 1")
    _check_clicks("max_clicks", request.max_clicks)


def check_bench(request: pb.BenchClicksRequest) -> None:
    """Check all of a request that can be told without opening a file.

    Raises:
        errors.EmptyInput: no images.
        errors.InvalidModel: another kind of model.
        errors.InvalidInput: two images of one id, or a number out of its range.
    """
    if not request.images:
        raise errors.EmptyInput("there is no image: give images with their instance masks")
    ids = [image.id for image in request.images]
    if len(set(ids)) < len(ids):
        twice = next(each for each in ids if ids.count(each) > 1)
        raise errors.InvalidInput(f"two images are called '{twice}': rename one")
    if request.model.kind != "interactive":
        raise errors.InvalidModel(f"a model of kind '{request.model.kind}' was given: an 'interactive' model is needed")
    if request.nuclei > MAX_NUCLEI:
        raise errors.InvalidInput(f"nuclei is {request.nuclei}: give at most {MAX_NUCLEI}, or 0 for all")
    _check_clicks("most_clicks", request.most_clicks)
    if not (math.isfinite(request.jitter) and 0 <= request.jitter <= MAX_JITTER):
        raise errors.InvalidInput(f"jitter is {request.jitter}: give 0 to {MAX_JITTER:g} px")
    if request.HasField("patches"):
        _check_patches(request.patches, len(request.images))


def _check_clicks(name: str, clicks: int) -> None:
    if not 1 <= clicks <= MAX_CLICKS:
        raise errors.InvalidInput(f"{name} is {clicks}: give 1 to {MAX_CLICKS}")


def _check_patches(patches: pb.PatchBench, images: int) -> None:
    if not 1 <= patches.count <= MAX_PATCHES:
        raise errors.InvalidInput(f"{patches.count} patches are asked for: give 1 to {MAX_PATCHES}")
    if not SIDES[0] <= patches.size <= SIDES[1]:
        raise errors.InvalidInput(f"the patch size is {patches.size} px: give {SIDES[0]} to {SIDES[1]}")
    if not 0 < patches.target_pq <= 1:
        raise errors.InvalidInput(f"target_pq is {patches.target_pq}: give more than 0 and at most 1")
    if len(patches.proposals) not in {0, images}:
        raise errors.InvalidInput(f"{len(patches.proposals)} proposals for {images} images: give one for every image, or none")
