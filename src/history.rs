//! What a training run did.

/// Loss and accuracy over some rows. Of a network with several outputs, the loss is the weighted sum of theirs, and the
/// accuracy that of the first output whose targets are labels, or of the first one where none has labels; each output's
/// own are in an [`OutputEvaluation`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct Evaluation {
    /// The loss: the mean over the rows, or of [`Loss::SumOfSquares`](crate::Loss::SumOfSquares) the sum. Weights of
    /// rows multiply their losses; the mean stays over the number of rows. Where rows have several positions, it is the
    /// mean over all positions, those included whose label is ignored: they have loss 0.
    #[cfg_attr(feature = "files", serde(with = "number"))]
    pub loss: f64,
    /// Share of rows whose class is right, 0 to 1. With several outputs, the class is the largest output and the
    /// largest target; with one, it is whether the output is above 1/2 (binary cross-entropy: the probability) and the
    /// target is. Of a regression it says nothing. Weights of rows take no part: for an accuracy that honours them see
    /// [`Scores::weighted_accuracy`](crate::Scores::weighted_accuracy). Where rows have several positions, it is the
    /// share of positions, without those whose label is ignored.
    #[cfg_attr(feature = "files", serde(with = "number"))]
    pub accuracy: f64,
    /// How many rows. In the evaluation of one output among several, its positions that were counted: those of all rows
    /// whose label is not ignored.
    pub rows: u32,
}

/// What [`Trainer::evaluate_outputs`](crate::Trainer::evaluate_outputs) measured of one output.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct OutputEvaluation {
    /// The output's name.
    pub name: String,
    /// Its own loss, not multiplied by its weight among the losses, and its own accuracy.
    pub evaluation: Evaluation,
}

/// How one output of several did over the epochs: see [`History::outputs`].
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct OutputHistory {
    /// The output's name.
    pub name: String,
    /// As many as [`History::epochs`].
    pub epochs: Vec<OutputEpoch>,
}

/// One output's own losses, not multiplied by its weight among the losses, and its own accuracies in one epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct OutputEpoch {
    /// As [`Epoch::train`].
    pub train: Evaluation,
    /// As [`Epoch::validation`].
    pub validation: Option<Evaluation>,
    /// As [`Epoch::measured`].
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "Option::is_none"))]
    pub measured: Option<Evaluation>,
}

/// One epoch of a [`History`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct Epoch {
    /// From 1; of all epochs that the trainer has trained.
    pub epoch: u32,
    /// Over the batches as they were trained on: the weights changed between them.
    pub train: Evaluation,
    /// Over the validation set, after the epoch.
    pub validation: Option<Evaluation>,
    /// Over the training data, with the weights as they are after the epoch: measured where early stopping is to
    /// [restore the best weights](crate::EarlyStopping::restore_best) and there is no validation set.
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "Option::is_none"))]
    pub measured: Option<Evaluation>,
    /// Steps of the epoch.
    pub steps: u32,
    /// The learning rate of its last update, by the updates that `fit` has made: an app's own steps move the schedule on, too,
    /// but are not counted here.
    #[cfg_attr(feature = "files", serde(with = "number"))]
    pub learning_rate: f32,
    /// Seconds of training, without the validation and without compiling kernels; of an epoch that was resumed, since
    /// then. `None` of an epoch that was saved without.
    pub seconds: Option<f64>,
}

/// The best weights of a [`fit`](crate::Trainer::fit), which it hands back where early stopping is to
/// [restore them](crate::EarlyStopping::restore_best): [`Trainer::best`](crate::Trainer::best).
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Best {
    /// Epochs that the trainer had trained to their end with these weights: 0 for the weights it was made with.
    pub epoch: u32,
    /// What was measured with these weights.
    pub evaluation: Evaluation,
    /// Whether it was measured over the validation set, else over the training data.
    pub validation: bool,
}

/// A number that tells how well training goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub enum Monitor {
    /// The smaller the better.
    Loss,
    /// The larger the better.
    Accuracy,
}

impl Monitor {
    /// What it sees of an evaluation: the smaller the better.
    pub(crate) fn badness(self, seen: &Evaluation) -> f64 {
        match self {
            Monitor::Loss => seen.loss,
            Monitor::Accuracy => -seen.accuracy,
        }
    }
}

/// What [`Trainer::fit`](crate::Trainer::fit) did.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct History {
    /// Each epoch, in order.
    pub epochs: Vec<Epoch>,
    /// Of a network with several outputs, what each of them did in these epochs; else empty.
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub outputs: Vec<OutputHistory>,
}

impl History {
    /// From one epoch on.
    pub(crate) fn since(&self, first: usize) -> Self {
        let of = |output: &OutputHistory| OutputHistory {
            name: output.name.clone(),
            epochs: output.epochs.get(first..).unwrap_or(&[]).to_vec(),
        };
        Self { epochs: self.epochs[first..].to_vec(), outputs: self.outputs.iter().map(of).collect() }
    }

