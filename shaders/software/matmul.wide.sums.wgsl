// What becomes of the sums, for the kernels that read and write memory in words of 64 bits: eight of a row leave at a time,
// those of even and those of odd columns.

@group(0) @binding(3) var<storage, read> aux: array<vec4<u64>>;
@group(0) @binding(4) var<storage, read_write> c: array<vec4<u64>>;
@group(0) @binding(5) var<storage, read_write> bias_gradient: array<vec4<u64>>;

// These kernels take the driver's compiler long, so the forward and the backward pass share a pipeline: it asks the uniforms
// for what others have as constants.
struct Ends {
    forward: bool,
    has_aux: bool,
}

fn ends() -> Ends {
    return Ends(u.epilogue == 1u, u.aux != 0u);
}

// Forward, the activation of the sums with their bias; back, its derivative, which is 1 without one.
fn through(sums: vec4f, extra: vec4f, forward: bool) -> vec4f {
    return select(sums * derivative(extra), activate(sums + extra), forward);
}

fn finished(at: u32, column: u32, evens: vec4f, odds: vec4f, ends: Ends) -> vec4<u64> {
    var extra = vec4<u64>(0x8000000080000000lu); // -0, which added to anything changes nothing
    if ends.has_aux {
        extra = aux[select(at, column / 8u, ends.forward)];
    }
    return joined(through(evens, even(extra), ends.forward), through(odds, odd(extra), ends.forward));
}

fn leave(at: u32, column: u32, evens: vec4f, odds: vec4f, ends: Ends) {
    c[at] = finished(at, column, evens, odds, ends);
}
