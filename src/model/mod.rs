//! A network with its weights, for inference after or during training.

mod forward;
mod inference;
mod scoring;
mod slices;

use crate::activation::Activation;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::executor::{Executor, Storage};
use crate::loss::Loss;
use crate::network::Network;
use crate::output_losses::Losses;
use crate::plan::{Plan, Role, narrow};
use crate::scores::classes;
use crate::shape::Shape;
use crate::wgsl::Wgsl;
pub use forward::Forward;

/// A network and its weights on a device. It is made from given weights, or by
/// [`Trainer::model`](crate::Trainer::model); then it shares the trainer's weights.
///
/// A network with one input takes numbers or rows without a name. A network with several inputs takes each by its
/// name: see [`Inputs`](crate::Inputs) and [`NamedRows`](crate::NamedRows). For a network with several outputs,
/// [`forward`](Self::forward), [`predict`](Self::predict), [`predict_proba`](Self::predict_proba),
/// [`score`](Self::score) and [`predictor`](Self::predictor) use one output: the first, unless
/// [`output`](Self::output) has chosen another.
#[derive(Debug, Clone)]
pub struct Model {
    pub(crate) device: Device,
    pub(crate) network: Network,
    pub(crate) parameters: Storage,
    /// One for each output of the network.
    pub(crate) output_activations: Vec<OutputActivation>,
    /// Index of the output that methods for one output use.
    pub(crate) chosen: usize,
    /// Whether weights that are not finite may be saved to a file.
    #[cfg(feature = "files")]
    pub(crate) allow_non_finite: bool,
}

/// How an output becomes probabilities and classes; the loss it was trained with determines this.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct OutputActivation {
    /// The activation that turns the output into probabilities; identity if the network's last layer already does.
    pub link: Activation,
    /// Whether the loss was of the output itself. Then classes come from the output, even after a sigmoid or a
    /// softmax, and not from the logits before it.
    pub ranks_outputs: bool,
}

impl OutputActivation {
    /// For an output without a known loss.
    pub const NONE: Self = Self { link: Activation::Identity, ranks_outputs: false };
}

/// The largest number of rows that `forward` and similar methods run at a time.
const ROWS: u32 = 4096;

/// Rows of an evaluation batch, enough to fill a GPU. Methods that return classes use the same number of rows, so
/// that the same kernels give the same bits.
pub(crate) const EVALUATION_BATCH: u32 = 512;

