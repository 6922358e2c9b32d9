//! Binds the inputs and outputs of a plan to an app's own rows, for forward passes and chains.

use crate::buffer_rows::{Rows, Strided};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Region};
use crate::plan::{BufferId, Plan, Role};

/// The app's rows for each input and output of a plan.
pub(crate) struct PlanBindings(Vec<Binding>);

struct Binding {
    role: Role,
    name: String,
    rows: Strided,
    written: bool,
}

impl PlanBindings {
    /// Binds the inputs and outputs that the plan has. Returns an error for rows that cannot be bound.
    pub fn new<'a>(gpu: &Gpu, plan: &Plan, bindings: impl IntoIterator<Item = (Role, Rows<'a>)>) -> Result<Self> {
        let of = |(role, rows): (Role, Rows<'a>)| {
            let buffer = plan.buffer(plan.find(role)?);
            let [batch, ref sample @ ..] = buffer.shape?[..] else { return None };
            let columns = sample.iter().product();
            let written = matches!(role, Role::Output(_) | Role::InputGradient(_) | Role::NetworkGradient);
            let rows = rows.strided(gpu, &buffer.name, batch, columns);
            Some(rows.map(|rows| Binding { role, name: buffer.name.clone(), rows, written }))
        };
        Ok(Self(bindings.into_iter().filter_map(of).collect::<Result<_>>()?))
    }

    /// Returns an error if a written range overlaps another range.
    pub fn check_overlaps(&self) -> Result<()> {
        self.check(|_| true)
    }

    /// Returns an error if a written range overlaps another written range.
    pub fn check_overlaps_of_written(&self) -> Result<()> {
        self.check(|other| other.written)
    }

    fn check(&self, counts: impl Fn(&Binding) -> bool) -> Result<()> {
        for (i, written) in self.0.iter().enumerate().filter(|(_, binding)| binding.written) {
            let clashes =
                |(j, other): &(usize, &Binding)| *j != i && counts(other) && other.rows.overlap(&written.rows);
            if let Some((_, other)) = self.0.iter().enumerate().find(clashes) {
                let (what, actual) =
                    (format!("rows given as {}", written.name), format!("an overlap with {}", other.name));
                let expected = "a range that no other rows use, because it is written";
                return Err(Error::shape(what, expected, actual));
            }
        }
        Ok(())
    }

    /// Binds the plan's inputs and outputs, in addition to the buffers in `given`.
    ///
    /// Rows are bound in place if they are adjacent and their start is aligned for the device. `wgpu` does not allow
    /// a dispatch to read and write one buffer, so a written buffer must not have other rows. All other rows are
    /// copied by an additional op.
    pub fn bind(self, mut plan: Plan, given: &mut Vec<(BufferId, Region)>) -> Result<Plan> {
        let owner = |binding: &Binding| given.iter().find(|(_, region)| region.buffer == binding.rows.region.buffer);
        let own: Vec<Option<BufferId>> = self.0.iter().map(|binding| owner(binding).map(|(id, _)| *id)).collect();
        for (i, (binding, own)) in self.0.iter().zip(own).enumerate() {
            if let Some(id) = own.filter(|_| binding.written) {
                let (what, actual) = (
                    format!("buffer given as {}", binding.name),
                    format!("wgrad's own buffer {}", plan.buffer(id).name),
                );
                return Err(Error::shape(what, "a buffer of the app, because it is written", actual));
            }
            let shares =
                |(j, other): (usize, &Binding)| j != i && other.rows.region.buffer == binding.rows.region.buffer;
            let shared = binding.written && self.0.iter().enumerate().any(shares);
            let region = match binding.rows.packed().filter(|_| own.is_none() && !shared) {
                Some(region) => region,
                None => {
                    plan = plan.strided(binding.role, binding.rows.first, binding.rows.stride);
                    binding.rows.region.clone()
                }
            };
            given.extend(plan.find(binding.role).map(|id| (id, region)));
        }
        Ok(plan)
    }
}
