//! meganeura: a graph compiled for one batch size. One session trains it, another runs the forward pass.

use std::rc::Rc;

use meganeura::{Graph, Mode, Session, SessionConfig, build};

use super::Engine;
use crate::Result;
use crate::benchmarks::Step;
use crate::task::{BETA1, BETA2, Batches, CLASSES, EPSILON, LEARNING_RATE, Layer, Task};

struct Meganeura {
    task: Rc<Task>,
    training: Option<(Session, Batches)>,
    inference: Option<Session>,
}

pub fn start(task: Rc<Task>) -> Result<Box<dyn Engine>> {
    Ok(Box::new(Meganeura { task, training: None, inference: None }))
}

/// Names of the weight and the bias.
fn names(i: usize) -> [String; 2] {
    [format!("weight_{i}"), format!("bias_{i}")]
}

impl Meganeura {
    /// Compiles the network, with or without its loss, and sets the initial weights.
    fn session(&self, mode: Mode) -> Result<Session> {
        let mut graph = Graph::new();
        let rows = self.task.batch;
        let layers = self.task.layers()?;
        let mut x = graph.input("features", &[rows, self.task.network.features()]);
        for (i, Layer { step, weight, .. }) in layers.iter().enumerate() {
            let [weight_name, bias_name] = names(i);
            let bias = graph.parameter(&bias_name, &weight.shape[1..]);
            let weight = graph.parameter(&weight_name, &weight.shape);
            let product = graph.matmul(x, weight);
            x = graph.bias_add(product, bias);
            match step {
                Step::Dense { image: None, relu: true } => x = graph.relu(x),
                Step::Dense { image: None, relu: false } => (),
                other => return Err(format!("{other:?} is not supported for meganeura here").into()),
            }
        }
        if mode == Mode::Training {
            let labels = graph.input("labels", &[rows, CLASSES]);
            x = graph.cross_entropy_loss(x, labels);
        }
        graph.set_outputs(vec![x]);
        let (mut session, _) = build(&graph, SessionConfig { mode, ..SessionConfig::from_env() });
        for (i, layer) in layers.into_iter().enumerate() {
            for (name, tensor) in names(i).iter().zip([Some(layer.weight), layer.bias].into_iter().flatten()) {
                session.set_parameter(name, &tensor.values);
            }
        }
        Ok(session)
    }
}

impl Engine for Meganeura {
    fn device(&self) -> String {
        let session = self.training.as_ref().map(|(session, _)| session).or(self.inference.as_ref());
        session.map_or_else(|| "not opened yet".into(), |s| s.device_information().device_name.clone())
    }

    fn train(&mut self, steps: usize) -> Result<()> {
        if self.training.is_none() {
            let mut session = self.session(Mode::Training)?;
            session.set_adam(LEARNING_RATE as f32, BETA1 as f32, BETA2 as f32, EPSILON as f32);
            self.training = Some((session, self.task.batches()?));
        }
        let (session, batches) = self.training.as_mut().expect("it was made above");
        for _ in 0..steps {
            let (features, labels) = batches.next_batch();
            let mut one_hot = vec![0.0; labels.len() * CLASSES];
            for (row, &label) in labels.iter().enumerate() {
                one_hot[row * CLASSES + usize::from(label)] = 1.0;
            }
            session.set_input("features", &features);
            session.set_input("labels", &one_hot);
            session.step();
        }
        session.wait();
        Ok(())
    }

    fn forward(&mut self) -> Result<Vec<f32>> {
        if self.inference.is_none() {
            let mut session = self.session(Mode::Inference)?;
            session.set_input("features", &self.task.test_features()?);
            self.inference = Some(session);
        }
        let session = self.inference.as_mut().expect("it was made above");
        if let Some((training, _)) = &self.training {
            let names: Vec<String> = (0..self.task.network.tensors.len() / 2).flat_map(names).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            for (name, values) in names.iter().zip(training.read_params(&names)) {
                session.set_parameter(name, &values);
            }
        }
        session.step();
        session.wait();
        Ok(session.read_output(self.task.batch * CLASSES))
    }
}
