//! stub
use crate::error::Result;
use crate::trainer::Trainer;

impl Trainer {
    pub(crate) async fn save_async(&self, _: &std::path::Path) -> Result<()> {
        todo!()
    }
}
