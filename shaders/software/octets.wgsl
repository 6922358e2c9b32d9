// Rows of f32 numbers for kernels in which each lane owns eight neighbouring columns. No entry point.

const ZERO = vec4f(0.0);

// Eight neighbouring numbers: those at even and those at odd positions.
struct Eight {
    even: vec4f,
    odd: vec4f,
}
