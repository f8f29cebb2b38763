"""Slides by windows: every nucleus once, whatever the windows; and files that are no slides."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tifffile
import torch
from tests.unit.hovernet.tissue import BACKGROUND, draw

from nucleate.errors import InvalidImage
from nucleate.hovernet.inference.sliding_window import Tiling
from nucleate.hovernet.networks.hovernet import Architecture
from nucleate.hovernet.postprocessing.hv_instances import PostProcessing
from nucleate.hovernet.segmentation.image_segmentation import NetworkSegmenter
from nucleate.hovernet.segmentation.slide_segmentation import SlideSegmenter, SlideTiling
from nucleate.hovernet.training.targets import hv_maps
from nucleate.pathology.images.whole_slide import Slide


class Eyes:
    """A network that sees what is dark."""

    arch = Architecture()

    def maps(self, image_B4HW):
        nuclear = (image_B4HW[0, 3] > 0.5).numpy()
        labels = cv2.connectedComponents(nuclear.astype(np.uint8), connectivity=4)[1]
        return torch.from_numpy(np.concatenate([nuclear[None].astype(np.float32), hv_maps(labels)])[None])


SEES = NetworkSegmenter(
    Eyes(), SimpleNamespace(tiling=Tiling(tile=512, overlap=16, views=(0,)), post=PostProcessing(fragment=0.0))
)


def write(path, rgb, **options):
    tifffile.imwrite(path, rgb, photometric="rgb", tile=(64, 64), **options)
    return path


def discs(height, width, seed):
    """Discs that touch neither one another nor the border, and how many."""
    rng = np.random.default_rng(seed)
    image, taken = np.full((height, width, 3), BACKGROUND, np.uint8), np.zeros((height, width), np.uint8)
    count = 0
    for _ in range(500):
        centre = int(rng.integers(14, width - 14)), int(rng.integers(14, height - 14))
        spot = cv2.circle(np.zeros_like(taken), centre, int(rng.integers(7, 12)), 1, -1)
        if not taken[cv2.dilate(spot, np.ones((9, 9), np.uint8)) > 0].any():
            taken |= spot
            image[spot > 0] = (96, 62, 140)
            count += 1
    return image, taken, count


def found_in(path, *, microns=0.25, window=128, frame=40):
    with contextlib.closing(Slide(path, "slide")) as slide:
        segmenter = SlideSegmenter(slide, SEES, microns, SlideTiling(window, frame))
        tiles = []
        for each in segmenter.windows:
            earlier = [nucleus.ring for near in segmenter.neighbours(each) for nucleus in tiles[near]]
            tiles.append(segmenter.segment(each, earlier))
    return segmenter.windows, [nucleus for tile in tiles for nucleus in tile]


@pytest.mark.parametrize("seed", range(4))
def test_nuclei_on_the_borders_of_windows_are_counted_once(tmp_path, seed):
    image, dark, count = discs(300 + 7 * seed, 410, seed)
    windows, nuclei = found_in(write(tmp_path / "slide.tif", image))
    assert len(windows) == 12
    centres = np.rint([nucleus.ring.mean(0) for nucleus in nuclei]).astype(int)
    discs_hit = cv2.connectedComponents(dark)[1][centres[:, 1], centres[:, 0]]
    assert sorted(discs_hit) == list(range(1, count + 1))


def test_another_resolution_gives_the_same_nuclei_in_pixels_of_the_slide(tmp_path):
    image, _, count = discs(300, 400, 9)
    half = cv2.resize(image, (200, 150), interpolation=cv2.INTER_AREA)
    _, fine = found_in(write(tmp_path / "40x.tif", image))
    _, coarse = found_in(write(tmp_path / "20x.tif", half), microns=0.5)
    assert len(fine) == len(coarse) == count
    centres = [np.sort([nucleus.ring.mean(0).sum() for nucleus in found]) for found in (fine, coarse)]
    assert np.abs(centres[0] - 2 * centres[1]).max() < 6


def test_windows_without_tissue_are_passed_over(tmp_path):
    image = np.full((300, 600, 3), 245, np.uint8)
    image[:, :150] = discs(300, 150, 1)[0]
    windows, nuclei = found_in(write(tmp_path / "slide.tif", image))
    assert {window.column for window in windows} == {0, 1}
    assert nuclei
    with pytest.raises(InvalidImage, match="no stained tissue"):
        found_in(write(tmp_path / "glass.tif", np.full((300, 300, 3), 245, np.uint8)))


def test_a_region_is_the_same_from_any_level_of_the_pyramid(tmp_path):
    image = draw(512, 60, 3)[0]
    path = tmp_path / "pyramid.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(image, photometric="rgb", tile=(64, 64), subifds=1)
        small = cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA)
        file.write(small, photometric="rgb", tile=(64, 64), subfiletype=1)
    with contextlib.closing(Slide(path, "slide")) as slide:
        assert np.array_equal(slide.region(30, 40, 100, 80), image[40:120, 30:130])
        half = cv2.resize(image[40:120, 30:130], (50, 40), interpolation=cv2.INTER_AREA)
        assert np.abs(slide.region(30, 40, 100, 80, 0.5).astype(int) - half).mean() < 1
        assert slide.overview(128).shape == (128, 128, 3)
        assert slide.microns is None


@pytest.mark.parametrize("data", [b"", b"no slide", b"II*\x00\x08\x00\x00\x00"])
def test_what_is_no_slide_is_refused(tmp_path, data):
    path = tmp_path / "slide"
    path.write_bytes(data)
    with pytest.raises(InvalidImage, match="'torn' is no slide"):
        Slide(path, "slide 'torn'")


def test_grey_and_16_bit_slides_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "grey.tif", np.zeros((128, 128), np.uint8), tile=(64, 64))
    write(tmp_path / "deep.tif", np.zeros((128, 128, 3), np.uint16))
    for name in ("grey.tif", "deep.tif"):
        with pytest.raises(InvalidImage):
            Slide(tmp_path / name, name)
