//! The trait of encoders and passes that dispatches are recorded into.

/// A target for dispatches: a [`wgpu::CommandEncoder`] or an open [`wgpu::ComputePass`].
///
/// In an encoder the dispatches get a compute pass of their own. In an open pass they change the pipeline and bind
/// group 0: set your own again afterwards.
pub trait Recorder: Sealed {}

impl Recorder for wgpu::CommandEncoder {}
impl Recorder for wgpu::ComputePass<'_> {}

/// Prevents other implementations of the trait.
pub trait Sealed {
    #[doc(hidden)]
    fn compute(&mut self, label: &str, record: impl FnOnce(&mut wgpu::ComputePass<'_>));
}

impl Sealed for wgpu::CommandEncoder {
    fn compute(&mut self, label: &str, record: impl FnOnce(&mut wgpu::ComputePass<'_>)) {
        let descriptor = wgpu::ComputePassDescriptor { label: Some(label), timestamp_writes: None };
        record(&mut self.begin_compute_pass(&descriptor));
    }
}

impl Sealed for wgpu::ComputePass<'_> {
    fn compute(&mut self, _: &str, record: impl FnOnce(&mut wgpu::ComputePass<'_>)) {
        record(self);
    }
}
