//! Files that the tests write: shared layers, arguments of calls, and what is refused.

use serde_json::{Value as Json, json};

use crate::hdf5::{Attribute, Member, NewGroup, write};
use crate::{Device, Error, Keras, Model, Network};

/// A dense layer with 16 inputs and units, or as many as given. The kernel has the number `value` everywhere.
fn weights(name: &str, width: u32, value: f32) -> (String, Member) {
    let array = |shape: &[u32]| {
        let count = shape.iter().product::<u32>() as usize;
        Member::Array { shape: shape.to_vec(), words: vec![value.to_bits(); count] }
    };
    let names = ["kernel", "bias"].map(str::to_owned);
    let members = vec![(names[0].clone(), array(&[width, width])), (names[1].clone(), array(&[width]))];
    let attributes = vec![("weight_names".to_owned(), Attribute::Texts(names.to_vec()))];
    (name.to_owned(), Member::Group(NewGroup { attributes, members }))
}

/// A `.h5` file with a description of a model, and layers with weights.
fn file(config: &Json, layers: Vec<(String, Member)>) -> Vec<u8> {
    let names = Attribute::Texts(layers.iter().map(|(name, _)| name.clone()).collect());
    let group = NewGroup { attributes: vec![("layer_names".into(), names)], members: layers };
    let attributes = vec![("model_config".to_owned(), Attribute::Text(config.to_string()))];
    write(&NewGroup { attributes, members: vec![("model_weights".into(), Member::Group(group))] }).unwrap()
}

/// A `.weights.h5` file: its layers have numbered weights.
fn numbered(layers: &[&str]) -> Vec<u8> {
    let layer = |name: &&str| {
        let (_, Member::Group(group)) = weights("", 16, 1.0) else { unreachable!() };
        let members = group.members.into_iter().enumerate().map(|(i, (_, array))| (i.to_string(), array)).collect();
        let vars = Member::Group(NewGroup { attributes: vec![], members });
        (name.to_string(), Member::Group(NewGroup { attributes: vec![], members: vec![("vars".into(), vars)] }))
    };
    let layers = NewGroup { attributes: vec![], members: layers.iter().map(layer).collect() };
    write(&NewGroup { attributes: vec![], members: vec![("layers".into(), Member::Group(layers))] }).unwrap()
}

