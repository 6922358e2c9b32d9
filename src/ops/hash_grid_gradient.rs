//! Gradient of a hash grid's table.

use super::*;

/// Converts the integer sums of a hash grid to the gradient of its table, and sets the sums to zero.
#[derive(Debug, Clone, PartialEq)]
pub struct HashGridGradient {
    /// Scales from [`HashGridScale`].
    pub scales: Tensor,
    /// u32: the level of each 64 numbers of the table.
    pub blocks: Tensor,
    /// i32 \[entries, features\], read and set to zero.
    pub sums: Tensor,
    /// \[entries, features\], written. With [`step`](Self::step), the table itself.
    pub table_gradient: Tensor,
    /// Optimizer step of the table. It uses the gradient directly, so the gradient is not written to memory.
    pub step: Option<Box<OptimizerStep>>,
}

const LANES: u32 = 64;

impl Kernel for HashGridGradient {
    fn stem(&self) -> &'static str {
        "hash_grid_gradient"
    }

    fn detail(&self) -> String {
        if self.step.is_some() { " update".into() } else { String::new() }
    }

    fn options(&self) -> String {
        self.step.as_ref().map_or(String::new(), |step| format!(" {:?}", step.optimizer))
    }

    fn operands(&self) -> Vec<Operand> {
        let own = vec![read(self.scales), read(self.blocks)];
        match &self.step {
            None => [own, vec![change(self.sums), write(self.table_gradient)]].concat(),
            Some(step) => [own, step.operands(), vec![change(self.sums)]].concat(),
        }
    }

    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        let own = [&mut self.scales, &mut self.blocks, &mut self.sums, &mut self.table_gradient];
        own.into_iter().chain(self.step.iter_mut().flat_map(|step| step.tensors_mut())).collect()
    }

    fn flops(&self) -> u64 {
        u64::from(self.sums.len()) + self.step.as_ref().map_or(0, |step| step.flops())
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let quads = self.sums.len() / 4;
        let conditions =
            [("the gradient is stored", self.step.is_none()), ("the table is updated", self.step.is_some())];
        let kernel = template::expand(text!("hash_grid_gradient.wgsl.in"), &[], &conditions);
        let (source, constants) = match &self.step {
            None => (kernel, vec![]),
            Some(step) => (OptimizerStep::TEXT.to_owned() + &kernel, step.constants()),
        };
        let shader = shader("hash_grid_gradient", source, constants);
        vec![Launch::of(self, shader, uniforms![quads], quads.div_ceil(LANES))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (scales, blocks) = (at.f32s(self.scales), at.words(self.blocks));
        let sums = at.out::<i32>(self.sums).iter_mut().enumerate();
        let gradient = sums.map(|(i, sum)| std::mem::take(sum) as f32 * scales[2 * blocks[i / 64] as usize + 1]);
        match &self.step {
            None => at.out::<f32>(self.table_gradient).iter_mut().zip(gradient).for_each(|(out, g)| *out = g),
            Some(step) => {
                let gradient: Vec<f32> = gradient.collect();
                let (parameters, moments) = step.take(at);
                step.apply(0..gradient.len(), |i| gradient[i], at, parameters, moments);
            }
        }
    }

    /// The conversion of an integer to f32 may round either way. The product with a power of two is exact.
    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let (scales, blocks) = (at.f64s(self.scales), at.words(self.blocks));
        let of_sum = |(i, &sum): (usize, &u32)| {
            let value = f64::from(sum as i32) * scales[2 * blocks[i / 64] as usize + 1];
            Off::sum([Off::exact(value)], 1.0)
        };
        let gradient: Vec<Off> = at.words(self.sums).iter().enumerate().map(of_sum).collect();
        match &self.step {
            None => vec![Bounds::Exact, Bounds::Each(gradient.into_iter().map(|g| g.off).collect())],
            Some(step) => step.bounds(&gradient, at).into_iter().chain([Bounds::Exact]).collect(),
        }
    }
}
