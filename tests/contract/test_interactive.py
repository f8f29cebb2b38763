"""Every call of InteractiveService on a real server with a real folder store."""

from __future__ import annotations

import numpy as np
import pytest
from tests.contract.interactive_bench import SIZE, click, pixels, train_request, trained
from tests.unit.interactive.nuclei import draw_nuclei

from nucleate import errors
from nucleate.pathology.images.codec import decode_image, decode_instances, encode_instances
from nucleate.runtime.channels import call, follow
from nucleate.v1 import common_pb2 as common
from nucleate.v1 import interactive_pb2 as pb


class TestTrain:
    def test_gives_a_model_with_its_files_and_label_free_figures(self, bench):
        assert bench.model.kind == "interactive"
        assert set(bench.model.files) == {"model.safetensors", "backbone.onnx"}
        assert {"iou_1_click", "iou_3_clicks", "loss"} <= set(bench.metrics)

    def test_the_same_job_is_not_trained_twice_and_another_request_is_refused(self, bench):
        again = list(follow(bench.stubs[1].Train, train_request(bench.dataset)))
        assert again[-1].result.model == bench.model
        with pytest.raises(errors.JobConflict):
            trained(bench.stubs[0], train_request(bench.dataset, seed=4))

    def test_goes_on_from_an_initial_model(self, bench):
        result = trained(bench.stubs[0], train_request(bench.dataset, job_id="train-2", initial=bench.model))
        assert result.model.card.sha256 != bench.model.card.sha256

    def test_cannot_open_sealed_labels(self, bench):
        manifest = bench.blobs.put(bench.blobs.get(bench.dataset.manifest), "application/json", sealed=True)
        sealed = common.Dataset(manifest=manifest, samples=3)
        with pytest.raises(errors.Fenced):
            trained(bench.stubs[0], train_request(sealed, job_id="train-3"))

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"job_id": ""}, errors.InvalidInput),
            ({"profile": "huge"}, errors.UnknownProfile),
            ({"dataset": common.Dataset()}, errors.InvalidInput),
            ({"initial": common.Model(kind="hovernet")}, errors.InvalidInput),
        ],
    )
    def test_bad_requests_are_refused(self, bench, changes, error):
        with pytest.raises(error):
            trained(
                bench.stubs[0], train_request(**({"dataset": bench.dataset, "job_id": f"bad-{next(iter(changes))}"} | changes))
            )


