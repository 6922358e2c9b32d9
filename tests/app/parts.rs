//! Tests ranges of the app's buffers, and recording into open compute passes.

use wgrad::Activation::{Identity, Relu, Sigmoid, Tanh};
use wgrad::{Adam, Loss, Network, Rows, Trainer, TrainerConfig};

use super::{App, Random};

fn config() -> TrainerConfig {
    TrainerConfig { batch: 8, seed: 5, ..TrainerConfig::default() }
}

/// Samples are structs: an unrelated word, the features, the targets, another word. Targets are numbers or labels.
#[test]
fn interleaved_samples_train_like_packed_ones() {
    let app = App::open();
    let (rows, inputs) = (21, 6);
    for loss in [Loss::MeanSquaredError, Loss::SoftmaxCrossEntropy] {
        let network = Network::input(inputs as u32).dense(9, Tanh).dense(3, Identity).build().unwrap();
        let width = if loss == Loss::MeanSquaredError { 3 } else { 1 };
        let mut random = Random(3);
        let features = random.f32s(rows * inputs);
        let targets: Vec<u32> =
            (0..rows * width).map(|_| if width == 3 { random.f32().to_bits() } else { random.below(3) }).collect();
        let stride = inputs + width + 2;
        let before = 5;
        let mut samples = vec![f32::NAN.to_bits(); before + rows * stride];
        for row in 0..rows {
            let sample = &mut samples[before + row * stride..][..stride];
            let numbers = features[row * inputs..][..inputs].iter().map(|f| f.to_bits());
            sample[1..=inputs].iter_mut().zip(numbers).for_each(|(word, f)| *word = f);
            sample[inputs + 1..][..width].copy_from_slice(&targets[row * width..][..width]);
        }
        let make = || Trainer::new(&app.gpu, &network, loss, Adam::default(), config()).unwrap();
        let (mut packed, mut interleaved) = (make(), make());
        let (features, targets) = (app.storage(&features), app.storage(&targets));
        let a = packed.prepare_buffers(&features, &targets, rows as u32).unwrap();
        let samples = app.storage(&samples);
        let bytes = |words: usize| words as u64 * 4;
        let features = Rows::from(samples.slice(bytes(before + 1)..)).stride(bytes(stride));
        let targets = Rows::from(samples.slice(bytes(before + 1 + inputs)..)).stride(bytes(stride));
        let b = interleaved.prepare_buffers(features, targets, rows as u32).unwrap();
        app.frame(|encoder| {
            a.record_steps(encoder, 7);
            b.record_steps(encoder, 7);
        });
        let weights: Vec<u32> = app.read(a.parameter_buffer());
        assert_eq!(weights, app.read::<u32>(b.parameter_buffer()), "{loss:?}");
        assert!(weights.iter().all(|w| f32::from_bits(*w).is_finite()));
    }
}

/// Ten forward passes use ranges of one input buffer and one output buffer. The words between the ranges do not change.
#[test]
fn inputs_and_outputs_may_be_parts_of_buffers() {
    let app = App::open();
    for last in [Identity, Sigmoid, wgrad::Activation::GeluErf] {
        let network = Network::input(5).dense(12, Relu).dense(3, last).build().unwrap();
        let trainer = Trainer::new(&app.gpu, &network, Loss::MeanSquaredError, Adam::default(), config()).unwrap();
        let mut random = Random(8);
        // 7 rows of 5 numbers take 140 bytes, and 7 rows of 3 numbers take 84 bytes. Rounded up to 16, that is 144 and
        // 96 bytes. The ranges are 256 or 512 bytes apart.
        let mut input = random.f32s(10 * 64);
        input[7 * 5] = f32::NAN;
        let on_gpu = app.storage(&input);
        let output = app.storage(&vec![-7.0f32; 10 * 128]);
        let model = trainer.model();
        let prepare = |i: u64| {
            let (from, to) = (i * 256, i * 512);
            model.prepare_forward(on_gpu.slice(from..from + 144), output.slice(to..to + 96), 7).unwrap()
        };
        let parts: Vec<_> = (0..10).map(prepare).collect();
        // Half of the forward passes go into an encoder, the other half into one open pass.
        app.frame(|encoder| {
            parts[..5].iter().for_each(|part| part.record_forward(encoder));
            let mut pass = encoder.begin_compute_pass(&Default::default());
            parts[5..].iter().for_each(|part| part.record_forward(&mut pass));
        });
        let output: Vec<f32> = app.read(&output);
        for (i, part) in output.chunks(128).enumerate() {
            let expected = model.forward(&input[i * 64..][..35]).unwrap();
            assert_eq!(&part[..21], expected, "part {i}");
            assert!(part[24..].iter().all(|&v| v == -7.0), "part {i}: what lies behind it was touched");
        }
    }
}

