//! Hostile ONNX files: each gives an error or a network, without a panic, in bounded memory and time.

#[path = "common/damage.rs"]
mod damage;

use wgrad::Onnx;

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// A field with bytes.
fn bytes(number: u64, contents: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    varint(&mut field, number << 3 | 2);
    varint(&mut field, contents.len() as u64);
    field.extend(contents);
    field
}

/// A field with a whole number.
fn int(number: u64, value: i64) -> Vec<u8> {
    let mut field = Vec::new();
    varint(&mut field, number << 3);
    varint(&mut field, value as u64);
    field
}

fn int_attribute(name: &str, value: i64) -> Vec<u8> {
    [bytes(1, name.as_bytes()), int(3, value), int(20, 2)].concat()
}

fn ints_attribute(name: &str, values: &[i64]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|&value| int(8, value)).collect();
    [bytes(1, name.as_bytes()), values, int(20, 7)].concat()
}

fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut node = bytes(4, op.as_bytes());
    inputs.iter().for_each(|name| node.extend(bytes(1, name.as_bytes())));
    outputs.iter().for_each(|name| node.extend(bytes(2, name.as_bytes())));
    attributes.iter().for_each(|attribute| node.extend(bytes(5, attribute)));
    node
}

fn tensor(name: &str, dtype: i64, dims: &[i64], raw: &[u8]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|&length| int(1, length)).collect();
    [dims, int(2, dtype), bytes(8, name.as_bytes()), bytes(9, raw)].concat()
}

fn floats(name: &str, dims: &[i64]) -> Vec<u8> {
    let raw: Vec<u8> = (0..dims.iter().product()).flat_map(|i: i64| (i as f32).to_le_bytes()).collect();
    tensor(name, 1, dims, &raw)
}

fn whole_numbers(name: &str, values: &[i64]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor(name, 7, &[values.len() as i64], &raw)
}

fn value(name: &str, dims: &[i64]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|&length| bytes(1, &int(1, length))).collect();
    let kind = bytes(1, &[int(1, 1), bytes(2, &dims)].concat());
    [bytes(1, name.as_bytes()), bytes(2, &kind)].concat()
}

/// A model with the input "x" and the output "y".
fn model(opset: i64, nodes: &[Vec<u8>], constants: &[Vec<u8>], dims: &[i64]) -> Vec<u8> {
    let mut graph = Vec::new();
    nodes.iter().for_each(|node| graph.extend(bytes(1, node)));
    constants.iter().for_each(|tensor| graph.extend(bytes(5, tensor)));
    graph.extend(bytes(11, &value("x", dims)));
    graph.extend(bytes(12, &value("y", &[])));
    [bytes(7, &graph), bytes(8, &int(2, opset))].concat()
}

/// The error of a model, with and without a batch. Empty if it becomes a network.
fn errors(file: &[u8]) -> [String; 2] {
    let read = |unbatched: bool| {
        let onnx = Onnx::read(file)?;
        if unbatched { onnx.unbatched() } else { onnx }.network()
    };
    [false, true].map(|unbatched| read(unbatched).err().map_or(String::new(), |error| error.to_string()))
}

fn assert_refused(what: &str, file: &[u8], words: &str) {
    for error in errors(file) {
        assert!(error.contains(words), "{what}: expected an error with {words:?}, got {error:?}");
    }
}

#[test]
fn a_file_cut_off_at_any_byte_is_refused() {
    let gemm = node("Gemm", &["x", "w"], &["z"], &[]);
    let relu = node("Relu", &["z"], &["y"], &[]);
    let file = model(13, &[gemm, relu], &[floats("w", &[3, 2])], &[1, 3]);
    assert_eq!(errors(&file), ["", ""]);
    for length in 0..file.len() {
        assert!(errors(&file[..length]).iter().all(|error| !error.is_empty()), "{length} of {} bytes", file.len());
    }
}

