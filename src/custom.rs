//! Registration of custom layers, activations and losses, which files store by name only.
//!
//! Register them once when the program starts. Then [`Model::load`](crate::Model::load),
//! [`Trainer::resume`](crate::Trainer::resume) and other readers of files find them.
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

use std::any::TypeId;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::activation::{self, CustomActivation};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::loss::{self, CustomLoss};
use crate::network::{self, CustomLayer};

/// Registers a custom activation by its name. Registering it again has no effect.
///
/// # Errors
/// [`Error::Shape`] if another activation with this name is registered, or if its expressions are invalid.
pub fn register_activation(activation: &'static CustomActivation) -> Result<()> {
    activation.check()?;
    activation::REGISTERED.register(activation.name(), activation)
}

/// Registers custom layers of this [kind](CustomLayer::kind). `make` makes a layer from its
/// [options](CustomLayer::options). Registering the same type of layer again has no effect.
///
/// ```
/// use wgrad::{CustomLayer, LayerOps, Result, Shape, custom};
///
/// #[derive(Debug)]
/// struct Square;
///
/// impl CustomLayer for Square {
///     fn kind(&self) -> &str {
///         "square"
///     }
/// #   fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> { Ok(inputs.to_vec()) }
/// #   fn forward(&self, _: &mut LayerOps<'_>) -> Result<()> { unimplemented!() }
/// #   fn backward(&self, _: &mut LayerOps<'_>) -> Result<()> { unimplemented!() }
///     // ...
/// }
///
/// custom::register_layer("square", |_options| Ok(Square))?;
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] if another type of layer is registered for this kind.
pub fn register_layer<L: CustomLayer + 'static>(
    kind: &str,
    make: impl Fn(&str) -> Result<L> + Send + Sync + 'static,
) -> Result<()> {
    let make = Arc::new(move |options: &str| Ok(Arc::new(make(options)?) as Arc<dyn CustomLayer>));
    network::REGISTERED.register(kind, network::Registered { of: TypeId::of::<L>(), make })
}

/// Registers a custom loss by its name. Registering it again has no effect.
///
/// # Errors
/// The errors of [`register_activation`].
pub fn register_loss(loss: &'static CustomLoss) -> Result<()> {
    loss.check()?;
    loss::REGISTERED.register(loss.name(), loss)
}

/// Collects the kinds and names that a file's description uses and that are not registered.
pub(crate) fn missing(description: &Value, is_loss: bool, found: &mut BTreeSet<(&'static str, String)>) {
    match description {
        Value::Array(values) => values.iter().for_each(|value| missing(value, is_loss, found)),
        Value::Object(members) => match members.get("Custom") {
            Some(Value::String(name)) if is_loss => found.extend(loss::REGISTERED.missing(name)),
            Some(Value::String(name)) => found.extend(activation::REGISTERED.missing(name)),
            // A layer's options may contain anything, so they are not searched.
            Some(layer @ Value::Object(_)) => {
                found.extend(layer["kind"].as_str().and_then(|kind| network::REGISTERED.missing(kind)));
            }
            _ => members.values().for_each(|value| missing(value, is_loss, found)),
        },
        _ => {}
    }
}
