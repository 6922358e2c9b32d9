//! Structs, uniforms and constants: what the host writes is what a shader reads.

use naga::{Module, ScalarKind, TypeInner};

use super::super::{Launch, launches};
use super::{hardware, parse, plans};
use crate::gpu::texts::text;
use crate::plan::{DataInfo, Plan, RowMetrics, StepState};

/// Name, offset and kind of a member of a struct.
type Member = (String, u32, ScalarKind);

/// The size of a struct, and its members.
fn members(module: &Module, name: &str) -> Option<(u32, Vec<Member>)> {
    let (_, found) = module.types.iter().find(|(_, t)| t.name.as_deref() == Some(name))?;
    let TypeInner::Struct { members, span } = &found.inner else { return None };
    let kind = |ty| match module.types[ty].inner {
        TypeInner::Scalar(scalar) => scalar.kind,
        ref other => panic!("{name}: {other:?}"),
    };
    Some((*span, members.iter().map(|m| (m.name.clone().unwrap(), m.offset, kind(m.ty))).collect()))
}

/// The structs that kernels share with the plan, against Rust's layout.
#[test]
fn shared_structs_have_the_layout_of_their_rust_twins() {
    macro_rules! layout {
        ($type:ident { $($field:ident: $kind:ident),* }) => {
            (stringify!($type), size_of::<$type>() as u32,
             vec![$((stringify!($field).to_string(), std::mem::offset_of!($type, $field) as u32, ScalarKind::$kind)),*])
        };
    }
    let twins = [
        layout!(DataInfo {
            rows: Uint,
            shuffle: Uint,
            seed_low: Uint,
            seed_high: Uint,
            bytes: Uint,
            values: Uint,
            weighted: Uint,
            first_feature: Uint,
            feature_stride: Uint,
            first_target: Uint,
            target_stride: Uint,
            chain: Uint,
            chain_pass: Uint
        }),
        layout!(StepState {
            step: Uint,
            rows: Uint,
            epoch: Uint,
            position: Uint,
            update: Uint,
            batches: Uint,
            update_rows: Uint,
            due: Uint,
            learning_rate: Float,
            rate_scale: Float,
            data_rows: Uint,
            chain: Uint,
            gradients_of: Uint,
            passes: Uint
        }),
        layout!(RowMetrics { loss: Float, correct: Uint, rows: Uint, non_finite_step: Uint }),
    ];
    let text = text!("shared/data_info.wgsl", "shared/step_state.wgsl", "shared/row_metrics.wgsl");
    let module = parse("shared structs", text);
    for (twin, size, fields) in twins {
        assert_eq!(members(&module, twin), Some((size, fields)), "{twin}");
    }
}