    /// The history as CSV: a line of names, then a line for each epoch. What an epoch lacks is left empty. Of several
    /// outputs each has four columns more: `kind_loss`, `kind_accuracy`, `val_kind_loss`, `val_kind_accuracy`.
    pub fn to_csv(&self) -> String {
        let mut csv = String::from("epoch,steps,learning_rate,loss,accuracy,val_loss,val_accuracy,seconds");
        for OutputHistory { name, .. } in &self.outputs {
            for column in [format!("{name}_loss"), format!("{name}_accuracy")] {
                csv += &format!(",{}", quoted(&column));
            }
            for column in [format!("val_{name}_loss"), format!("val_{name}_accuracy")] {
                csv += &format!(",{}", quoted(&column));
            }
        }
        csv += "\n";
        let text = |number: Option<f64>| number.map_or(String::new(), |number| number.to_string());
        for (i, e) in self.epochs.iter().enumerate() {
            let Epoch { epoch, steps, learning_rate, train: Evaluation { loss, accuracy, .. }, validation, .. } = e;
            let [val_loss, val_accuracy, seconds] =
                [validation.map(|v| v.loss), validation.map(|v| v.accuracy), e.seconds].map(text);
            csv += &format!("{epoch},{steps},{learning_rate},{loss},{accuracy},{val_loss},{val_accuracy},{seconds}");
            for output in &self.outputs {
                let own = output.epochs.get(i);
                for evaluation in [own.map(|own| own.train), own.and_then(|own| own.validation)] {
                    let [loss, accuracy] = [evaluation.map(|e| e.loss), evaluation.map(|e| e.accuracy)].map(text);
                    csv += &format!(",{loss},{accuracy}");
                }
            }
            csv += "\n";
        }
        csv
    }

    /// The history as JSON, with the names of the fields of [`Epoch`] and [`Evaluation`]. What is not finite is text there:
    /// "NaN", "inf" or "-inf".
    #[cfg(feature = "files")]
    pub fn to_json(&self) -> String {
        // There is nothing that JSON could not hold.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// A field of CSV: in quotes where it has what separates fields.
fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.into(),
    }
}

/// Numbers in JSON, which has no NaN and no infinities: those are text.
#[cfg(feature = "files")]
mod number {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub fn serialize<T: Copy + Into<f64> + Serialize, S: Serializer>(number: &T, to: S) -> Result<S::Ok, S::Error> {
        let wide: f64 = (*number).into();
        if wide.is_finite() { number.serialize(to) } else { to.collect_str(&wide) }
    }

    pub fn deserialize<'a, T, D: Deserializer<'a>>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display> + Deserialize<'a>,
    {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Number<T> {
            Finite(T),
            Other(String),
        }
        match Number::deserialize(from)? {
            Number::Finite(number) => Ok(number),
            Number::Other(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> History {
        let train = Evaluation { loss: 0.5, accuracy: 0.75, rows: 8 };
        let first = Epoch {
            epoch: 1,
            train,
            validation: Some(train),
            measured: None,
            steps: 2,
            learning_rate: 0.25,
            seconds: Some(1.5),
        };
        let second = Epoch { epoch: 2, validation: None, measured: Some(train), seconds: None, ..first };
        History { epochs: vec![first, second], outputs: Vec::new() }
    }

    #[test]
    fn csv_has_a_line_for_each_epoch() {
        assert_eq!(
            history().to_csv(),
            "epoch,steps,learning_rate,loss,accuracy,val_loss,val_accuracy,seconds\n\
             1,2,0.25,0.5,0.75,0.5,0.75,1.5\n2,2,0.25,0.5,0.75,,,\n"
        );
    }

    #[test]
    fn csv_has_four_columns_more_for_each_of_several_outputs() {
        let (train, other) = (history().epochs[0].train, Evaluation { loss: 2.0, accuracy: 0.25, rows: 8 });
        let first = OutputEpoch { train: other, validation: Some(train), measured: None };
        let epochs = vec![first, OutputEpoch { validation: None, ..first }];
        let outputs = ["a", "b,c"].map(|name| OutputHistory { name: name.into(), epochs: epochs.clone() });
        let csv = History { outputs: outputs.to_vec(), ..history() }.to_csv();
        let lines: Vec<&str> = csv.lines().collect();
        let names = "a_loss,a_accuracy,val_a_loss,val_a_accuracy,\
                     \"b,c_loss\",\"b,c_accuracy\",\"val_b,c_loss\",\"val_b,c_accuracy\"";
        assert!(lines[0].ends_with(&format!("val_accuracy,seconds,{names}")), "{}", lines[0]);
        assert_eq!(lines[1], "1,2,0.25,0.5,0.75,0.5,0.75,1.5,2,0.25,0.5,0.75,2,0.25,0.5,0.75");
        assert_eq!(lines[2], "2,2,0.25,0.5,0.75,,,,2,0.25,,,2,0.25,,");
    }

    #[cfg(feature = "files")]
    #[test]
    fn json_reads_back() {
        let read: History = serde_json::from_str(&history().to_json()).unwrap();
        assert_eq!(read, history());
        // A file of before epochs were measured has none.
        let [first, _] = &read.epochs[..] else { unreachable!() };
        assert_eq!((first.measured, history().to_json().matches("measured").count()), (None, 1));
    }

    #[cfg(feature = "files")]
    #[test]
    fn json_holds_what_is_not_finite() {
        let mut history = history();
        let [first, second] = &mut history.epochs[..] else { unreachable!() };
        (first.train.loss, first.learning_rate, second.train.loss) = (f64::INFINITY, f32::NEG_INFINITY, f64::NAN);
        second.learning_rate = 0.1;
        let text = history.to_json();
        let read: History = serde_json::from_str(&text).unwrap();
        assert!(read.epochs[1].train.loss.is_nan());
        assert_eq!((read.epochs[0], &read.to_json()), (history.epochs[0], &text));
        assert!(serde_json::from_str::<History>(&text.replace("NaN", "much")).is_err());
    }
}
