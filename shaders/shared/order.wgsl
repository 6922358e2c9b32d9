// Maps the bits of an f32 to an integer with the same order. 0 is above -0, and every NaN is above all other numbers. A
// float comparison might lose NaN, because compilers may assume that there is none.
fn to_ordered(bits: i32) -> i32 {
    let is_nan = (bits & 0x7fffffff) > 0x7f800000;
    return select(flip_if_negative(bits), 0x7fffffff, is_nan);
}

// Inverts all bits except the sign if the number is negative. The function is its own inverse.
fn flip_if_negative(bits: i32) -> i32 {
    return bits ^ ((bits >> 31u) & 0x7fffffff);
}
