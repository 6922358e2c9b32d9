#!/usr/bin/env python3
"""Writes the Keras files beside this script, and what the models give.

The Rust tests compare the library with these files; no test runs this script. Run it by hand after changing a case,
then check in the files:

    python3 -m venv venv
    venv/bin/pip install keras torch h5py safetensors numpy
    venv/bin/python tests/keras/generate.py

The stored files were made with keras 3.15.1, torch 2.15.0 and h5py 3.16.0. Each case is `<name>.keras`, `<name>.h5` or
both; `expected.safetensors` holds `<name>.input.<i>` and `<name>.output.<i>`.

With a file of weights that the library has written, and the name of a case, it loads them into that case's model and
compares what the model gives:

    venv/bin/python tests/keras/generate.py FILE.weights.h5 NAME
"""

import json
import os
import pathlib
import sys
import zipfile

os.environ["KERAS_BACKEND"] = "torch"

import h5py
import keras
import numpy as np
from keras import layers as L
from keras.src.utils.naming import to_snake_case
from safetensors.numpy import load_file, save_file

HERE = pathlib.Path(__file__).resolve().parent


def digits():
    """What a tutorial trains and saves, with fewer units."""
    return keras.Sequential([
        L.Input((64,)), L.Dense(24, activation="relu"), L.Dense(16, activation="relu"), L.Dense(12, activation="relu"),
        L.Dense(10, activation="softmax"),
    ])


def cnn():
    return keras.Sequential([
        L.Input((13, 10, 3)), L.Rescaling(0.5, 0.1), L.Conv2D(6, 3, strides=2, padding="same"),
        L.BatchNormalization(), L.ReLU(), L.Conv2D(8, (2, 3), padding="same", activation="gelu", use_bias=False),
        L.BatchNormalization(scale=False, epsilon=0.01), L.LeakyReLU(0.2), L.MaxPooling2D(2, padding="same"),
        L.Conv2D(8, 3, dilation_rate=2, padding="same", activation="swish"), L.SpatialDropout2D(0.2),
        # With the PyTorch backend, an average pool with uneven "same" padding repeats the border; others leave it out.
        L.AveragePooling2D(3, strides=1, padding="same"), L.Dropout(0.5), L.Flatten(),
        L.Dense(7, activation="elu"), L.Dense(4),
    ])


def unet():
    x = L.Input((12, 8, 3), name="image")
    a = L.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="down_1")(x)
    b = L.Conv2D(6, 3, strides=(2, 2), padding="same", activation="relu")(a)
    b = L.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu")(b)
    c = L.Concatenate()([a, b])
    d = L.UpSampling2D(2, interpolation="bilinear")(c)
    e = L.UpSampling2D((2, 2))(a)
    f = L.Conv2DTranspose(3, 2, strides=2)(c)
    g = L.Concatenate(axis=3)([d, e, f, x])
    g = L.ZeroPadding2D(((1, 2), (3, 0)))(g)
    g = L.Cropping2D(((0, 1), (2, 1)))(g)
    g = L.Conv2DTranspose(3, 2, strides=3, padding="valid")(g)
    g = L.Conv2DTranspose(3, 4, strides=3, padding="same", use_bias=False)(g)
    return keras.Model(x, L.Conv2D(2, 1, activation="sigmoid")(g))


def mobile():
    x = L.Input((9, 9, 4))
    y = L.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2)(x)
    y = L.ReLU(6)(y)
    y = L.SeparableConv2D(6, 3, padding="same", activation="relu")(y)
    y = L.Conv2D(8, 3, groups=2, padding="same")(y)
    y = L.PReLU(shared_axes=[1, 2])(y)
    s = L.GlobalAveragePooling2D(keepdims=True)(y)
    s = L.Conv2D(8, 1, activation="hard_sigmoid")(s)
    y = L.Multiply()([y, s])
    y = L.ReLU(max_value=2.0, negative_slope=0.1)(y)
    y = L.GroupNormalization(4)(y)
    y = L.GlobalMaxPooling2D()(y)
    y = L.Reshape((2, -1))(y)
    return keras.Model(x, L.PReLU()(y))


