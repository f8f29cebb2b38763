"""click: one nucleus by clicks."""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nucleate.orchestrator.cli.terminal.options import Json, parse_point

if TYPE_CHECKING:
    from nucleate.orchestrator.cli.services import ServiceConnections
    from nucleate.v1 import common_pb2, interactive_pb2

    PlacedClicks = list[interactive_pb2.PlacedClick]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(click)


def click(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A PNG, TIFF, JPEG or WebP image.")],
    *,
    at: Annotated[list[str], typer.Option("--at", metavar="X,Y", help="A click on the nucleus, in pixels; repeat for more.")],
    model: Annotated[str, typer.Option(metavar="REF", help="An interactive model: folder or URI.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="MASK.png", help="The mask: 8-bit PNG, 255 = nucleus.")],
    off: Annotated[list[str] | None, typer.Option("--not", metavar="X,Y", help="A click beside it; repeat for more.")] = None,
    as_json: Json = False,
) -> None:
    """Segment the nucleus under the --at clicks and not under the --not clicks; --at clicks are placed first."""
    from nucleate.client.files.input_files import images_in
    from nucleate.client.files.model_folders import check_model, load_model
    from nucleate.client.files.output_files import write_file
    from nucleate.client.files.upload import upload_images
    from nucleate.client.interactive.masks import Box, Mask
    from nucleate.errors import InvalidInput
    from nucleate.orchestrator.cli.services import ensure_services
    from nucleate.orchestrator.cli.terminal.printing import as_dict, show_json
    from nucleate.orchestrator.cli.terminal.progress import progress_display
    from nucleate.v1 import interactive_pb2 as pb

    clicks = [pb.PlacedClick(x=x, y=y, positive=True) for x, y in (parse_point(text, "--at") for text in at)]
    clicks += [pb.PlacedClick(x=x, y=y) for x, y in (parse_point(text, "--not") for text in off or ())]
    files = images_in(image, "IMAGE")
    if len(files) != 1:
        raise InvalidInput(f"IMAGE {image} holds {len(files)} images: give one image file")
    check_model(model, "interactive")
    _check_inside(clicks, files[0].size, image)
    with progress_display() as display, ensure_services(["interactive"], display) as services:
        (uploaded,) = upload_images(services.blobs, files)
        window, answer = _place_clicks(services, uploaded, load_model(model, services.blobs, "interactive"), clicks)
    mask = Mask.of(answer.mask, Box(0, 0, window.width, window.height))
    write_file(out, mask.to_png())
    if as_json:
        show_json(as_dict(answer) | {"mask": str(out.absolute()), "pixels": mask.area})
    else:
        obeyed = "every click obeyed" if answer.clicks_obeyed else "not every click obeyed"
        print(f"{out}\t{mask.area} pixels\tconfidence {answer.confidence:.3f}\t{obeyed}")


def _check_inside(clicks: PlacedClicks, size: tuple[int, int] | None, image: Path) -> None:
    from nucleate.errors import InvalidInput

    for each in clicks:
        if size and not (each.x < size[0] and each.y < size[1]):
            raise InvalidInput(f"click {each.x},{each.y} is outside {image}: x goes to {size[0] - 1}, y to {size[1] - 1}")


def _place_clicks(
    services: ServiceConnections, image: common_pb2.Image, model: common_pb2.Model, clicks: PlacedClicks
) -> tuple[common_pb2.Window, interactive_pb2.ClickResponse]:
    """Open a session, place the clicks on one object, close; return the image's window and the last answer."""
    from nucleate.errors import NucleateError
    from nucleate.v1 import interactive_pb2 as pb

    client = services.client("interactive")
    stub, session_id = client.stub, f"cli-{uuid.uuid4().hex[:12]}"
    opened = client.call(stub.OpenSession, pb.OpenSessionRequest(session_id=session_id, image=image, model=model), 300)
    sequence = opened.session.sequence
    for each in clicks:
        answer = client.call(stub.Click, pb.ClickRequest(session_id=session_id, sequence=sequence, click=each), 300)
        sequence = answer.sequence
    with contextlib.suppress(NucleateError):  # an empty mask is not accepted, and a session left open does no harm
        client.call(stub.Accept, pb.AcceptRequest(session_id=session_id, sequence=sequence))
        client.call(stub.CloseSession, pb.CloseSessionRequest(session_id=session_id))
    return opened.session.window, answer
