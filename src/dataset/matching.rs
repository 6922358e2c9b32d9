//! Matches a data set's inputs and targets with a network's inputs and outputs.

use std::borrow::Cow;
use std::ops::Range;

use super::{Dataset, Target, Targets, listed};
use crate::activation::Activation;
use crate::error::{Error, Result};
use crate::loss::Loss;
use crate::network::{Network, TensorSpec};
use crate::ops::DataInfo;
use crate::shape::Shape;

/// Indices of the data set's inputs and targets, one for each input and output of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Matched {
    inputs: Vec<usize>,
    targets: Vec<usize>,
}

impl Dataset {
    /// Matches the data set's inputs and targets with the network's. Returns an error if they do not fit.
    ///
    /// Names do not matter if there is only one input, or only one output, on both sides. Inputs and targets that the
    /// network does not have are not used.
    pub(crate) fn matched(&self, network: &Network, losses: impl IntoIterator<Item = Loss>) -> Result<Matched> {
        let inputs = self.matched_inputs(network)?;
        let names = || self.targets.iter().map(|target| &*target.name);
        let targets = matched("target", "output", names, network.output_specs())?;
        for ((spec, &target), loss) in network.output_specs().iter().zip(&targets).zip(losses) {
            let is_only = self.targets.len() == 1 && network.output_specs().len() == 1;
            self.targets[target].check_for(spec, loss, is_only)?;
            let positions = u64::from(spec.positions());
            let (all, limit) = (positions * self.rows as u64, u32::MAX.into());
            if all > limit {
                let what = format!("positions of all rows of output {:?}", spec.name);
                return Err(Error::LimitExceeded { what, needed: all, limit, unit: "positions" });
            }
        }
        Ok(Matched { inputs, targets })
    }

    /// The index of the data set's input for each input of the network.
    pub(crate) fn matched_inputs(&self, network: &Network) -> Result<Vec<usize>> {
        let names = || self.inputs.iter().map(|input| &*input.name);
        let inputs = matched("input", "input", names, network.input_specs())?;
        for (spec, &i) in network.input_specs().iter().zip(&inputs) {
            let input = &self.inputs[i];
            let seen = input.seen();
            if seen.elements() as u32 != spec.features() {
                let (what, expected) = match self.inputs.len() == 1 && network.input_specs().len() == 1 {
                    true => ("features of the data set".into(), format!("{} (the network's input)", spec.features())),
                    false => {
                        let what = format!("features of the data set's input {:?}", input.name);
                        (what, format!("{} (the network's input {:?})", spec.features(), spec.shape))
                    }
                };
                return Err(Error::shape(what, expected, seen.elements()));
            }
            if (input.augmentation.is_some() || input.crop.is_some()) && seen != spec.shape {
                let what = format!("shape of the data set's input {:?} after augmentation and crops", input.name);
                return Err(Error::shape(what, format!("{:?} (the network's input)", spec.shape), format!("{seen:?}")));
            }
            if !same_order(seen, spec.shape) {
                let what = format!("shape of the data set's input {:?}", input.name);
                let expected = format!("{:?} (the network's input), or one dimension", spec.shape);
                return Err(Error::shape(what, expected, format!("{seen:?}")));
            }
        }
        Ok(inputs)
    }

    /// The kernels' parameters of the data, one for each index that an input or an output of the network has.
    ///
    /// Shuffle and seed are not yet set. With `training`, images are augmented and cropped at random.
    pub(crate) fn infos(&self, of: &Matched, training: bool) -> Vec<DataInfo> {
        let info = |i: usize| {
            let mut info = DataInfo { rows: self.rows as u32, ..DataInfo::default() };
            if let Some(&input) = of.inputs.get(i) {
                let input = &self.inputs[input];
                info.bytes = input.is_u8().into();
                info.feature_stride = input.stride() as u32;
                info.channels = input.channels() as u32;
                info.first_feature = 2 * info.channels;
                input.add_image_info(&mut info, training);
            }
            if let Some(&target) = of.targets.get(i) {
                let target = &self.targets[target];
                let weighted = self.weights_for(target).is_some();
                info.values = (!target.is_labels()).into();
                info.weighted = weighted.into();
                info.target_stride = target.stride(weighted) as u32;
                info.ignored = target.ignored_for_kernels();
                target.add_crop_info(&mut info, training);
            }
            info
        };
        (0..of.inputs.len().max(of.targets.len())).map(info).collect()
    }

    /// Upload sizes, for each input and output of the network: its name, the bytes independent of the number of rows,
    /// and the bytes of a row.
    pub(crate) fn sizes(&self, of: &Matched) -> Vec<(String, u64, u64)> {
        let title = |what: &str, of_network: &str, name: &str, of: usize| match of {
            1 => format!("the data set's {what}"),
            _ => format!("the data set's {what} for {of_network} {name:?}"),
        };
        let inputs = of.inputs.iter().map(|&i| {
            let input = &self.inputs[i];
            let (none, one) = (input.bytes(0), input.bytes(1));
            (title("features", "input", &input.name, of.inputs.len()), none, one - none)
        });
        let targets = of.targets.iter().map(|&i| {
            let target = &self.targets[i];
            let words = target.stride(self.weights_for(target).is_some()) as u64;
            (title("targets", "output", &target.name, of.targets.len()), 0, words * 4)
        });
        inputs.chain(targets).collect()
    }

