//! Tests of data sets: construction, padding of bytes, shuffling, and errors.
// Some lists have one range on purpose.
#![allow(clippy::single_range_in_vec_init)]

use super::*;
use crate::ops::U8_SCALE;

#[test]
fn bad_input_is_refused_with_the_row_and_the_value() {
    let cases: [(Result<Dataset>, &str); 9] = [
        (Dataset::from_u8(vec![], 0, vec![], 1), "features of a row: expected at least 1, got 0"),
        (Dataset::from_u8(vec![], 3, vec![], 1), "rows of the data set: expected at least 1, got 0"),
        (Dataset::from_u8(vec![1; 5], 3, vec![0, 0], 1), "feature values: expected 6 (2 rows of 3), got 5"),
        (Dataset::from_u8(vec![1; 6], 3, vec![0, 10], 10), "label of row 1: expected a class below 10, got 10"),
        (
            Dataset::from_f32(vec![0.0, 1.0, f32::NAN, 3.0], 2, vec![0, 0], 1),
            "feature 0 of row 1: expected a finite number, got NaN",
        ),
        (
            Dataset::from_u8(vec![1; 6], 3, vec![0, 0], 1).and_then(|d| d.split(2)).map(|(d, _)| d),
            "row to split the data set at: expected above 0 and below 2 (the number of rows), got 2",
        ),
        (
            Dataset::from_f32_targets(vec![0.0; 2], 1, vec![0.0; 3], 2),
            "target values: expected whole rows of 2 numbers, got 3",
        ),
        (
            Dataset::from_f32_targets(vec![0.0; 2], 1, vec![0.0, f32::INFINITY], 1),
            "target of row 1: expected a finite number, got inf",
        ),
        (
            Dataset::from_u8(vec![1; 6], 3, vec![0, 0], 1).and_then(|d| d.with_weights(vec![1.0])),
            "sample weights: expected 2 (one per row), got 1",
        ),
    ];
    for (result, message) in cases {
        assert_eq!(result.unwrap_err().to_string(), message);
    }
    let one = Dataset::from_u8(vec![1; 3], 3, vec![0], 1).unwrap();
    let reason = one.hold_out(0.5).unwrap_err().to_string();
    assert_eq!(reason, "rows held out: expected at least 1 and fewer than all 1, got 1 (a share of 0.5)");
}

/// Two rows: an image of 1 · 2 pixels with two channels, an age, a kind, a mask and a size.
fn several() -> DatasetBuilder {
    Dataset::of_rows(2)
        .input("image", vec![0u8, 51, 102, 153, 204, 255, 0, 255], [1, 2, 2])
        .input("age", vec![0.5, -0.5], 1)
        .labels("kind", vec![1, 0], 3)
        .positions("mask", vec![0, 1, 1, 255], [1, 2], 2)
        .ignoring("mask", 255)
        .targets("size", vec![1.0, 2.0, 3.0, 4.0], 2)
}

