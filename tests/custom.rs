//! Layers, activations and losses of an app's own.

mod common;

#[path = "custom/layers.rs"]
mod layers;
