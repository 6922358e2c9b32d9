// How far a number of a row is from the row's first: 0 in a constant row, however large, and with the low bits that a large mean
// would take. The bits pass an integer operation, or a compiler with fast math might subtract the mean from the first.
fn from_first(x: f32, first: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x - first) | u.zero);
}