fn value(name: &str) -> Json {
    json!({"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}})
}

fn layer(class: &str, mut config: Json, name: &str, calls: &[Json]) -> Json {
    config["name"] = name.into();
    json!({"class_name": class, "config": config, "inbound_nodes": calls})
}

fn input(name: &str, shape: &[u32]) -> Json {
    let shape: Vec<Option<u32>> = [None].into_iter().chain(shape.iter().copied().map(Some)).collect();
    layer("InputLayer", json!({"batch_shape": shape}), name, &[])
}

/// A graph whose inputs are its layers of the class `InputLayer`.
fn graph(layers: &[Json], outputs: &[&str]) -> Json {
    let place = |name: &str| json!([name, 0, 0]);
    let inputs = layers.iter().filter(|layer| layer["class_name"] == "InputLayer");
    let inputs: Vec<Json> = inputs.map(|layer| place(layer["config"]["name"].as_str().unwrap())).collect();
    let outputs: Vec<Json> = outputs.iter().map(|name| place(name)).collect();
    json!({"class_name": "Functional",
           "config": {"name": "model", "layers": layers, "input_layers": inputs, "output_layers": outputs}})
}

/// The error of a graph with one input `x`, of this shape, and one layer after it.
fn refused(shape: &[u32], class: &str, config: Json, call: Json) -> String {
    let layers = [input("x", shape), layer(class, config, "y", &[call])];
    Network::from_keras(&file(&graph(&layers, &["y"]), vec![])).unwrap_err().to_string()
}

fn call_of(name: &str) -> Json {
    json!({"args": [value(name)], "kwargs": {"mask": null, "training": false}})
}

#[test]
fn a_shared_layer_may_be_most_of_the_file() {
    let normalization = json!({"axis": -1, "mean": 0.5, "variance": 4.0});
    let calls = [call_of("left"), call_of("right")];
    let second = json!({"class_name": "__keras_tensor__", "config": {"keras_history": ["scaled", 1, 0]}});
    let layers = [
        input("left", &[64]),
        input("right", &[64]),
        layer("Normalization", normalization, "scaled", &calls),
        layer("Dense", json!({"units": 64}), "shared", &[call_of("scaled"), json!({"args": [second], "kwargs": {}})]),
    ];
    let mut config = graph(&layers, &["shared"]);
    config["config"]["output_layers"] = json!([["shared", 0, 0], ["shared", 1, 0]]);
    let bytes = file(&config, vec![weights("shared", 64, 0.25)]);
    let (network, parameters) = Network::from_keras(&bytes).unwrap();
    assert!(64 * 65 * 4 > bytes.len() / 2, "{}", bytes.len());
    assert_eq!(parameters.iter().filter(|number| **number == 0.25).count(), 64 * 65);
    let names: Vec<&str> = network.layers().map(|(name, _)| name).collect();
    assert!(names.contains(&"shared_2") && names.contains(&"scaled_mean"), "{names:?}");
    assert!(!names.contains(&"scaled_mean_2"), "{names:?}");
}

#[test]
fn arguments_that_change_a_call_are_refused() {
    let dropout = |call: Json| refused(&[4], "Dropout", json!({"rate": 0.5}), call);
    let training = dropout(json!({"args": [value("x")], "kwargs": {"training": true}}));
    assert!(training.contains("Dropout \"y\": the argument \"training\" is not supported"), "{training}");
    // Keras 2.
    let training = dropout(json!([["x", 0, 0, {"training": true}]]));
    assert!(training.contains("the argument \"training\" is not supported"), "{training}");
    let named = refused(&[4], "Add", json!({}), json!({"args": [value("x")], "kwargs": {"x2": value("x")}}));
    assert!(named.contains("the argument \"x2\" is not supported"), "{named}");
    let text = dropout(json!({"args": [value("x"), "text"], "kwargs": {}}));
    assert!(text.contains("the argument \"text\" is not supported"), "{text}");
    let number = dropout(json!({"args": [value("x"), 1.5], "kwargs": {}}));
    assert!(number.contains("a number as an argument is not supported"), "{number}");
}

#[test]
fn names_of_layers_are_short_and_different() {
    let x = input("x", &[4]);
    let error = |layers: &[Json]| Network::from_keras(&file(&graph(layers, &["x"]), vec![])).unwrap_err().to_string();
    let twice = error(&[x.clone(), x.clone()]);
    assert!(twice.contains("two layers have the name \"x\""), "{twice}");
    let long = error(&[x, layer("Flatten", json!({}), &"n".repeat(1025), &[call_of("x")])]);
    assert!(long.contains("a name of 1025 bytes; expected at most 1024"), "{long}");
}

#[test]
fn other_axes_modules_and_huge_shapes_are_refused() {
    let softmax = json!({"class_name": "Softmax", "config": {"axis": 1}});
    let axis = refused(&[8, 8, 2], "Activation", json!({"activation": softmax}), call_of("x"));
    assert!(axis.contains("attribute axis: expected the last axis (-1), got 1"), "{axis}");
    let shape = refused(&[u32::MAX], "Flatten", json!({}), call_of("x"));
    assert!(shape.contains("expected at most 1073741824 elements"), "{shape}");
    let config = json!({"axis": -1, "scale": false, "center": false});
    let filled = refused(&[1 << 27], "LayerNormalization", config, call_of("x"));
    assert!(filled.contains("too many scales and shifts that the file does not have"), "{filled}");
    let mut other = layer("Flatten", json!({}), "y", &[call_of("x")]);
    other["module"] = "keras_hub.layers".into();
    let error = Network::from_keras(&file(&graph(&[input("x", &[4]), other], &["y"]), vec![])).unwrap_err().to_string();
    assert!(error.contains("the class of the module keras_hub.layers is not supported"), "{error}");
}

#[test]
fn shapes_of_unknown_inputs_are_an_error() {
    let sum = layer("Add", json!({}), "sum", &[json!({"args": [[value("a"), value("b")]], "kwargs": {}})]);
    let bytes = file(&graph(&[input("a", &[4]), input("b", &[4]), sum], &["sum"]), vec![]);
    let with = |name: &str| Keras::read(&bytes).unwrap().input_shape(name, &[4]).network();
    assert!(with("b").is_ok());
    let error = with("c").unwrap_err().to_string();
    assert!(
        error.contains("no input has the name \"c\" of Keras::input_shape; the inputs are \"a\", \"b\""),
        "{error}"
    );
}

#[test]
fn types_that_are_not_read_are_named() {
    let layers = [input("x", &[16]), layer("Dense", json!({"units": 16}), "y", &[call_of("x")])];
    let mut bytes = file(&graph(&layers, &["y"]), vec![weights("y", 16, 1.0)]);
    // A float of 4 bytes becomes one of 2 bytes that also has 8 bits of exponent.
    let float = [0x11, 0x20, 31, 0, 4, 0, 0, 0];
    for at in 0..bytes.len() - float.len() {
        if bytes[at..].starts_with(&float) {
            bytes[at + 4] = 2;
        }
    }
    let error = Network::from_keras(&bytes).unwrap_err().to_string();
    assert!(error.contains("weight kernel: expected f16, f32 or f64, got bfloat16"), "{error}");
}

#[test]
fn layers_of_equal_shapes_have_the_order_that_the_file_states() {
    let network = Network::input(16).dense(16, crate::Activation::Relu).dense(16, crate::Activation::Relu);
    let network = network.build().unwrap();
    let load = |bytes: &[u8]| Model::weights_from_bytes(Device::Cpu, &network, bytes);
    for names in [["encoder", "head"], ["head", "encoder"]] {
        let layers = vec![weights(names[0], 16, 1.0), weights(names[1], 16, 2.0)];
        let model = load(&file(&json!({}), layers)).unwrap();
        let parameters = model.parameters().unwrap();
        let kernels = [0, 2].map(|i| parameters[network.parameters()[i].range().start]);
        assert_eq!(kernels, [1.0, 2.0], "{names:?}");
    }
    // Without names of layers, the order in the file is alphabetical.
    let bytes = numbered(&["encoder", "head"]);
    let error = load(&bytes).map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::File { .. }));
    assert!(error.to_string().contains("order of layers encoder and head: unknown"), "{error}");
}

#[test]
fn groups_are_left_out_of_names_only_as_a_whole() {
    let network = Network::input(16).dense(16, crate::Activation::Relu).build().unwrap();
    let map = crate::LoadWeights::new().map([("hidden_layers", network.layers().next().unwrap().0)]);
    for bytes in [file(&json!({}), vec![weights("hidden_layers", 16, 1.0)]), numbered(&["hidden_layers"])] {
        assert!(Model::weights_from_bytes_with(Device::Cpu, &network, &bytes, &map).is_ok());
    }
}