def sequence():
    x = L.Input((16, 5))
    y = L.Conv1D(6, 3, dilation_rate=2, padding="causal", activation="tanh")(x)
    y = L.LayerNormalization()(y)
    y = L.Conv1D(6, 4, strides=3, padding="same")(y)
    y = L.ZeroPadding1D((1, 2))(y)
    y = L.UpSampling1D(2)(y)
    y = L.Cropping1D(1)(y)
    y = L.DepthwiseConv1D(3, padding="same", activation="softsign")(y)
    y = L.SeparableConv1D(4, 3, activation="softplus")(y)
    y = L.Conv1DTranspose(4, 3, strides=2, padding="same")(y)
    y = L.MaxPooling1D(3, strides=2)(y)
    y = L.AveragePooling1D(2)(y)
    y = L.LayerNormalization(scale=False, epsilon=1e-5)(y)
    y = L.RMSNormalization()(y)
    y = L.Permute((2, 1))(y)
    y = L.SpatialDropout1D(0.1)(y)
    return keras.Model(x, L.GlobalAveragePooling1D()(y))


def merged():
    """Two inputs and outputs, shared layers, inner models and arithmetic."""
    a, b = L.Input((6,), name="left"), L.Input((6,), name="right")
    shared = L.Dense(5, activation="tanh", name="shared")
    inner = keras.Sequential([L.Dense(5, activation="relu", name="one"), L.BatchNormalization(), L.Dense(5)], name="chain")
    t = L.Input((5,))
    graph = keras.Model(t, L.Add()([t, L.Dense(5, name="one")(t)]), name="graph")
    x, y = shared(a), shared(b)
    y = inner(y)
    z = L.Average()([x, y, graph(x)])
    z = L.Subtract()([z, L.Maximum()([x, y])])
    z = L.Add()([z, L.Minimum()([x, y]), x])
    z = z * 2.0 + 1.0 - x
    z = 3.0 - z / 4.0
    normal = L.Normalization()
    normal.adapt(np.random.default_rng(5).normal(2.0, 3.0, (50, 5)).astype("f4"))
    z = normal(z)
    z = L.Normalization(mean=0.5, variance=4.0)(z)
    return keras.Model([a, b], {"first": L.Dense(3, activation="softmax", name="first")(z), "second": L.Activation("tanh")(y)})


ACTIVATIONS = [
    "linear", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "exponential", "sigmoid", "tanh",
    "hard_sigmoid", "hard_silu", "softmax", "relu6", "mish", "softsign",
]


def activations():
    x = L.Input((4,))
    parts = [L.Dense(3, activation=name, name=name + "_units")(x) for name in ACTIVATIONS]
    parts += [L.ELU(0.5)(x), L.LeakyReLU()(x), L.Softmax()(x), L.Activation("gelu")(x)]
    parts += [L.Dense(3, activation=L.LeakyReLU(0.3))(x)]
    return keras.Model(x, L.Concatenate()(parts))


def keras_2():
    """The same numbers in a file as Keras 2 writes it: see `as_keras_2`."""
    x = L.Input((8, 8, 2), name="input_1")
    y = L.Conv2D(3, 3, padding="same", name="conv2d")(x)
    y = L.BatchNormalization(name="bn")(y)
    y = L.LeakyReLU(0.1, name="leaky")(y)
    z = L.Conv2D(3, 1, name="skip")(x)
    y = L.Add(name="add")([y, z])
    y = L.GlobalAveragePooling2D(name="pool")(y)
    return keras.Model(x, L.Dense(4, activation="softmax", name="dense")(y), name="model")


CASES = [digits, cnn, unet, mobile, sequence, merged, activations, keras_2]
AS_H5 = [digits, cnn, mobile, merged]


def randomised(model, random):
    """Weights and running statistics other than those of a new layer."""
    for weight in model.weights:
        if "count" in weight.path or "seed" in weight.path or "normalization/" in weight.path and "mean" in weight.path:
            continue
        values = random.normal(0, 0.4, weight.shape)
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.path else values + ("gamma" in weight.path))


