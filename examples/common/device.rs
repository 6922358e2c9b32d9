//! The device that an example runs on.

use std::fmt::Display;
use std::str::FromStr;

use wgrad::{Device, Gpu, wgpu};

use super::Result;

/// The value of `--device`.
#[derive(Clone)]
pub enum DeviceChoice {
    /// The fastest GPU, or the CPU if there is no GPU.
    Auto,
    Cpu,
    /// The first GPU whose name contains this text.
    Named(String),
}

impl FromStr for DeviceChoice {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "" => Err("expected auto, cpu or part of a GPU's name"),
            name => Ok(Self::Named(name.into())),
        }
    }
}

impl DeviceChoice {
    /// Opens the device and prints its name.
    pub fn open(&self) -> Result<Device> {
        if let Self::Cpu = self {
            println!("CPU reference");
            return Ok(Device::Cpu);
        }
        match pollster::block_on(self.adapter(&instance(), None)) {
            Err(error) if matches!(self, Self::Auto) => {
                println!("{error}.\nTraining on the CPU reference instead, which is slow.");
                Ok(Device::Cpu)
            }
            adapter => Ok(open_adapter(&adapter.map_err(|e| format!("{e}; or use --device cpu"))?)?.into()),
        }
    }

    /// Opens a GPU and prints its name. Returns an error for the CPU.
    pub fn open_gpu(&self) -> Result<Gpu> {
        open_adapter(&pollster::block_on(self.adapter(&instance(), None))?)
    }

    /// The adapter of the GPU. If a surface is given, the adapter can draw to it.
    pub async fn adapter(
        &self,
        instance: &wgpu::Instance,
        surface: Option<&wgpu::Surface<'_>>,
    ) -> Result<wgpu::Adapter> {
        match self {
            Self::Cpu => Err("--device cpu: this example needs a GPU".into()),
            Self::Auto => {
                let power_preference = wgpu::PowerPreference::HighPerformance;
                let options =
                    wgpu::RequestAdapterOptions { power_preference, compatible_surface: surface, ..Default::default() };
                instance.request_adapter(&options).await.map_err(|reason| no_gpu(reason).into())
            }
            Self::Named(name) => {
                let mut adapters = instance.enumerate_adapters(wgpu::Backends::all()).await;
                adapters.retain(|adapter| surface.is_none_or(|surface| adapter.is_surface_supported(surface)));
                let found = adapters.iter().find(|adapter| is_named(adapter, name));
                found.cloned().ok_or_else(|| no_gpu_named(name, &adapters).into())
            }
        }
    }
}

fn open_adapter(adapter: &wgpu::Adapter) -> Result<Gpu> {
    println!("{}", describe_adapter(&adapter.get_info()));
    Ok(pollster::block_on(Gpu::from_adapter(adapter))?)
}

pub fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env())
}

pub fn is_named(adapter: &wgpu::Adapter, name: &str) -> bool {
    adapter.get_info().name.to_lowercase().contains(&name.to_lowercase())
}

/// A description such as `AMD Radeon RX 7800 XT (DiscreteGpu), driver radv Mesa 25.0.7, vulkan`.
pub fn describe_adapter(info: &wgpu::AdapterInfo) -> String {
    format!("{} ({:?}), driver {} {}, {}", info.name, info.device_type, info.driver, info.driver_info, info.backend)
}

/// The error message for a missing GPU: the reason, and what to install.
pub fn no_gpu(reason: impl Display) -> String {
    format!(
        "no GPU found ({reason}).\nInstall a Vulkan driver, as scripts/setup.sh does (Debian and Ubuntu: \
         apt-get install mesa-vulkan-drivers gives a software one)"
    )
}

/// The error message if no adapter's name contains `name`.
pub fn no_gpu_named(name: &str, adapters: &[wgpu::Adapter]) -> String {
    let names: Vec<String> = adapters.iter().map(|adapter| adapter.get_info().name).collect();
    match names.is_empty() {
        true => no_gpu("wgpu lists no adapter"),
        false => format!("no GPU named {name:?}: there is {}", names.join(" and ")),
    }
}
