//! The history in the file of a training run: tensors of words with one row for each epoch.
//!
//! An epoch takes 36 bytes. A validation set, or evaluation of the training data after each epoch, adds 20. With
//! several outputs, each takes 60 more. JSON would take 280 bytes an epoch.

use std::borrow::Cow;

use safetensors::tensor::Dtype;

use super::STATE;
use super::format::{Contents, Tensor};
use crate::error::Result;
use crate::history::{Epoch, Evaluation, History, OutputEpoch, OutputHistory};
use crate::network::TensorSpec;

const HISTORY: &str = "history";
const VALIDATION: &str = "history.validation";
const MEASURED: &str = "history.measured";

/// Words of an epoch: steps, learning rate, time, and the evaluation over the training data.
const EPOCH: usize = 4 + EVALUATION;
const EVALUATION: usize = 5;

/// An optional evaluation of an epoch: validation or measured.
type Other = fn(&Epoch) -> Option<Evaluation>;

/// The tensors of the history. There are none without epochs, and no validation or measured tensor if no epoch has
/// such a value. Missing values are NaN with 0 rows.
pub(super) fn tensors(history: &History) -> Vec<Tensor<'static>> {
    let tensor = |name: &str, width: usize, words: Vec<u32>| Tensor {
        name: format!("{STATE}{name}"),
        dtype: Dtype::U32,
        shape: vec![history.epochs.len() as u32, width as u32],
        words: Cow::Owned(words),
    };
    let mut tensors = Vec::new();
    if !history.epochs.is_empty() {
        let words = history.epochs.iter().flat_map(|e| {
            let [low, high] = halves(e.seconds.unwrap_or(f64::NAN));
            [e.steps, e.learning_rate.to_bits(), low, high].into_iter().chain(evaluation(&e.train))
        });
        tensors.push(tensor(HISTORY, EPOCH, words.collect()));
    }
    let others: [(&str, Other); 2] = [(VALIDATION, |epoch| epoch.validation), (MEASURED, |epoch| epoch.measured)];
    for (name, of) in others {
        if history.epochs.iter().any(|epoch| of(epoch).is_some()) {
            let none = Evaluation { loss: 0.0, accuracy: 0.0, rows: 0 };
            let words = history.epochs.iter().flat_map(|epoch| evaluation(&of(epoch).unwrap_or(none)));
            tensors.push(tensor(name, EVALUATION, words.collect()));
        }
    }
    for (i, output) in history.outputs.iter().enumerate() {
        let none = Evaluation { loss: 0.0, accuracy: 0.0, rows: 0 };
        let words = output.epochs.iter().flat_map(|epoch| {
            let each = [Some(epoch.train), epoch.validation, epoch.measured];
            each.into_iter().flat_map(|each| evaluation(&each.unwrap_or(none)))
        });
        tensors.push(tensor(&of_output(i), 3 * EVALUATION, words.collect()));
    }
    tensors
}

/// The tensor of one output of several: training, validation and measured values.
fn of_output(i: usize) -> String {
    format!("{HISTORY}.output_{i}")
}

/// Reads the history of a network with these outputs from a file. `None` if the file has none: earlier versions store
/// it as JSON.
pub(super) fn take(file: &mut Contents<'_>, outputs: &[TensorSpec]) -> Result<Option<History>> {
    let [history, validation, measured] = [HISTORY, VALIDATION, MEASURED].map(|name| format!("{STATE}{name}"));
    let Some(&[epochs, _]) = file.shape(&history) else { return Ok(None) };
    let epochs = u32::try_from(epochs).unwrap_or(u32::MAX);
    let words = file.take(&history, Dtype::U32, &[epochs, EPOCH as u32])?;
    let mut others = |name: &str| match file.shape(name).is_some() {
        true => file.take(name, Dtype::U32, &[epochs, EVALUATION as u32]),
        false => Ok(Vec::new()),
    };
    let (validation, measured) = (others(&validation)?, others(&measured)?);
    let of = |words: &[u32], i: usize| {
        let evaluation = words.chunks_exact(EVALUATION).nth(i).map(read);
        evaluation.filter(|evaluation| evaluation.rows > 0)
    };
    let epoch = |(i, words): (usize, &[u32])| {
        let seconds = joined(words[2], words[3]);
        Epoch {
            epoch: i as u32 + 1,
            train: read(&words[4..]),
            validation: of(&validation, i),
            measured: of(&measured, i),
            steps: words[0],
            learning_rate: f32::from_bits(words[1]),
            seconds: (!seconds.is_nan()).then_some(seconds),
        }
    };
    let mut of_outputs = Vec::new();
    for (i, spec) in outputs.iter().enumerate().filter(|_| outputs.len() > 1) {
        let words = file.take(&format!("{STATE}{}", of_output(i)), Dtype::U32, &[epochs, 3 * EVALUATION as u32])?;
        let epoch = |words: &[u32]| {
            let seen = |i: usize| Some(read(&words[i * EVALUATION..])).filter(|evaluation| evaluation.rows > 0);
            OutputEpoch { train: read(words), validation: seen(1), measured: seen(2) }
        };
        let epochs = words.chunks_exact(3 * EVALUATION).map(epoch).collect();
        of_outputs.push(OutputHistory { name: spec.name.clone(), epochs });
    }
    let epochs = words.chunks_exact(EPOCH).enumerate().map(epoch).collect();
    let history = History { epochs, outputs: of_outputs };
    if history.epochs.iter().map(|e| u64::from(e.steps)).sum::<u64>() > i32::MAX as u64 {
        return Err(file.fault("history: more steps than a run can take"));
    }
    Ok(Some(history))
}

