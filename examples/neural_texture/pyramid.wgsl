// The latents of the material: a pyramid of grids with four latents at each vertex; and the row that the decoder takes.
// The host puts the constants in front: SIZE, LEVELS, BITS, FEATURES, EXTRAS, VERTICES, RESOLUTIONS and FIRSTS.

// Level by level, row by row, BITS for each latent, and a spare word at the end.
@group(0) @binding(0) var<storage, read> latents: array<u32>;

const CODES = (1u << BITS) - 1u;
const STEP = 2.0 / f32(CODES);

// The four latents of a vertex, from -1 to 1.
fn quad(level: u32, vertex: vec2u) -> vec4f {
    let number = FIRSTS[level] + vertex.y * (RESOLUTIONS[level] + 1u) + vertex.x;
    let bit = number * 4u * BITS;
    let shift = bit % 32u;
    let high = select(0u, latents[bit / 32u + 1u] << (32u - shift), shift > 0u);
    let codes = vec4u((latents[bit / 32u] >> shift) | high) >> vec4u(0u, BITS, 2u * BITS, 3u * BITS);
    return STEP * vec4f(codes & vec4u(CODES)) - 1.0;
}

// Four features: the latents of a level, interpolated.
fn interpolated(level: u32, place: vec2f) -> vec4f {
    let at = clamp(place, vec2f(0.0), vec2f(1.0)) * f32(RESOLUTIONS[level]);
    let cell = min(vec2u(at), vec2u(RESOLUTIONS[level] - 1u));
    let t = at - vec2f(cell);
    let above = mix(quad(level, cell), quad(level, cell + vec2u(1u, 0u)), t.x);
    let below = mix(quad(level, cell + vec2u(0u, 1u)), quad(level, cell + vec2u(1u, 1u)), t.x);
    return mix(above, below, t.y);
}

// The weight of a level. It fades out while the footprint, of 2^lod texels, grows from two cells to four.
fn weight(level: u32, lod: f32) -> f32 {
    return clamp(2.0 + log2(f32(SIZE) / f32(RESOLUTIONS[level])) - lod, 0.0, 1.0);
}

// The other features: where in a cell of the finest level the place is, the level of detail, and the finest weight.
fn extras(place: vec2f, lod: f32) -> array<f32, EXTRAS> {
    let finest = weight(LEVELS - 1u, lod);
    let angle = fract(place * f32(RESOLUTIONS[LEVELS - 1u])) * 6.2831853;
    let a = finest * vec4f(sin(angle), cos(angle));
    let b = finest * sin(2.0 * angle);
    return array<f32, EXTRAS>(a.x, a.y, a.z, a.w, b.x, b.y, lod / f32(LEVELS), finest);
}

// The row that the decoder takes.
fn features(place: vec2f, lod: f32) -> array<f32, FEATURES> {
    var row: array<f32, FEATURES>;
    for (var level = 0u; level < LEVELS; level++) {
        let w = weight(level, lod);
        if w > 0.0 {
            let four = w * interpolated(level, place);
            row[level * 4u] = four.x;
            row[level * 4u + 1u] = four.y;
            row[level * 4u + 2u] = four.z;
            row[level * 4u + 3u] = four.w;
        }
    }
    let more = extras(place, lod);
    for (var i = 0u; i < EXTRAS; i++) {
        row[LEVELS * 4u + i] = more[i];
    }
    return row;
}
