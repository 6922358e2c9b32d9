//! The form of a compressed material: a pyramid of grids with latents, and a small decoder.

use wgrad::Activation::{Identity, LeakyRelu};
use wgrad::{Dense, Encoding, Graph, HashGrid, Network};

use crate::common::Result;
use crate::material::CHANNELS;

/// Hidden units of each of the decoder's two hidden layers.
const UNITS: u32 = 64;
/// Other features than latents: see `pyramid.wgsl`.
pub const EXTRAS: u32 = 8;

/// Texels along a side of a cell of the finest level.
const CELL: u32 = 2;
/// Latents of a vertex.
const LATENTS: u32 = 4;

/// The sizes of a pyramid. Each level has half the resolution of the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pyramid {
    /// Texels along a side of the material.
    pub size: u32,
    pub levels: u32,
    /// Bits of a latent, 1 to 8.
    pub bits: u32,
}

impl Pyramid {
    /// The coarsest level has 4 cells along a side.
    pub fn new(size: u32, bits: u32) -> Result<Self, String> {
        if !size.is_power_of_two() || !(64..=2048).contains(&size) || !(1..=8).contains(&bits) {
            let expected = "a power of two from 64 to 2048 as size, and latents of 1 to 8 bits";
            return Err(format!("expected {expected}; got size {size} and {bits} bits"));
        }
        Ok(Self { size, levels: (size / CELL).ilog2() - 1, bits })
    }

    /// The number of cells along a side of each level.
    pub fn resolutions(&self) -> Vec<u32> {
        (0..self.levels).map(|level| (self.size / CELL) >> (self.levels - 1 - level)).collect()
    }

    /// The index of each level's first vertex, and the number of all vertices.
    pub fn firsts(&self) -> Vec<u32> {
        let counts = self.resolutions().into_iter().map(|resolution| (resolution + 1).pow(2));
        [0].into_iter()
            .chain(counts.scan(0, |sum, count| {
                *sum += count;
                Some(*sum)
            }))
            .collect()
    }

    pub fn vertices(&self) -> u32 {
        self.firsts().last().copied().unwrap_or(0)
    }

    /// The number of 32-bit words of the packed latents, with a spare word.
    pub fn words(&self) -> u32 {
        (self.vertices() * LATENTS * self.bits).div_ceil(32) + 1
    }

    /// The latents that the decoder takes, of all levels.
    pub fn latents(&self) -> u32 {
        self.levels * LATENTS
    }

    /// The number of the decoder's inputs.
    pub fn features(&self) -> u32 {
        self.latents() + EXTRAS
    }

    /// The positions of all vertices, as the grid takes them.
    pub fn vertex_places(&self) -> Vec<f32> {
        let places = |n: u32| (0..=n).flat_map(move |y| (0..=n).flat_map(move |x| [x, y].map(|i| i as f32 / n as f32)));
        self.resolutions().into_iter().flat_map(places).collect()
    }

    /// Constants and functions in WGSL: see `pyramid.wgsl`.
    pub fn wgsl(&self) -> String {
        let Self { size, levels, bits } = self;
        let list = |values: &[u32]| values.iter().map(|value| format!("{value}u")).collect::<Vec<_>>().join(", ");
        let (resolutions, firsts) = (list(&self.resolutions()), list(&self.firsts()[..*levels as usize]));
        format!(
            "const SIZE = {size}u;\nconst LEVELS = {levels}u;\nconst BITS = {bits}u;\nconst FEATURES = {}u;\n\
             const EXTRAS = {EXTRAS}u;\nconst VERTICES = {}u;\nconst RESOLUTIONS = array<u32, {levels}>({resolutions});\n\
             const FIRSTS = array<u32, {levels}>({firsts});\n{}",
            self.features(),
            self.vertices(),
            include_str!("pyramid.wgsl"),
        )
    }

    /// The grids of all levels. They are dense: the table holds all vertices.
    fn grids(&self) -> Encoding {
        let base_resolution = self.resolutions()[0];
        let grid =
            HashGrid { levels: self.levels, features_per_level: LATENTS, base_resolution, ..HashGrid::default() };
        HashGrid { log2_hashmap_size: 24, ..grid }.into()
    }

    /// The network of the training: grids, fading, decoder.
    pub fn trained_network(&self) -> Result<Network> {
        let mut g = Graph::new();
        let (place, fade, others) = (g.input("place", 2), g.input("fade", self.latents()), g.input("others", EXTRAS));
        let latents = g.layer(self.grids(), place)?;
        let latents = g.name(GRIDS, latents)?;
        let faded = g.multiply([latents, fade])?;
        let mut x = g.concat([faded, others], -1)?;
        for (name, layer) in DECODER {
            x = g.layer(layer(), x)?;
            x = g.name(name, x)?;
        }
        Ok(g.build([("texel", x)])?)
    }

    /// The grids alone: latents of all levels at a place.
    pub fn grid_network(&self) -> Result<Network> {
        Ok(Network::input(2).layer(self.grids()).named(GRIDS).build()?)
    }

    /// The decoder alone: a texel from a row of features.
    pub fn decoder(&self) -> Result<Network> {
        let input = Network::input(self.features());
        Ok(DECODER.iter().fold(input, |network, (name, layer)| network.layer(layer()).named(*name)).build()?)
    }
}

type Make = fn() -> Dense;

/// Name of the layer of grids.
const GRIDS: &str = "latents";
/// Name of the decoder's first layer.
pub const FIRST_LAYER: &str = "hidden_1";

/// The decoder's layers, by name.
const DECODER: [(&str, Make); 3] = [
    (FIRST_LAYER, || Dense::new(UNITS, LeakyRelu(0.1))),
    ("hidden_2", || Dense::new(UNITS, LeakyRelu(0.1))),
    ("channels", || Dense::new(CHANNELS as u32, Identity)),
];
