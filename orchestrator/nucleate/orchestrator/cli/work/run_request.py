"""The arguments of a run, checked before anything starts."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from nucleate.client.files.input_files import Pair, SourceFile, images_in, masks_in, one_image, paired
from nucleate.errors import InvalidImage, InvalidInput
from nucleate.orchestrator.cli.terminal.options import METHODS
from nucleate.orchestrator.profiles import profile_named

#: Pixels; the services take no smaller image.
MIN_SIDE = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True)
class RunRequest:
    """The arguments of `nucleate run start`, and after `checked` the files they name."""

    images: Path
    eval_images: Path | None = None
    eval_masks: Path | None = None
    robot_masks: Path | None = None
    cycles: int = 2
    profile: str = "cpu"
    seed: int = 0
    name: str = ""
    out: Path | None = None
    no_annotation: bool = False
    normalize_to: Path | None = None
    normalization: str = ""
    pool: tuple[SourceFile, ...] = ()
    evaluation: tuple[Pair, ...] = ()
    oracle: tuple[Pair, ...] = ()
    target: SourceFile | None = None

    def checked(self) -> RunRequest:
        """Read and pair all files; give the run a name and a results folder.

        Raises:
            InvalidInput: an unknown profile, a bad name, options that do not go together, a bad file, an image without mask.
        """
        profile_named(self.profile)
        if (self.eval_images is None) != (self.eval_masks is None):
            raise InvalidInput("--eval-images and --eval-masks go together: give both or none")
        if self.no_annotation and self.robot_masks is not None:
            raise InvalidInput("--robot-masks and --no-annotation exclude each other: drop one")
        if self.name and not _NAME.fullmatch(self.name):
            raise InvalidInput(f"--name '{self.name}': use up to 64 letters, digits, '.', '_' and '-'")
        if self.normalization and (self.normalize_to is None or self.normalization not in METHODS):
            raise InvalidInput(
                f"--normalization {self.normalization}: choose one of {', '.join(METHODS)}, and give --normalize-to IMG"
            )
        pool = _checked_sizes(images_in(self.images))
        evaluation: tuple[Pair, ...] = ()
        oracle: tuple[Pair, ...] = ()
        if self.eval_images is not None and self.eval_masks is not None:
            held_out = _checked_sizes(images_in(self.eval_images, "--eval-images"))
            evaluation = tuple(paired(held_out, masks_in(self.eval_masks, "--eval-masks"), self.eval_masks))
        if self.robot_masks is not None:
            oracle = tuple(paired(pool, masks_in(self.robot_masks, "--robot-masks"), self.robot_masks))
        name = self.name or _default_name(self.images)
        out = (self.out or Path("out") / name).absolute()
        target = one_image(self.normalize_to, "--normalize-to") if self.normalize_to else None
        return replace(self, name=name, out=out, pool=tuple(pool), evaluation=evaluation, oracle=oracle, target=target)


def describe(request: RunRequest) -> list[str]:
    """Say what a run would do, a line each."""
    robot = f"robot by {len(request.oracle)} masks" if request.oracle else "a person"
    return [
        f"run         {request.name}",
        f"images      {len(request.pool)} from {request.images}",
        f"evaluation  {f'{len(request.evaluation)} pairs from {request.eval_images}' if request.evaluation else 'none'}",
        f"annotator   {'none' if request.no_annotation else robot}",
        f"cycles      {request.cycles}",
        f"profile     {request.profile}, seed {request.seed}",
        *(
            [f"colours     {request.normalization or 'as the profile says'}, to {request.normalize_to}"]
            if request.target
            else []
        ),
        f"results     {request.out}",
    ]


def _checked_sizes(files: list[SourceFile]) -> list[SourceFile]:
    for file in files:
        size = file.size
        if size and min(size) < MIN_SIDE:
            raise InvalidImage(f"{file.path} is {size[0]}x{size[1]} pixels: images need sides of at least {MIN_SIDE}")
    return files


def _default_name(images: Path) -> str:
    """Name a run after its folder and the time; "images" says little, so its parent joins in."""
    folder = images.absolute()
    words = f"{folder.parent.name}-{folder.stem}" if folder.name == "images" else folder.stem
    stem = re.sub(r"[^A-Za-z0-9]+", "-", words).strip("-")[:40] or "run"
    return f"{stem}-{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}"