#[test]
fn a_cyclic_graph_is_refused() {
    let add = node("Add", &["x", "b"], &["a"], &[]);
    let relu = node("Relu", &["a"], &["b"], &[]);
    let end = node("Relu", &["b"], &["y"], &[]);
    assert_refused("a cycle", &model(13, &[add, relu, end], &[], &[1, 3]), "cycle");
    assert_refused("itself", &model(13, &[node("Relu", &["y"], &["y"], &[])], &[], &[1, 3]), "cycle");
}

#[test]
fn gigantic_shapes_are_refused() {
    let huge = 1 << 40;
    let relu = |input| node("Relu", &[input], &["y"], &[]);
    assert_refused("an input", &model(13, &[relu("x")], &[], &[1, huge]), "dimension");
    let fill = node("ConstantOfShape", &["shape"], &["c"], &[]);
    let add = node("Add", &["x", "c"], &["y"], &[]);
    let file = model(13, &[fill, add], &[whole_numbers("shape", &[1, huge])], &[1, 1]);
    assert_refused("a constant", &file, "1099511627776");
    let expand = node("Expand", &["x", "shape"], &["y"], &[]);
    assert_refused("Expand", &model(13, &[expand], &[whole_numbers("shape", &[1, huge])], &[1, 1]), "1099511627776");
    let lie = tensor("w", 1, &[huge, huge], &[0; 8]);
    assert_refused("a tensor", &model(13, &[node("MatMul", &["x", "w"], &["y"], &[])], &[lie], &[1, 3]), "numbers");
    let range = node("Range", &["0", "end", "1"], &["c"], &[]);
    let scalar = |name, value: i64| tensor(name, 7, &[], &value.to_le_bytes());
    let cast = node("Cast", &["c"], &["f"], &[int_attribute("to", 1)]);
    let add = node("Add", &["x", "f"], &["y"], &[]);
    let numbers = [scalar("0", 0), scalar("end", i64::MAX), scalar("1", 1)];
    assert_refused("Range", &model(13, &[range, cast, add], &numbers, &[1, 1]), "elements");
}

/// A dimension of length 0 makes a tensor empty, but loops over the others would not end.
#[test]
fn gigantic_shapes_of_empty_constants_are_refused() {
    let huge = 1 << 60;
    let empty = |dims: &[i64]| tensor("w", 1, dims, &[]);
    let sum = node("Add", &["x", "c"], &["y"], &[]);
    let gather = node("Gather", &["w", "places"], &["c"], &[int_attribute("axis", 1)]);
    let file = model(13, &[gather, sum.clone()], &[empty(&[huge, 5, 0]), whole_numbers("places", &[0])], &[1, 3]);
    assert_refused("Gather", &file, "elements");
    let concat = node("Concat", &["w", "w"], &["c"], &[int_attribute("axis", 1)]);
    assert_refused("Concat", &model(13, &[concat, sum.clone()], &[empty(&[huge, 0])], &[1, 3]), "elements");
    let reduce = node("ReduceSum", &["w", "axes"], &["c"], &[]);
    let file = model(13, &[reduce, sum.clone()], &[empty(&[0, huge]), whole_numbers("axes", &[0])], &[1, 3]);
    assert_refused("ReduceSum", &file, "elements");
    let mut dims = vec![1; 65];
    dims[0] = 3;
    let file = model(13, &[node("Add", &["x", "w"], &["y"], &[])], &[floats("w", &dims)], &[1, 3]);
    assert_refused("65 dimensions", &file, "65 dimensions");
}

#[test]
fn an_axis_that_is_sliced_twice_is_refused() {
    let slice = |x| node("Slice", &[x, "starts", "ends", "axes"], &["s"], &[]);
    let numbers = |axis: i64| {
        let given = [("starts", [3, 3]), ("ends", [4, 4]), ("axes", [axis; 2])];
        given.map(|(name, values)| whole_numbers(name, &values)).to_vec()
    };
    let add = node("Add", &["x", "s"], &["y"], &[]);
    let of_constant = [numbers(0), vec![floats("w", &[4])]].concat();
    assert_refused("a constant", &model(13, &[slice("w"), add.clone()], &of_constant, &[1, 4]), "each axis once");
    assert_refused("computed", &model(13, &[slice("x"), add], &numbers(1), &[1, 4]), "each axis once");
}

