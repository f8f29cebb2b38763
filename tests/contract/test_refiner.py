"""Train and Refine on a real server, with bad input of every kind."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import safetensors.numpy

from nucleate import errors
from nucleate.pathology.images.codec import decode_image, decode_instances, encode_instances, encode_png
from nucleate.refiner.service.servicer import register
from nucleate.refiner.service.settings import RefinerSettings
from nucleate.runtime.channels import connect, follow
from nucleate.runtime.server import start_server
from nucleate.synthesis.phantom.tissue import draw_tissue
from nucleate.v1 import common_pb2, refiner_pb2_grpc
from nucleate.v1 import refiner_pb2 as pb

SIDE = 96


def slide(seed):
    """A synthetic H&E image and its instance map."""
    rng = np.random.default_rng(seed)
    instances = np.zeros((SIDE, SIDE), np.int32)
    for label, (y, x) in enumerate([(20, 22), (22, 70), (66, 25), (70, 68)], start=1):
        cv2.circle(instances, (x, y), 9, label, -1)
    mask = cv2.GaussianBlur((instances > 0).astype(np.float32), (0, 0), 1)[..., None]
    rgb = (1 - mask) * (225, 170, 205) + mask * (110, 70, 150) + rng.normal(0, 4, (SIDE, SIDE, 3))
    return np.clip(rgb, 0, 255).astype(np.uint8), instances


class Client:
    def __init__(self, store):
        settings = RefinerSettings(store=store.as_uri(), drain_seconds=1, device="cpu", threads=1)

        self.server = start_server("refiner", register, settings)
        self.blobs = self.server.context.blobs
        self.channel = connect(self.server.endpoint)
        self.stub = refiner_pb2_grpc.RefinerServiceStub(self.channel)

    def sample(self, seed):
        rgb, instances = slide(seed)
        labels, media_type = encode_instances(instances)
        return common_pb2.LabelledImage(
            id=f"s{seed}", image=self.blobs.put(encode_png(rgb), "image/png"), instances=self.blobs.put(labels, media_type)
        )

    def real(self, seed):
        return common_pb2.Image(id=f"r{seed}", data=self.blobs.put(encode_png(slide(100 + seed)[0]), "image/png"))

    def train(self, job_id, **changes):
        fields = {"synthetic": [self.sample(0), self.sample(1)], "real": [self.real(0)], "profile": "tiny", "seed": 3}
        request = pb.RefinerServiceTrainRequest(job_id=job_id, **(fields | changes))
        return list(follow(self.stub.Train, request))

    def refine(self, job_id, model, samples, preview=False):
        request = pb.RefineRequest(job_id=job_id, model=model, synthetic=samples, preview=preview)
        return list(follow(self.stub.Refine, request))

    def stop(self):
        self.channel.close()
        self.server.stop()


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    client = Client(tmp_path_factory.mktemp("store"))
    yield client
    client.stop()


@pytest.fixture(scope="module")
def trained(client):
    return client.train("trained")[-1].result


def poisoned(client, model, change):
    """The model with weights changed by `change`."""
    weights = safetensors.numpy.load(client.blobs.get(model.files["model.safetensors"]))
    changed = common_pb2.Model()
    changed.CopyFrom(model)
    change(weights)
    changed.files["model.safetensors"].CopyFrom(
        client.blobs.put(safetensors.numpy.save(weights), "application/vnd.safetensors")
    )
    return changed


def test_train_reports_progress_and_returns_a_model(client, trained):
    events = client.train("again", seed=4)
    progress = [event.progress for event in events if event.WhichOneof("event") == "progress"]
    assert {"loss_d", "accuracy_d"} <= set(progress[-1].values)
    assert events[-1].result.model.kind == "refiner"
    assert set(trained.model.files) == {"model.safetensors", "discriminator.safetensors"}
    assert trained.metrics["mean_change_levels"] > 0


def test_the_same_request_gives_the_same_model_and_warm_starts(client, trained):
    twin = client.train("twin")[-1].result
    assert twin.model.files["model.safetensors"].sha256 == trained.model.files["model.safetensors"].sha256
    warm = client.train("warm", initial=trained.model)[-1].result
    assert warm.model.files["model.safetensors"].sha256 != trained.model.files["model.safetensors"].sha256
    assert trained.model.card.sha256.encode() in client.blobs.get(warm.model.card)


def test_refine_keeps_instances_and_shows_pairs(client, trained):
    samples = [client.sample(0), client.sample(5)]
    result = client.refine("refine", trained.model, samples, preview=True)[-1].result
    assert [refined.sample.id for refined in result.samples] == ["s0", "s5"]
    for before, after in zip(samples, result.samples, strict=True):
        assert after.gate.accepted, after.gate.reason
        assert after.sample.instances == before.instances
        assert decode_image(client.blobs.get(after.sample.image), "refined").shape == (SIDE, SIDE, 3)
    preview = decode_image(client.blobs.get(result.preview), "preview")
    assert preview.shape[0] > 2 * SIDE


def test_images_are_weighed_by_how_real_they_look(client, trained):
    samples = [client.sample(index) for index in range(3)]
    request = pb.RefineRequest(job_id="weighed", model=trained.model, synthetic=samples, importance=True)
    result = list(follow(client.stub.Refine, request))[-1].result
    weights = np.array([refined.weight for refined in result.samples])
    assert weights.mean() == pytest.approx(1)
    assert (result.effective_sample_size > 0) == (result.importance_off == "")
    sure = common_pb2.Model()
    sure.CopyFrom(trained.model)
    card = json.loads(client.blobs.get(trained.model.card))
    card["metrics"]["calibration_accuracy"] = 0.99
    sure.card.CopyFrom(client.blobs.put(json.dumps(card).encode(), "application/json"))
    request = pb.RefineRequest(job_id="sure", model=sure, synthetic=samples, importance=True)
    result = list(follow(client.stub.Refine, request))[-1].result
    assert [refined.weight for refined in result.samples] == [1, 1, 1]
    assert "99% of held-out crops apart" in result.importance_off
    assert result.effective_sample_size == 0


@pytest.mark.parametrize(
    ("job_id", "options"),
    [("gradient", {"psi": pb.FEATURE_TRANSFORM_GRADIENT}), ("hard", {"hard": 0.01}), ("r1", {"r1": 5.0})],
)
def test_options_depart_from_the_reports_objective(client, trained, job_id, options):
    other = client.train(f"option-{job_id}", options=pb.RefinerOptions(**options))[-1].result
    assert other.model.files["model.safetensors"].sha256 != trained.model.files["model.safetensors"].sha256


@pytest.mark.parametrize("options", [{"psi": 9}, {"hard": -1.0}, {"r1": float("nan")}, {"r1": float("inf")}])
def test_options_are_checked(client, options):
    with pytest.raises(errors.InvalidInput, match=r"refiner option|feature transform"):
        client.train("bad-option", options=pb.RefinerOptions(**options))


def test_the_gate_keeps_the_unrefined_image_when_nuclei_move(client, trained):
    """A refiner that may change anything, and does, cannot pass."""

    def scramble(weights):
        rng = np.random.default_rng(0)
        weights["outlet.weight"] = rng.normal(0, 50, weights["outlet.weight"].shape).astype(np.float32)

    sample, model = client.sample(0), poisoned(client, trained.model, scramble)
    card = client.blobs.get(model.card).replace(b'"bound": 0.3', b'"bound": 2.0')
    model.card.CopyFrom(client.blobs.put(card, "application/json"))
    result = client.refine("scrambled", model, [sample])[-1].result
    gate = result.samples[0].gate
    assert not gate.accepted
    assert gate.reason
    assert result.samples[0].sample == sample


def composite(client):
    """Tissue with a few nuclei pasted into it, as stored: image, composite with its map, labels."""
    rgb, _ = draw_tissue(1, 72)
    pasted, instances = rgb.copy(), np.zeros((72, 72), np.int32)
    for label, (x, y) in enumerate([(20, 22), (50, 45)], start=1):
        cv2.ellipse(instances, (x, y), (9, 6), 30, 0, 360, label, -1)
    pasted[instances > 0] = (80, 50, 130)
    image = common_pb2.Image(id="real", data=client.blobs.put(encode_png(rgb), "image/png"))
    return image, common_pb2.LabelledImage(
        id="pasted",
        image=client.blobs.put(encode_png(pasted), "image/png"),
        instances=client.blobs.put(encode_instances(instances)[0], "image/png"),
    )


def harmonize(client, job_id, **changes):
    image, pasted = composite(client)
    arguments = {"image": image, "composite": pasted, "pasted": [1, 2], "preset": "tiny"} | changes
    return list(follow(client.stub.Harmonize, pb.HarmonizeRequest(job_id=job_id, **arguments)))


def test_pasted_nuclei_are_blended_and_their_masks_answered_for(client):
    events = harmonize(client, "blend")
    progress = [event.progress for event in events if event.WhichOneof("event") == "progress"]
    assert progress[-1].step == progress[-1].total
    result = events[-1].result
    assert [nucleus.label for nucleus in result.nuclei] == [1, 2]
    assert all(nucleus.mask for nucleus in result.nuclei)
    before = decode_image(client.blobs.get(composite(client)[1].image), "before")
    after = decode_image(client.blobs.get(result.sample.image), "after")
    assert (before != after).any()
    assert np.array_equal(before[:4], after[:4])  # far from what was pasted
    assert decode_instances(client.blobs.get(result.sample.instances), "map").max() == 2
    assert decode_image(client.blobs.get(result.preview), "preview").shape == (80, 232, 3)
    assert harmonize(client, "blend-again")[-1].result == result


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"pasted": []}, errors.EmptyInput, "name the nuclei to blend"),
        ({"pasted": [77]}, errors.InvalidMask, "pasted nucleus 77 does not occur"),
        ({"pasted": [0]}, errors.InvalidMask, "pasted nucleus 0 does not occur"),
        ({"preset": "huge"}, errors.UnknownProfile, "choose one of tiny, full"),
        ({"inject_scale": 9}, errors.InvalidInput, "9"),
        ({"image": common_pb2.Image(id="torn", inline=b"GIF8")}, errors.InvalidImage, "image 'torn'"),
        (
            {"image": common_pb2.Image(id="small", inline=encode_png(draw_tissue(1, 64)[0]))},
            errors.SizeMismatch,
            "differ in size",
        ),
    ],
)
def test_harmonization_refuses_what_it_cannot_blend(client, changes, error, message):
    with pytest.raises(error, match=message):
        harmonize(client, f"refused-{error.__name__}-{len(str(changes))}", **changes)


def test_bad_requests(client, trained):
    with pytest.raises(errors.UnknownProfile):
        client.train("p", profile="huge")
    with pytest.raises(errors.EmptyInput, match="synthetic"):
        client.train("e1", synthetic=[])
    with pytest.raises(errors.EmptyInput, match="real"):
        client.train("e2", real=[])
    with pytest.raises(errors.EmptyInput):
        client.refine("e3", trained.model, [])
    with pytest.raises(errors.InvalidModel, match="Train returned"):
        client.refine("e4", common_pb2.Model(), [client.sample(0)])


def test_bad_images(client):
    broken = client.sample(0)
    broken.image.CopyFrom(client.blobs.put(b"not an image", "image/png"))
    with pytest.raises(errors.InvalidImage, match="s0"):
        client.train("corrupt", synthetic=[broken])
    cropped = client.sample(0)
    cropped.image.CopyFrom(client.blobs.put(encode_png(slide(0)[0][:-8]), "image/png"))
    with pytest.raises(errors.SizeMismatch, match="s0"):
        client.train("sizes", synthetic=[cropped])
    sealed = client.sample(0)
    labels, media_type = encode_instances(slide(0)[1])
    sealed.instances.CopyFrom(client.blobs.put(labels, media_type, sealed=True))
    with pytest.raises(errors.Fenced):
        client.train("fenced", synthetic=[sealed])


def test_bad_weights(client, trained):
    def nan(weights):
        weights["inlet.weight"][0, 0] = np.nan

    with pytest.raises(errors.InvalidModel, match="NaN"):
        client.refine("nan", poisoned(client, trained.model, nan), [client.sample(0)])
    with pytest.raises(errors.InvalidModel, match="does not hold"):
        client.refine("lost", poisoned(client, trained.model, lambda w: w.pop("inlet.bias")), [client.sample(0)])
    with pytest.raises(errors.InvalidModel, match="NaN"):
        client.train("nan-start", initial=poisoned(client, trained.model, nan))
