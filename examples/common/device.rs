//! Where an example runs.

use std::fmt::Display;
use std::str::FromStr;

use wgrad::{Device, Gpu, wgpu};

use super::Result;

/// What `--device` says.
#[derive(Clone)]
pub enum DeviceChoice {
    /// The fastest GPU, or the CPU where there is none.
    Auto,
    Cpu,
    /// The GPU whose name contains this.
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
    /// Opens the device and says which it is.
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
            adapter => Ok(opened(&adapter.map_err(|e| format!("{e}; or say --device cpu"))?)?.into()),
        }
    }

    /// Opens what has to be a GPU, and says which it is.
    pub fn open_gpu(&self) -> Result<Gpu> {
        opened(&pollster::block_on(self.adapter(&instance(), None))?)
    }

    /// The adapter of what has to be a GPU, and is to draw onto a surface where there is one.
    pub async fn adapter(&self, of: &wgpu::Instance, surface: Option<&wgpu::Surface<'_>>) -> Result<wgpu::Adapter> {
        match self {
            Self::Cpu => Err("--device cpu: this example needs a GPU".into()),
            Self::Auto => {
                let power_preference = wgpu::PowerPreference::HighPerformance;
                let options =
                    wgpu::RequestAdapterOptions { power_preference, compatible_surface: surface, ..Default::default() };
                of.request_adapter(&options).await.map_err(|reason| no_gpu(reason).into())
            }
            Self::Named(name) => {
                let mut adapters = of.enumerate_adapters(wgpu::Backends::all()).await;
                adapters.retain(|adapter| surface.is_none_or(|surface| adapter.is_surface_supported(surface)));
                let found = adapters.iter().find(|adapter| is_named(adapter, name));
                found.cloned().ok_or_else(|| none_named(name, &adapters).into())
            }
        }
    }
}

fn opened(adapter: &wgpu::Adapter) -> Result<Gpu> {
    println!("{}", described(&adapter.get_info()));
    Ok(pollster::block_on(Gpu::from_adapter(adapter))?)
}

pub fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env())
}

pub fn is_named(adapter: &wgpu::Adapter, name: &str) -> bool {
    adapter.get_info().name.to_lowercase().contains(&name.to_lowercase())
}

/// As in `AMD Radeon RX 7800 XT (DiscreteGpu), driver radv Mesa 25.0.7, vulkan`.
pub fn described(info: &wgpu::AdapterInfo) -> String {
    format!("{} ({:?}), driver {} {}, {}", info.name, info.device_type, info.driver, info.driver_info, info.backend)
}

/// What to say, and what to do, where there is no GPU for a reason.
pub fn no_gpu(reason: impl Display) -> String {
    format!(
        "no GPU found ({reason}).\nInstall a Vulkan driver, as scripts/setup.sh does (Debian and Ubuntu: \
         apt-get install mesa-vulkan-drivers gives a software one)"
    )
}

/// What to say where none of them is named so.
pub fn none_named(name: &str, adapters: &[wgpu::Adapter]) -> String {
    let names: Vec<String> = adapters.iter().map(|adapter| adapter.get_info().name).collect();
    match names.is_empty() {
        true => no_gpu("wgpu lists no adapter"),
        false => format!("no GPU named {name:?}: there is {}", names.join(" and ")),
    }
}
