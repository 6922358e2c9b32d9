// The bits of an f32 as a whole number in the same order: 0 above -0, and NaN, whichever it is, above all. A comparison
// of numbers might lose NaN, as compilers may assume that there is none.
fn order(bits: i32) -> i32 {
    let is_nan = (bits & 0x7fffffff) > 0x7f800000;
    return select(turned(bits), 0x7fffffff, is_nan);
}

// Of negative numbers all bits but the sign: of what this returns it makes the bits again.
fn turned(bits: i32) -> i32 {
    return bits ^ ((bits >> 31u) & 0x7fffffff);
}
