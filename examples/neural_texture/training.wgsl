// The app's passes for training: samples of the material, and the packed latents.

struct Samples {
    seed: u32,
    first: u32, // number of the first sample of all
    rounds: u32, // whether `round_latents` rounds: 0 or 1
}

@group(0) @binding(2) var<storage, read> samples: Samples;
@group(0) @binding(3) var albedo: texture_2d<f32>;
@group(0) @binding(4) var normal: texture_2d<f32>;
@group(0) @binding(5) var surface: texture_2d<f32>; // occlusion, roughness, height
@group(0) @binding(6) var smooth_sampler: sampler;
@group(0) @binding(7) var<storage, read_write> places: array<vec2f>;
@group(0) @binding(8) var<storage, read_write> fades: array<f32>;     // [samples, LEVELS * 4]
@group(0) @binding(9) var<storage, read_write> others: array<f32>;    // [samples, EXTRAS]
@group(0) @binding(10) var<storage, read_write> targets: array<f32>;  // [samples, 9]
@group(0) @binding(11) var<storage, read> vertices: array<vec4f>;     // [vertices, LEVELS]
@group(0) @binding(12) var<storage, read_write> packed: array<u32>;   // as latents
@group(0) @binding(13) var<storage, read_write> parameters: array<f32>; // the weights of the training
@group(0) @binding(14) var<storage, read_write> exact: array<Exact>;  // of the latents, the first of the weights

struct Exact {
    value: f32,
    weight: f32, // the weight that the training got for it
}

struct Sample {
    place: vec2f,
    lod: f32,
}

// Nine tenths of the samples are texel centres of a mip level. The others are anywhere, between texels and levels.
// Level k + 1 has a quarter of the samples of level k, since it has a quarter of the texels.
fn sample(row: u32) -> Sample {
    let number = samples.first + row;
    let r = random(vec3u(number, samples.seed, 1u));
    let lod = min(-0.5 * log2(1.0 - r.x), log2(f32(SIZE)));
    // Roberts' sequence covers the texels evenly. The fractions are of 2^32.
    let start = vec2u(16777216.0 * random(vec3u(samples.seed, 0u, 2u)).xy) << vec2u(8u);
    let place = vec2f((number * vec2u(3242174889u, 2447445414u) + start) >> vec2u(8u)) / 16777216.0;
    if r.y < 0.1 {
        return Sample(place, lod);
    }
    let texels = f32(SIZE >> u32(lod));
    return Sample((floor(place * texels) + 0.5) / texels, floor(lod));
}

fn write_target(row: u32, at: Sample) {
    let values = array<vec4f, 3>(
        textureSampleLevel(albedo, smooth_sampler, at.place, at.lod),
        textureSampleLevel(normal, smooth_sampler, at.place, at.lod),
        textureSampleLevel(surface, smooth_sampler, at.place, at.lod),
    );
    for (var i = 0u; i < 3u; i++) {
        for (var channel = 0u; channel < 3u; channel++) {
            targets[row * 9u + i * 3u + channel] = values[i][channel];
        }
    }
}

// Samples for the training.
@compute @workgroup_size(64)
fn draw(@builtin(global_invocation_id) id: vec3u) {
    let row = id.x;
    let at = sample(row);
    places[row] = at.place;
    for (var i = 0u; i < LEVELS * 4u; i++) {
        fades[row * LEVELS * 4u + i] = weight(i / 4u, at.lod);
    }
    let more = extras(at.place, at.lod);
    for (var i = 0u; i < EXTRAS; i++) {
        others[row * EXTRAS + i] = more[i];
    }
    write_target(row, at);
}

// Rounds the latents between two steps. The training moves rounded latents; its steps are added to exact ones (the
// straight-through estimator; Bengio et al., 2013).
@compute @workgroup_size(64)
fn round_latents(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
    let i = id.y * grid.x * 64u + id.x;
    if i >= arrayLength(&exact) {
        return;
    }
    let value = clamp(exact[i].value + parameters[i] - exact[i].weight, -1.0, 1.0);
    let weight = select(value, STEP * round((value + 1.0) / STEP) - 1.0, samples.rounds > 0u);
    exact[i] = Exact(value, weight);
    parameters[i] = weight;
}

// The codes of a word.
@compute @workgroup_size(64)
fn pack(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
    let word = id.y * grid.x * 64u + id.x;
    if word >= arrayLength(&packed) {
        return;
    }
    var codes = 0u;
    for (var vertex = word * 8u / BITS; vertex * BITS < word * 8u + 8u && vertex < VERTICES; vertex++) {
        var level = LEVELS - 1u;
        while vertex < FIRSTS[level] {
            level--;
        }
        let value = vertices[vertex * LEVELS + level];
        let steps = vec4u(clamp(round((value + 1.0) / STEP), vec4f(0.0), vec4f(f32(CODES))));
        let four = steps << vec4u(0u, BITS, 2u * BITS, 3u * BITS);
        let bits = four.x | four.y | four.z | four.w;
        let first = word * 32u;
        let at = vertex * 4u * BITS;
        codes |= select(bits << (at - first), bits >> (first - at), at < first);
    }
    packed[word] = codes;
}
