"""A loaded model: chunks, abstention, what counts as proved, and graphs that contradict their records."""

from __future__ import annotations

import copy
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import zoo
from tests.toy import make_folder, sha256, write_sums
from zoo.errors import CertificateError, InputError, IntegrityError, MissingPackageError, ZooError
from zoo.inference.runtime import RUN
from zoo.publication.references import external_files
from zoo.records import Outputs, Prediction


@pytest.fixture(scope="module")
def model(toy: Path) -> zoo.Model:
    return zoo.load(f"local-dir:{toy}")


def images(count: int) -> np.ndarray:
    return np.random.default_rng(1).random((count, 1, 28, 28), dtype=np.float32)


def test_outputs_are_the_five_arrays_of_the_graph(model: zoo.Model):
    outputs = model.outputs(images(3))
    assert isinstance(outputs, Outputs)
    assert [value.shape for value in outputs] == [(3, 10), (3,), (3,), (3, 10), (3, 5)]
    assert [value.dtype for value in outputs] == [np.float64, np.int64, *[np.float64] * 3]
    np.testing.assert_array_equal(outputs.radius, outputs.topk_radius[:, 0])


def test_a_long_batch_runs_in_parts(model: zoo.Model):
    batch = images(2 * RUN + 3)
    seen: list[int] = []
    run = model.run

    def recorder(part: np.ndarray) -> Outputs:
        seen.append(len(part))
        return run(part)

    watched = zoo.Model(
        model.config, model.certificate, model.evaluation, model.precision, model.backend, recorder, model.module
    )
    outputs = watched.outputs(batch)
    assert seen == [RUN, RUN, 3]
    for index in (0, RUN, 2 * RUN + 2):
        np.testing.assert_allclose(outputs.logits[index], model.outputs(batch[index]).logits[0], rtol=1e-12)


def test_one_image_gives_a_prediction_and_a_batch_gives_a_list(model: zoo.Model):
    one = model.predict(images(1)[0])
    assert isinstance(one, Prediction)
    assert one.proved
    assert one.label == one.name == f"class {one.index}"
    assert one.class_radii[one.index] == float("inf")
    many = model.predict(images(2))
    assert [type(prediction) for prediction in many] == [Prediction, Prediction]
    assert len(model.predict([images(1)[0]])) == 1


def test_a_prediction_abstains_unless_its_radius_is_larger(model: zoo.Model):
    radius = model.predict(images(1)[0]).radius
    assert radius > 0
    assert model.predict(images(1)[0], epsilon=radius / 2).label is not None
    tie = model.predict(images(1)[0], epsilon=radius)
    assert (tie.label, tie.certified) == (None, False)
    with pytest.raises(InputError, match="epsilon"):
        model.predict(images(1)[0], epsilon="nope")


def test_float32_proves_nothing(toy: Path):
    model = zoo.load(f"local-dir:{toy}", precision="float32")
    prediction = model.predict(images(1)[0], epsilon=0)
    assert prediction.radius > 0
    assert (model.proved, prediction.proved, prediction.certified, prediction.label) == (False, False, False, None)


def test_the_attributes_come_from_the_records(model: zoo.Model):
    assert (model.name, model.norm, model.input_shape) == ("4c3f-mnist", "l2", (1, 28, 28))
    assert (model.backend, model.precision, model.module) == ("onnx", "float64", None)
    assert len(model.labels) == 10
    assert repr(model) == "<zoo.Model 4c3f-mnist, onnx, float64, input (1, 28, 28)>"


@pytest.mark.parametrize("name", zoo.list_models(pretrained=True))
def test_published_models_answer(name: str):
    model = zoo.load(name)
    batch = np.random.default_rng(0).integers(0, 256, (3, *model.input_shape), dtype=np.uint8)
    exact, fast = model.outputs(batch), zoo.load(name, precision="float32").outputs(batch)
    assert (exact.radius >= 0).all()
    np.testing.assert_allclose(exact.logits, fast.logits, rtol=1e-3, atol=1e-3)
    assert all(np.isinf(exact.class_radii[row, label]) for row, label in enumerate(exact.label))


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_threads_do_not_disturb_one_another(backend: str, whole: Path):
    model = zoo.load(f"local-dir:{whole}", backend=backend)
    batch = np.random.default_rng(0).random((20, *model.input_shape), dtype=np.float32)
    alone = [model.predict(image) for image in batch]
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(model.predict, [*batch] * 10)) == alone * 10


