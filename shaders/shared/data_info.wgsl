// What kernels know of the data set: `DataInfo` in src/ops/state.rs.
struct DataInfo {
    rows: u32,
    shuffle: u32,
    seed_low: u32,
    seed_high: u32,
    bytes: u32,
    values: u32,
    weighted: u32,
    first_feature: u32,
    feature_stride: u32,
    first_target: u32,
    target_stride: u32,
    chain: u32,
    chain_pass: u32,
    channels: u32,
    ignored: u32,
}
