use crate::Args;
use crate::common::Result;
use image::RgbImage;
pub fn run(_: &Args, _: &RgbImage) -> Result<()> {
    Ok(())
}
