//! wgpu alone, without training: the driver's start time and memory.

use std::rc::Rc;

use hello_wgpu::Alone;

use super::Engine;
use crate::Result;
use crate::task::Task;

pub fn start(_: Rc<Task>) -> Result<Box<dyn Engine>> {
    Ok(Box::new(Alone::open()?))
}

impl Engine for Alone {
    fn device(&self) -> String {
        self.adapter.clone()
    }

    fn train(&mut self, _: usize) -> Result<()> {
        self.run()?;
        Ok(())
    }

    fn forward(&mut self) -> Result<Vec<f32>> {
        Err("it has no network".into())
    }
}
