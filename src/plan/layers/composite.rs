//! Encodings of parts of a row. All encodings without weights are one op. A hash grid works on copies of its columns:
//! its points are few numbers, and its lookups take longer than copying its features.

use std::ops::Range;

use super::hash_grid::Grid;
use super::{Builder, LayerContext, Lowered, Shape, Tensor, made};
use crate::encoding::{Encoding, HashGrid, columns};
use crate::error::Result;
use crate::plan::{Encode, EncodePart, Rearrange};

/// A hash grid, and its columns of the coordinates and of the features.
struct GridPart {
    options: HashGrid,
    /// The first part of the names of its buffers.
    name: String,
    parameter: usize,
    coordinates: Range<u32>,
    features: Range<u32>,
}

pub(super) fn forward(at: &LayerContext, parts: &[(u32, Encoding)], plan: &mut Builder) -> Result<Lowered> {
    let (x, output) = (at.inputs[0], plan.activation(&at.node.name, at.shape())?);
    let (parts, grids) = split(at, parts);
    if !parts.is_empty() {
        plan.push(Encode { parts, x, gradient: None, tangent: None, output });
    }
    let mut kept = Vec::new();
    for part in grids {
        let sample = |columns: &Range<u32>| Shape::of(&[columns.len() as u32]);
        let points = plan.activation(&format!("{}.points", part.name), sample(&part.coordinates))?;
        let features = plan.activation(&format!("{}.features", part.name), sample(&part.features))?;
        copy(x.range(1, part.coordinates.clone()), points, plan);
        let levels = part.grid(points).forward(features, plan)?;
        copy(features, output.range(1, part.features), plan);
        kept.extend([points, features, levels]);
    }
    Ok(Lowered { kept, ..made(output) })
}

pub(super) fn backward(
    at: &LayerContext,
    parts: &[(u32, Encoding)],
    gradient: Tensor,
    plan: &mut Builder,
) -> Result<()> {
    let (x, dx) = (at.inputs[0], plan.sink(at, 0)?);
    let (parts, grids) = split(at, parts);
    if let Some(output) = dx.filter(|_| !parts.is_empty()) {
        plan.push(Encode { parts, x, gradient: Some(gradient), tangent: None, output });
    }
    for (part, kept) in grids.into_iter().zip(at.done.kept.chunks_exact(3)) {
        let &[points, features, levels] = kept else { continue };
        if dx.is_none() && !plan.trained[part.parameter] {
            continue;
        }
        let grid = part.grid(points);
        let own = plan.gradient(&format!("{}.features_gradient", part.name), features)?;
        copy(gradient.range(1, part.features), own, plan);
        grid.table_gradient(at, levels, own, plan)?;
        if let Some(dx) = dx {
            let of_points = plan.gradient(&format!("{}.points_gradient", part.name), points)?;
            grid.point_gradient(levels, own, of_points, plan);
            copy(of_points, dx.range(1, part.coordinates), plan);
        }
    }
    Ok(())
}

fn copy(input: Tensor, output: Tensor, plan: &mut Builder) {
    plan.push(Rearrange { input, output, scale: 1.0 });
}

/// The encodings without weights, and the hash grids.
fn split(at: &LayerContext, parts: &[(u32, Encoding)]) -> (Vec<EncodePart>, Vec<GridPart>) {
    let (mut encodings, mut grids) = (Vec::new(), Vec::new());
    for (i, (encoding, coordinates, features)) in columns(parts).enumerate() {
        match encoding {
            Encoding::HashGrid(options) => grids.push(GridPart {
                options,
                name: at.name(&format!("part_{}", i + 1)),
                parameter: at.node.parameters[grids.len()],
                coordinates,
                features,
            }),
            _ => encodings.push(EncodePart {
                encoding,
                first_coordinate: coordinates.start,
                coordinates: coordinates.len() as u32,
                first_feature: features.start,
            }),
        }
    }
    (encodings, grids)
}

impl GridPart {
    fn grid(&self, points: Tensor) -> Grid {
        Grid { options: self.options, name: self.name.clone(), parameter: self.parameter, points }
    }
}
