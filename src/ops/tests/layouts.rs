//! Layout of structs, uniforms and constants: the host must write what a shader reads.

use naga::{Module, ScalarKind, TypeInner};

use super::{hardware, launches, parse, plans};
use crate::ops::Word;
use crate::ops::text;
use crate::plan::{DataInfo, Plan, RowMetrics, StepState};

/// Name, offset and kind of a member of a struct.
type Member = (String, u32, ScalarKind);

/// Size and members of a struct.
fn members(module: &Module, name: &str) -> Option<(u32, Vec<Member>)> {
    let (_, found) = module.types.iter().find(|(_, t)| t.name.as_deref() == Some(name))?;
    let TypeInner::Struct { members, span } = &found.inner else { return None };
    let kind = |ty| match module.types[ty].inner {
        TypeInner::Scalar(scalar) => scalar.kind,
        ref other => panic!("{name}: {other:?}"),
    };
    Some((*span, members.iter().map(|m| (m.name.clone().unwrap(), m.offset, kind(m.ty))).collect()))
}

/// Structs that kernels share with the plan have Rust's layout.
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
            chain_pass: Uint,
            channels: Uint,
            ignored: Uint,
            augment: Uint,
            shift: Uint,
            cutout: Uint,
            flip: Float,
            flip_vertical: Float,
            rotation: Float,
            scale: Float,
            scale_span: Float,
            brightness: Float,
            contrast: Float,
            image_height: Uint,
            image_width: Uint,
            crop: Uint,
            places_x: Uint,
            places_y: Uint,
            target_factor: Uint,
            target_width: Uint,
            target_crop_width: Uint
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
            passes: Uint,
            batch_rows: Uint
        }),
        layout!(RowMetrics { loss: Float, correct: Uint, rows: Uint, non_finite_step: Uint }),
    ];
    let text = text!("shared/data_info.wgsl", "shared/step_state.wgsl", "shared/row_metrics.wgsl");
    let module = parse("shared structs", text);
    for (twin, size, fields) in twins {
        assert_eq!(members(&module, twin), Some((size, fields)), "{twin}");
    }
}

/// Uniforms have names, in the order of the shader's struct.
#[test]
fn uniforms_reach_the_shader_where_it_expects_them() {
    for launch in launches() {
        let name = &launch.shader.name;
        let module = parse(name, &launch.shader.source);
        let at_0 = |binding: &Option<naga::ResourceBinding>| binding.is_some_and(|b| (b.group, b.binding) == (0, 0));
        let of_struct = module.global_variables.iter().find(|(_, v)| at_0(&v.binding)).map(|(_, v)| v.ty);
        if of_struct.is_none() && launch.uniforms.is_empty() {
            continue;
        }
        let TypeInner::Struct { members, span } = &module.types[of_struct.unwrap()].inner else { panic!("{name}") };
        assert_eq!(*span as usize, launch.bytes().len(), "{name}");
        let kind = |member: &naga::StructMember| module.types[member.ty].inner.scalar_kind();
        let members: Vec<_> = members.iter().map(|m| (m.name.as_deref().unwrap(), kind(m))).collect();
        let kind = |value| match value {
            Word::U32(_) => Some(ScalarKind::Uint),
            Word::F32(_) => Some(ScalarKind::Float),
        };
        let given: Vec<_> = launch.uniforms.iter().map(|&(name, value)| (name, kind(value))).collect();
        assert_eq!(members, given, "{name}");
    }
}

/// Constants have names. The driver reports an unknown name, but not a value that `f32` rounds.
#[test]
fn hyperparameters_reach_the_shader_unrounded() {
    let plans = plans();
    let shader = |kernel: &str| {
        let op = plans.iter().flat_map(Plan::ops).find(|op| op.kernel() == kernel).unwrap();
        op.launches(&hardware()).remove(0).shader
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
