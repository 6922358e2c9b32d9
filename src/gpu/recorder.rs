//! Where commands go.

/// Where dispatches are recorded: a [`wgpu::CommandEncoder`], in which they get a compute pass of their own, or a
/// [`wgpu::ComputePass`] that is open. In an open pass they change the pipeline and bind group 0: set yours again after.
pub trait Recorder: Sealed {}

impl Recorder for wgpu::CommandEncoder {}
impl Recorder for wgpu::ComputePass<'_> {}

/// Keeps the trait to these two.
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
