//! Tests forward passes and chains on rows at any offset and stride, also with all rows in one buffer. The results have
//! the same bits as with packed rows in separate buffers. Nothing else in the app's buffers changes.

use wgrad::Activation::{GeluErf, Identity, Relu, Sigmoid, Softmax, Tanh};
use wgrad::{Adam, ChainRows, Loss, Model, Network, Rows, Trainer, TrainerConfig, wgpu};

use super::{App, Random};

/// The position of rows in a buffer, in words.
#[derive(Debug, Clone, Copy)]
struct Place {
    first: usize,
    stride: usize,
    columns: usize,
}

impl Place {
    /// A random position. Half of the offsets are multiples of 64 words, which every device can bind. The rows are
    /// packed or have gaps.
    fn random(random: &mut Random, columns: u32) -> Self {
        let first = if random.below(2) == 0 { random.below(3) * 64 } else { random.below(150) };
        let gap = random.below(2) * random.below(9);
        Self { first: first as usize, stride: (columns + gap) as usize, columns: columns as usize }
    }

    fn end(&self, rows: usize) -> usize {
        self.first + (rows - 1) * self.stride + self.columns
    }

    /// The rows, up to the last word and no further.
    fn rows<'a>(&self, buffer: &'a wgpu::Buffer, rows: usize) -> Rows<'a> {
        let bytes = |words: usize| words as u64 * 4;
        Rows::from(buffer.slice(bytes(self.first)..bytes(self.end(rows)))).stride(bytes(self.stride))
    }

    fn read<T: Copy>(&self, words: &[T], rows: usize) -> Vec<T> {
        (0..rows).flat_map(|row| words[self.first + row * self.stride..][..self.columns].to_vec()).collect()
    }

    fn write<T: Copy>(&self, words: &mut [T], rows: &[T]) {
        for (row, values) in rows.chunks(self.columns).enumerate() {
            words[self.first + row * self.stride..][..self.columns].copy_from_slice(values);
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Networks that run as one op or as several. Their last op writes single numbers, vectors or whole rows.
fn networks() -> Vec<Network> {
    let networks = [
        Network::input(5).dense(12, Relu).dense(3, Identity),
        Network::input(70).dense(20, Tanh).dense(8, Sigmoid),
        Network::input(6).layer_norm().dense(9, Relu).dense(7, Softmax),
        Network::input(3).activation(GeluErf),
    ];
    networks.map(|network| network.build().unwrap()).into()
}

#[test]
fn forward_passes_read_and_write_rows_anywhere() {
    let app = App::open();
    let mut random = Random(31);
    for network in networks() {
        let model = Model::new(&app.gpu, &network, &network.initial_parameters(4)).unwrap();
        for case in 0..24 {
            let rows = 1 + random.below(40) as usize;
            let input = Place::random(&mut random, network.inputs());
            let output = Place::random(&mut random, network.outputs());
            let what = format!("{rows} rows from {input:?} to {output:?}, case {case} of\n{}", network.summary());
            let one_buffer = case % 2 == 0;
            let words = input.end(rows).max(output.end(rows)) + 5;
            let contents = random.f32s(words);
            let (from, to) = (app.storage(&contents), app.storage(&contents));
            let to = if one_buffer { &from } else { &to };
            let forward = model.prepare_forward(input.rows(&from, rows), output.rows(to, rows), rows as u32).unwrap();
            app.frame(|encoder| match case % 3 {
                0 => forward.record_forward(encoder),
                _ => forward.record_forward(&mut encoder.begin_compute_pass(&Default::default())),
            });
            // This holds even if the outputs overlap the inputs.
            let mut expected = contents.clone();
            output.write(&mut expected, &model.forward(&input.read(&contents, rows)).unwrap());
            assert_eq!(app.read::<u32>(to), bits(&expected), "{what}");
            if !one_buffer {
                assert_eq!(app.read::<u32>(&from), bits(&contents), "{what}");
            }
        }
    }
}

/// Rows that can be bound directly need no copy, and thus no extra kernel.
#[test]
fn rows_that_can_be_bound_are_not_copied() {
    let app = App::open();
    let network = Network::input(4).dense(4, Relu).build().unwrap();
    let model = Model::new(&app.gpu, &network, &network.initial_parameters(4)).unwrap();
    let (a, b) = (app.storage(&[0f32; 256]), app.storage(&[0f32; 256]));
    let kernels = |input: Rows, output: Rows, rows| {
        let before = app.gpu.kernels_compiled();
        model.prepare_forward(input, output, rows).unwrap();
        app.gpu.kernels_compiled() - before
    };
    let of_the_network = kernels((&a).into(), (&b).into(), 5);
    assert_eq!(of_the_network, 1);
    assert_eq!(kernels(a.slice(256..336).into(), b.slice(512..592).into(), 5), 0);
    assert_eq!(kernels((&a).into(), a.slice(512..).into(), 5), 1, "one buffer, and so a copy");
}

/// A pass that computes the gradient of the mean squared error for rows at any position.
fn loss(app: &App, buffers: [&wgpu::Buffer; 3], places: [Place; 3], rows: usize) -> super::Pass {
    let [y, t, dy] = places;
    let at = |place: Place| format!("{}u + row * {}u + column", place.first, place.stride);
    // Each buffer has one binding, even if it holds several kinds of rows.
    let mut bound: Vec<&wgpu::Buffer> = Vec::new();
    let names = buffers.map(|buffer| {
        let found = bound.iter().position(|other| *other == buffer);
        format!("b{}", found.unwrap_or_else(|| (bound.push(buffer), bound.len() - 1).1))
    });
    let declare = |i: usize| format!("@group(0) @binding({i}) var<storage, read_write> b{i}: array<f32>;\n");
    let source = (0..bound.len()).map(declare).collect::<String>()
        + &format!(
            "@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {{
                let row = id.x / {columns}u;
                let column = id.x % {columns}u;
                if row < {rows}u {{
                    {}[{}] = 2.0 * ({}[{}] - {}[{}]) / {}.0;
                }}
            }}",
            names[2],
            at(dy),
            names[0],
            at(y),
            names[1],
            at(t),
            rows * y.columns,
            columns = y.columns,
        );
    app.pass(&source, &bound)
}