#[test]
fn a_global_pool_without_channels_is_refused() {
    for op in ["GlobalMaxPool", "GlobalAveragePool"] {
        let file = model(13, &[node(op, &["x"], &["y"], &[])], &[], &[3]);
        assert_refused(op, &file, "without channels");
    }
}

/// The last numbers are those that the largest constant would absorb, if it came first.
#[test]
fn a_large_constant_loses_no_digits_of_a_maximum() {
    let low = tensor("low", 1, &[], &(-1e9f32).to_le_bytes());
    let file = model(13, &[node("Max", &["low", "x"], &["y"], &[])], &[low], &[1, 2]);
    let (network, weights) = Onnx::read(&file).unwrap().network().unwrap();
    let model = wgrad::Model::new(wgrad::Device::Cpu, &network, &weights).unwrap();
    // x + relu(-1e9 - x)
    assert_eq!(model.forward(&[0.1, -7.25]).unwrap(), [0.1, -7.25]);
}

#[test]
fn a_million_nodes_are_refused() {
    let chain = |count: usize, op: &str| {
        let name = |i: usize| {
            if i == 0 {
                "x".into()
            } else if i == count {
                "y".into()
            } else {
                i.to_string()
            }
        };
        let nodes: Vec<_> = (0..count).map(|i| node(op, &[&name(i)], &[&name(i + 1)], &[])).collect();
        model(13, &nodes, &[], &[1, 3])
    };
    let error = Onnx::read(&chain(1_000_000, "Relu")).err().map_or(String::new(), |error| error.to_string());
    assert!(error.contains("more than 2097152 nodes"), "{error}");
    assert_eq!(errors(&chain(10_000, "Identity")), ["", ""]);
}

#[test]
fn deep_graphs_in_attributes_are_no_recursion() {
    let mut graph = Vec::new();
    for _ in 0..2000 {
        let attribute = [bytes(1, b"then_branch"), bytes(6, &graph), int(20, 5)].concat();
        graph = bytes(1, &node("If", &["x"], &["y"], &[attribute]));
    }
    let file = [
        bytes(7, &[graph, bytes(11, &value("x", &[1, 3])), bytes(12, &value("y", &[]))].concat()),
        bytes(8, &int(2, 13)),
    ]
    .concat();
    assert_refused("If", &file, "If");
}

const NUMBERS: [i64; 9] = [0, 1, -1, 2, -7, 1 << 31, 1 << 62, i64::MIN, i64::MAX];

#[test]
fn extreme_attributes_do_not_panic() {
    let image = [1, 4, 6, 6];
    let constants = [floats("w", &[4, 4, 3, 3]), floats("c", &[4]), whole_numbers("i", &[1, 0])];
    let operators: [(&str, i64, &[&str], &str); 22] = [
        ("Conv", 13, &["x", "w"], "kernel_shape pads strides dilations group"),
        ("ConvTranspose", 13, &["x", "w"], "pads strides dilations group output_padding output_shape"),
        ("MaxPool", 13, &["x"], "kernel_shape pads strides dilations ceil_mode"),
        ("AveragePool", 19, &["x"], "kernel_shape pads strides dilations ceil_mode count_include_pad"),
        ("LRN", 13, &["x"], "size"),
        ("Transpose", 13, &["x"], "perm"),
        ("Flatten", 13, &["x"], "axis"),
        ("Softmax", 11, &["x"], "axis"),
        ("LogSoftmax", 13, &["x"], "axis"),
        ("Concat", 13, &["x", "x"], "axis"),
        ("Split", 11, &["x"], "axis split"),
        ("Squeeze", 11, &["x"], "axes"),
        ("Unsqueeze", 11, &["x"], "axes"),
        ("ReduceSum", 11, &["x"], "axes keepdims"),
        ("ReduceProd", 11, &["x"], "axes keepdims"),
        ("Gather", 13, &["x", "i"], "axis"),
        ("Slice", 9, &["x"], "starts ends axes"),
        ("Pad", 10, &["x"], "pads"),
        ("DepthToSpace", 13, &["x"], "blocksize"),
        ("SpaceToDepth", 13, &["x"], "blocksize"),
        ("LayerNormalization", 17, &["x", "c"], "axis"),
        ("GroupNormalization", 21, &["x", "c", "c"], "num_groups"),
    ];
    for (op, opset, inputs, attributes) in operators {
        for name in attributes.split(' ') {
            // The other attributes that the operator needs.
            let needs = |other: &str, of: &str| other != name && op == of;
            let mut others = Vec::new();
            if needs("kernel_shape", "MaxPool") || needs("kernel_shape", "AveragePool") {
                others.push(ints_attribute("kernel_shape", &[2, 3]));
            }
            for other in ["starts", "ends"].into_iter().filter(|other| needs(other, "Slice")) {
                others.push(ints_attribute(other, &[0]));
            }
            for number in NUMBERS {
                let lists = [0, 1, 2, 4, 8].map(|count| ints_attribute(name, &vec![number; count]));
                for attribute in lists.into_iter().chain([int_attribute(name, number)]) {
                    let attributes = [&others[..], &[attribute]].concat();
                    errors(&model(opset, &[node(op, inputs, &["y"], &attributes)], &constants, &image));
                }
            }
        }
    }
}

