"""Train and Normalize on a real server, with bad input of every kind."""

from __future__ import annotations

import io

import cv2
import grpc
import numpy as np
import pytest
import safetensors.numpy
import tifffile
from tests.unit.colornorm.tissue import tissue

from nucleate import errors
from nucleate.colornorm.service.servicer import register
from nucleate.pathology.images.codec import decode_image, encode_png
from nucleate.runtime.channels import connect, follow
from nucleate.runtime.server import ServiceSettings, start_server
from nucleate.v1 import colornorm_pb2 as pb
from nucleate.v1 import colornorm_pb2_grpc, common_pb2

REINHARD = pb.NORMALIZATION_METHOD_REINHARD
COLORNORMNET = pb.NORMALIZATION_METHOD_COLORNORMNET


CLASSICS = [REINHARD, pb.NORMALIZATION_METHOD_MACENKO, pb.NORMALIZATION_METHOD_VAHADANE, pb.NORMALIZATION_METHOD_KHAN]


def slide(seed=0, strength=(1.0, 1.0)):
    """Stained tissue, and glass on the right third."""
    return tissue(seed, 128, strength=strength)


class Client:
    def __init__(self, store):
        settings = ServiceSettings(store=store.as_uri(), drain_seconds=1, device="cpu", threads=1)

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
    if method in CLASSICS:
        return {"method": method, "target": client.image("target", slide(1, (1.4, 0.7)))}
    return {"method": method, "model": model}


def test_methods_are_listed_with_their_cost(client):
    methods = client.stub.ListMethods(pb.ListMethodsRequest()).methods
    assert [each.name for each in methods] == ["reinhard", "macenko", "vahadane", "khan", "colornormnet"]
    assert [each.method for each in methods] == [*CLASSICS, COLORNORMNET]
    assert all(each.milliseconds > 0 and each.source for each in methods)
    assert [each.trained for each in methods] == [False] * 4 + [True]


def test_train_is_deterministic_and_reports(client, model):
    events = client.train("twin", target=client.image("target", slide()))
    assert "loss" in events[-2].progress.values
    assert set(events[-1].result.metrics) == {"colour_mae", "identity_mae"}
    assert events[-1].result.model == model
    assert set(model.files) == {"model.safetensors", "model.onnx"}


@pytest.mark.parametrize("method", [*CLASSICS, COLORNORMNET])
def test_normalize_moves_tissue_and_never_glass(client, model, method):
    images = [client.image("a", slide(2)), client.image("glass", slide(3)[:, 88:]), client.image("b", slide(4, (0.8, 1.2)))]
    events = client.normalize(f"n{method}", images=images, **fields_of(method, client, model))
    result = events[-1].result
    assert [(image.image.id, image.status) for image in result.images] == [
        ("a", "normalized"),
        ("glass", "low_tissue"),
        ("b", "normalized"),
    ]
    assert [event.part for event in events if event.WhichOneof("event") == "part"] == list(result.images)
    assert result.images[1].image == images[1]
    for seed, strength, got in ((2, (1.0, 1.0), result.images[0]), (4, (0.8, 1.2), result.images[2])):
        before, after = slide(seed, strength), decode_image(client.blobs.get(got.image.data), "normalized")
        assert np.array_equal(after[:, 88:], before[:, 88:])
        assert not np.array_equal(after[:, :60], before[:, :60])


@pytest.mark.parametrize("method", CLASSICS)
def test_a_fitted_method_gives_what_its_target_gives(client, method):
    fields = fields_of(method, client, None)
    model = client.stub.Fit(pb.FitRequest(**fields)).model
    images = [client.image("a", slide(2))]
    one = client.normalize(f"direct{method}", images=images, **fields)[-1].result
    other = client.normalize(f"fitted{method}", images=images, model=model)[-1].result
    assert one == other


def test_a_small_image_goes_and_comes_inline(client):
    fields = fields_of(REINHARD, client, None)
    sent = common_pb2.Image(id="a", inline=encode_png(slide(2)))
    inline = client.normalize("inline", images=[sent], **fields)[-1].result.images[0].image
    kept = client.normalize("kept", images=[client.image("a", slide(2))], **fields)[-1].result.images[0].image
    assert inline.inline == client.blobs.get(kept.data)


@pytest.mark.parametrize("method", [pb.NORMALIZATION_METHOD_MACENKO, COLORNORMNET])
def test_a_slide_is_normalized_without_seams(client, model, method):
    file = io.BytesIO()
    whole = np.tile(tissue(5, 384), (2, 3, 1))
    tifffile.imwrite(file, whole, photometric="rgb", tile=(128, 128), resolution=(20_000, 20_000), resolutionunit="CENTIMETER")
    slide_image = common_pb2.Image(id="S", data=client.blobs.put(file.getvalue(), "image/tiff"))
    request = pb.NormalizeSlideRequest(job_id=f"slide{method}", slide=slide_image, **fields_of(method, client, model))
    result = list(follow(client.stub.NormalizeSlide, request))[-1].result
    assert (result.status, result.slide.id) == ("normalized", "S")
    with tifffile.TiffFile(io.BytesIO(client.blobs.get(result.slide.data))) as written:
        after = written.asarray()
        assert written.pages[0].is_tiled
    assert after.shape == whole.shape
    # Equal parts in different tiles come out alike, within what JPEG does.
    parts = after.reshape(2, 384, 3, 384, 3).swapaxes(1, 2).reshape(6, 384, 384, 3).astype(int)
    assert np.abs(parts - parts[0]).mean() < 1.5
    assert np.abs(parts[0][:, :200] - whole[:384, :200]).mean() > 2


