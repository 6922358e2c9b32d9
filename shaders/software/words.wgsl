// Eight f32 numbers as four 64-bit words, for the kernels that access memory in such words. Their names contain `wide`.

// Numbers 0, 2, 4 and 6.
fn even(words: vec4<u64>) -> vec4f {
    return bitcast<vec4f>(vec4u(words & vec4<u64>(0xfffffffflu)));
}

// Numbers 1, 3, 5 and 7.
fn odd(words: vec4<u64>) -> vec4f {
    return bitcast<vec4f>(vec4u(words >> vec4u(32u)));
}

fn interleave(even: vec4f, odd: vec4f) -> vec4<u64> {
    return vec4<u64>(bitcast<vec4u>(even)) | (vec4<u64>(bitcast<vec4u>(odd)) << vec4u(32u));
}

// Four consecutive numbers.
fn unpacked(words: vec2<u64>) -> vec4f {
    let low = bitcast<vec2f>(vec2u(words & vec2<u64>(0xfffffffflu)));
    let high = bitcast<vec2f>(vec2u(words >> vec2u(32u)));
    return vec4f(low.x, high.x, low.y, high.y);
}

fn words_of(numbers: vec4f) -> vec2<u64> {
    return vec2<u64>(bitcast<vec2u>(numbers.xz)) | (vec2<u64>(bitcast<vec2u>(numbers.yw)) << vec2u(32u));
}