impl Model {
    /// A network with given weights, to run it without a trainer. The layout is that of [`Network::parameters`] and
    /// [`Network::states`].
    ///
    /// # Errors
    /// - [`Error::Shape`] if there are not [`Network::parameter_words`] numbers.
    /// - [`Error::NonFiniteParameter`] for the first number that is NaN or infinite.
    /// - [`Error::LimitExceeded`] if the device cannot run the network even for one row; nothing is allocated then.
    /// - [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn new(device: impl Into<Device>, network: &Network, parameters: &[f32]) -> Result<Self> {
        network.check_parameters(parameters)?;
        Self::unchecked(device.into(), network, parameters)
    }

    /// [`new`](Self::new) without a check that the numbers are finite. Their count must be right.
    pub(crate) fn unchecked(device: Device, network: &Network, parameters: &[f32]) -> Result<Self> {
        device.check_plan(&Plan::forward(network, 1)?)?;
        let parameters = device.upload("parameters", bytemuck::cast_slice(parameters))?;
        Ok(Self::of(device, network.clone(), parameters))
    }

    pub(crate) fn of(device: Device, network: Network, parameters: Storage) -> Self {
        Self {
            device,
            output_activations: vec![OutputActivation::NONE; network.output_specs().len()],
            network,
            parameters,
            chosen: 0,
            #[cfg(feature = "files")]
            allow_non_finite: false,
        }
    }

    /// The same model with the same weights and another chosen output.
    ///
    /// [`forward`](Self::forward), [`predict`](Self::predict), [`predict_proba`](Self::predict_proba),
    /// [`score`](Self::score), [`predictor`](Self::predictor) and [`for_loss`](Self::for_loss) use the chosen output.
    /// Default: the first output.
    ///
    /// ```no_run
    /// # fn app(model: wgrad::Model, pixels: &[f32], years: &[f32]) -> wgrad::Result<()> {
    /// let kinds = model.output("kind")?.predict([("image", pixels), ("age", years)])?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] if no output has this name.
    pub fn output(&self, name: &str) -> Result<Self> {
        let chosen = self.network.output_index(name)?;
        Ok(Self { chosen, ..self.clone() })
    }

    /// The same model with the same weights for another input shape: see [`Network::at_input`]. It shares the
    /// weights: if a trainer changes them, they change here too.
    ///
    /// ```
    /// use wgrad::{Activation::*, Device, Model, Network};
    /// let network = Network::input([4, 4, 1]).dense(3, Relu).dense(1, Sigmoid).build()?; // a mask, pixel by pixel
    /// let model = Model::new(Device::Cpu, &network, &network.initial_parameters(1))?;
    /// let mask = model.at_input([2, 6, 1])?.forward(&[0.5; 12])?;
    /// assert_eq!(mask.len(), 12);
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Network::at_input`]; [`Error::LimitExceeded`] if the device cannot run the network at that size.
    pub fn at_input(&self, shape: impl Into<Shape>) -> Result<Self> {
        self.at(self.network.at_input(shape)?)
    }

    /// [`at_input`](Self::at_input) for several inputs, by name: see [`Network::at_inputs`].
    ///
    /// # Errors
    /// As [`at_input`](Self::at_input).
    pub fn at_inputs<N: AsRef<str>>(&self, shapes: impl IntoIterator<Item = (N, Shape)>) -> Result<Self> {
        self.at(self.network.at_inputs(shapes)?)
    }

    fn at(&self, network: Network) -> Result<Self> {
        self.device.check_plan(&Plan::forward(&network, 1)?)?;
        Ok(Self { network, ..self.clone() })
    }

    /// Sets the loss that the [chosen](Self::output) output was trained with. A model from a trainer already has it.
    ///
    /// The loss determines how [`predict_proba`](Self::predict_proba) converts logits and how
    /// [`predict`](Self::predict) finds classes. Default: outputs are used unchanged. If the last activation is a
    /// sigmoid or a softmax, classes come from the logits before it.
    pub fn for_loss(mut self, loss: Loss) -> Self {
        self.set_loss(self.chosen, loss);
        self
    }

    /// [`for_loss`](Self::for_loss) for every output.
    ///
    /// ```no_run
    /// # fn app(model: wgrad::Model) -> wgrad::Result<()> {
    /// use wgrad::{Loss, Losses};
    /// let losses = Losses::new().output("kind", Loss::SoftmaxCrossEntropy).output("size", Loss::MeanSquaredError);
    /// let model = model.for_losses(losses)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] if there is not exactly one loss for each output.
    pub fn for_losses(self, losses: impl Into<Losses>) -> Result<Self> {
        let losses = losses.into().of_outputs(&self.network)?;
        Ok(self.trained_by(&losses))
    }

    /// As [`for_losses`](Self::for_losses), for losses that are already checked: one for each output.
    pub(crate) fn trained_by(mut self, losses: &[(Loss, f32)]) -> Self {
        for (output, (loss, _)) in losses.iter().enumerate() {
            self.set_loss(output, *loss);
        }
        self
    }

    fn set_loss(&mut self, output: usize, loss: Loss) {
        // If the last layer has this activation, the outputs are already probabilities.
        let link = match loss.output_activation() == self.network.activation_of(output) {
            true => Activation::Identity,
            false => loss.output_activation(),
        };
        self.output_activations[output] =
            OutputActivation { link, ranks_outputs: loss.output_activation() == Activation::Identity };
    }

    /// For each output, the loss that takes logits and applies a sigmoid or a softmax to them, if classes come from
    /// logits. `None` if classes come from the output itself.
    fn logit_losses(&self) -> Vec<Option<Loss>> {
        (0..self.output_activations.len())
            .map(|output| self.logit_loss_of(output, self.output_activations[output]))
            .collect()
    }

    fn logit_loss_of(&self, output: usize, OutputActivation { link, ranks_outputs }: OutputActivation) -> Option<Loss> {
        let link = match link {
            Activation::Identity => self.network.activation_of(output),
            link => link,
        };
        match link {
            _ if ranks_outputs => None,
            Activation::Sigmoid => Some(Loss::BinaryCrossEntropy),
            Activation::Softmax if self.columns(output) > 1 => Some(Loss::SoftmaxCrossEntropy),
            _ => None,
        }
    }

    /// As `logit_losses`, for the chosen output.
    fn chosen_logit_loss(&self) -> Option<Loss> {
        self.logit_loss_of(self.chosen, self.output_activations[self.chosen])
    }

    /// The value above which a single output means class 1.
    pub(crate) fn threshold(&self) -> f32 {
        if self.chosen_logit_loss() == Some(Loss::BinaryCrossEntropy) { 0.0 } else { 0.5 }
    }

    /// Number of values that determine one class: the output's last dimension.
    pub(crate) fn columns(&self, output: usize) -> u32 {
        self.network.output_specs()[output].columns()
    }

    /// Whether classes come from the output itself although the default would be the logits before it.
    #[cfg(feature = "files")]
    pub(crate) fn ranks_outputs(&self, output: usize) -> bool {
        let link = self.output_activations[output];
        let by_default = OutputActivation { ranks_outputs: false, ..link };
        self.logit_loss_of(output, link).is_none() && self.logit_loss_of(output, by_default).is_some()
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The model whose chosen output is probabilities, if its loss converts logits to probabilities.
    pub(crate) fn with_probabilities(&self) -> Result<Self> {
        let network = match self.output_activations[self.chosen].link {
            Activation::Identity => self.network.clone(),
            link => self.network.followed_by(self.chosen, link)?,
        };
        Ok(Self { network, ..self.clone() })
    }

    /// All weights in the layout of [`Network::parameters`], then the numbers that are not trained, in that of
    /// [`Network::states`]. Blocks, submits and polls; not for browsers.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn parameters(&self) -> Result<Vec<f32>> {
        self.device.block_on(self.parameters_async())
    }

    /// [`parameters`](Self::parameters) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`parameters`](Self::parameters).
    pub async fn parameters_async(&self) -> Result<Vec<f32>> {
        let words = self.device.read(&self.parameters, self.network.parameter_words() as usize).await?;
        Ok(bytemuck::cast_vec(words))
    }

    /// The buffer of the weights; [`Parameter`](crate::Parameter) has the offset of each tensor. Its usages are copy
    /// source, copy destination and storage. Weights that are copied into it between submissions are used by the next
    /// one.
    ///
    /// # Errors
    /// [`Error::NeedsGpu`] on [`Device::Cpu`].
    pub fn parameter_buffer(&self) -> Result<&wgpu::Buffer> {
        self.device.needs_gpu("Model::parameter_buffer")?;
        Ok(self.parameters.gpu())
    }

    /// Replaces the weights, in the layout of [`parameters`](Self::parameters), before the next submission. Submits
    /// nothing.
    ///
    /// This affects every pass and trainer that shares the weights. The optimizer's state is kept.
    ///
    /// # Errors
    /// The weights stay unchanged on an error:
    /// - [`Error::Shape`] if there are not [`Network::parameter_words`] numbers.
    /// - [`Error::NonFiniteParameter`] for the first number that is NaN or infinite.
    /// - [`Error::DeviceLost`].
    pub fn set_parameters(&self, parameters: &[f32]) -> Result<()> {
        self.network.check_parameters(parameters)?;
        self.device.check_alive()?;
        self.device.write(&self.parameters, 0, bytemuck::cast_slice(parameters))
    }

    /// A WGSL function named `name` that evaluates the network for one row inside an app's own shader, in any stage.
    /// It reads the [parameter buffer](Self::parameter_buffer) and returns the outputs of [`forward`](Self::forward).
    ///
    /// The network must consist of any number of [encodings](crate::Encoding), including hash grids and composite
    /// encodings, then at least one dense layer. Each may be followed by at most one activation. Flatten and dropout
    /// layers are ignored.
    ///
    /// ```no_run
    /// # fn app(model: wgrad::Model, shader: &str) -> wgrad::Result<()> {
    /// let source = format!("{}{shader}", model.wgsl("network")?.bound_at(1, 0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Error::Shape`] if a dense layer has more than [`WIDEST_NARROW`](crate::plan::WIDEST_NARROW) outputs or
    ///   inputs (inputs from an encoding may be more); if a layer is of another kind or in another order; if the
    ///   inputs of all layers together are more than 32,768 numbers.
    /// - [`Error::InvalidOption`] if `name` is not a valid WGSL identifier, or if WGSL uses it: keywords, reserved
    ///   words and built-in names.
    pub fn wgsl(&self, name: &str) -> Result<Wgsl> {
        Wgsl::new(name, narrow(&self.network)?, self.network.parameter_words())
    }

    pub(crate) fn forward_executor(&self, plan: Plan) -> Result<Executor> {
        self.device.check_plan(&plan)?;
        let mut given = vec![(Role::Parameters, self.parameters.clone())];
        for role in self.input_and_output_roles() {
            let bytes = plan.find(role).and_then(|id| plan.buffer(id).bytes()).unwrap_or(0);
            given.push((role, self.device.upload("an input or an output", &vec![0; bytes as usize])?));
        }
        self.device.executor(plan, &given)
    }

    /// An executor for the values that determine classes, with the inputs and outputs of a forward pass of the same
    /// rows.
    pub(crate) fn class_score_executor(&self, forward: &Executor) -> Result<Executor> {
        let plan = Plan::class_scores(&self.network, &self.logit_losses(), forward.plan().batch, true)?;
        self.device.check_plan(&plan)?;
        let roles = [Role::Parameters].into_iter().chain(self.input_and_output_roles());
        let given: Vec<_> = roles.map(|role| (role, forward.storage(role))).collect();
        self.device.executor(plan, &given)
    }

    /// Roles of the inputs and outputs of a forward plan.
    fn input_and_output_roles(&self) -> impl Iterator<Item = Role> + use<> {
        let [inputs, outputs] =
            [self.network.input_specs(), self.network.output_specs()].map(|specs| specs.len() as u32);
        (0..inputs).map(Role::Input).chain((0..outputs).map(Role::Output))
    }
}

/// The class of each row, from the values that determine it. Returns an error that names the first row without a
/// class.
pub(crate) fn every_class(class_scores: &[f32], outputs: usize, threshold: f32) -> Result<Vec<u32>> {
    match class_scores.iter().position(|rank| rank.is_nan()) {
        Some(at) => Err(Error::NoClass { row: at / outputs, column: at % outputs }),
        None => Ok(classes(class_scores, outputs, threshold)),
    }
}