#[test]
fn steps_in_an_open_pass_are_the_same_steps() {
    let app = App::open();
    let network = Network::input(4).dense(8, Tanh).dense(1, Identity).build().unwrap();
    let mut random = Random(6);
    let (features, targets) = (app.storage(&random.f32s(40)), app.storage(&random.f32s(10)));
    let make = || Trainer::new(&app.gpu, &network, Loss::MeanSquaredError, Adam::default(), config()).unwrap();
    let (mut a, mut b) = (make(), make());
    let a = a.prepare_buffers(&features, &targets, 10).unwrap();
    let b = b.prepare_buffers(&features, &targets, 10).unwrap();
    let negate = app.pass(
        "@group(0) @binding(0) var<storage, read_write> x: array<f32>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
            if id.x < arrayLength(&x) { x[id.x] = -x[id.x]; }
        }",
        &[&features],
    );
    app.frame(|encoder| {
        a.record_steps(encoder, 3);
        negate.record(&mut encoder.begin_compute_pass(&Default::default()), 1);
        a.record_steps(encoder, 2);
        a.record_metrics(encoder);
        negate.record(&mut encoder.begin_compute_pass(&Default::default()), 1);
    });
    app.frame(|encoder| {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        b.record_steps(&mut pass, 3);
        negate.record(&mut pass, 1);
        b.record_steps(&mut pass, 2);
        b.record_metrics(&mut pass);
    });
    assert_eq!(app.read::<u32>(a.parameter_buffer()), app.read::<u32>(b.parameter_buffer()));
    assert_eq!(app.read::<u32>(a.metrics_buffer()), app.read::<u32>(b.metrics_buffer()));
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let app = App::open();
    let network = Network::input(5).dense(3, Identity).build().unwrap();
    let mut trainer = Trainer::new(&app.gpu, &network, Loss::MeanSquaredError, Adam::default(), config()).unwrap();
    let model = trainer.model();
    let buffer = app.storage(&[0f32; 1024]);
    let other = app.storage(&[0f32; 1024]);
    let refused = |input: Rows, output: Rows| model.prepare_forward(input, output, 3).unwrap_err().to_string();
    let error = refused(buffer.slice(126..).into(), (&other).into());
    let expected = "an offset and a stride divisible by 4, and a stride of at least 20 bytes (one row)";
    assert_eq!(error, format!("buffer of input for 3 rows: expected {expected}, got offset 126 and stride 20"));
    let error = refused((&buffer).into(), other.slice(256..288).into());
    assert_eq!(error, "buffer of output for 3 rows: expected at least 1 row and 36 bytes, got 32 bytes");
    let error = refused(Rows::from(&buffer).stride(16), (&other).into());
    assert!(error.ends_with("got offset 0 and stride 16"), "{error}");
    let weights = trainer.model();
    let error = refused((&buffer).into(), weights.parameter_buffer().unwrap().into());
    assert_eq!(
        error,
        "buffer given as output: expected a buffer of the app, because it is written, got wgrad's own buffer parameters"
    );

    let mut refused =
        |features: Rows, targets: Rows, rows| trainer.prepare_buffers(features, targets, rows).unwrap_err().to_string();
    let error = refused(buffer.slice(2..).into(), (&other).into(), 3);
    assert!(error.contains("divisible by 4") && error.contains("offset 2 and stride 20"), "{error}");
    let error = refused((&buffer).into(), Rows::from(&other).stride(8), 3);
    assert!(error.contains("at least 12 bytes (one row)") && error.ends_with("offset 0 and stride 8"), "{error}");
    // 99 strides and one row take 4 * (99 * 10 + 5) bytes.
    let error = refused(Rows::from(buffer.slice(120..)).stride(40), (&other).into(), 100);
    assert!(error.ends_with("expected at least 1 row and 3980 bytes, got 3976 bytes"), "{error}");
    let error = refused(Rows::from(&buffer).stride(u64::MAX - 3), (&other).into(), 3);
    assert!(error.contains("bytes"), "{error}");
}

/// GPU and CPU agree op by op on rows with gaps. Row lengths include multiples of 4 and others. Targets are numbers or
/// labels.
#[test]
fn rows_with_gaps_are_read_alike_on_both() {
    use wgrad::plan::{DataInfo, Role};
    let rows = 19;
    for (inputs, loss) in [(6, Loss::MeanSquaredError), (8, Loss::SoftmaxCrossEntropy), (1, Loss::BinaryCrossEntropy)] {
        let network = Network::input(inputs).dense(5, Tanh).dense(3, Identity).build().unwrap();
        let config = TrainerConfig { batch: 7, op_by_op: true, ..TrainerConfig::default() };
        let plan = wgrad::Plan::training(&network, loss, &Adam::default().into(), &config).unwrap();
        for gpu in super::gpus() {
            let mut lockstep = super::lockstep(gpu, plan.clone());
            let mut random = Random(2);
            let find = |role| lockstep.plan().find(role).unwrap();
            let (features, targets, data, parameters) =
                (find(Role::Features(0)), find(Role::Targets(0)), find(Role::Data(0)), find(Role::Parameters));
            let info = DataInfo {
                rows,
                shuffle: 1,
                values: u32::from(loss != Loss::SoftmaxCrossEntropy),
                first_feature: 3,
                feature_stride: inputs + 2,
                first_target: 5,
                target_stride: 4,
                ..DataInfo::default()
            };
            let numbers = random.f32s((3 + rows * (inputs + 2)) as usize);
            let values: Vec<u32> = match info.values {
                1 => (0..5 + rows * 4).map(|_| random.f32().abs().to_bits()).collect(),
                _ => (0..5 + rows * 4).map(|_| random.below(3)).collect(),
            };
            lockstep.set(features, &numbers).unwrap();
            lockstep.set(targets, &values).unwrap();
            lockstep.set(data, &[info]).unwrap();
            lockstep.set(parameters, &network.initial_parameters(3)).unwrap();
            for step in 0..4 {
                super::assert_agree(&mut lockstep, &format!("{loss:?}, step {step}"));
            }
            // The last batch of the epoch holds the right rows: the gather op followed the stride.
            let x = lockstep
                .get(wgrad::plan::BufferId(lockstep.plan().buffers.iter().position(|b| b.name == "input").unwrap()));
            let starts = (0..rows).map(|row| (3 + row * (inputs + 2)) as usize);
            let gathered = &x[..inputs as usize];
            assert!(starts.map(|at| &numbers[at..at + inputs as usize]).any(|row| row == gathered));
        }
    }
}
