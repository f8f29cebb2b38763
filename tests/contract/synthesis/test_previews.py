"""One pair for a preview, of ordinary and of unusual images."""

from __future__ import annotations

import json
from typing import Any

import cv2
import numpy as np
import pytest
from tests.contract.synthesis.service_bench import WHITE, Bench

from nucleate import errors
from nucleate.pathology.images.codec import decode_image, decode_instances
from nucleate.runtime.channels import call
from nucleate.synthesis.phantom.tissue import draw_tissue
from nucleate.v1 import common_pb2 as common
from nucleate.v1 import synthesis_pb2 as pb


def test_a_preview_is_the_first_pair_of_a_run(bench: Bench) -> None:
    image = bench.images[0]
    inline = common.Image(id=image.id, inline=bench.blobs.get(image.data))
    first = bench.events("preview-run", images=[image], count=1)[-1].result.samples[0]
    for asked in (image, inline):
        shown = call(bench.stub.Preview, pb.PreviewRequest(image=asked, seed=7, profile="tiny"))
        assert shown.image == bench.blobs.get(first.image)
        assert shown.instances == bench.blobs.get(first.instances)
        assert 0 < shown.nuclei_placed <= shown.nuclei_requested
        assert json.loads(shown.provenance)["reference"]["sha256"]
        assert decode_image(shown.picture, "picture").shape == (136, 268, 3)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"size": 513}, errors.TooLarge, "over 512"),
        ({"size": 3}, errors.InvalidInput, "outside of 64 to 4096"),
        ({"profile": "huge"}, errors.UnknownProfile, "choose one of"),
        ({"image": common.Image(id="glass", inline=WHITE)}, errors.InvalidImage, "image 'glass' has no stained tissue"),
        ({"image": common.Image(id="none")}, errors.InvalidInput, "blob uri"),
    ],
)
def test_previews_refuse_what_they_cannot_show(
    bench: Bench, changes: dict[str, Any], error: type[errors.NucleateError], message: str
) -> None:
    asked = {"image": bench.images[0], "profile": "tiny"} | changes
    with pytest.raises(error, match=message):
        call(bench.stub.Preview, pb.PreviewRequest(**asked))


def png(array: np.ndarray) -> bytes:
    return cv2.imencode(".png", array)[1].tobytes()


TISSUE = draw_tissue(2, 160)[0][..., ::-1]
HEADER = png(np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize(
    ("data", "refused"),
    [
        (png(np.dstack([TISSUE, np.full((160, 160), 255, np.uint8)])), ""),
        (png(TISSUE.astype(np.uint16) * 257), ""),
        (cv2.imencode(".jpg", np.ascontiguousarray(TISSUE))[1].tobytes(), ""),
        (png(cv2.cvtColor(np.ascontiguousarray(TISSUE), cv2.COLOR_BGR2GRAY)), "greyscale"),
        (png(np.full((160, 160, 3), (190, 150, 220), np.uint8)), "too few nuclei"),
        (png(np.ascontiguousarray(TISSUE[:9, :9])), "too few nuclei|no stained tissue|px"),
        (HEADER[:16] + (60_000).to_bytes(4, "big") * 2 + HEADER[24:], "torn"),
        (png(np.ascontiguousarray(TISSUE))[:900], "torn"),
        (b"not an image", "torn"),
    ],
    ids=["RGBA", "16-bit", "JPEG", "grey", "without nuclei", "tiny", "lying size", "cut off", "text"],
)
def test_unusual_images_give_a_pair_or_a_reason(bench: Bench, data: bytes, refused: str) -> None:
    request = pb.PreviewRequest(image=common.Image(id="torn", inline=data), profile="tiny")
    if refused:
        with pytest.raises(errors.InvalidInput, match=refused) as raised:
            call(bench.stub.Preview, request)
        assert "torn" in str(raised.value)
        return
    shown = call(bench.stub.Preview, request)
    assert decode_image(shown.image, "preview").std() > 5
    assert decode_instances(shown.instances, "preview").max() == shown.nuclei_placed > 0
