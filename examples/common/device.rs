//! Where an example runs.

use wgrad::{Device, Error, Gpu};

/// What `--device` says.
#[derive(Clone)]
pub enum DeviceChoice {
    /// The fastest GPU, or the CPU where there is none.
    Auto,
    Cpu,
    /// The GPU whose name contains this.
    Named(String),
}

impl From<&str> for DeviceChoice {
    fn from(word: &str) -> Self {
        match word {
            "auto" => Self::Auto,
            "cpu" => Self::Cpu,
            name => Self::Named(name.into()),
        }
    }
}

impl DeviceChoice {
    /// Opens the device and says which it is.
    pub fn open(&self) -> wgrad::Result<Device> {
        let gpu = match self {
            Self::Auto => Gpu::request(),
            Self::Named(name) => Gpu::request_named(name),
            Self::Cpu => {
                println!("CPU reference");
                return Ok(Device::Cpu);
            }
        };
        match (gpu, self) {
            (Err(error @ Error::NoAdapter { .. }), Self::Auto) => {
                println!("{error}.\nTraining on the CPU reference instead, which is slow.");
                Ok(Device::Cpu)
            }
            (gpu, _) => {
                let gpu = gpu?;
                let info = gpu.adapter_info();
                let driver = format!("driver {} {}", info.driver, info.driver_info);
                println!("{} ({:?}), {driver}, {}", info.name, info.device_type, info.backend);
                Ok(gpu.into())
            }
        }
    }
}
