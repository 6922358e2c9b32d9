//! Model files: saving, loading and their errors.

use safetensors::tensor::{Dtype, SafeTensors};

use super::*;

/// A file is enough to run the model on any device. Saving it again gives the same bytes.
#[test]
fn a_file_is_enough_to_run_the_model_on_any_device() {
    let path = folder("model").join("model.safetensors");
    let features = random(1, 4 * 6);
    for device in devices() {
        let model = model(device.clone());
        model.save(&path).unwrap();
        for other in devices() {
            let loaded = Model::load(other, &path).unwrap();
            assert_eq!(loaded.network(), model.network());
            assert_eq!(bits(&loaded.parameters().unwrap()), bits(&model.parameters().unwrap()));
            assert_eq!(loaded.to_bytes().unwrap(), std::fs::read(&path).unwrap(), "always the same bytes");
        }
        let loaded = Model::load(device, &path).unwrap();
        assert_eq!(loaded.forward(&features).unwrap(), model.forward(&features).unwrap());
        let probabilities = loaded.predict_proba(&features).unwrap();
        assert_eq!(probabilities, model.predict_proba(&features).unwrap());
        assert!(probabilities.chunks(3).all(|p| (p.iter().sum::<f32>() - 1.0).abs() < 1e-6), "{probabilities:?}");
    }
}

/// Saved weights keep every bit, including subnormal numbers and −0.
#[test]
fn weights_keep_every_bit() {
    let network = Network::input(2).dense(3, Identity).build().unwrap();
    let mut parameters = vec![0.0; network.parameter_words() as usize];
    let odd = [f32::MAX, -f32::MIN_POSITIVE, f32::from_bits(1), -0.0, f32::MIN_POSITIVE / 8.0, f32::MIN];
    parameters[..6].copy_from_slice(&odd);
    for device in devices() {
        let bytes = Model::new(device.clone(), &network, &parameters).unwrap().to_bytes().unwrap();
        let loaded = Model::from_bytes(device, &bytes).unwrap();
        assert_eq!(bits(&loaded.parameters().unwrap()), bits(&parameters));
    }
}