class TestOtherProcesses:
    def test_a_model_goes_to_spawned_workers(self, whole: Path):
        model = zoo.load(f"local-dir:{whole}")
        batch = np.random.default_rng(0).random((3, *model.input_shape), dtype=np.float32)
        with ProcessPoolExecutor(1, get_context("spawn")) as workers:
            assert list(workers.map(model.predict, batch)) == model.predict(batch)

    @pytest.mark.parametrize("precision", ["float64", "float32"])
    @pytest.mark.parametrize("backend", ["onnx", "torch"])
    def test_a_model_comes_back_from_its_folder(self, backend: str, precision: str, whole: Path, monkeypatch):
        monkeypatch.chdir(whole.parent)
        model = zoo.load("local-dir:tiny", backend=backend, precision=precision)
        sent = pickle.dumps(model)
        assert len(sent) < 1000  # no weights
        monkeypatch.chdir("/")
        for again in (pickle.loads(sent), copy.deepcopy(model)):
            assert again == model
            image = np.full(model.input_shape, 0.5, np.float32)
            assert again.predict(image) == model.predict(image)
            assert (again.module is None) == (model.module is None)

    def test_a_pickled_model_is_checked_where_it_arrives(self, own_toy: Path):
        sent = pickle.dumps(zoo.load(f"local-dir:{own_toy}"))
        (own_toy / "README.md").write_text("another card")
        with pytest.raises(IntegrityError, match=r"README.md: its sha256 is not the one in SHA256SUMS"):
            pickle.loads(sent)
        write_sums(own_toy)
        with pytest.raises(IntegrityError, match="not the files of the model that was sent"):
            pickle.loads(sent)
        shutil.rmtree(own_toy)
        with pytest.raises(InputError, match=f"^no folder {own_toy}: a model travels by its folder, which must lie"):
            pickle.loads(sent)

    def test_a_model_without_a_folder_is_refused(self, model: zoo.Model):
        made = zoo.Model(
            model.config, model.certificate, model.evaluation, model.precision, model.backend, lambda images: images
        )
        with pytest.raises(
            InputError, match=r"^4c3f-mnist was not loaded from a folder, so it cannot be pickled: [^\n]*$"
        ):
            pickle.dumps(made)

    def test_a_fork_does_not_wait_for_threads_that_it_has_not(self, whole: Path):
        script = (
            "import os, pickle, signal, sys, numpy, torch, zoo\n"
            "model = zoo.load(f'local-dir:{sys.argv[1]}', backend='torch')\n"
            "batch = numpy.full((1, *model.input_shape), 0.5, numpy.float32)\n"
            "torch.set_num_threads(2)\n"
            "model.predict(batch)\n"
            "for each in (model, pickle.dumps(model)):\n"
            "    if (child := os.fork()) == 0:\n"
            "        signal.alarm(20)\n"
            "        each = pickle.loads(each) if isinstance(each, bytes) else each\n"
            "        os._exit(each.predict(batch) != model.predict(batch))\n"
            "    assert os.waitpid(child, 0)[1] == 0\n"
        )
        subprocess.run([sys.executable, "-c", script, whole], check=True, cwd=Path(zoo.__file__).parents[1])

    @pytest.mark.parametrize("kind", ZooError.__subclasses__())
    def test_an_error_of_a_worker_reaches_its_parent(self, kind: type[ZooError]):
        error = kind("torch", "train") if kind is MissingPackageError else kind("a line")
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (kind, str(error))