#[test]
fn faults_name_the_input_or_the_target() {
    let of = |builder: DatasetBuilder| builder.build().unwrap_err().to_string();
    let none = || Dataset::of_rows(2);
    let cases = [
        (of(Dataset::of_rows(0).input("a", vec![0u8], 1)), "rows of the data set: expected at least 1, got 0"),
        (of(none()), "inputs of the data set: expected at least 1, got 0"),
        (of(none().input("a", vec![0u8; 2], 1)), "targets of the data set: expected at least 1, got 0"),
        (
            of(none().input("a", vec![0u8; 8], [3, 1])),
            r#"features of input "a": expected 6 numbers (2 rows of [3, 1]), got 8"#,
        ),
        (
            of(none().input("a", vec![0u8; 8], 0)),
            r#"shape of features of input "a": expected 1 to 2³⁰ numbers, got [0]"#,
        ),
        (of(several().input("age", vec![0.0; 2], 1)), r#"features of input "age": expected one of this name, got two"#),
        (
            of(several().input("b", vec![0.0, f32::NAN], 1)),
            r#"feature 0 of row 1 of input "b": expected a finite number, got NaN"#,
        ),
        (
            of(several().labels("b", vec![0; 3], 3)),
            r#"target "b": expected 2 labels (one per row), or a multiple of it (one per position), got 3"#,
        ),
        (
            of(several().labels("b", vec![0, 1, 2, 3], 3)),
            "label of row 1 of target \"b\": expected a class below 3, got 3; \
             to ignore this label, call DatasetBuilder::ignoring",
        ),
        (
            of(several().targets("b", vec![0.0, 1.0, 2.0, f32::INFINITY], 2)),
            r#"target of row 1 of target "b": expected a finite number, got inf"#,
        ),
        (
            of(several().ignoring("masks", 0)),
            r#"target of the data set: expected one of kind, mask, size, got "masks""#,
        ),
        (
            of(several().ignoring("size", 0)),
            r#"label to ignore of target "size": expected a target of labels, got numbers"#,
        ),
        (
            of(several().normalised("image", &[0.0; 3], &[1.0; 3])),
            r#"means of input "image": expected 2 (one per channel of [1, 2, 2]), or 1, got 3"#,
        ),
        (
            of(several().normalised("image", &[0.0; 2], &[1.0, 0.0])),
            r#"deviation of channel 1 of input "image": expected a finite number above 0, got 0"#,
        ),
        (
            of(several().normalised("ages", &[0.0], &[1.0])),
            r#"input of the data set: expected one of image, age, got "ages""#,
        ),
    ];
    for (fault, message) in cases {
        assert_eq!(fault, message);
    }
    let fault = several().build().unwrap().with_class_weights(&[1.0; 3]).unwrap_err().to_string();
    assert!(
        fault.starts_with("class weights: expected a data set with one target, got kind, mask, size; use "),
        "{fault}"
    );
}

#[test]
fn several_inputs_and_targets_stay_together() {
    let data = several().normalised("image", &[0.0, 0.2], &[1.0, 0.5]).build().unwrap();
    let data = data.with_weights(vec![1.0, 2.0]).unwrap();
    let data = data.with_class_weights_of("kind", &[3.0, 5.0, 7.0]).unwrap();
    assert_eq!(data.inputs().collect::<Vec<_>>(), [("image", [1, 2, 2].into()), ("age", 1.into())]);
    let [kind, mask, size] = &data.targets[..] else { unreachable!() };
    assert_eq!((data.weights(), data.weights_for(size)), (Some(&[5.0, 6.0][..]), Some(&[1.0, 2.0][..])));
    assert_eq!((kind.stride(true), mask.stride(true), size.stride(true), mask.ignored_labels()), (2, 3, 3, 1));
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(
        mask.words(&[0..2], data.weights_for(mask)),
        [&[0, 1][..], &bits(&[1.0]), &[1, 255], &bits(&[2.0])].concat()
    );
    assert_eq!(size.words(&[1..2], None), bits(&[3.0, 4.0]));
    // The table of channels comes first.
    let image = &data.inputs[0];
    let words = image.words(&[0..1]);
    assert_eq!(bytemuck::pod_collect_to_vec::<u8, f32>(&words[..16]), [0.0, 0.2, 1.0, 2.0]);
    assert_eq!((&words[16..], image.bytes(2)), (&[0u8, 51, 102, 153][..], 24));
    let scaled = |byte: f32| byte * U8_SCALE;
    let first = [0.0, (scaled(51.0) - 0.2) * 2.0, scaled(102.0), (scaled(153.0) - 0.2) * 2.0];
    assert_eq!(data.features_of(0..1), first);
    let (head, tail) = data.clone().split(1).unwrap();
    assert_eq!((head.rows(), tail.rows(), tail.features_of(0..1)), (1, 1, data.features_of(1..2)));
    assert_eq!((tail.input_features("age", 0..1).unwrap(), tail.weights()), (vec![-0.5], Some(&[6.0][..])));
    let beyond = tail.input_features("age", 0..2).unwrap_err().to_string();
    assert_eq!(beyond, "rows of input \"age\": expected a range within 0..1, got 0..2");
    let parts: Vec<_> = tail.all_targets().collect();
    assert_eq!(parts[1], ("mask", &Targets::Labels { labels: vec![1, 255], classes: 2 }));
    assert_eq!(parts[2], ("size", &Targets::Values { values: vec![3.0, 4.0], outputs: 2 }));
    // With two rows, some seeds swap them and some do not.
    let swapped = (0..20).map(|seed| data.shuffled(seed)).find(|shuffled| *shuffled != data).unwrap();
    assert_eq!(swapped.split(1).unwrap(), (tail, head));
}

#[test]
fn the_largest_label_can_be_ignored_too() {
    let data = Dataset::of_rows(2).input("x", vec![0u8; 2], 1).labels("y", vec![u32::MAX, 1], 2);
    let data = data.ignoring("y", u32::MAX).build().unwrap();
    let target = &data.targets[0];
    assert_eq!((target.words(&[0..2], None), target.ignored_for_kernels()), (vec![u32::MAX - 1, 1], u32::MAX));
}

#[test]
fn rows_of_bytes_are_padded_to_words_and_read_back_scaled() {
    let data = Dataset::from_u8(vec![0, 51, 255, 102, 1, 2], 3, vec![0, 1], 2).unwrap();
    let input = &data.inputs[0];
    assert_eq!(input.words(&[0..2]).as_ref(), [0, 51, 255, 0, 102, 1, 2, 0]);
    assert_eq!((input.words(&[1..2]).as_ref(), input.bytes(2)), (&[102, 1, 2, 0][..], 8));
    assert_eq!(data.features_of(0..1), [0.0, 51.0 * U8_SCALE, 1.0]);
    let (head, tail) = data.split(1).unwrap();
    assert_eq!((head.labels(), tail.labels()), (&[0][..], &[1][..]));
    assert_eq!(tail.features_of(0..1), [102.0 * U8_SCALE, U8_SCALE, 2.0 * U8_SCALE]);
}

#[test]
fn shuffling_keeps_rows_together_and_depends_on_the_seed_only() {
    let rows = 50usize;
    let values = (0..rows).flat_map(|i| [i as f32, -(i as f32)]).collect();
    let targets = (0..rows).map(|i| i as f32 * 10.0).collect();
    let data = Dataset::from_f32_targets(values, 2, targets, 1).unwrap();
    let data = data.with_weights((0..rows).map(|i| i as f32 + 0.5).collect()).unwrap();
    let shuffled = data.shuffled(3);
    assert_eq!(shuffled, data.shuffled(3));
    assert_ne!(shuffled, data.shuffled(4));
    let mut seen: Vec<u32> = Vec::new();
    for (row, words) in shuffled.targets[0].words(&[0..rows], shuffled.weights()).chunks_exact(2).enumerate() {
        let i = shuffled.features_of(row..row + 1)[0];
        assert_eq!(shuffled.features_of(row..row + 1)[1], -i);
        assert_eq!((f32::from_bits(words[0]), f32::from_bits(words[1])), (i * 10.0, i + 0.5));
        seen.push(i as u32);
    }
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..rows as u32));
    let (train, held) = shuffled.hold_out(0.2).unwrap();
    assert_eq!((train.rows(), held.rows()), (40, 10));
    assert_eq!(held.weights().unwrap().len(), 10);
    assert!(data.hold_out(0.001).is_err());
}
