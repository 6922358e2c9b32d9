// Eight numbers as four words of 64 bits, for the kernels that read and write memory so: `wide` in their names.

// The numbers 0, 2, 4 and 6.
fn even(words: vec4<u64>) -> vec4f {
    return bitcast<vec4f>(vec4u(words & vec4<u64>(0xfffffffflu)));
}

// The numbers 1, 3, 5 and 7.
fn odd(words: vec4<u64>) -> vec4f {
    return bitcast<vec4f>(vec4u(words >> vec4u(32u)));
}

fn joined(even: vec4f, odd: vec4f) -> vec4<u64> {
    return vec4<u64>(bitcast<vec4u>(even)) | (vec4<u64>(bitcast<vec4u>(odd)) << vec4u(32u));
}

// Four numbers that lie one after the other.
fn unpacked(words: vec2<u64>) -> vec4f {
    let low = bitcast<vec2f>(vec2u(words & vec2<u64>(0xfffffffflu)));
    let high = bitcast<vec2f>(vec2u(words >> vec2u(32u)));
    return vec4f(low.x, high.x, low.y, high.y);
}
