//! Tests an app's own layers, activations and losses.

mod common;
#[path = "common/custom_layer.rs"]
mod custom_layer;

#[path = "custom/activations.rs"]
mod activations;
#[path = "custom/hostile.rs"]
mod hostile;
#[path = "custom/layers.rs"]
mod layers;
#[path = "custom/losses.rs"]
mod losses;
#[cfg(feature = "files")]
#[path = "custom/registered.rs"]
mod registered;
/// The layer of the example `own_layer`.
#[path = "../examples/own_layer/sine.rs"]
mod sine;
#[path = "custom/wrong.rs"]
mod wrong;
