//! Compares image layers without weights with PyTorch: their outputs and input gradients.

use super::*;
use wgrad::Pad;

fn layer(case: &Value) -> Layer {
    let pair = |name: &str| {
        let numbers = case[name].as_array()?;
        Some([0, 1].map(|i| numbers[i].as_u64().unwrap() as u32))
    };
    let get = |name: &str| pair(name).unwrap();
    let scaled = |up: fn([u32; 2]) -> Upsample| match pair("target") {
        Some(target) => up([1, 1]).to(target),
        None => up(get("factor")),
    };
    let block = case["block"].as_u64().unwrap_or(0) as u32;
    match case["layer"].as_str().unwrap() {
        "max_pool" => Pool::max(get("size")).stride(get("stride")).padding(get("padding")).into(),
        "average_pool" => Pool::average(get("size")).stride(get("stride")).padding(get("padding")).into(),
        "nearest" => scaled(Upsample::nearest).into(),
        "bilinear" => scaled(Upsample::bilinear).into(),
        "zeros" => Pad::zeros(0).sides(get("rows"), get("columns")).into(),
        "reflect" => Pad::reflect(0).sides(get("rows"), get("columns")).into(),
        "replicate" => Pad::replicate(0).sides(get("rows"), get("columns")).into(),
        "depth_to_space" => Layer::DepthToSpace(block),
        "space_to_depth" => Layer::SpaceToDepth(block),
        other => panic!("{other}"),
    }
}

#[test]
fn pools_and_other_sizes() {
    let oracle = Oracle::open("images");
    assert_eq!(oracle.cases().len(), 17);
    for (name, case) in oracle.cases() {
        let shape = oracle.shape(&format!("{name}.x"));
        let sample = Shape::try_from(&shape[1..]).unwrap();
        let network = Network::input(sample).layer(layer(&case)).build().unwrap();
        let config = TrainerConfig { batch: shape[0], ..TrainerConfig::default() };
        let plan = Plan::chain(&network, &Adam::default().into(), &config, &[true]).unwrap();
        let mut lockstep = lockstep(&gpus()[0], plan);
        let id = |lockstep: &Lockstep, role| lockstep.plan().find(role).unwrap();
        for (role, of) in [(Role::Input(0), "x"), (Role::OutputGradient(0), "dy")] {
            let id = id(&lockstep, role);
            lockstep.set(id, &oracle.get(&format!("{name}.{of}"))).unwrap();
        }
        let data = id(&lockstep, Role::Data(0));
        lockstep.set(data, &[DataInfo { rows: shape[0], ..DataInfo::default() }]).unwrap();
        run(&mut lockstep, &name);
        for (role, of) in [(Role::Output(0), "y"), (Role::InputGradient(0), "dx")] {
            let what = format!("{name}.{of}");
            // The reference sums in f64. Our roundings are those of the weights along both axes, with numbers below 4.
            // Both results are rounded once. The weights of an input add up to at most 9/4 of the outputs per input, at
            // the corners.
            let expected = oracle.get(&what);
            let each = f64::from(network.outputs()) / f64::from(network.inputs());
            let allowed = |i: usize| 2.0 * f64::from(expected[i]).abs() + 2.0 * 4.0 * 2.25 * each.max(1.0);
            assert_close(&what, &lockstep.get(id(&lockstep, role)), &expected, allowed);
        }
    }
}
