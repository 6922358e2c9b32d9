use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{AdamW, Module, Optimizer, VarBuilder, VarMap, linear, loss::cross_entropy};

fn main() -> Result<()> {
    let input = Tensor::new(&[[0f32, 0.], [0., 1.], [1., 0.], [1., 1.]], &Device::Cpu)?;
    let labels = Tensor::new(&[0u32, 1, 1, 0], &Device::Cpu)?;
    let variables = VarMap::new();
    let builder = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
    let (hidden, output) = (linear(2, 16, builder.pp("hidden"))?, linear(16, 2, builder.pp("output"))?);
    let mut adam = AdamW::new_lr(variables.all_vars(), 0.01)?;
    for _ in 0..500 {
        let loss = cross_entropy(&output.forward(&hidden.forward(&input)?.relu()?)?, &labels)?;
        adam.backward_step(&loss)?;
    }
    println!("{}", cross_entropy(&output.forward(&hidden.forward(&input)?.relu()?)?, &labels)?);
    Ok(())
}