/// One chain has all its rows in one buffer of structs, and another has separate buffers. Both train to the same bits.
#[test]
fn a_chain_of_interleaved_rows_trains_as_one_of_packed_rows() {
    let app = App::open();
    let rows = 13;
    let networks = [
        Network::input(5).dense(16, Relu).layer_norm().dense(3, Tanh),
        Network::input(4).activation(Tanh).dense(4, Softmax),
    ];
    for network in networks.map(|network| network.build().unwrap()) {
        let (inputs, outputs) = (network.inputs() as usize, network.outputs() as usize);
        let config = TrainerConfig { batch: rows as u32, accumulate: 2, ..TrainerConfig::default() };
        let make =
            || Trainer::new(&app.gpu, &network, Loss::MeanSquaredError, Adam::default(), config.clone()).unwrap();
        let (mut packed, mut interleaved) = (make(), make());
        let mut random = Random(12);
        let (x, t) = (random.f32s(rows * inputs), random.f32s(rows * outputs));

        let of = |columns: usize| Place { first: 0, stride: columns, columns };
        let own =
            [inputs, outputs, outputs, outputs, inputs].map(|columns| app.storage(&vec![f32::NAN; rows * columns]));
        let [on_x, on_t, y, dy, dx] = &own;
        app.queue.write_buffer(on_x, 0, bytemuck::cast_slice(&x));
        app.queue.write_buffer(on_t, 0, bytemuck::cast_slice(&t));
        let ends = ChainRows {
            input: on_x.into(),
            output: y.into(),
            output_gradient: dy.into(),
            input_gradient: Some(dx.into()),
        };
        let a = packed.prepare_chain(ends, rows as u32).unwrap();
        let a_loss = loss(&app, [y, on_t, dy], [of(outputs); 3], rows);

        // struct { unrelated: f32, x, y, t, dy, dx, unrelated: f32 }. The first struct follows 7 unrelated words.
        let stride = 2 + 2 * inputs + 3 * outputs;
        let mut next = 8;
        let [at_x, at_y, at_t, at_dy, at_dx] = [inputs, outputs, outputs, outputs, inputs].map(|columns| {
            let place = Place { first: next, stride, columns };
            next += columns;
            place
        });
        let mut expected = random.f32s(7 + rows * stride);
        at_x.write(&mut expected, &x);
        at_t.write(&mut expected, &t);
        let structs = app.storage(&expected);
        let at = |place: Place| place.rows(&structs, rows);
        let ends = ChainRows {
            input: at(at_x).into(),
            output: at(at_y).into(),
            output_gradient: at(at_dy).into(),
            input_gradient: Some(at(at_dx).into()),
        };
        let b = interleaved.prepare_chain(ends, rows as u32).unwrap();
        let b_loss = loss(&app, [&structs; 3], [at_y, at_t, at_dy], rows);

        for (chain, loss) in [(&a, &a_loss), (&b, &b_loss)] {
            for _ in 0..4 {
                app.frame(|encoder| {
                    let mut pass = encoder.begin_compute_pass(&Default::default());
                    chain.record_forward(&mut pass);
                    loss.record(&mut pass, 1);
                    chain.record_backward(&mut pass);
                    chain.record_update(&mut pass);
                });
            }
        }
        assert_eq!(app.read::<u32>(a.parameter_buffer()), app.read::<u32>(b.parameter_buffer()));
        assert_ne!(bits(&network.initial_parameters(0)), app.read::<u32>(a.parameter_buffer()));
        for (place, buffer) in [(at_y, y), (at_dy, dy), (at_dx, dx)] {
            let values: Vec<f32> = app.read(buffer);
            assert!(values.iter().all(|value| value.is_finite()));
            place.write(&mut expected, &values);
        }
        assert_eq!(app.read::<u32>(&structs), bits(&expected), "all but the rows that are written is as it was");
    }
}