/// A file is in the safetensors format. Its metadata describes the network.
#[test]
fn a_file_is_safetensors_that_tells_what_it_is() {
    let bytes = model(Device::Cpu).to_bytes().unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    assert_eq!((&*metadata["format"], &*metadata["version"], &*metadata["link"]), ("wgrad", "1", "\"Softmax\""));
    assert!(metadata["network"].starts_with(r#"{"input_shape":[2,3],"layers":["Flatten",{"Dense":{"units":7,"#));
    let weight = header.info("dense_2.weight").unwrap();
    assert_eq!((weight.dtype, &weight.shape[..]), (Dtype::F32, &[6, 7][..]));
    assert_eq!(header.offset_keys().len(), network().parameters().len());
}

/// For a network with several outputs, the file keeps what the losses say about each output.
#[test]
fn a_file_tells_how_each_output_was_trained() {
    let build = || {
        let mut graph = Graph::new();
        let (a, b) = (graph.input("a", 2), graph.input("b", 2));
        let both = graph.concat([a, b], -1)?;
        let [kind, sure, share] = [(3, Identity), (1, Identity), (2, Softmax)].map(|of| Dense::new(of.0, of.1));
        let outputs = [("kind", kind), ("sure", sure), ("share", share)];
        let outputs = outputs.map(|(name, layer)| Ok((name, graph.layer(layer, both)?)));
        graph.build(outputs.into_iter().collect::<wgrad::Result<Vec<_>>>()?)
    };
    let network = build().unwrap();
    let losses = Losses::new()
        .output("kind", Loss::SoftmaxCrossEntropy)
        .output("sure", Loss::BinaryCrossEntropy)
        .output("share", Loss::MeanSquaredError);
    let model = Model::new(Device::Cpu, &network, &network.initial_parameters(4)).unwrap();
    let model = model.for_losses(losses).unwrap();
    let bytes = model.to_bytes().unwrap();
    let loaded = Model::from_bytes(Device::Cpu, &bytes).unwrap();
    assert_eq!(loaded.network(), model.network());
    assert_eq!(loaded.to_bytes().unwrap(), bytes);
    let rows = random(1, 16);
    let inputs = [("a", &rows[..8]), ("b", &rows[8..])];
    let logits = loaded.forward_all(inputs).unwrap();
    for (name, logits) in ["kind", "sure", "share"].into_iter().zip(&logits) {
        let [of_loaded, of_model] = [&loaded, &model].map(|model| model.output(name).unwrap());
        let probabilities = of_loaded.predict_proba(inputs).unwrap();
        assert_eq!(probabilities, of_model.predict_proba(inputs).unwrap());
        assert_eq!(of_loaded.predict(inputs).unwrap(), of_model.predict(inputs).unwrap());
        assert_eq!(probabilities == *logits, name == "share");
    }
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    let links = r#"[{"link":"Softmax","ranks_outputs":false},{"link":"Sigmoid","ranks_outputs":false},{"link":"Identity","ranks_outputs":true}]"#;
    assert_eq!((metadata["links"].as_str(), metadata.get("link")), (links, None));
    // One entry fewer, in the same number of bytes.
    let of_kind = r#"{\"link\":\"Softmax\",\"ranks_outputs\":false},"#;
    let at = bytes.windows(of_kind.len()).position(|w| w == of_kind.as_bytes()).unwrap();
    let mut fewer = bytes;
    fewer[at..at + of_kind.len()].fill(b' ');
    assert_eq!(
        reason(Model::from_bytes(Device::Cpu, &fewer)),
        "output activations: expected 3 (one per output), got 2"
    );
}

/// An error says what was expected and what was found.
#[test]
fn a_fault_says_what_was_expected_and_what_came() {
    let good = model(Device::Cpu).to_bytes().unwrap();
    let load = |bytes: &[u8]| reason(Model::from_bytes(Device::Cpu, bytes));
    let length = good.len();
    assert_eq!(load(&[]), "not a safetensors file: it has 0 bytes");
    let long = "not a safetensors file, and of an unknown kind: it begins with 57 fb 80 8b 24 75 47 db";
    assert_eq!(load(b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"), long, "no header is that long");
    assert!(load(b"PK\x03\x04 and so on").starts_with("not a safetensors file: it is a zip archive. "));
    assert!(load(b"\x01\x02\x03\x04\x05\x06\x07\x08\x09").ends_with("it begins with 01 02 03 04 05 06 07 08"));
    assert!(load(&good[..100]).starts_with("not a safetensors file, or cut short: expected a header of"));
    let cut = load(&good[..length - 4]);
    assert!(cut.starts_with("cut short or damaged: expected ") && cut.contains(" bytes of tensors, got "), "{cut}");
    assert!(load(&[&good[..], &[0; 4]].concat()).starts_with("cut short or damaged: "));

    // The texts have the same length, so the header stays valid.
    let replaced = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = good.windows(from.len()).position(|w| w == from.as_bytes()).expect(from);
        let mut bytes = good.clone();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        load(&bytes)
    };
    let foreign = "no network description, so it may be a file of another program; load its weights into a network \
        with Model::load_weights";
    assert_eq!(replaced(r#""format":"wgrad""#, r#""format":"other""#), foreign);
    assert_eq!(replaced(r#""version":"1""#, r#""version":"3""#), "version of the format: expected 1 or 2, got 3");
    let unknown = replaced(r#"\"Softmax\""#, r#"\"Softmux\""#);
    assert!(unknown.starts_with("metadata \"link\": cannot be read: unknown variant `Softmux`"), "{unknown}");
    assert_eq!(
        replaced(r#"{\"units\":3"#, r#"{\"units\":0"#),
        "network: cannot be built: layer dense_8 (from layer_norm_7 [5]): expected at least 1 unit, got 0"
    );
    assert_eq!(
        replaced(r#"{\"units\":3"#, r#"{\"units\":4"#),
        "tensor dense_8.weight: expected F32 [5, 4], got F32 [5, 3]"
    );
    assert_eq!(
        replaced(r#""dense_8.bias":"#, r#""dense_9.bias":"#),
        "tensor dense_8.bias: expected F32 [3], got none; the file has dense_9.bias"
    );
    assert_eq!(
        replaced(r#""dense_8.bias":{"dtype":"F32""#, r#""dense_8.bias":{"dtype":"I32""#),
        "tensor dense_8.bias: expected F32 [3], got I32 [3]"
    );
    let error = Model::load(Device::Cpu, "absent/model").unwrap_err().to_string();
    assert!(error.starts_with("absent/model: cannot be read: "), "{error}");
}

/// Loading a tensor that the network does not have gives an error.
#[test]
fn a_tensor_too_many_is_refused() {
    let network = Network::input(2).dense(1, Identity).build().unwrap();
    let bytes = foreign(&[
        ("dense_1.weight", Dtype::F32, &[2, 1], f32s(&[1.0, 2.0])),
        ("dense_1.bias", Dtype::F32, &[1], f32s(&[3.0])),
        ("dense_2.bias", Dtype::F32, &[1], f32s(&[3.0])),
    ]);
    let reason = reason(Model::weights_from_bytes(Device::Cpu, &network, &bytes));
    assert!(reason.starts_with("tensors that the network does not have: dense_2.bias. Expected: "), "{reason}");
}

/// If a file cannot be written, existing files stay as they are.
#[test]
fn a_file_that_cannot_be_written_leaves_the_old_one() {
    let folder = folder("unwritable");
    let path = folder.join("model.safetensors");
    model(Device::Cpu).save(&path).unwrap();
    let message = model(Device::Cpu).save(folder.join("absent").join("x")).unwrap_err().to_string();
    assert!(message.contains("cannot be written"), "{message}");
    Model::load(Device::Cpu, &path).unwrap();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
}

/// The error for a wrong file names its kind. The unit tests beside the detection cover all kinds.
#[test]
fn a_wrong_file_is_called_by_what_it_is() {
    let folder = folder("wrong");
    let wrong = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        let told = reason(Model::load(Device::Cpu, &path));
        assert_eq!(reason(Model::load_weights(Device::Cpu, &network(), &path)), told);
        assert_eq!(reason(Trainer::resume(Device::Cpu, &path)), told);
        told
    };
    // Larger than the part that is read to detect the kind.
    let packed = [b"\x1f\x8b\x08".to_vec(), vec![7; 100_000]].concat();
    assert!(wrong("packed", &packed).contains("it is compressed with gzip. Unpack it first: gunzip FILE"));
    assert!(wrong("page", b"<!DOCTYPE html><p>Not found").contains("it is a web page (HTML)"));
    assert!(
        wrong("old.h5", b"\x89HDF\r\n\x1a\n and more")
            .contains("an HDF5 file: version of the superblock: expected 0 to 3")
    );
    let mut trainer = Trainer::new(
        Device::Cpu,
        &Network::input(1).dense(1, Identity).build().unwrap(),
        Loss::MeanSquaredError,
        Sgd::default(),
        TrainerConfig::default(),
    )
    .unwrap();
    let data = Dataset::from_f32_targets(vec![1.0], 1, vec![0.0], 1).unwrap();
    let history = trainer.fit(data, Fit::default(), |_| ()).unwrap();
    assert!(wrong("history.json", history.to_json().as_bytes()).contains("the history or the report of a run"));
    assert!(wrong("history.csv", history.to_csv().as_bytes()).contains("the history of a run as CSV"));
    let read = |path: &std::path::Path| reason(Model::load(Device::Cpu, path));
    assert_eq!(read(&folder), "cannot be read: it is a directory; give the name of a file");
    model(Device::Cpu).save(folder.join("model.safetensors")).unwrap();
    assert!(read(&folder).ends_with("give the name of a file in it, such as model.safetensors"));
}

/// A trainer with a weight that is not finite. The loss of the step that produced it is finite.
fn ruined(device: Device) -> Trainer {
    let network = Network::input(1).layer(Dense::new(1, Identity).without_bias()).build().unwrap();
    let mut start = vec![0.0; network.parameter_words() as usize];
    start[0] = 1.0;
    let sgd = Sgd { learning_rate: 3e38, momentum: 0.9, ..Sgd::default() };
    let (loss, config) = (Loss::MeanSquaredError, TrainerConfig::default());
    let mut trainer = Trainer::from_parameters(device, &network, loss, sgd, config, &start).unwrap();
    let data = Dataset::from_f32_targets(vec![1.0], 1, vec![0.0], 1).unwrap();
    let _ = trainer.fit(data, Fit::default(), |_| ());
    assert!(!trainer.model().parameters().unwrap()[0].is_finite());
    trainer
}

/// Weights that are not finite are neither saved nor loaded, unless the caller allows it.
#[test]
fn weights_that_are_not_finite_are_neither_saved_nor_loaded_unless_asked_for() {
    let folder = folder("non-finite");
    let path = folder.join("file");
    std::fs::write(&path, "before").unwrap();
    let named = |result: Result<()>| match result.unwrap_err() {
        Error::NonFiniteParameter { tensor, index: 0, value } if !value.is_finite() => {
            assert_eq!(tensor, "dense_1.weight");
        }
        error => panic!("{error:?}"),
    };
    for device in devices() {
        let mut trainer = ruined(device.clone());
        let model = trainer.model();
        std::fs::write(&path, "before").unwrap();
        named(model.save(&path));
        named(model.save_weights(&path, Naming::PyTorch));
        named(model.to_bytes().map(drop));
        named(model.weights_to_bytes(Naming::Keras).map(drop));
        named(trainer.save(&path));
        named(trainer.to_bytes().map(drop));
        if trainer.snapshot().is_ok() {
            named(trainer.save_snapshot(&path));
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"before", "the earlier file stays");

        let bytes = model.clone().allow_non_finite().to_bytes().unwrap();
        let load = reason(Model::from_bytes(device.clone(), &bytes));
        assert!(load.starts_with("tensor dense_1.weight: "), "{load}");
        assert!(load.contains(" is not finite; "), "{load}");
        assert_eq!(reason(Model::weights_from_bytes(device.clone(), model.network(), &bytes)), load);
        let loaded = Model::from_bytes_non_finite(device.clone(), &bytes).unwrap();
        assert_eq!(bits(&loaded.parameters().unwrap()), bits(&model.parameters().unwrap()));
        assert_eq!(loaded.to_bytes().unwrap(), bytes);
        let allowed = LoadWeights::new().allow_non_finite();
        Model::weights_from_bytes_with(device.clone(), model.network(), &bytes, &allowed).unwrap();

        trainer.set_allow_non_finite(true);
        trainer.save(&path).unwrap();
        assert_eq!(reason(Trainer::resume(device.clone(), &path)), load);
        let resume = Resume { allow_non_finite: true, ..Resume::default() };
        let resumed = Trainer::resume_with(device.clone(), &path, &resume).unwrap();
        assert_eq!(resumed.to_bytes().unwrap(), std::fs::read(&path).unwrap());
        Model::load_non_finite(device, &path).unwrap();
    }
}
