//! Edge cases: very large, very small, equal, infinite and NaN inputs. These tests compute each section of
//! `docs/edge-cases.md` in f64, on the GPU and on the CPU, and compare the results with the page.
//!
//! `WGRAD_WRITE_EDGES=1 cargo test --release --all-features --test edges` rewrites the page.

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

/// The sections of the page, in order. To add a section, add a function like these.
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
