// Forward pass of a whole network of dense layers, at most 64 wide, in one dispatch. Values between layers stay on the
// chip. The host writes `evaluate`, INPUTS, OUTPUTS and other constants: see src/ops/narrow/.

struct NarrowUniforms {
    rows: u32,
}

@group(0) @binding(0) var<storage, read> u: NarrowUniforms;
@group(0) @binding(1) var<storage, read> parameters: array<vec4f>;
@group(0) @binding(2) var<storage, read> input: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;
