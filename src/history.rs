//! Loss and accuracy of a training run.

/// Loss and accuracy over some rows.
///
/// For a network with several outputs, the loss is the weighted sum of the outputs' losses. The accuracy is that of
/// the first output whose targets are labels, or of the first output if none has labels. [`OutputEvaluation`] has the
/// values of each output.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct Evaluation {
    /// The loss: the mean over the rows, or the sum for [`Loss::SumOfSquares`](crate::Loss::SumOfSquares).
    ///
    /// Row weights multiply the rows' losses; the mean still divides by the number of rows. If rows have several
    /// positions, it is the mean over all positions. A position whose label is ignored counts with loss 0.
    #[cfg_attr(feature = "files", serde(with = "number"))]
    pub loss: f64,
    /// Accuracy, 0 to 1: the fraction of rows whose predicted class is right.
    ///
    /// With several numbers in the output, the class is the index of the largest output, compared with that of the
    /// largest target. With one number, it is whether the output is above 1/2, compared with whether the target is.
    /// For binary cross-entropy the probability is compared. For a regression the value has no meaning.
    ///
    /// Row weights are not used: see [`Scores::weighted_accuracy`](crate::Scores::weighted_accuracy). If rows have
    /// several positions, it is the fraction of positions. Positions whose label is ignored are not counted.
    #[cfg_attr(feature = "files", serde(with = "number"))]
    pub accuracy: f64,
    /// Number of rows. In the evaluation of one output: the number of positions whose label is not ignored.
    pub rows: u32,
}

/// Loss and accuracy of one output: see [`Trainer::evaluate_outputs`](crate::Trainer::evaluate_outputs).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct OutputEvaluation {
    /// Name of the output.
    pub name: String,
    /// The output's own loss, not multiplied by its loss weight, and its own accuracy.
    pub evaluation: Evaluation,
}

/// History of one output of several: see [`History::outputs`].
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct OutputHistory {
    /// Name of the output.
    pub name: String,
    /// One entry for each entry of [`History::epochs`].
    pub epochs: Vec<OutputEpoch>,
}

/// Loss and accuracy of one output in one epoch. The losses are not multiplied by the output's loss weight.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct OutputEpoch {
    /// See [`Epoch::train`].
    pub train: Evaluation,
    /// See [`Epoch::validation`].
    pub validation: Option<Evaluation>,
    /// See [`Epoch::measured`].
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "Option::is_none"))]
    pub measured: Option<Evaluation>,
}

/// One epoch of a [`History`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct Epoch {
    /// Number of the epoch, from 1, counted over all epochs of the trainer.
    pub epoch: u32,
    /// Training loss and accuracy, over the batches while they were trained on. The weights changed between the
    /// batches.
    pub train: Evaluation,
    /// Over the validation set, after the epoch.
    pub validation: Option<Evaluation>,
    /// Over the training data, with the weights after the epoch. Present if early stopping [restores the best
    /// weights](crate::EarlyStopping::restore_best) and there is no validation set.
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "Option::is_none"))]
    pub measured: Option<Evaluation>,
    /// Number of steps in the epoch.
    pub steps: u32,
    /// Learning rate of the epoch's last update. It counts only the updates of `fit`. Steps that an app records
    /// itself advance the schedule too, but are not counted here.
    #[cfg_attr(feature = "files", serde(with = "number"))]
    pub learning_rate: f32,
    /// Training time in seconds, without validation and kernel compilation. For a resumed epoch, the time since
    /// resuming. `None` if the file of the epoch had no time.
    pub seconds: Option<f64>,
}

/// The best weights of a [`fit`](crate::Trainer::fit) with early stopping that [restores
/// them](crate::EarlyStopping::restore_best): see [`Trainer::best`](crate::Trainer::best).
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Best {
    /// Number of epochs completed with these weights; 0 for the initial weights.
    pub epoch: u32,
    /// Loss and accuracy of these weights.
    pub evaluation: Evaluation,
    /// Whether the evaluation is over the validation set (true) or the training data (false).
    pub validation: bool,
}

/// Metric that early stopping monitors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub enum Monitor {
    /// The loss; smaller is better.
    Loss,
    /// The accuracy; larger is better.
    Accuracy,
}

impl Monitor {
    /// The monitored value of an evaluation, negated for the accuracy: smaller is better.
    pub(crate) fn badness(self, seen: &Evaluation) -> f64 {
        match self {
            Monitor::Loss => seen.loss,
            Monitor::Accuracy => -seen.accuracy,
        }
    }
}

/// Results of [`Trainer::fit`](crate::Trainer::fit), epoch by epoch.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct History {
    /// The epochs, in order.
    pub epochs: Vec<Epoch>,
    /// For a network with several outputs, the history of each output over the same epochs; otherwise empty.
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub outputs: Vec<OutputHistory>,
}

impl History {
    /// The history from epoch index `first` on.
    pub(crate) fn since(&self, first: usize) -> Self {
        let of = |output: &OutputHistory| OutputHistory {
            name: output.name.clone(),
            epochs: output.epochs.get(first..).unwrap_or(&[]).to_vec(),
        };
        Self { epochs: self.epochs[first..].to_vec(), outputs: self.outputs.iter().map(of).collect() }
    }

    /// The history as CSV: a header line, then a line for each epoch. Missing values are empty. With several outputs,
    /// each output adds four columns: for an output `kind` these are `kind_loss`, `kind_accuracy`, `val_kind_loss`
    /// and `val_kind_accuracy`.
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

    /// The history as JSON, with the field names of [`Epoch`] and [`Evaluation`]. Numbers that are not finite are
    /// strings: "NaN", "inf" or "-inf".
    #[cfg(feature = "files")]
    pub fn to_json(&self) -> String {
        // Serializing cannot fail: every value has a JSON form.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// A CSV field, quoted if it contains a separator.
fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.into(),
    }
}

/// Numbers in JSON. JSON has no NaN and no infinities, so these are strings.
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
        // A file without measured epochs has no `measured` field.
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
