"""A training in two processes: real torchrun, a real store; one result, whatever happens on the way."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
import safetensors.torch
import torch
from tests.unit.hovernet.tissue import draw

from nucleate import errors
from nucleate.dataset.manifest import BlobRef, Dataset, Origin, Sample
from nucleate.hovernet.service import torchrun
from nucleate.hovernet.service.settings import HoverNetSettings
from nucleate.pathology.images.codec import encode_instances, encode_png
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.store import open_store
from nucleate.v1 import hovernet_pb2 as pb


class Job:
    """Keeps what it is told; where asked, somebody cancels at a step."""

    def __init__(self, saved=None, cancelled_at=None):
        self.saved, self.cancelled_at, self.losses = saved, cancelled_at, []

    def progress(self, step, total, stage="", **values):
        self.losses += [values["loss"]] if "loss" in values else []
        if step == self.cancelled_at:
            raise errors.Cancelled("job was cancelled")

    def checkpoint(self, data):
        self.saved = data

    def restored(self):
        return self.saved


@pytest.fixture
def settings(tmp_path):
    return HoverNetSettings(store=(tmp_path / "store").as_uri(), device="cpu", processes=2)


def request_in(settings, *, sealed=False):
    blobs = Blobs(open_store(settings.store))

    def ref(data):
        blob = blobs.put(data, "image/png", sealed=sealed)
        return BlobRef(blob.uri, blob.sha256, blob.size, blob.media_type)

    samples = []
    for seed in range(2):
        image, instances = draw(96, 14, seed)
        labels, _ = encode_instances(instances.astype(np.int32))
        parts = {"image": ref(encode_png(image)), "instances": ref(labels)}
        samples.append(Sample(id=f"s{seed}", ignore=None, origin=Origin.PSEUDO, split="train", **parts))
    manifest = blobs.put(Dataset(samples).to_json(), "application/json")
    return blobs, pb.HoverNetServiceTrainRequest(job_id="t", dataset={"manifest": manifest}, profile="tiny", seed=3)


def workers():
    return subprocess.run(
        ["pgrep", "-f", "nucleate.hovernet.service.torchrun_worker"], check=False, capture_output=True, text=True
    ).stdout.split()


def test_one_cancelled_and_taken_up_again_ends_with_the_bits_of_one_left_alone(settings):
    blobs, request = request_in(settings)

    def weights(job):
        result = torchrun.train(request, settings, "cpu", 2, job)
        return safetensors.torch.load(blobs.get(result.model.files["model.safetensors"]))

    whole = Job()
    expected = weights(whole)
    assert len(whole.losses) == 12
    assert np.mean(whole.losses[-3:]) < np.mean(whole.losses[:3])
    cancelled = Job(cancelled_at=6)
    with pytest.raises(errors.Cancelled):
        weights(cancelled)
    assert workers() == []
    resumed = Job(saved=cancelled.saved)
    found = weights(resumed)
    assert len(resumed.losses) == 8
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_fence_holds_in_every_process(settings):
    blobs, request = request_in(settings)
    sealed = blobs.put(encode_png(draw(96, 3, 9)[0]), "image/png", sealed=True)
    request.unlabelled.add(id="s", data=sealed)
    with pytest.raises(errors.Fenced):
        torchrun.train(request, settings, "cpu", 2, Job())
    assert workers() == []
