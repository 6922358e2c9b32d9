use meganeura::{Graph, SessionConfig, build};

fn main() {
    let mut graph = Graph::new();
    let (input, labels) = (graph.input("input", &[4, 2]), graph.input("labels", &[4, 2]));
    let (w1, b1) = (graph.parameter("w1", &[2, 16]), graph.parameter("b1", &[16]));
    let (w2, b2) = (graph.parameter("w2", &[16, 2]), graph.parameter("b2", &[2]));
    let product = graph.matmul(input, w1);
    let sum = graph.bias_add(product, b1);
    let hidden = graph.relu(sum);
    let product = graph.matmul(hidden, w2);
    let logits = graph.bias_add(product, b2);
    let loss = graph.cross_entropy_loss(logits, labels);
    graph.set_outputs(vec![loss]);

    let (mut session, _) = build(&graph, SessionConfig::default());
    let weights = |count: u32| (0..count).map(|i| (i as f32 * 3.883).sin()).collect::<Vec<_>>();
    session.set_parameter("w1", &weights(32));
    session.set_parameter("b1", &[0.0; 16]);
    session.set_parameter("w2", &weights(32));
    session.set_parameter("b2", &[0.0; 2]);
    session.set_input("input", &[0., 0., 0., 1., 1., 0., 1., 1.]);
    session.set_input("labels", &[1., 0., 0., 1., 0., 1., 1., 0.]);
    session.set_adam(0.01, 0.9, 0.999, 1e-8);
    for _ in 0..500 {
        session.step();
    }
    session.wait();
    println!("{}", session.read_loss());
}
