//! NumPy files. `tests/numpy/generate.py` wrote the stored ones.

#[path = "common/damage.rs"]
mod damage;

use std::path::PathBuf;

use wgrad::{Activation::*, Dataset, Device, Error, LoadWeights, Model, Naming, Network, NumpyArray, WeightFormat};

fn stored(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/numpy").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text<T>(result: wgrad::Result<T>) -> String {
    result.err().expect("an error").to_string()
}

#[test]
fn every_type_and_order_gives_the_same_numbers() {
    let expected: Vec<f32> = (0..24).map(|i| i as f32).collect();
    for file in ["arrays.npz", "compressed.npz"] {
        let arrays = NumpyArray::read_npz(&stored(file)).unwrap();
        // 11 types in two byte orders and two orders of dimensions, and four more.
        assert_eq!(arrays.len(), 11 * 4 + 4);
        for (name, array) in arrays.iter().filter(|(name, _)| name.contains("_little") || name.contains("_big")) {
            assert_eq!((array.shape(), array.to_f32()), (&[2, 3, 4][..], expected.clone()), "{name}");
            assert_eq!(array.to_labels().unwrap(), (0..24).collect::<Vec<u32>>(), "{name}");
        }
        assert_eq!(arrays["bool"].to_labels().unwrap()[..4], [0, 1, 0, 1]);
        assert_eq!((arrays["single"].shape(), arrays["single"].to_f32()), (&[][..], vec![7.0]));
        assert_eq!((arrays["empty"].shape(), arrays["empty"].to_f32()), (&[0, 3][..], vec![]));
        assert_eq!((arrays["vector"].shape(), arrays["vector"].to_f32()), (&[5][..], vec![0.0, 1.0, 2.0, 3.0, 4.0]));
    }
    for version in 1..=3 {
        let array = NumpyArray::read(&stored(&format!("version_{version}.npy"))).unwrap();
        assert_eq!((array.shape(), array.to_f32()), (&[2, 3, 4][..], expected.clone()), "version {version}");
        // The bytes that NumPy itself writes.
        assert_eq!(array.to_npy(), stored("version_1.npy"));
    }
}

#[test]
fn arrays_become_a_data_set() {
    let arrays = NumpyArray::read_npz(&stored("digits.npz")).unwrap();
    let data = Dataset::from_arrays(&arrays["images"], &arrays["labels"], 4).unwrap();
    assert_eq!((data.rows(), data.labels()), (2, &[3, 1][..]));
    assert_eq!(data.inputs().next().unwrap().1[..], [4, 4]);
    // Bytes stay bytes: 31 is read as 31 / 255, with one rounding of the quotient or of the reciprocal.
    let last = data.features_of(1..2)[15];
    assert!((last - 31.0 / 255.0).abs() <= 2.0 * f32::EPSILON * last, "{last}");
    let image = arrays["images"].clone().reshaped(&[2, 4, 4, 1]).unwrap();
    let column = arrays["labels"].clone().reshaped(&[2, 1]).unwrap();
    assert_eq!(Dataset::from_arrays(&image, &column, 4).unwrap().inputs().next().unwrap().1[..], [4, 4, 1]);
    let numbers = NumpyArray::new(&[2], &[0.5, 1.5]).unwrap();
    let targets = Dataset::from_array_targets(&arrays["images"], &numbers).unwrap();
    assert_eq!(targets.targets(), &wgrad::Targets::Values { values: vec![0.5, 1.5], outputs: 1 });

    let three = NumpyArray::new(&[3], &[0.0; 3]).unwrap();
    let errors = [
        (text(Dataset::from_arrays(&image, &three, 4)), "rows of the NumPy array of labels: expected 2"),
        (text(Dataset::from_arrays(&image, &numbers, 4)), "label 0 of the NumPy array: expected a whole number"),
        (text(Dataset::from_arrays(&image, &column, 3)), "label"),
        (text(image.clone().reshaped(&[3, 4])), "new shape of the NumPy array: expected a shape of 32 elements"),
        (text(NumpyArray::new(&[usize::MAX, 8], &[])), "new shape"),
        (text(Dataset::from_array_targets(&NumpyArray::new(&[], &[1.0]).unwrap(), &three)), "NumPy array of features"),
    ];
    for (error, expected) in errors {
        assert!(error.contains(expected), "{error}");
    }
    let negative = NumpyArray::new(&[2], &[-1.0, 0.0]).unwrap();
    assert!(text(Dataset::from_arrays(&image, &negative, 4)).contains("got -1"));
}