/// Each range could be bound directly. The two written ranges share a buffer, so they are copied.
#[test]
fn ends_of_a_chain_may_share_buffers() {
    let app = App::open();
    let network = Network::input(4).dense(4, Tanh).build().unwrap();
    let make = || {
        let config = TrainerConfig::default();
        Trainer::new(&app.gpu, &network, Loss::MeanSquaredError, Adam::default(), config).unwrap()
    };
    let mut random = Random(7);
    let (x, dy) = (random.f32s(64), random.f32s(64));
    let run = |read: [Rows; 2], written: [Rows; 2]| {
        let mut trainer = make();
        let ends = ChainRows {
            input: read[0].into(),
            output: written[0].into(),
            output_gradient: read[1].into(),
            input_gradient: Some(written[1].into()),
        };
        let chain = trainer.prepare_chain(ends, 16).unwrap();
        app.frame(|encoder| {
            chain.record_forward(encoder);
            chain.record_backward(encoder);
            chain.record_update(encoder);
        });
        app.read::<u32>(chain.parameter_buffer())
    };
    let [on_x, on_dy] = [&x, &dy].map(|values| app.storage(values));
    let own = [0, 1].map(|_| app.storage(&[0f32; 64]));
    let expected = run([(&on_x).into(), (&on_dy).into()], [(&own[0]).into(), (&own[1]).into()]);
    let (read, written) = (app.storage(&[x, dy].concat()), app.storage(&[0f32; 128]));
    let halves = |buffer| -> [Rows; 2] { [Rows::from(wgpu::Buffer::slice(buffer, ..256)), buffer.slice(256..).into()] };
    assert_eq!(run(halves(&read), halves(&written)), expected);
    let results = [app.read::<u32>(&own[0]), app.read::<u32>(&own[1])].concat();
    assert_eq!(app.read::<u32>(&written), results);
}
