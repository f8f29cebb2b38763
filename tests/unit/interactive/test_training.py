from __future__ import annotations

import dataclasses
import hashlib
import json

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load, save
from tests.unit.interactive.nuclei import draw_nuclei

from nucleate import errors
from nucleate.dataset.manifest import BlobRef, Dataset, Origin, Sample
from nucleate.interactive.networks.encoder_runtime import OnnxBackbone
from nucleate.interactive.networks.model_file import BACKBONE, WEIGHTS, ModelCard, load_backbone, load_network, pack
from nucleate.interactive.training.crops import draw_crop, load_sources, perturbed_mask
from nucleate.interactive.training.loop import train
from nucleate.interactive.training.losses import PixelLoss, cross_entropy_loss, normalised_focal_loss, soft_iou_loss, total_loss
from nucleate.interactive.training.profiles import PROFILES, profile_named
from nucleate.interactive.training.trainer import seeded_network
from nucleate.learning.device import choose_device
from nucleate.pathology.images.codec import encode_instances, encode_mask, encode_png

TINY = PROFILES["tiny"]


class Folder:
    """Blobs by digest."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}

    def put(self, data: bytes) -> BlobRef:
        digest = hashlib.sha256(data).hexdigest()
        self.data[digest] = data
        return BlobRef(f"sha256/{digest[:2]}/{digest}", digest, len(data), "image/png")

    def read(self, ref: BlobRef) -> bytes:
        return self.data[ref.sha256]


class RecordingJob:
    """A job that can be cut off after some steps."""

    def __init__(self, stop_after: int = 10**9, state: bytes | None = None) -> None:
        self.stop_after, self.state, self.stages = stop_after, state, []

    def progress(self, step, total, stage="", **values):
        self.stages.append((stage, step, values))
        if stage == "training" and step > self.stop_after:
            raise errors.Cancelled("cut off")

    def checkpoint(self, data):
        self.state = data

    def restored(self):
        return self.state


def a_dataset(folder: Folder, count: int = 3, ignore_all_of: int = -1) -> Dataset:
    samples = []
    for index in range(count):
        image, instances = draw_nuclei(128, 8, index)
        ignore = folder.put(encode_mask(np.ones((128, 128), bool))) if index == ignore_all_of else None
        split = "val" if index == count - 1 else "train"
        samples.append(
            Sample(
                f"s{index}",
                folder.put(encode_png(image)),
                folder.put(encode_instances(instances)[0]),
                ignore,
                Origin.SYNTHETIC,
                split,
            )
        )
    return Dataset(samples)


def tensors_of(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_a_training_cut_off_and_resumed_gives_the_same_bits_as_one_in_one_go():
    folder = Folder()
    dataset = a_dataset(folder)
    whole = train(dataset, folder.read, TINY, 7, RecordingJob())
    cut = RecordingJob(stop_after=4)
    with pytest.raises(errors.Cancelled):
        train(dataset, folder.read, TINY, 7, cut)
    resumed = RecordingJob(state=cut.state)
    again = train(dataset, folder.read, TINY, 7, resumed)
    assert [step for stage, step, _ in resumed.stages if stage == "training"] == [5, 6]
    expected = tensors_of(whole.network)
    assert all(torch.equal(value, expected[name]) for name, value in tensors_of(again.network).items())
    assert again.metrics == whole.metrics
    assert 0 <= whole.metrics["iou_1_click"] <= 1
    assert 0 <= whole.metrics["iou_3_clicks"] <= 1


def test_another_seed_gives_another_network_and_a_warm_start_starts_from_its_parent():
    folder = Folder()
    dataset = a_dataset(folder)
    first = train(dataset, folder.read, TINY, 1, RecordingJob())
    other = train(dataset, folder.read, TINY, 2, RecordingJob())
    assert any(not torch.equal(v, tensors_of(other.network)[n]) for n, v in tensors_of(first.network).items())
    no_steps = dataclasses.replace(TINY, steps=0)
    warm = train(dataset, folder.read, no_steps, 3, RecordingJob(), initial=first.network)
    assert all(torch.equal(v, tensors_of(warm.network)[n]) for n, v in tensors_of(first.network).items())
    with pytest.raises(errors.InvalidModel, match="another architecture"):
        train(dataset, folder.read, PROFILES["cpu"], 3, RecordingJob(), initial=first.network)


def test_datasets_without_a_nucleus_to_click_are_refused():
    folder = Folder()
    with pytest.raises(errors.InvalidDataset, match="no sample holds a nucleus"):
        train(a_dataset(folder, 2, ignore_all_of=0), folder.read, TINY, 0, RecordingJob())
    with pytest.raises(errors.InvalidDataset, match="no sample holds a nucleus"):
        load_sources([], folder.read)


def test_crops_hold_one_nucleus_a_positive_click_and_no_ignored_pixel():
    folder = Folder()
    sources = load_sources(a_dataset(folder).part("train"), folder.read)
    for size in (64, 320):  # the second reaches beyond the image, even where it is enlarged
        for seed in range(12):
            source = sources[seed % len(sources)]
            crop = draw_crop([source], size, np.random.default_rng(seed))
            assert crop.image.shape == (size, size, 5)
            assert crop.nucleus.any()
            assert crop.clicks
            assert crop.valid.sum() == min(size, len(source.sample.instances)) ** 2
            assert all(crop.nucleus[c.y, c.x] == c.positive for c in crop.clicks)
    same = [draw_crop(sources, 64, np.random.default_rng(5)) for _ in range(2)]
    assert np.array_equal(same[0].image, same[1].image)
    assert same[0].clicks == same[1].clicks


def test_overlap_loss_is_one_minus_the_intersection_over_union_of_sure_masks():
    target = torch.zeros(1, 20, 20)
    target[:, 4:14, 4:14] = 1
    found = torch.zeros(1, 20, 20)
    found[:, 4:14, 9:19] = 1
    valid = torch.ones(1, 20, 20)
    logits = 100 * (found - 0.5)
    assert torch.allclose(soft_iou_loss(logits, target, valid), torch.tensor(1 - 51 / 151))
    valid[:, :, 14:] = 0  # what nobody counts is no error
    assert torch.allclose(soft_iou_loss(logits, target, valid), torch.tensor(1 - 51 / 101))
    assert soft_iou_loss(100 * (target - 0.5), target, torch.ones(1, 20, 20)) < 1e-4


def test_cross_entropy_is_the_mean_over_counted_pixels_and_is_used_by_name():
    logits = torch.tensor([[[2.0, -1.0], [0.5, 30.0]]])
    target = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    valid = torch.tensor([[[1.0, 1.0], [1.0, 0.0]]])
    expected = torch.nn.functional.softplus(torch.tensor([-2.0, -1.0, -0.5])).mean()
    assert torch.allclose(cross_entropy_loss(logits, target, valid), expected)
    many = [torch.randn(2, 1, 8, 8), torch.randn(2, 2, 2, 2), (torch.rand(2, 8, 8) > 0.5).float(), torch.ones(2, 8, 8)]
    with_focal, with_bce = (total_loss(*many, pixel_loss=loss) for loss in PixelLoss)
    difference = normalised_focal_loss(many[0][:, 0], *many[2:]) - cross_entropy_loss(many[0][:, 0], *many[2:])
    assert torch.allclose(with_focal - with_bce, difference, atol=1e-6)


def test_crops_of_another_scale_show_the_same_nucleus():
    folder = Folder()
    sources = load_sources(a_dataset(folder).part("train"), folder.read)
    area = {}
    for zoom in (0.5, 1.0, 2.0):
        crops = [draw_crop(sources, 96, np.random.default_rng(seed), (zoom, zoom)) for seed in range(40)]
        assert all(crop.image.shape == (96, 96, 5) and crop.valid.shape == (96, 96) for crop in crops)
        area[zoom] = np.median([crop.nucleus.sum() for crop in crops])
    assert area[0.5] == pytest.approx(area[1.0] / 4, rel=0.25)
    assert area[2.0] == pytest.approx(area[1.0] * 4, rel=0.25)


def test_labels_that_nobody_drew_are_drawn_anew():
    folder = Folder()
    image, instances = draw_nuclei(160, 10, 3)
    swollen = cv2.dilate(instances.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.int32)
    blobs = [folder.put(encode_png(image)), folder.put(encode_instances(swollen)[0]), None]
    samples = {origin: Sample("s", *blobs, origin, "train") for origin in (Origin.PSEUDO, Origin.ACCEPTED)}
    (drawn,) = load_sources([samples[Origin.PSEUDO]], folder.read)
    (kept,) = load_sources([samples[Origin.ACCEPTED]], folder.read)
    assert kept.sample.instances.shape == (320, 320)  # small nuclei are enlarged
    assert np.array_equal(kept.sample.instances[::2, ::2], swollen)
    assert not drawn.sample.ignore.any()
    assert len(drawn.nuclei) >= 5

    def overlap(found):
        return (found & (instances > 0)).sum() / (found | (instances > 0)).sum()

    assert overlap(drawn.sample.instances[::2, ::2] > 0) > overlap(swollen > 0) + 0.1


def test_bad_masks_differ_from_the_nucleus():
    _, instances = draw_nuclei(96, 4, 0)
    masks = [perturbed_mask(instances, 1, np.random.default_rng(seed)) for seed in range(20)]
    assert sum(np.array_equal(mask, instances == 1) for mask in masks) < 8


def test_focal_loss_is_cross_entropy_where_all_pixels_are_equally_hard_and_skips_ignored_ones():
    logits = torch.tensor([[[1.0, 1.0], [1.0, 50.0]]])
    target = torch.tensor([[[1.0, 1.0], [1.0, 0.0]]])
    valid = torch.tensor([[[1.0, 1.0], [1.0, 0.0]]])
    expected = 0.5 * torch.nn.functional.softplus(torch.tensor(-1.0))
    assert torch.allclose(normalised_focal_loss(logits, target, valid), expected)


def test_models_survive_their_files_and_bad_files_are_refused():
    network = seeded_network(TINY, 0).eval()
    files = pack(network)
    card = ModelCard(TINY.architecture, TINY.crop, "tiny", "d" * 64, metrics={"iou_1_click": 0.5})
    read = ModelCard.from_json(card.to_json())
    assert (read.config, read.crop, read.profile) == (TINY.architecture, 64, "tiny")
    loaded = load_network(read.config, files[WEIGHTS])
    load_backbone(loaded, files[BACKBONE], threads=1)

    tensors = load(files[WEIGHTS])
    broken = tensors | {"head.classify.bias": torch.tensor([float("nan")])}
    for data, message in (
        (save(broken), "not finite"),
        (files[WEIGHTS][:-9], "damaged"),
        (save({"a": torch.zeros(1)}), "does not fit the architecture"),
    ):
        with pytest.raises(errors.InvalidModel, match=message):
            load_network(read.config, data)
    with pytest.raises(errors.InvalidModel, match="does not belong"):
        load_backbone(seeded_network(TINY, 1).eval(), files[BACKBONE], threads=1)
    with pytest.raises(errors.InvalidModel, match="cannot be loaded"):
        load_backbone(loaded, b"no model", threads=1)


@pytest.mark.parametrize(
    "change",
    [{"kind": "refiner"}, {"config": {"width": 4}}, {"config": None}, {"architecture": "unet"}, {"config": {"crop": 7}}],
)
def test_bad_cards_are_refused(change):
    values = json.loads(ModelCard(TINY.architecture, 64, "tiny", "").to_json())
    with pytest.raises(errors.InvalidModel, match="model card"):
        ModelCard.from_json(json.dumps(values | change).encode())
    with pytest.raises(errors.InvalidModel, match="not JSON"):
        ModelCard.from_json(b"{")


def test_profiles_and_devices_are_looked_up_by_name():
    assert profile_named("") is PROFILES["cpu"]
    with pytest.raises(errors.UnknownProfile, match="choose one of tiny, cpu, full"):
        profile_named("huge")
    assert choose_device("cpu") == "cpu"
    with pytest.raises(errors.InvalidInput, match="unknown device"):
        choose_device("tpu")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(errors.Precondition, match="CUDAExecutionProvider"):
            OnnxBackbone(b"", "cuda")
