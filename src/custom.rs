//! What files have by name only: an app's own activations and losses. Register them once, as the program starts; whatever reads
//! files, such as [`Model::load`](crate::Model::load) and [`Trainer::resume`](crate::Trainer::resume), finds them then.
//!
//! ```
//! use wgrad::{Activation, CustomActivation, Device, Model, Network, custom};
//!
//! static SQUARE: CustomActivation =
//!     CustomActivation::new("square", "z * z", "2.0 * z").twin(|z| z * z, |z| 2.0 * z, 1e-6);
//!
//! custom::register_activation(&SQUARE)?;
//! let network = Network::input(3).dense(2, Activation::Custom(&SQUARE)).build()?;
//! let model = Model::new(Device::Cpu, &network, &network.initial_parameters(1))?;
//! let loaded = Model::from_bytes(Device::Cpu, &model.to_bytes()?)?;
//! assert_eq!(loaded.network(), &network);
//! # Ok::<(), wgrad::Error>(())
//! ```

use std::collections::BTreeSet;

use serde_json::Value;

use crate::activation::{self, CustomActivation};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::loss::{self, CustomLoss};

/// Lets files have this activation. Registering it again changes nothing.
///
/// # Errors
/// [`Error::Shape`] where another activation of this name is registered, or its expressions are refused.
pub fn register_activation(activation: &'static CustomActivation) -> Result<()> {
    activation.check()?;
    activation::REGISTERED.register(activation.name(), activation)
}

/// Lets files have this loss. Registering it again changes nothing.
///
/// # Errors
/// As [`register_activation`].
pub fn register_loss(loss: &'static CustomLoss) -> Result<()> {
    loss.check()?;
    loss::REGISTERED.register(loss.name(), loss)
}

/// Adds what a description in a file names and nobody has registered, by kind and name.
pub(crate) fn missing(description: &Value, is_loss: bool, found: &mut BTreeSet<(&'static str, String)>) {
    match description {
        Value::Array(values) => values.iter().for_each(|value| missing(value, is_loss, found)),
        Value::Object(members) => match members.get("Custom") {
            Some(Value::String(name)) if is_loss => found.extend(loss::REGISTERED.missing(name)),
            Some(Value::String(name)) => found.extend(activation::REGISTERED.missing(name)),
            _ => members.values().for_each(|value| missing(value, is_loss, found)),
        },
        _ => {}
    }
}