#[test]
fn extreme_constants_do_not_panic() {
    let operators: [(&str, &[&str]); 12] = [
        ("Reshape", &["x", "n"]),
        ("Expand", &["x", "n"]),
        ("Tile", &["x", "n"]),
        ("Resize", &["x", "", "", "n"]),
        ("Pad", &["x", "n"]),
        ("Slice", &["x", "n", "i", "i", "j"]),
        ("Slice", &["x", "i", "n", "i", "j"]),
        ("Slice", &["x", "i", "i", "n", "j"]),
        ("Slice", &["x", "i", "j", "i", "n"]),
        ("Gather", &["x", "n"]),
        ("Split", &["x", "n"]),
        ("ReduceSum", &["x", "n"]),
    ];
    for (op, inputs) in operators {
        for number in NUMBERS {
            for count in [0, 1, 2, 4, 8] {
                let constants =
                    [whole_numbers("n", &vec![number; count]), whole_numbers("i", &[1]), whole_numbers("j", &[3])];
                errors(&model(13, &[node(op, inputs, &["y"], &[])], &constants, &[1, 4, 6, 6]));
            }
        }
    }
}

#[test]
fn extreme_scales_do_not_panic() {
    for scale in [0.0, -1.0, 1e-30, 1e30, f32::NAN, f32::INFINITY, f32::MIN_POSITIVE, 0.3, 1e3] {
        let raw: Vec<u8> = [1.0, 1.0, scale, scale].iter().flat_map(|scale: &f32| scale.to_le_bytes()).collect();
        for mode in ["nearest", "linear", "cubic"] {
            for antialias in [0, 1] {
                let mode = [bytes(1, b"mode"), bytes(4, mode.as_bytes()), int(20, 3)].concat();
                let resize = node("Resize", &["x", "", "s"], &["y"], &[mode, int_attribute("antialias", antialias)]);
                errors(&model(18, &[resize], &[tensor("s", 1, &[4], &raw)], &[1, 2, 6, 6]));
            }
        }
    }
}

/// Damaged copies of models that PyTorch and others wrote. ONNX_CASES sets their number.
#[test]
fn damaged_models_do_not_panic() {
    let copies = std::env::var("ONNX_CASES").ok().and_then(|copies| copies.parse().ok()).unwrap_or(4000);
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx");
    let paths = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|ending| ending == "onnx")).collect();
    paths.sort();
    let files: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(files.len() > 10, "{paths:?}");
    let mut longest = std::time::Duration::ZERO;
    let refused = damage::each(&files, copies, |file| {
        let start = std::time::Instant::now();
        let is_read = errors(file)[0].is_empty();
        longest = longest.max(start.elapsed());
        is_read
    });
    assert!(refused > copies / 4, "{refused} of {copies} refused");
    // A model of these sizes is read in milliseconds; a loop over a damaged dimension would take minutes.
    assert!(longest.as_secs() < 10, "{longest:?} for one file");
}
