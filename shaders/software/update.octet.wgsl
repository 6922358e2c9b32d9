// An update in words of 64 bits, for the kernels that read and write memory so: those of products too.

@group(0) @binding(4) var<storage, read_write> parameters: array<vec4<u64>>;
@group(0) @binding(5) var<storage, read_write> moments: array<vec4<u64>>;

// Eight parameters with their moments.
struct Octet {
    parameters: vec4<u64>,
    moment1: vec4<u64>,
    moment2: vec4<u64>,
}

fn fetch(at: u32) -> Octet {
    var octet = Octet(parameters[at], vec4<u64>(0lu), vec4<u64>(0lu));
    let m = moments_of(at, 8u);
    if MOMENTS > 0u { octet.moment1 = moments[m]; }
    if MOMENTS > 1u { octet.moment2 = moments[m + 8u]; }
    return octet;
}

fn apply(at: u32, before: Octet, evens: vec4f, odds: vec4f, cursor: Cursor) {
    let w = before.parameters;
    let m = before.moment1;
    let v = before.moment2;
    let new_evens = updated(Quad(even(w), even(m), even(v)), evens, cursor, at / 8u);
    let new_odds = updated(Quad(odd(w), odd(m), odd(v)), odds, cursor, at / 8u);
    parameters[at] = joined(new_evens.parameters, new_odds.parameters);
    let place = moments_of(at, 8u);
    if MOMENTS > 0u { moments[place] = joined(new_evens.moment1, new_odds.moment1); }
    if MOMENTS > 1u { moments[place + 8u] = joined(new_evens.moment2, new_odds.moment2); }
}