class TestOptions:
    def test_float64_is_proved_on_the_cpu_only(self, toy: Path):
        with pytest.raises(InputError, match="float64 is proved on"):
            zoo.load(f"local-dir:{toy}", providers=["CUDAExecutionProvider"])
        pytest.importorskip("torch")
        with pytest.raises(InputError, match="float64 is proved on"):
            zoo.load(f"local-dir:{toy}", backend="torch", device="cuda")
        blank = np.zeros((1, 28, 28), dtype=np.float32)
        assert zoo.load("2c2f-mnist", backend="torch", device="cpu:0").predict(blank).proved

    def test_what_is_not_there_is_named(self, toy: Path):
        with pytest.raises(InputError, match="has no NoSuchProvider"):
            zoo.load(f"local-dir:{toy}", precision="float32", providers=["NoSuchProvider"])
        with pytest.raises(InputError, match="providers is a list of names"):
            zoo.load(f"local-dir:{toy}", providers="CPUExecutionProvider")
        pytest.importorskip("torch")
        with pytest.raises(InputError, match="PyTorch has no device 'nowhere'"):
            zoo.load(f"local-dir:{toy}", backend="torch", precision="float32", device="nowhere")


class TestGraphs:
    @pytest.mark.parametrize("precision", ["float64", "float32"])
    @pytest.mark.parametrize(
        "key", ["name", "norm", "unit", "dataset", "labels", "arithmetic", "weights_sha256", "certificate_sha256"]
    )
    def test_metadata_that_contradict_the_records_are_refused(self, key: str, precision: str, tmp_path: Path):
        folder = make_folder(tmp_path / "toy", metadata={key: "something else"})
        with pytest.raises(IntegrityError, match=f"metadata give {key} as 'something else'"):
            zoo.load(f"local-dir:{folder}", precision=precision)

    @pytest.mark.parametrize("external", ["../secret", "/etc/passwd", "config.json", "./model.safetensors"])
    def test_a_graph_reads_the_weights_file_and_nothing_else(self, external: str, tmp_path: Path):
        folder = make_folder(tmp_path / "toy", external=external)
        with pytest.raises(IntegrityError, match="reads tensors from"):
            zoo.load(f"local-dir:{folder}")

    @pytest.mark.parametrize("data", [b"", b"not a graph", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"])
    def test_what_is_no_graph_is_refused(self, data: bytes, own_toy: Path):
        self.replace_graph(own_toy, data)
        with pytest.raises(IntegrityError, match=r"model\.onnx"):
            zoo.load(f"local-dir:{own_toy}")

    def test_a_graph_with_other_outputs_or_inputs_is_refused(self, own_toy: Path):
        graph = onnx.load(own_toy / "model.onnx", load_external_data=False)
        fewer = onnx.ModelProto()
        fewer.CopyFrom(graph)
        fewer.graph.output.pop()
        self.replace_graph(own_toy, fewer.SerializeToString())
        with pytest.raises(IntegrityError, match=r"answers .*'class_radii', 'tensor\(double\)'\)\], expected"):
            zoo.load(f"local-dir:{own_toy}")
        graph.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 29
        self.replace_graph(own_toy, graph.SerializeToString())
        with pytest.raises(IntegrityError, match="takes"):
            zoo.load(f"local-dir:{own_toy}")

    def test_answers_of_another_shape_are_refused(self, own_toy: Path):
        graph = onnx.load(own_toy / "model.onnx", load_external_data=False)
        (argmax,) = (node for node in graph.graph.node if node.op_type == "ArgMax")
        next(attribute for attribute in argmax.attribute if attribute.name == "keepdims").i = 1
        graph.graph.output[1].type.tensor_type.shape.dim.add(dim_value=1)
        self.replace_graph(own_toy, graph.SerializeToString())
        with pytest.raises(IntegrityError, match="its answers have not the shapes"):
            zoo.load(f"local-dir:{own_toy}").predict(images(1))

    def test_what_could_read_another_file_is_refused(self):
        def tensor() -> TensorProto:
            value = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
            value.external_data.add(key="location", value="secret")
            return value

        def model(**more: object) -> onnx.ModelProto:
            return helper.make_model(helper.make_graph([], "outer", [], [], [tensor()], **more))

        def attribute(**value: object) -> onnx.ModelProto:
            node = onnx.NodeProto(attribute=[onnx.AttributeProto(name="value", **value)])
            return helper.make_model(helper.make_graph([node], "outer", [], []))

        inner = helper.make_graph([], "inner", [], [], [])
        sparse = helper.make_sparse_tensor(tensor(), tensor(), [1])
        function = helper.make_function("d", "f", [], [], [], [helper.make_opsetid("", 20)])
        training = onnx.TrainingInfoProto(initialization=inner)
        assert external_files(model().SerializeToString()) == {"secret"}
        for proto, message in (
            (attribute(t=tensor()), "a constant in another file"),
            (attribute(tensors=[tensor()]), "a constant in another file"),
            (attribute(g=inner), "an inner graph"),
            (attribute(graphs=[inner]), "an inner graph"),
            (attribute(sparse_tensor=sparse), "a sparse tensor"),
            (attribute(sparse_tensors=[sparse]), "a sparse tensor"),
            (model(sparse_initializer=[sparse]), "a sparse tensor"),
            (helper.make_model(inner, functions=[function]), "a function"),
            (onnx.ModelProto(graph=inner, training_info=[training]), "a training graph"),
        ):
            with pytest.raises(ValueError, match=message):
                external_files(proto.SerializeToString())
        with pytest.raises(ValueError, match="ORT format"):
            external_files(b"\x00\x00\x00\x00ORTM" + model().SerializeToString())

    def test_a_field_whose_number_others_cut_off_is_refused(self, own_toy: Path):
        """ONNX Runtime takes a tag modulo 2^32, and so would see a graph where a reader of all its bits sees none."""
        graph = onnx.load(own_toy / "model.onnx", load_external_data=False)
        hidden = graph.graph.SerializeToString()
        graph.ClearField("graph")
        tag = bytes([7 << 3 | 2 | 128, 128, 128, 128, 0x10])
        length = bytes([len(hidden) & 127 | 128, len(hidden) >> 7 & 127 | 128, len(hidden) >> 14])
        self.replace_graph(own_toy, graph.SerializeToString() + tag + length + hidden)
        with pytest.raises(IntegrityError, match="its protobuf is damaged"):
            zoo.load(f"local-dir:{own_toy}")

    def test_flushed_subnormal_numbers_are_refused(self, model: zoo.Model):
        torch = pytest.importorskip("torch")
        assert torch.set_flush_denormal(True)
        try:
            with pytest.raises(CertificateError, match="flushes subnormal numbers to zero"):
                model.predict(images(1))
        finally:
            torch.set_flush_denormal(False)
        assert model.predict(images(1))

    def test_no_session_is_made_while_subnormal_numbers_are_flushed(self, own_toy: Path):
        """It would keep weights that were flushed, and threads that flush."""
        torch = pytest.importorskip("torch")
        assert torch.set_flush_denormal(True)
        try:
            with pytest.raises(CertificateError, match="flushes subnormal numbers to zero"):
                zoo.load(f"local-dir:{own_toy}")
        finally:
            torch.set_flush_denormal(False)

    def test_a_weight_that_a_caller_could_replace_is_refused(self, own_toy: Path):
        graph = onnx.load(own_toy / "model.onnx", load_external_data=False)
        (name,) = (value.name for value in graph.graph.initializer if value.data_location == TensorProto.EXTERNAL)
        graph.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        self.replace_graph(own_toy, graph.SerializeToString())
        with pytest.raises(IntegrityError, match=f"takes .*{name}"):
            zoo.load(f"local-dir:{own_toy}")

    @staticmethod
    def replace_graph(folder: Path, data: bytes) -> None:
        """The folder with another model.onnx, and hashes that agree with it."""
        old = sha256(folder / "model.onnx")
        (folder / "model.onnx").write_bytes(data)
        record = folder / "evaluation.json"
        record.write_text(record.read_text().replace(old, sha256(folder / "model.onnx")))
        write_sums(folder)
