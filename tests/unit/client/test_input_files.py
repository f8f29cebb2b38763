"""Every bad folder or file gets one line that names it and the fix."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from nucleate.client.files.input_files import images_in, maps_paired, masks_in, paired
from nucleate.errors import EmptyInput, InvalidImage, InvalidInput, InvalidMask, SizeMismatch


def draw(path: Path, size: tuple[int, int] = (64, 48)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 120, 180)).save(path)
    return path


def test_images_are_sorted_by_id_and_other_files_are_left_alone(tmp_path: Path):
    for name in ("b.png", "a.TIF", "c.jpeg", "d.webp"):
        draw(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "more.png").mkdir()
    found = images_in(tmp_path)
    assert [file.id for file in found] == ["a", "b", "c", "d"]
    assert {file.size for file in found} == {(64, 48)}
    assert found[1].data == (tmp_path / "b.png").read_bytes()


def test_one_file_is_a_folder_of_one(tmp_path: Path):
    assert [file.id for file in images_in(draw(tmp_path / "slide.v2.png"))] == ["slide.v2"]


def test_the_bytes_tell_the_type(tmp_path: Path):
    draw(tmp_path / "x.jpg").rename(tmp_path / "x.png")
    assert images_in(tmp_path)[0].media_type == "image/jpeg"


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda _: None, EmptyInput, "does not exist"),
        (lambda folder: folder.mkdir(), EmptyInput, "is an empty folder"),
        (lambda folder: draw(folder / "x.gif"), EmptyInput, "has no PNG, TIFF, JPEG or WebP file"),
        (lambda folder: (draw(folder / "x.png"), draw(folder / "x.tif")), InvalidImage, "two files named 'x'"),
        (lambda folder: draw(folder / "x.png").write_bytes(b""), InvalidImage, "x.png is an empty file"),
        (lambda folder: draw(folder / "x.png").write_bytes(b"not an image"), InvalidImage, "x.png is not PNG data"),
    ],
)
def test_bad_folders(tmp_path: Path, make, error: type[InvalidInput], words: str):
    folder = tmp_path / "pool"
    make(folder)
    with pytest.raises(error, match=words) as caught:
        images_in(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_another_kind_is_refused(tmp_path: Path):
    with pytest.raises(InvalidInput, match="not named as an image"):
        images_in(draw(tmp_path / "x.gif"))
    with pytest.raises(InvalidInput, match="use PNG or TIFF"):
        masks_in(draw(tmp_path / "x.jpg"), "--eval-masks")


def test_masks_may_be_more_than_images_but_not_fewer(tmp_path: Path):
    images = [draw(tmp_path / "images" / f"{name}.png") for name in "ab"]
    masks = [draw(tmp_path / "masks" / f"{name}.png") for name in "abc"]
    pairs = paired(images_in(images[0].parent), masks_in(masks[0].parent, "M"), masks[0].parent)
    assert [(image.id, mask.id) for image, mask in pairs] == [("a", "a"), ("b", "b")]
    masks[1].unlink()
    with pytest.raises(InvalidMask, match=r"no mask for image 'b\.png'.*add b\.png"):
        paired(images_in(images[0].parent), masks_in(masks[0].parent, "M"), masks[0].parent)


def test_sizes_that_differ_are_named(tmp_path: Path):
    image, mask = draw(tmp_path / "i" / "a.png"), draw(tmp_path / "m" / "a.png", (48, 64))
    with pytest.raises(SizeMismatch, match=r"48x64 but .*64x48"):
        paired(images_in(image), masks_in(mask, "M"), mask.parent)


def test_evaluation_wants_the_same_names_on_both_sides(tmp_path: Path):
    for name in ("p/a", "p/b", "t/a"):
        draw(tmp_path / f"{name}.png")
    with pytest.raises(InvalidMask, match=r"b\.png has no counterpart"):
        maps_paired(masks_in(tmp_path / "p", "PRED"), masks_in(tmp_path / "t", "TRUE"))
    with pytest.raises(InvalidMask, match=r"b\.png has no counterpart"):
        maps_paired(masks_in(tmp_path / "t", "PRED"), masks_in(tmp_path / "p", "TRUE"))
    one = maps_paired(masks_in(tmp_path / "p" / "b.png", "PRED"), masks_in(tmp_path / "t", "TRUE"))
    assert [(ours.id, true.id) for ours, true in one] == [("b", "a")]