#[test]
fn weights_are_read_by_names_and_written_again() {
    let network = Network::input(3).dense(5, Relu).dense(2, Identity).build().unwrap();
    let known = NumpyArray::read_npz(&stored("predictions.npz")).unwrap();
    let (x, y) = (known["x"].to_f32(), known["y"].to_f32());
    let mut models = Vec::new();
    for file in ["weights.npz", "weights_units_first.npz"] {
        let model = Model::weights_from_bytes(Device::Cpu, &network, &stored(file)).unwrap();
        assert_eq!(model.forward(&x).unwrap(), y, "{file}");
        models.push(model);
    }
    for naming in [Naming::Wgrad, Naming::PyTorch, Naming::Keras] {
        let bytes = models[0].weights_to_bytes(WeightFormat::Npz(naming)).unwrap();
        let copy = Model::weights_from_bytes_with(Device::Cpu, &network, &bytes, &LoadWeights::new().layout(naming));
        assert_eq!(copy.unwrap().parameters().unwrap(), models[0].parameters().unwrap(), "{naming:?}");
    }
    let path = std::env::temp_dir().join(format!("wgrad-numpy-{}.npz", std::process::id()));
    models[0].save_weights(&path, WeightFormat::Npz(Naming::Wgrad)).unwrap();
    let names: Vec<String> = NumpyArray::read_npz(&std::fs::read(&path).unwrap()).unwrap().into_keys().collect();
    assert_eq!(names, ["dense_1.bias", "dense_1.weight", "dense_2.bias", "dense_2.weight"]);
    let copy = Model::load_weights(Device::Cpu, &network, &path).unwrap();
    assert_eq!(copy.forward(&x).unwrap(), y);
    std::fs::remove_file(&path).unwrap();

    let other = Network::input(3).dense(4, Relu).dense(2, Identity).build().unwrap();
    let error = text(Model::weights_from_bytes(Device::Cpu, &other, &stored("weights.npz")));
    assert!(error.contains("dense_1.weight") && error.contains("[3, 5]"), "{error}");
    let error = text(Model::from_bytes(Device::Cpu, &stored("weights.npz")));
    assert!(error.contains("no network description"), "{error}");
}

#[test]
fn what_is_no_array_of_numbers_is_refused() {
    let header = |text: &str| [b"\x93NUMPY\x01\0", &(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat();
    let of = |descr: &str, order: &str, shape: &str| {
        header(&format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"))
    };
    let cases = [
        (stored("complex.npy"), "expected booleans, integers or floats"),
        (stored("arrays.npz"), "does not begin with"),
        (vec![], "does not begin with"),
        (b"\x93NUMPY\x09\0\0\0".to_vec(), "version of the format: expected 1, 2 or 3, got 9"),
        (header("{}"), "\"descr\" is missing"),
        (of("[('a', '<f4')]", "False", "(1,)"), "type: expected"),
        (of("'|O'", "False", "(1,)"), "type: expected"),
        (of("'<f4'", "Maybe", "(1,)"), "\"fortran_order\": expected True or False"),
        (of("'<f4'", "False", "(1, x)"), "\"shape\": expected a tuple"),
        (of("'<f4'", "False", "(-1,)"), "\"shape\": expected a tuple"),
        (of("'<f4'", "False", "(1000000000000,)"), "cut short or damaged: expected 4000000000000 bytes"),
        (of("'<f4'", "False", "(4294967296, 4294967296)"), "too large"),
        (of("'<f4'", "True", "(0, 4294967296)"), ""),
    ];
    for (bytes, expected) in cases {
        match NumpyArray::read(&bytes) {
            Err(error @ Error::File { .. }) => assert!(error.to_string().contains(expected), "{error}"),
            Err(error) => panic!("{error}"),
            Ok(array) => assert!(array.to_f32().is_empty(), "{expected}"),
        }
    }
}

#[test]
fn damaged_files_give_an_error_or_an_array() {
    let files = ["version_1.npy", "version_2.npy", "complex.npy"].map(stored);
    let refused = damage::each(&files, 3000, |bytes| NumpyArray::read(bytes).map(|array| array.to_f32()).is_ok());
    assert!(refused > 300, "{refused}");
    let files = ["arrays.npz", "compressed.npz", "digits.npz"].map(stored);
    let refused = damage::each(&files, 3000, |bytes| NumpyArray::read_npz(bytes).is_ok());
    assert!(refused > 300, "{refused}");
    let network = Network::input(3).dense(5, Relu).dense(2, Identity).build().unwrap();
    let files = ["weights.npz", "weights_units_first.npz"].map(stored);
    let refused = damage::each(&files, 2000, |bytes| Model::weights_from_bytes(Device::Cpu, &network, bytes).is_ok());
    assert!(refused > 200, "{refused}");
}

#[test]
fn arrays_have_at_most_64_dimensions() {
    assert!(NumpyArray::new(&[1; 64], &[2.0]).is_ok());
    let error = NumpyArray::new(&[1; 65], &[2.0]).unwrap_err().to_string();
    assert!(error.contains("at most 64 dimensions") && error.contains("65 dimensions"), "{error}");
    let shape = "1, ".repeat(1000);
    let header = format!("{{'descr': '<f4', 'fortran_order': True, 'shape': ({shape}), }}");
    let start = [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..]].concat();
    let error = NumpyArray::read(&[&start, header.as_bytes(), &[0; 4]].concat()).unwrap_err().to_string();
    assert!(error.contains("expected at most 64 dimensions, got 1000"), "{error}");
}
