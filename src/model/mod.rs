//! A network with weights: what runs, after or beside training.

mod forward;
mod inference;
mod scoring;

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

/// A network and its weights on a device: from [`Trainer::model`](crate::Trainer::model), whose weights it then shares,
/// or from weights given.
///
/// A network with one input takes numbers or rows without a name, one with several takes each by its name: see
/// [`Inputs`](crate::Inputs) and [`NamedRows`](crate::NamedRows). Of a network with several outputs,
/// [`forward`](Self::forward), [`predict`](Self::predict), [`predict_proba`](Self::predict_proba),
/// [`score`](Self::score) and [`predictor`](Self::predictor) are about one output, the first unless
/// [`output`](Self::output) has chosen another.
#[derive(Debug, Clone)]
pub struct Model {
    pub(crate) device: Device,
    pub(crate) network: Network,
    pub(crate) parameters: Storage,
    /// Of each output of the network.
    pub(crate) links: Vec<OutputActivation>,
    /// The output that what has one output is about.
    pub(crate) chosen: usize,
    /// Whether it may be written to a file with weights that are not finite.
    #[cfg(feature = "files")]
    pub(crate) allow_non_finite: bool,
}

/// What the loss that an output was trained by says of it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct OutputActivation {
    /// What turns the output into probabilities, where the network's last layer does not.
    pub link: Activation,
    /// Whether it was trained by a loss of the output as it is: classes come from this then, even behind a sigmoid or a
    /// softmax, and not from what those take.
    pub ranks_outputs: bool,
}

impl OutputActivation {
    /// Of an output of which no loss is known.
    pub const NONE: Self = Self { link: Activation::Identity, ranks_outputs: false };
}

/// Rows that the conveniences run at a time, at most.
const ROWS: u32 = 4096;

/// Rows of a batch of evaluation: enough to fill a GPU. What tells classes takes as many at a time, so that the same
/// kernels give the same bits.
pub(crate) const EVALUATION_BATCH: u32 = 512;