    /// The features of some ranges of rows in upload layout, for each input of the network.
    pub(crate) fn feature_words(&self, of: &Matched, ranges: &[Range<usize>]) -> impl Iterator<Item = Cow<'_, [u8]>> {
        of.inputs.iter().map(move |&input| self.inputs[input].words(ranges))
    }

    /// The targets of some ranges of rows in upload layout, for each output of the network.
    pub(crate) fn target_words(&self, of: &Matched, ranges: &[Range<usize>]) -> impl Iterator<Item = Vec<u32>> {
        of.targets.iter().map(move |&target| {
            let target = &self.targets[target];
            target.words(ranges, self.weights_for(target))
        })
    }

    /// Number of ignored labels, for each output of the network.
    pub(crate) fn ignored_labels(&self, of: &Matched) -> Vec<u64> {
        of.targets.iter().map(|&target| self.targets[target].ignored_labels()).collect()
    }
}

impl Target {
    /// Returns an error if the targets do not match an output and its loss. `is_only`: the data set has one target
    /// and the network one output, so the error text needs no name.
    pub(super) fn check_for(&self, spec: &TensorSpec, loss: Loss, is_only: bool) -> Result<()> {
        let (positions, columns) = (spec.positions(), spec.columns());
        let title = |what: &str, simple: &str| match is_only {
            true => simple.to_owned(),
            false => format!("{what} of the data set's target {:?}", self.name),
        };
        let seen = self.seen();
        let positions_seen = &seen[..seen.len() - usize::from(!self.is_labels()).min(seen.len())];
        if self.crop.is_some() && positions_seen != &spec.shape[..spec.shape.len().max(1) - 1] {
            let what = format!("crop of the data set's target {:?}", self.name);
            let expected = format!("the positions of {:?} (the network's output)", spec.shape);
            return Err(Error::shape(what, expected, format!("{seen:?}")));
        }
        let output =
            if is_only { "the network's output".into() } else { format!("the network's output {:?}", spec.name) };
        match &self.targets {
            Targets::Values { .. } if seen.elements() as u32 != spec.features() => {
                let what = title("numbers", "outputs of the data set's targets");
                Err(Error::shape(what, format!("{} ({output})", spec.features()), seen.elements()))
            }
            Targets::Values { .. } if !same_order(seen, spec.shape) => {
                let what = format!("shape of the data set's target {:?}", self.name);
                let expected = format!("{:?} ({output}), or one dimension", spec.shape);
                Err(Error::shape(what, expected, format!("{seen:?}")))
            }
            targets @ Targets::Values { .. } => {
                let of_target = if is_only { String::new() } else { format!(" of target {:?}", self.name) };
                targets.check_range_of(loss, &of_target)
            }
            Targets::Labels { .. } if self.width() == 1 && positions > 1 => {
                let expected = format!("{positions} per row, one per position ({output} has shape {:?})", spec.shape);
                let actual = format!(
                    "1 per row; for one label per row, add a flatten before the last dense layer of output {:?}",
                    spec.name
                );
                Err(Error::shape(title("labels", "labels of the data set"), expected, actual))
            }
            Targets::Labels { .. } if seen.elements() as u32 != positions => {
                let each = if positions == 1 { "" } else { ", one per position" };
                let expected = format!("{positions} per row{each} ({output} has shape {:?})", spec.shape);
                let actual = format!("{} per row, of shape {seen:?}", seen.elements());
                Err(Error::shape(title("labels", "labels of the data set"), expected, actual))
            }
            Targets::Labels { .. } if !same_order(seen, Shape::of(&spec.shape[..spec.shape.len() - 1])) => {
                let what = format!("shape of the data set's target {:?}", self.name);
                let expected = format!("{:?} (the positions of {output})", &spec.shape[..spec.shape.len() - 1]);
                Err(Error::shape(what, expected, format!("{seen:?}")))
            }
            Targets::Labels { classes, .. } => {
                // A single output without a softmax separates two classes. For a regression loss, the label is the
                // target number.
                let most = match (columns, loss.output_activation()) {
                    (1, Activation::Sigmoid) => 2,
                    (1, Activation::Identity) => u32::MAX,
                    _ => columns,
                };
                match *classes <= most {
                    true => Ok(()),
                    false => {
                        let what = title("classes", "classes of the data set");
                        Err(Error::shape(what, format!("at most {most} ({output})"), classes))
                    }
                }
            }
        }
    }
}

/// The index of each network input or output, found by name. Names do not matter if there is one on both sides.
fn matched<'a, N: Iterator<Item = &'a str>>(
    what: &str,
    of_network: &str,
    names: impl Fn() -> N,
    specs: &[TensorSpec],
) -> Result<Vec<usize>> {
    if let ([_], 1) = (specs, names().count()) {
        return Ok(vec![0]);
    }
    specs.iter().map(|spec| named(what, of_network, &names, spec)).collect()
}

/// The index with the name of `spec`.
pub(super) fn named<'a, N: Iterator<Item = &'a str>>(
    what: &str,
    of_network: &str,
    names: impl Fn() -> N,
    spec: &TensorSpec,
) -> Result<usize> {
    names().position(|name| name == spec.name).ok_or_else(|| {
        let wanted = format!("one named {:?}, like the network's {of_network}", spec.name);
        Error::shape(format!("{what}s of the data set"), wanted, listed(names()))
    })
}

/// Whether values of these two shapes have the same order in memory: equal shapes, or one is flat.
fn same_order(given: Shape, wanted: Shape) -> bool {
    let longer = |shape: Shape| shape.iter().copied().filter(|&length| length != 1).collect::<Vec<_>>();
    let (given, wanted) = (longer(given), longer(wanted));
    given.len() < 2 || wanted.len() < 2 || given == wanted
}
