"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Images = Annotated[Path, typer.Argument(metavar="IMAGES", help="Folder of PNG, TIFF, JPEG or WebP images, or one image.")]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the results.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Profile = Annotated[str, typer.Option(metavar="NAME", help="Sizes and budgets: tiny, cpu or full.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same result.")]
EvalImages = Annotated[Path | None, typer.Option(metavar="DIR", help="Labelled evaluation images; never trained on.")]
EvalMasks = Annotated[Path | None, typer.Option(metavar="DIR", help="Their instance masks, named as the images.")]
RobotMasks = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Masks of IMAGES that a robot annotator clicks by, in place of a person.")
]
NormalizeTo = Annotated[
    Path | None, typer.Option(metavar="IMG", help="Bring all images to the colours of this one first; off by default.")
]
METHODS = ("reinhard", "macenko", "vahadane", "khan", "colornormnet")
Normalization = Annotated[str, typer.Option(metavar="METHOD", help=f"How: {', '.join(METHODS)}; default: the profile's.")]
Cycles = Annotated[int, typer.Option(min=1, max=50, help="Number of cycles.")]


def parse_point(text: str, option: str) -> tuple[int, int]:
    """Read "X,Y" in pixels; raise `InvalidInput` naming the option otherwise."""
    from nucleate.errors import InvalidInput

    x, comma, y = text.partition(",")
    if not (comma and x.strip().isdecimal() and y.strip().isdecimal()):
        raise InvalidInput(f"{option} '{text}' is not a point: give X,Y in whole pixels from the top-left corner")
    return int(x), int(y)