/// Each uniform struct, read back by the shader's own layout, holds what the op says.
#[test]
fn uniforms_reach_the_shader_where_it_expects_them() {
    // Weights of 5x7, 7, 7, 7, 7x100, 100, 100x6, 6, 6x3 and 3, each padded to 64s: 1,920, which are 480 vec4s.
    let expected: [(&str, &[(&str, f64)]); 24] = [
        ("next_batch", &[("batch", 12.0), ("accumulate", 2.0), ("learning_rate", 0.5)]),
        ("gather", &[("columns", 5.0), ("quads", 2.0), ("invocations", 24.0)]),
        (
            "copy_rows",
            &[
                ("columns", 5.0),
                ("words", 60.0),
                ("input_first", 3.0),
                ("input_stride", 8.0),
                ("output_first", 0.0),
                ("output_stride", 5.0),
            ],
        ),
        (
            "matmul",
            &[
                ("m", 12.0),
                ("n", 7.0),
                ("k", 5.0),
                ("k_start", 0.0),
                ("k_end", 5.0),
                ("tiles_n", 1.0),
                ("tiles", 1.0),
                ("bias_at", 0.0),
                ("transpose_b", 0.0),
                ("epilogue", 1.0),
                ("aux", 1.0),
                ("parts", 1.0),
                ("part_steps", 5.0),
                ("block", 1.0),
            ],
        ),
        ("pointwise", &[("quads", 300.0), ("dropout_key", 0.0), ("dropout_threshold", 0.0), ("dropout_scale", 0.0)]),
        ("softmax", &[("rows", 12.0), ("columns", 6.0)]),
        ("layer_norm", &[("rows", 12.0), ("columns", 7.0), ("epsilon", 1e-5), ("share", 0.125), ("zero", 0.0)]),
        ("layer_norm_input", &[("rows", 12.0), ("columns", 7.0), ("zero", 0.0)]),
        (
            "layer_norm_parameters",
            &[("rows", 12.0), ("columns", 7.0), ("parts", 1.0), ("part_rows", 12.0), ("zero", 0.0)],
        ),
        ("layer_norm_parameters.parts", &[("columns", 7.0), ("parts", 2.0)]),
        ("encode", &[("numbers", 192.0), ("outputs", 1.0), ("scale", 0.5), ("offset", 0.25)]),
        ("hash_grid", &[("rows", 12.0), ("levels", 4.0), ("groups", 1.0)]),
        ("hash_grid_scale", &[("rows", 12.0), ("levels", 4.0), ("part_rows", 12.0)]),
        ("hash_grid_scale.parts", &[("levels", 4.0), ("parts", 1.0)]),
        ("hash_grid_scatter", &[("rows", 12.0), ("levels", 4.0), ("groups", 1.0)]),
        // Four times 256 entries of 4.
        ("hash_grid_gradient", &[("quads", 1024.0)]),
        ("hash_grid_input", &[("rows", 12.0), ("levels", 4.0)]),
        ("pointwise_loss", &[("batch", 12.0), ("outputs", 3.0), ("delta", 0.75), ("turns", 85.0)]),
        ("softmax_cross_entropy", &[("batch", 12.0), ("classes", 3.0), ("smoothing", 0.125), ("turns", 85.0)]),
        ("accumulate", &[("quads", 480.0)]),
        ("sum_squares", &[("quads", 480.0), ("limit", 0.0)]),
        ("update", &[("quads", 480.0)]),
        ("metrics", &[("count", 5100.0)]),
        ("narrow", &[("rows", 12.0)]),
    ];
    let plans = plans();
    for (kernel, values) in expected {
        let mut found = plans.iter().flat_map(Plan::ops).flat_map(|op| {
            // What comes first has the op's name, what comes after it its own.
            let names =
                |i: usize, launch: &Launch| if i == 0 { op.kernel().into() } else { launch.shader.name.clone() };
            launches(op, hardware()).into_iter().enumerate().map(move |(i, launch)| (names(i, &launch), launch))
        });
        let (_, launch) = found.find(|(name, _)| name == kernel).unwrap_or_else(|| panic!("no launch of {kernel}"));
        let module = parse(kernel, &launch.shader.source);
        let camel: String =
            kernel.split(['_', '.']).map(|w| w[..1].to_uppercase() + &w[1..]).chain(["Uniforms".into()]).collect();
        let (span, members) = members(&module, &camel).unwrap_or_else(|| panic!("{camel} in {kernel}"));
        assert_eq!(span as usize, launch.uniforms.len(), "{camel}");
        for (field, value) in values {
            let (_, offset, kind) = members.iter().find(|(n, ..)| n == field).unwrap_or_else(|| panic!("{field}"));
            let word = u32::from_ne_bytes(launch.uniforms[*offset as usize..][..4].try_into().unwrap());
            let actual = match kind {
                ScalarKind::Float => f32::from_bits(word),
                _ => word as f32,
            };
            assert_eq!(actual, *value as f32, "{camel}.{field}");
        }
        let unchecked = members.iter().filter(|(n, ..)| !values.iter().any(|(v, _)| v == n));
        assert_eq!(unchecked.count(), 0, "{camel} has a member that this test does not know");
    }
}

/// Constants are given by name: a name that no shader has would be an error of the driver's, a value lost in `f32` none.
#[test]
fn hyperparameters_reach_the_shader_unrounded() {
    let plans = plans();
    let shader = |kernel: &str| {
        let op = plans.iter().flat_map(Plan::ops).find(|op| op.kernel() == kernel).unwrap();
        launches(op, hardware()).remove(0).shader
    };
    let all = [shader("update").constants, shader("next_batch").constants].concat();
    let value = |name| all.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name}")).1;
    let expected = [
        ("WARM_UP", 3.0),
        ("SCHEDULE", 2.0),
        ("UPDATES", 50.0),
        ("FLOOR", 0.25),
        ("BETA1", 0.75),
        ("BETA2", 0.875),
        ("ONE_MINUS_BETA1", 0.25),
        ("ONE_MINUS_BETA2", 0.125),
        ("LOG_BETA1", -0.287_682_072_451_780_9),
        ("LOG_BETA2", -0.133_531_392_624_522_62),
        ("EPSILON", 0.0625),
        ("WEIGHT_DECAY", 0.25),
    ];
    for (name, expected) in expected {
        assert_eq!(value(name), expected, "{name}");
    }
    for kernel in ["update", "next_batch"] {
        let module = parse(kernel, &shader(kernel).source);
        let declared: Vec<&str> = module.overrides.iter().filter_map(|(_, o)| o.name.as_deref()).collect();
        for (name, _) in shader(kernel).constants {
            assert!(declared.contains(&name), "{name} is no constant of {kernel}");
        }
    }
}
