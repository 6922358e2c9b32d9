//! Numbers at the edge: very large, very small, equal, infinite, NaN. Each section of `docs/edge-cases.md` is computed here
//! in f64, on the GPU and on the CPU, and the page must say what came out.
//!
//! `WGRAD_WRITE_EDGES=1 cargo test --release --test edges` writes the page anew.

#[path = "../common/mod.rs"]
mod common;

mod activations;
mod encodings;
mod faults;
mod losses;
mod norms;
mod optimizers;
mod page;
mod run;

use page::Section;

/// The sections of the page, in order. Another one is another module with a function like these.
const SECTIONS: &[fn() -> Section] = &[
    activations::section,
    encodings::section,
    losses::softmax_section,
    losses::section,
    norms::section,
    optimizers::section,
    optimizers::clip_section,
    optimizers::sums_section,
];

#[test]
fn the_page_says_what_runs() {
    let sections: Vec<Section> = SECTIONS.iter().map(|section| section()).collect();
    page::check(&page::render(&sections));
}
