"""Train and Normalize on a real server, with bad input of every kind."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.numpy

from nucleate import errors
from nucleate.colornorm.servicer import ColorNormServicer
from nucleate.colornorm.settings import ColorNormSettings
from nucleate.pathology.codec import decode_image, encode_png
from nucleate.runtime.channels import connect, follow
from nucleate.runtime.server import start_server
from nucleate.v1 import colornorm_pb2 as pb
from nucleate.v1 import colornorm_pb2_grpc, common_pb2

REINHARD = pb.NORMALIZATION_METHOD_REINHARD
COLORNORMNET = pb.NORMALIZATION_METHOD_COLORNORMNET


def slide(seed=0, colour=(190, 120, 170)):
    """Stained left half, glass on the right."""
    rng = np.random.default_rng(seed)
    rgb = rng.normal(243, 1.5, (80, 120, 3))
    rgb[:, :60] = rng.normal(colour, 15, (80, 60, 3))
    return np.clip(rgb, 0, 255).astype(np.uint8)


class Client:
    def __init__(self, store):
        settings = ColorNormSettings(store=store.as_uri(), drain_seconds=1, device="cpu", threads=1)

        def register(server, context):
            colornorm_pb2_grpc.add_ColorNormServiceServicer_to_server(ColorNormServicer(context, settings), server)

        self.server = start_server("colornorm", register, settings)
        self.blobs = self.server.context.blobs
        self.channel = connect(self.server.endpoint)
        self.stub = colornorm_pb2_grpc.ColorNormServiceStub(self.channel)

    def image(self, name, rgb):
        data = rgb if isinstance(rgb, bytes) else encode_png(rgb)
        return common_pb2.Image(id=name, data=self.blobs.put(data, "image/png"))

    def train(self, job_id, **fields):
        request = pb.ColorNormServiceTrainRequest(**{"job_id": job_id, "profile": "tiny", "seed": 1} | fields)
        return list(follow(self.stub.Train, request))

    def normalize(self, job_id, **fields):
        return list(follow(self.stub.Normalize, pb.NormalizeRequest(job_id=job_id, **fields)))

    def stop(self):
        self.channel.close()
        self.server.stop()


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    client = Client(tmp_path_factory.mktemp("store"))
    yield client
    client.stop()


@pytest.fixture(scope="module")
def model(client):
    return client.train("model", target=client.image("target", slide()))[-1].result.model


def fields_of(method, client, model):
    if method == REINHARD:
        return {"method": method, "target": client.image("target", slide(1, (150, 90, 160)))}
    return {"method": method, "model": model}


def test_train_is_deterministic_and_reports(client, model):
    events = client.train("twin", target=client.image("target", slide()))
    assert "loss" in events[-2].progress.values
    assert set(events[-1].result.metrics) == {"offset_mae", "identity_mae"}
    assert events[-1].result.model == model


@pytest.mark.parametrize("method", [REINHARD, COLORNORMNET])
def test_normalize_moves_tissue_and_never_glass(client, model, method):
    images = [client.image("a", slide(2)), client.image("glass", slide(3)[:, 70:]), client.image("b", slide(4, (120, 90, 150)))]
    result = client.normalize(f"n{method}", images=images, **fields_of(method, client, model))[-1].result
    assert [(image.image.id, image.status) for image in result.images] == [
        ("a", "normalized"),
        ("glass", "low_tissue"),
        ("b", "normalized"),
    ]
    assert result.images[1].image == images[1]
    for seed, colour, got in ((2, (190, 120, 170), result.images[0]), (4, (120, 90, 150), result.images[2])):
        before, after = slide(seed, colour), decode_image(client.blobs.get(got.image.data), "normalized")
        assert np.array_equal(after[:, 60:], before[:, 60:])
        assert not np.array_equal(after[:, :60], before[:, :60])


def test_almost_grey_images_pass_through(client, model):
    rgb = np.repeat(np.random.default_rng(0).integers(60, 200, (64, 64, 1), dtype=np.uint8), 3, axis=2)
    rgb[..., 0] += 1
    image = client.image("grey", rgb)
    (normalized,) = client.normalize("grey", images=[image], method=COLORNORMNET, model=model)[-1].result.images
    assert (normalized.status, normalized.image) == ("grey", image)


def test_bad_requests_name_what_is_missing(client, model):
    images = [client.image("a", slide())]
    with pytest.raises(errors.EmptyInput, match="no images"):
        client.normalize("b0", method=REINHARD, target=images[0])
    with pytest.raises(errors.InvalidInput, match="choose REINHARD or COLORNORMNET"):
        client.normalize("b1", images=images, target=images[0])
    with pytest.raises(errors.InvalidInput, match="Reinhard needs a target"):
        client.normalize("b2", images=images, method=REINHARD, model=model)
    with pytest.raises(errors.InvalidModel, match="ColorNormNet needs a model"):
        client.normalize("b3", images=images, method=COLORNORMNET, target=images[0])
    with pytest.raises(errors.EmptyInput, match="target"):
        client.train("b4")
    with pytest.raises(errors.UnknownProfile):
        client.train("b5", target=images[0], profile="huge")


def test_bad_images(client):
    good, glass = client.image("good", slide()), client.image("glass", slide()[:, 70:])
    with pytest.raises(errors.InvalidImage, match="broken"):
        client.normalize("i0", images=[client.image("broken", b"junk")], method=REINHARD, target=good)
    with pytest.raises(errors.InvalidImage, match="target 'glass' has no stain"):
        client.normalize("i1", images=[good], method=REINHARD, target=glass)
    with pytest.raises(errors.InvalidImage, match="target 'glass' has no stain"):
        client.train("i2", target=glass)
    sealed = common_pb2.Image(id="sealed", data=client.blobs.put(encode_png(slide()), "image/png", sealed=True))
    with pytest.raises(errors.Fenced):
        client.train("i3", target=sealed)


def test_bad_weights(client, model):
    weights = safetensors.numpy.load(client.blobs.get(model.files["model.safetensors"]))
    weights["head.bias"][0] = np.nan
    poisoned = common_pb2.Model()
    poisoned.CopyFrom(model)
    poisoned.files["model.safetensors"].CopyFrom(
        client.blobs.put(safetensors.numpy.save(weights), "application/vnd.safetensors")
    )
    fields = {"images": [client.image("a", slide())], "method": COLORNORMNET}
    with pytest.raises(errors.InvalidModel, match="NaN"):
        client.normalize("w0", model=poisoned, **fields)
    poisoned.card.CopyFrom(client.blobs.put(b'{"kind": "hovernet", "architecture": "a", "config": {}}', "application/json"))
    with pytest.raises(errors.InvalidModel, match="hovernet"):
        client.normalize("w1", model=poisoned, **fields)
