// A whole network of dense layers no wider than 64, a row for each invocation: what lies between the layers never
// leaves the chip. The host writes the layers out (src/ops/narrow/): `evaluate`, and the constants INPUTS, OUTPUTS and
// others.

struct NarrowUniforms {
    rows: u32,
}

@group(0) @binding(0) var<storage, read> u: NarrowUniforms;
@group(0) @binding(1) var<storage, read> parameters: array<vec4f>;
@group(0) @binding(2) var<storage, read> input: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;