class TestSession:
    def test_clicks_obey_and_close_gives_window_and_map(self, bench):
        stub, session = bench.stubs[0], bench.open()
        assert (session.sequence, session.object_id, session.closed) == (1, 0, False)
        first = call(stub.Click, pb.ClickRequest(session_id=session.session_id, sequence=1, click=click(16, 16)))
        assert first.clicks_obeyed
        assert pixels(first.mask)[16, 16]
        assert 0 <= first.confidence <= 1
        assert first.optimizer_evaluations <= 20
        second = call(stub.Click, pb.ClickRequest(session_id=session.session_id, sequence=2, click=click(30, 16, False)))
        assert second.object_id == first.object_id
        assert not pixels(second.mask)[16, 30]
        accepted = call(stub.Accept, pb.AcceptRequest(session_id=session.session_id, sequence=3))
        assert accepted.object_id == first.object_id
        closed = call(stub.CloseSession, pb.CloseSessionRequest(session_id=session.session_id))
        assert (closed.clicks, closed.nuclei) == (2, 1)
        assert closed.seconds > 0
        rgb = decode_image(bench.blobs.get(closed.result.image), "result")
        assert rgb.shape == (96, 96, 3)
        assert np.array_equal(rgb, draw_nuclei(SIZE, 9, 5)[0][16:112, 16:112])
        labels = decode_instances(bench.blobs.get(closed.result.instances), "result")
        assert np.array_equal(labels == 1, pixels(second.mask)[16:112, 16:112])
        assert call(bench.stubs[1].CloseSession, pb.CloseSessionRequest(session_id=session.session_id)) == closed
        with pytest.raises(errors.Precondition, match="closed"):
            call(stub.Click, pb.ClickRequest(session_id=session.session_id, sequence=5, click=click(40, 40)))

    def test_another_replica_goes_on_with_the_same_masks(self, bench):
        name = bench.open().session_id
        masks = []
        for n, (x, y, positive) in enumerate([(40, 40, True), (60, 44, False), (44, 52, True)]):
            request = pb.ClickRequest(session_id=name, sequence=n + 1, click=click(x, y, positive))
            masks.append(call(bench.stubs[n % 2].Click, request).mask)
        seen = [call(stub.GetSession, pb.GetSessionRequest(session_id=name)).session for stub in bench.stubs]
        assert seen[0] == seen[1]
        assert seen[0].objects[0].mask == masks[-1]
        assert [c.x for c in seen[0].clicks] == [40, 60, 44]
        undone = call(bench.stubs[1].Undo, pb.UndoRequest(session_id=name, sequence=4))
        assert undone.mask == masks[1]

    def test_a_repeated_call_gets_its_first_result_and_a_stale_one_is_aborted(self, bench):
        name = bench.open().session_id
        request = pb.ClickRequest(session_id=name, sequence=1, click=click(50, 50))
        first = call(bench.stubs[0].Click, request)
        assert first.spent.storing > 0
        first.milliseconds -= first.spent.storing  # a repeat stores nothing
        first.spent.storing = 0
        for stub in bench.stubs:
            again = call(stub.Click, request)
            assert again.milliseconds == pytest.approx(first.milliseconds)
            again.milliseconds = first.milliseconds
            assert again == first
        for stub in bench.stubs:
            with pytest.raises(errors.SessionConflict, match="is at sequence 2"):
                call(stub.Click, pb.ClickRequest(session_id=name, sequence=1, click=click(51, 50)))
            with pytest.raises(errors.SessionConflict):
                call(stub.Accept, pb.AcceptRequest(session_id=name, sequence=9))

    def test_opening_again_goes_on_and_opening_on_something_else_is_refused(self, bench):
        session = bench.open()
        call(bench.stubs[0].Click, pb.ClickRequest(session_id=session.session_id, sequence=1, click=click(50, 50)))
        assert bench.open(1, session_id=session.session_id).sequence == 2
        with pytest.raises(errors.Conflict, match="another image"):
            bench.open(session_id=session.session_id, window=common.Window(x=0, y=0, width=64, height=64))

    def test_proposals_become_objects_that_can_be_deleted_corrected_and_kept(self, bench):
        _, instances = bench.image()
        stub, session = bench.stubs[0], bench.open(proposals=bench.proposals(instances))
        name = session.session_id
        inside = [n for n in np.unique(instances)[1:] if (instances[16:112, 16:112] == n).sum() >= 10]
        assert [found.clicks for found in session.objects] == [0] * len(inside)
        kept, dropped = session.objects[0], session.objects[1]
        y, x = np.argwhere(pixels(kept.mask))[0].tolist()
        with pytest.raises(errors.InvalidInput, match=f"lies on object {kept.object_id}, which is finished"):
            call(stub.Click, pb.ClickRequest(session_id=name, sequence=1, click=click(x, y)))
        call(stub.DeleteObject, pb.DeleteObjectRequest(session_id=name, sequence=1, object_id=dropped.object_id))
        selected = call(stub.SelectObject, pb.SelectObjectRequest(session_id=name, sequence=2, object_id=kept.object_id))
        assert selected.mask == kept.mask
        cut = call(stub.Click, pb.ClickRequest(session_id=name, sequence=3, click=click(x, y, False)))
        assert cut.object_id == kept.object_id
        assert not pixels(cut.mask)[y, x]
        with pytest.raises(errors.Precondition, match="is in work"):
            call(stub.SelectObject, pb.SelectObjectRequest(session_id=name, sequence=4, object_id=session.objects[2].object_id))
        with pytest.raises(errors.Precondition, match="is in work"):
            call(stub.CloseSession, pb.CloseSessionRequest(session_id=name))
        restored = call(stub.Undo, pb.UndoRequest(session_id=name, sequence=4))
        assert restored.mask == kept.mask
        closed = call(stub.CloseSession, pb.CloseSessionRequest(session_id=name))
        assert closed.nuclei == len(inside) - 1
        assert closed.clicks == 2
        labels = decode_instances(bench.blobs.get(closed.result.instances), "result")
        assert np.array_equal(np.unique(labels), np.arange(len(inside)))

    def test_finished_neighbours_are_locked(self, bench):
        proposal = np.zeros((SIZE, SIZE), np.int32)
        proposal[50:70, 50:70] = 1
        stub, session = bench.stubs[0], bench.open(proposals=bench.proposals(proposal))
        mask = pixels(session.objects[0].mask)
        beside = call(stub.Click, pb.ClickRequest(session_id=session.session_id, sequence=1, click=click(49, 60)))
        assert beside.object_id != session.objects[0].object_id
        assert pixels(beside.mask)[60, 49]
        assert not (mask & pixels(beside.mask)).any()

    @pytest.mark.parametrize(
        ("placed", "message"),
        [
            (click(15, 50), "outside the window"),
            (click(200, 50), "outside the window"),
            (click(50, 50, False), "must be positive"),
        ],
    )
    def test_bad_clicks_are_refused_and_leave_no_trace(self, bench, placed, message):
        name = bench.open().session_id
        with pytest.raises(errors.InvalidInput, match=message):
            call(bench.stubs[0].Click, pb.ClickRequest(session_id=name, sequence=1, click=placed))
        assert call(bench.stubs[0].GetSession, pb.GetSessionRequest(session_id=name)).session.sequence == 1

    def test_calls_that_make_no_sense_are_refused(self, bench):
        stub, name = bench.stubs[0], bench.open().session_id
        with pytest.raises(errors.Precondition, match="nothing to undo"):
            call(stub.Undo, pb.UndoRequest(session_id=name, sequence=1))
        with pytest.raises(errors.Precondition, match="no object is in work"):
            call(stub.Accept, pb.AcceptRequest(session_id=name, sequence=1))
        with pytest.raises(errors.NotFound, match="has no object 7"):
            call(stub.SelectObject, pb.SelectObjectRequest(session_id=name, sequence=1, object_id=7))
        with pytest.raises(errors.NotFound, match="has no object 7"):
            call(stub.DeleteObject, pb.DeleteObjectRequest(session_id=name, sequence=1, object_id=7))
        with pytest.raises(errors.NotFound, match="there is no session nobody"):
            call(stub.GetSession, pb.GetSessionRequest(session_id="nobody"))
        empty = call(stub.CloseSession, pb.CloseSessionRequest(session_id=name))
        assert (empty.nuclei, empty.clicks) == (0, 0)

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"session_id": "../x"}, errors.InvalidInput, "session id"),
            ({"window": common.Window(x=100, width=64, height=64)}, errors.InvalidInput, "does not lie in image"),
            ({"window": common.Window(x=1)}, errors.InvalidInput, "does not lie in image"),
            ({"model": common.Model(kind="refiner")}, errors.InvalidInput, "is not sha256"),
            ({"image": common.Image(id="none")}, errors.InvalidInput, "is not sha256"),
        ],
    )
    def test_bad_sessions_are_refused(self, bench, changes, error, message):
        with pytest.raises(error, match=message):
            bench.open(**changes)

    def test_sealed_proposals_cannot_be_opened(self, bench):
        sealed = bench.blobs.put(encode_instances(bench.image()[1])[0], "image/png", sealed=True)
        with pytest.raises(errors.Fenced):
            bench.open(proposals=sealed)

    def test_models_and_proposals_that_do_not_fit_are_refused(self, bench):
        small = bench.proposals(np.ones((64, 64), np.int32))
        with pytest.raises(errors.SizeMismatch, match="its proposals have 64 x 64"):
            bench.open(proposals=small)
        damaged = common.Model()
        damaged.CopyFrom(bench.model)
        damaged.files["model.safetensors"].CopyFrom(bench.blobs.put(b"nothing", "application/octet-stream"))
        with pytest.raises(errors.InvalidModel, match="damaged"):
            bench.open(model=damaged)
        damaged.files["model.safetensors"].sha256 = "0" * 64
        with pytest.raises(errors.CorruptBlob):
            bench.open(model=damaged)