def as_keras_2(model, path):
    """Writes the file of a functional model as Keras 2.15 does: names with `:0`, `batch_input_shape`, `alpha`, and
    calls as lists. Keras 3 reads such files."""
    described = []
    for layer in model.layers:
        config = {"name": layer.name, "trainable": True, "dtype": "float32"}
        given = layer.get_config()
        for key in ["filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate", "groups", "activation",
                    "use_bias", "momentum", "epsilon", "center", "scale", "units", "keepdims"]:
            if key in given:
                config[key] = given[key]
        kind = type(layer).__name__
        if kind == "InputLayer":
            config = {"batch_input_shape": [None, *layer.batch_shape[1:]], "dtype": "float32", "sparse": False,
                      "ragged": False, "name": layer.name}
        if kind == "BatchNormalization":
            config["axis"] = [3]
        if kind == "LeakyReLU":
            config["alpha"] = given["negative_slope"]
        calls = []
        if kind != "InputLayer":
            calls = [[[x._keras_history.operation.name, 0, 0, {}] for x in layer._inbound_nodes[0].input_tensors]]
        described.append({"class_name": kind, "config": config, "name": layer.name, "inbound_nodes": calls})
    config = {"class_name": "Functional", "config": {
        "name": model.name, "trainable": True, "layers": described, "input_layers": [["input_1", 0, 0]],
        "output_layers": [["dense", 0, 0]]}}
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = b"2.15.0", b"tensorflow"
        file.attrs["model_config"] = json.dumps(config).encode()
        group = file.create_group("model_weights")
        group.attrs["keras_version"], group.attrs["backend"] = b"2.15.0", b"tensorflow"
        group.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            own = group.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            own.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights):
                own.create_dataset(name, data=weight.numpy())


def as_keras_2_archive(model):
    """Writes `keras_2.keras` as Keras 2.15 does: the configuration of `keras_2.h5`, and numbered weights of layers that
    are numbered by class, without their names."""
    with h5py.File(HERE / "keras_2.h5") as file:
        config = file.attrs["model_config"]
    with h5py.File("weights", "w", driver="core", backing_store=False) as file:
        counts = {}
        for layer in model.layers:
            kind = to_snake_case(type(layer).__name__)
            number = counts[kind] = counts.get(kind, -1) + 1
            own = file.create_group(f"_layer_checkpoint_dependencies/{kind}_{number}" if number else
                                    f"_layer_checkpoint_dependencies/{kind}")
            own.create_group("vars")
            for i, weight in enumerate(layer.weights):
                own["vars"][str(i)] = weight.numpy()
        file.flush()
        weights = file.id.get_file_image()
    with zipfile.ZipFile(HERE / "keras_2.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", weights)


def outputs(model, inputs):
    given = model(inputs[0] if len(inputs) == 1 else inputs)
    listed = list(given.values()) if isinstance(given, dict) else given if isinstance(given, list) else [given]
    return [keras.ops.convert_to_numpy(output).astype("f4") for output in listed]


def main():
    random = np.random.default_rng(7)
    expected = {}
    for make in CASES:
        keras.utils.clear_session()
        name, model = make.__name__, make()
        if make is digits:
            model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
            model.fit(random.normal(0, 1, (32, 64)).astype("f4"), random.integers(0, 10, 32), verbose=0)
            model.save_weights(HERE / "digits.weights.h5")
        else:
            randomised(model, random)
        if make is keras_2:
            as_keras_2(model, HERE / "keras_2.h5")
            model = keras.models.load_model(HERE / "keras_2.h5", compile=False)
            as_keras_2_archive(model)
        else:
            model.save(HERE / f"{name}.keras")
        if make in AS_H5:
            model.save(HERE / f"{name}.h5")
        inputs = [random.normal(0, 1, (3, *x.shape[1:])).astype("f4") for x in model.inputs]
        for i, array in enumerate(inputs):
            expected[f"{name}.input.{i}"] = array
        for i, array in enumerate(outputs(model, inputs)):
            expected[f"{name}.output.{i}"] = array

    keras.utils.clear_session()
    refused = keras.Sequential([
        L.Input((10, 4)), L.ReLU(threshold=1.0, name="above"), L.LSTM(3, return_sequences=True, name="memory"),
        L.Dense(2, name="head"), L.GaussianNoise(0.1, name="noise"),
    ])
    refused.save(HERE / "refused.keras")
    keras.Sequential([L.Input((None, None, 3)), L.Conv2D(2, 3, padding="same")]).save(HERE / "open.keras")
    save_file(expected, HERE / "expected.safetensors")


def check(path, name):
    expected = load_file(HERE / "expected.safetensors")
    make = next(make for make in CASES if make.__name__ == name)
    model = make()
    model.load_weights(path)
    inputs = [expected[f"{name}.input.{i}"] for i in range(len(model.inputs))]
    for i, array in enumerate(outputs(model, inputs)):
        print(f"output {i}: largest difference {np.abs(array - expected[f'{name}.output.{i}']).max():.3g}")


if len(sys.argv) > 1:
    check(*sys.argv[1:])
else:
    main()