fn halves(number: f64) -> [u32; 2] {
    [number.to_bits() as u32, (number.to_bits() >> 32) as u32]
}

fn joined(low: u32, high: u32) -> f64 {
    f64::from_bits(u64::from(high) << 32 | u64::from(low))
}

fn evaluation(evaluation: &Evaluation) -> [u32; EVALUATION] {
    let ([a, b], [c, d]) = (halves(evaluation.loss), halves(evaluation.accuracy));
    [a, b, c, d, evaluation.rows]
}

fn read(words: &[u32]) -> Evaluation {
    Evaluation { loss: joined(words[0], words[1]), accuracy: joined(words[2], words[3]), rows: words[4] }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::files::format::encode;

    #[test]
    fn a_history_reads_back_and_takes_no_more_than_it_needs() {
        let evaluation = |loss: f64| Evaluation { loss, accuracy: loss / 3.0, rows: 7 };
        let epoch = |i: u32| Epoch {
            epoch: i + 1,
            train: evaluation(f64::from(i) / 7.0),
            validation: (i % 3 != 1).then(|| evaluation(f64::from(i) / 11.0)),
            measured: (i % 3 == 1).then(|| evaluation(f64::from(i) / 12.0)),
            steps: i,
            learning_rate: 1.0 / (i + 1) as f32,
            seconds: (i.is_multiple_of(2)).then_some(f64::from(i) / 13.0),
        };
        let one = [TensorSpec { name: "output".into(), shape: 1.into() }];
        for epochs in [0, 1, 1000] {
            let history = History { epochs: (0..epochs).map(epoch).collect(), outputs: Vec::new() };
            let file = encode(&BTreeMap::new(), &tensors(&history));
            assert!(file.len() <= 384 + 76 * epochs as usize, "{} bytes for {epochs} epochs", file.len());
            let mut file = Contents::read("file", &file).unwrap();
            assert_eq!(take(&mut file, &one).unwrap().unwrap_or_default(), history);
            file.finish("").unwrap();
        }
    }

    #[test]
    fn the_history_of_several_outputs_reads_back() {
        let seen = |loss: f64| Evaluation { loss, accuracy: loss / 3.0, rows: 7 };
        let epoch = Epoch {
            epoch: 1,
            train: seen(1.0),
            validation: Some(seen(2.0)),
            measured: None,
            steps: 3,
            learning_rate: 0.5,
            seconds: None,
        };
        let of = |name: &str, loss| OutputHistory {
            name: name.into(),
            epochs: vec![OutputEpoch { train: seen(loss), validation: Some(seen(0.5)), measured: None }],
        };
        let history = History { epochs: vec![epoch], outputs: vec![of("a", 0.25), of("b", 0.75)] };
        let file = encode(&BTreeMap::new(), &tensors(&history));
        let mut file = Contents::read("file", &file).unwrap();
        let specs = ["a", "b"].map(|name| TensorSpec { name: name.into(), shape: 1.into() });
        assert_eq!(take(&mut file, &specs).unwrap(), Some(history));
        file.finish("").unwrap();
    }
}