def test_a_slide_without_tissue_or_that_is_none_is_refused(client):
    fields = fields_of(REINHARD, client, None)
    file = io.BytesIO()
    tifffile.imwrite(file, np.full((256, 256, 3), 245, np.uint8), photometric="rgb", tile=(128, 128))
    for data, words in ((file.getvalue(), "no stained tissue"), (b"junk", "is no slide")):
        broken = common_pb2.Image(id="S", data=client.blobs.put(data, "image/tiff"))
        with pytest.raises(errors.InvalidImage, match=f"'S'.*{words}"):
            list(
                follow(
                    client.stub.NormalizeSlide, pb.NormalizeSlideRequest(job_id=words.replace(" ", "-"), slide=broken, **fields)
                )
            )


@pytest.mark.parametrize("mode", [pb.CHANGE_MODE_PIXEL, pb.CHANGE_MODE_DENSITY])
def test_other_modes_train_and_normalize(client, mode):
    trained = client.train(f"mode{mode}", target=client.image("target", slide()), mode=mode, fixed_green=True)[-1].result.model
    (image,) = client.normalize(f"m{mode}", images=[client.image("a", slide(2))], model=trained)[-1].result.images
    after = decode_image(client.blobs.get(image.image.data), "normalized")
    assert np.array_equal(after[..., 1], slide(2)[..., 1])


def test_almost_grey_images_pass_through(client, model):
    rgb = np.repeat(np.random.default_rng(0).integers(60, 200, (64, 64, 1), dtype=np.uint8), 3, axis=2)
    rgb[..., 0] += 1
    image = client.image("grey", rgb)
    (normalized,) = client.normalize("grey", images=[image], method=COLORNORMNET, model=model)[-1].result.images
    assert (normalized.status, normalized.image) == ("grey", image)


@pytest.mark.parametrize("method", CLASSICS)
def test_16_bit_and_transparent_images_are_taken_for_what_they_show(client, method):
    rgb = slide(2)
    opaque = cv2.imencode(".png", cv2.cvtColor(np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]), cv2.COLOR_RGBA2BGRA))[1]
    deep = cv2.imencode(".png", cv2.cvtColor(rgb.astype(np.uint16) * 257, cv2.COLOR_RGB2BGR))[1]
    images = [client.image(name, data) for name, data in (("8", rgb), ("rgba", opaque.tobytes()), ("16", deep.tobytes()))]
    result = client.normalize(f"kinds{method}", images=images, **fields_of(method, client, None))[-1].result
    assert len({image.image.data.sha256 for image in result.images}) == 1


def test_bad_requests_name_what_is_missing(client, model):
    images = [client.image("a", slide())]
    with pytest.raises(errors.EmptyInput, match="no images"):
        client.normalize("b0", method=REINHARD, target=images[0])
    with pytest.raises(errors.InvalidInput, match="method 0 is unknown: choose REINHARD, MACENKO"):
        client.normalize("b1", images=images, target=images[0])
    with pytest.raises(errors.InvalidInput, match="needs a target"):
        client.normalize("b2", images=images, method=REINHARD)
    with pytest.raises(errors.InvalidInput, match="a model and a target"):
        client.normalize("b3", images=images, model=model, target=images[0])
    with pytest.raises(errors.InvalidModel, match="ColorNormNet needs a model"):
        client.normalize("b4", images=images, method=COLORNORMNET, target=images[0])
    with pytest.raises(errors.InvalidModel, match="kind 'hovernet'"):
        client.normalize("b5", images=images, model=common_pb2.Model(kind="hovernet"))
    with pytest.raises(errors.EmptyInput, match="target"):
        client.train("b6")
    with pytest.raises(errors.UnknownProfile):
        client.train("b7", target=images[0], profile="huge")
    with pytest.raises(errors.InvalidInput, match="change mode 9"):
        client.train("b8", target=images[0], mode=9)
    with pytest.raises(grpc.RpcError) as refused:
        client.stub.Fit(pb.FitRequest(method=REINHARD))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_bad_images(client):
    good, glass = client.image("good", slide()), client.image("glass", slide()[:, 88:])
    grey = np.repeat(slide()[..., :1], 3, axis=2)
    for name, data in (
        ("broken", b"junk"),
        ("empty", b" "),
        ("grey", encode_png(grey)),
        ("small", encode_png(slide()[:20, :20])),
    ):
        with pytest.raises(errors.InvalidImage, match=name):
            client.normalize(f"i-{name}", images=[client.image(name, data)], method=REINHARD, target=good)
    floats = io.BytesIO()
    tifffile.imwrite(floats, np.full((64, 64, 3), np.nan, np.float32), photometric="rgb")
    with pytest.raises(errors.InvalidImage, match="'nan' holds float32"):
        client.normalize("i-nan", images=[client.image("nan", floats.getvalue())], method=REINHARD, target=good)
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