impl Model {
    /// A network with weights given, laid out as [`Network::parameters`] and [`Network::states`] say: to run it without
    /// a trainer.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are [`Network::parameter_words`] numbers, [`Error::NonFiniteParameter`] for the
    /// first that is NaN or infinite, and [`Error::LimitExceeded`] where the device cannot run the network even a row
    /// at a time, before anything is allocated; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn new(device: impl Into<Device>, network: &Network, parameters: &[f32]) -> Result<Self> {
        network.check_parameters(parameters)?;
        Self::unchecked(device.into(), network, parameters)
    }

    /// [`new`](Self::new), of as many numbers as the network has, whether finite or not.
    pub(crate) fn unchecked(device: Device, network: &Network, parameters: &[f32]) -> Result<Self> {
        device.check_plan(&Plan::forward(network, 1)?)?;
        let parameters = device.upload("parameters", bytemuck::cast_slice(parameters))?;
        Ok(Self::of(device, network.clone(), parameters))
    }

    pub(crate) fn of(device: Device, network: Network, parameters: Storage) -> Self {
        Self {
            device,
            links: vec![OutputActivation::NONE; network.output_specs().len()],
            network,
            parameters,
            chosen: 0,
            #[cfg(feature = "files")]
            allow_non_finite: false,
        }
    }

    /// The same model, with the same weights, whose [`forward`](Self::forward), [`predict`](Self::predict),
    /// [`predict_proba`](Self::predict_proba), [`score`](Self::score), [`predictor`](Self::predictor) and
    /// [`for_loss`](Self::for_loss) are about the output of this name. Default: the first output.
    ///
    /// ```no_run
    /// # fn app(model: wgrad::Model, pixels: &[f32], years: &[f32]) -> wgrad::Result<()> {
    /// let kinds = model.output("kind")?.predict([("image", pixels), ("age", years)])?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for a name that no output has.
    pub fn output(&self, name: &str) -> Result<Self> {
        let chosen = self.network.output_index(name)?;
        Ok(Self { chosen, ..self.clone() })
    }

    /// The same model, with the same weights, for samples of another shape: see [`Network::at_input`]. While a trainer
    /// trains them, it does so here too.
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
    /// As [`Network::at_input`]; [`Error::LimitExceeded`] where the device cannot run the network at that size.
    pub fn at_input(&self, shape: impl Into<Shape>) -> Result<Self> {
        self.at(self.network.at_input(shape)?)
    }

    /// [`at_input`](Self::at_input) of some of several inputs, by name: see [`Network::at_inputs`].
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

    /// Says by which loss the network's output was trained: for an output that is logits, what
    /// [`predict_proba`](Self::predict_proba) makes of them; and what [`predict`](Self::predict) tells classes by. It
    /// is the [chosen](Self::output) output's. A model from a trainer knows. Default: outputs as they are and, of a
    /// network whose last activation is a sigmoid or a softmax, classes by the logits that this one takes.
    pub fn for_loss(mut self, loss: Loss) -> Self {
        self.set_loss(self.chosen, loss);
        self
    }

    /// [`for_loss`](Self::for_loss) of every output.
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
    /// [`Error::Shape`] unless there is one loss for each output.
    pub fn for_losses(self, losses: impl Into<Losses>) -> Result<Self> {
        let losses = losses.into().of_outputs(&self.network)?;
        Ok(self.trained_by(&losses))
    }

    /// The same of losses that are known to be one for each output.
    pub(crate) fn trained_by(mut self, losses: &[(Loss, f32)]) -> Self {
        for (output, (loss, _)) in losses.iter().enumerate() {
            self.set_loss(output, *loss);
        }
        self
    }

    fn set_loss(&mut self, output: usize, loss: Loss) {
        // Where the last layer is the link itself, the outputs are probabilities already.
        let link = match loss.output_activation() == self.network.activation_of(output) {
            true => Activation::Identity,
            false => loss.output_activation(),
        };
        self.links[output] = OutputActivation { link, ranks_outputs: loss.output_activation() == Activation::Identity };
    }

    /// For each output, the loss that takes what classes are told by, and computes a sigmoid or a softmax of it itself;
    /// none where classes are told by the output as it is.
    fn ranks(&self) -> Vec<Option<Loss>> {
        (0..self.links.len()).map(|output| self.ranks_of_output(output, self.links[output])).collect()
    }

    fn ranks_of_output(
        &self,
        output: usize,
        OutputActivation { link, ranks_outputs }: OutputActivation,
    ) -> Option<Loss> {
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

    /// The same of the chosen output.
    fn chosen_ranks(&self) -> Option<Loss> {
        self.ranks_of_output(self.chosen, self.links[self.chosen])
    }

    /// The number above which one output tells class 1.
    pub(crate) fn threshold(&self) -> f32 {
        if self.chosen_ranks() == Some(Loss::BinaryCrossEntropy) { 0.0 } else { 0.5 }
    }

    /// Numbers of an output that classes are told by together: those of its last dimension.
    pub(crate) fn columns(&self, output: usize) -> u32 {
        self.network.output_specs()[output].columns()
    }

    /// Whether classes come from an output as it is, where the default would be otherwise.
    #[cfg(feature = "files")]
    pub(crate) fn ranks_outputs(&self, output: usize) -> bool {
        let link = self.links[output];
        let by_default = OutputActivation { ranks_outputs: false, ..link };
        self.ranks_of_output(output, link).is_none() && self.ranks_of_output(output, by_default).is_some()
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The model whose chosen output is probabilities, where its loss makes them of logits.
    pub(crate) fn with_probabilities(&self) -> Result<Self> {
        let network = match self.links[self.chosen].link {
            Activation::Identity => self.network.clone(),
            link => self.network.followed_by(self.chosen, link)?,
        };
        Ok(Self { network, ..self.clone() })
    }

    /// Every weight, laid out as [`Network::parameters`] says, then the numbers that are not trained, as
    /// [`Network::states`] does. Blocks, submits and polls; not for browsers.
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

    /// The weights: [`Parameter`](crate::Parameter) tells where each tensor lies. They can be copied from and to, and
    /// bound as storage; what is copied there while nothing runs is what runs next.
    ///
    /// # Errors
    /// [`Error::NeedsGpu`] on [`Device::Cpu`].
    pub fn parameter_buffer(&self) -> Result<&wgpu::Buffer> {
        self.device.needs_gpu("Model::parameter_buffer")?;
        Ok(self.parameters.gpu())
    }

    /// Swaps the weights, laid out as in [`parameters`](Self::parameters), before whatever is submitted next: for every
    /// pass and trainer that shares them. What the optimizer keeps stays as it is. Submits nothing.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are [`Network::parameter_words`] numbers; [`Error::NonFiniteParameter`] for the
    /// first that is NaN or infinite; [`Error::DeviceLost`]. Then the weights stay as they are.
    pub fn set_parameters(&self, parameters: &[f32]) -> Result<()> {
        self.network.check_parameters(parameters)?;
        self.device.check_alive()?;
        self.device.write(&self.parameters, 0, bytemuck::cast_slice(parameters))
    }

    /// A WGSL function of this name which evaluates the network for one row inside an app's own shader, of any stage,
    /// from the [parameter buffer](Self::parameter_buffer): what [`forward`](Self::forward) puts out. The network is
    /// any number of [encodings](crate::Encoding), hash grids included, then dense layers, at least one, each with at
    /// most one activation after it. Flatten and dropout are nothing.
    ///
    /// ```no_run
    /// # fn app(model: wgrad::Model, shader: &str) -> wgrad::Result<()> {
    /// let source = format!("{}{shader}", model.wgsl("network")?.bound_at(1, 0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for a dense layer that puts out more than [`WIDEST_NARROW`](crate::plan::WIDEST_NARROW)
    /// features, or takes in more (behind an encoding it may), for a layer of another kind or in another order, and
    /// where all layers together take in more than 32,768 numbers; [`Error::InvalidOption`] for a name that is none in
    /// WGSL, or a keyword, a reserved word, or that of a built-in function, type or value.
    pub fn wgsl(&self, name: &str) -> Result<Wgsl> {
        Wgsl::new(name, narrow(&self.network)?, self.network.parameter_words())
    }

    pub(crate) fn forward_executor(&self, plan: Plan) -> Result<Executor> {
        self.device.check_plan(&plan)?;
        let mut given = vec![(Role::Parameters, self.parameters.clone())];
        for role in self.end_roles() {
            let bytes = plan.find(role).and_then(|id| plan.buffer(id).bytes()).unwrap_or(0);
            given.push((role, self.device.upload("an input or an output", &vec![0; bytes as usize])?));
        }
        self.device.executor(plan, &given)
    }

    /// What tells classes, with the inputs and the outputs of a forward pass of as many rows.
    pub(crate) fn ranks_executor(&self, forward: &Executor) -> Result<Executor> {
        let plan = Plan::ranks(&self.network, &self.ranks(), forward.plan().batch, true)?;
        self.device.check_plan(&plan)?;
        let roles = [Role::Parameters].into_iter().chain(self.end_roles());
        let given: Vec<_> = roles.map(|role| (role, forward.storage(role))).collect();
        self.device.executor(plan, &given)
    }

    /// What a forward plan has at its ends.
    fn end_roles(&self) -> impl Iterator<Item = Role> + use<> {
        let [inputs, outputs] = [self.network.input_specs(), self.network.output_specs()].map(|ends| ends.len() as u32);
        (0..inputs).map(Role::Input).chain((0..outputs).map(Role::Output))
    }
}

/// The class of each row of what ranks them, or an error that names the first row without one.
pub(crate) fn every_class(ranks: &[f32], outputs: usize, threshold: f32) -> Result<Vec<u32>> {
    match ranks.iter().position(|rank| rank.is_nan()) {
        Some(at) => Err(Error::NoClass { row: at / outputs, column: at % outputs }),
        None => Ok(classes(ranks, outputs, threshold)),
    }
}
