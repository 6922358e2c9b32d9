//! A window that shows a network during training. The app owns the device. Each frame is one encoder and one
//! submission: the scene's first passes, the training steps that fit the time budget, and the scene's last passes.
//! Nothing waits for the GPU.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wgrad::{Gpu, Training, wgpu};
use winit::application::ApplicationHandler;
use winit::dpi::{LogicalSize, PhysicalPosition, PhysicalSize};
use winit::event::{ElementState, MouseButton, MouseScrollDelta, WindowEvent};
use winit::event_loop::{ActiveEventLoop, ControlFlow, EventLoop, OwnedDisplayHandle};
use winit::window::{Window, WindowId};

use super::Result;
use super::device::{DeviceChoice, describe_adapter, no_gpu};

/// Time budgets of a frame: in total, and for training.
const BUDGET: Duration = Duration::from_millis(33);
const TRAINING: Duration = Duration::from_millis(16);

/// The content of a window.
pub trait Scene: Sized {
    /// The smallest and largest amount of work in a frame, in the scene's own unit. The window adapts the amount to
    /// the budget.
    const WORK: RangeInclusive<u32>;

    /// Called at the start and after a resize, with the window's texture format and its size in pixels.
    fn resize(&mut self, format: wgpu::TextureFormat, size: [u32; 2]) -> Result<()>;

    /// The mouse was dragged by this distance, in pixels.
    fn drag(&mut self, by: [f64; 2]);

    /// The mouse wheel was turned by `lines`, with the mouse at this pixel.
    fn zoom(&mut self, lines: f64, at: [f64; 2]);

    /// The training whose steps each frame records.
    fn training(&self) -> &Training;

    /// Records the passes before the training steps.
    fn record_before_training(&mut self, _: &mut wgpu::CommandEncoder, _amount: u32) {}

    /// Records the passes after the training steps. They draw to the window's texture.
    fn record_after_training(&mut self, encoder: &mut wgpu::CommandEncoder, amount: u32, target: &wgpu::Texture);

    /// The loss as text for the window's title.
    fn describe_loss(&self, loss: f64) -> String;
}

/// Opens a window and a device, creates the scene, and runs it until the window is closed.
pub fn run<S: Scene>(device: &DeviceChoice, open: impl FnOnce(Gpu) -> Result<S>) -> Result<()> {
    let event_loop = EventLoop::new().map_err(|error| {
        // winit's message starts with a position in its source code. Only the reason is shown.
        let error = error.to_string();
        format!(
            "no display ({}): run with -- --headless",
            error.rsplit(": ").next().unwrap_or(&error).trim_end_matches('.')
        )
    })?;
    event_loop.set_control_flow(ControlFlow::Poll);
    let display = event_loop.owned_display_handle();
    let mut app = App { device, open: Some(open), display, session: None, error: None };
    event_loop.run_app(&mut app)?;
    app.error.map_or(Ok(()), Err)
}

struct App<'a, S, F> {
    device: &'a DeviceChoice,
    /// Creates the scene; None after that.
    open: Option<F>,
    display: OwnedDisplayHandle,
    session: Option<Session<S>>,
    /// The error that ended the program.
    error: Option<Box<dyn std::error::Error>>,
}

impl<S: Scene, F: FnOnce(Gpu) -> Result<S>> ApplicationHandler for App<'_, S, F> {
    fn resumed(&mut self, event_loop: &ActiveEventLoop) {
        if let Some(open) = self.open.take() {
            match Session::open(event_loop, self.display.clone(), self.device, open) {
                Ok(session) => self.session = Some(session),
                Err(error) => self.end(event_loop, Err(error)),
            }
        }
    }

    fn window_event(&mut self, event_loop: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        let Some(session) = &mut self.session else { return };
        match event {
            WindowEvent::CloseRequested => event_loop.exit(),
            WindowEvent::RedrawRequested => {
                let drawn = session.frame();
                self.end(event_loop, drawn);
            }
            WindowEvent::Resized(size) => {
                let resized = session.resize(size);
                self.end(event_loop, resized);
            }
            WindowEvent::MouseInput { state, button: MouseButton::Left, .. } => {
                session.dragging = state == ElementState::Pressed;
            }
            WindowEvent::CursorMoved { position, .. } => session.move_cursor(position),
            WindowEvent::MouseWheel { delta, .. } => session.zoom(match delta {
                MouseScrollDelta::LineDelta(_, lines) => lines.into(),
                MouseScrollDelta::PixelDelta(pixels) => pixels.y / 50.0,
            }),
            _ => {}
        }
    }
}

impl<S, F> App<'_, S, F> {
    fn end(&mut self, event_loop: &ActiveEventLoop, result: Result<()>) {
        if let Err(error) = result {
            self.error = Some(error);
            event_loop.exit();
        }
    }
}

/// A window and its scene on one device.
struct Session<S> {
    window: Arc<Window>,
    surface: wgpu::Surface<'static>,
    config: wgpu::SurfaceConfiguration,
    gpu: Gpu,
    scene: S,
    cursor: PhysicalPosition<f64>,
    dragging: bool,
    pace: Pace,
    steps: u64,
    /// The last loss, as the bits of an f64.
    loss: Arc<AtomicU64>,
}

impl<S: Scene> Session<S> {
    fn open(
        event_loop: &ActiveEventLoop,
        display: OwnedDisplayHandle,
        device: &DeviceChoice,
        open: impl FnOnce(Gpu) -> Result<S>,
    ) -> Result<Self> {
        let side = LogicalSize::new(640, 640);
        let window =
            event_loop.create_window(Window::default_attributes().with_title("learning").with_inner_size(side))?;
        let window = Arc::new(window);
        let display = Box::new(display);
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_with_display_handle_from_env(display));
        let surface = instance.create_surface(window.clone()).map_err(no_gpu)?;
        let (adapter, gpu) = pollster::block_on(open_gpu(&instance, device, &surface))?;
        println!("{}", describe_adapter(&adapter.get_info()));

        let size = window.inner_size();
        let mut config = surface
            .get_default_config(&adapter, size.width.max(1), size.height.max(1))
            .ok_or("the adapter cannot draw into this window")?;
        // The shaders write sRGB values, so the format must not convert them.
        let formats = surface.get_capabilities(&adapter).formats;
        config.format = formats.iter().copied().find(|format| !format.is_srgb()).unwrap_or(config.format);
        surface.configure(gpu.device(), &config);

        let mut scene = open(gpu.clone())?;
        scene.resize(config.format, [config.width, config.height])?;
        let loss = Arc::new(AtomicU64::new(f64::NAN.to_bits()));
        let last_loss = loss.clone();
        scene.training().on_frame(move |frame| last_loss.store(frame.train.loss.to_bits(), Ordering::Relaxed));
        window.request_redraw();
        let (cursor, pace) = (PhysicalPosition::default(), Pace::new(*S::WORK.start()));
        Ok(Self { window, surface, config, gpu, scene, cursor, dragging: false, pace, steps: 0, loss })
    }

    fn resize(&mut self, size: PhysicalSize<u32>) -> Result<()> {
        let size = [size.width.max(1), size.height.max(1)];
        if size != [self.config.width, self.config.height] {
            [self.config.width, self.config.height] = size;
            self.surface.configure(self.gpu.device(), &self.config);
            self.scene.resize(self.config.format, size)?;
        }
        Ok(())
    }

    fn move_cursor(&mut self, to: PhysicalPosition<f64>) {
        if self.dragging {
            self.scene.drag([to.x - self.cursor.x, to.y - self.cursor.y]);
        }
        self.cursor = to;
    }

    fn zoom(&mut self, lines: f64) {
        self.scene.zoom(lines, [self.cursor.x, self.cursor.y]);
    }

    /// Records, submits and presents one frame.
    fn frame(&mut self) -> Result<()> {
        use wgpu::CurrentSurfaceTexture::{Lost, Outdated, Suboptimal, Success, Validation};
        self.window.request_redraw();
        let texture = match self.surface.get_current_texture() {
            Success(texture) | Suboptimal(texture) => texture,
            Outdated => {
                self.surface.configure(self.gpu.device(), &self.config);
                return Ok(());
            }
            Lost | Validation => return Err("the window's surface was lost".into()),
            _ => return Ok(()),
        };
        let (device, queue) = (self.gpu.device(), self.gpu.queue());
        let mut encoder = device.create_command_encoder(&Default::default());
        self.scene.record_before_training(&mut encoder, self.pace.amount);
        let steps = self.scene.training().record_within(&mut encoder, TRAINING);
        self.scene.record_after_training(&mut encoder, self.pace.amount, &texture.texture);
        queue.submit([encoder.finish()]);
        queue.present(texture);
        // Calls the callbacks of results that have arrived.
        device.poll(wgpu::PollType::Poll)?;
        self.steps += u64::from(steps);
        if self.pace.next_frame(&S::WORK) {
            let loss = self.scene.describe_loss(f64::from_bits(self.loss.load(Ordering::Relaxed)));
            let milliseconds = self.pace.milliseconds;
            let title = format!("{} steps: {loss}; frame: {milliseconds:.0} ms, steps: {steps}", self.steps);
            self.window.set_title(&title);
        }
        Ok(())
    }
}

/// Opens the adapter and creates the app's device, with the optional features that wgrad's kernels can use.
async fn open_gpu(
    instance: &wgpu::Instance,
    device: &DeviceChoice,
    surface: &wgpu::Surface<'_>,
) -> Result<(wgpu::Adapter, Gpu)> {
    let adapter = device.adapter(instance, Some(surface)).await?;
    let required_features = wgrad::optional_features(&adapter);
    let descriptor = wgpu::DeviceDescriptor { required_features, ..Default::default() };
    let (device, queue) = adapter.request_device(&descriptor).await?;
    Ok((adapter, Gpu::from_parts(device, queue)))
}

/// Adapts the amount of work to the time of a frame.
struct Pace {
    amount: u32,
    /// Moving average of the frame time.
    milliseconds: f64,
    last: Instant,
    last_title: Instant,
}

impl Pace {
    fn new(amount: u32) -> Self {
        Self { amount, milliseconds: 0.0, last: Instant::now(), last_title: Instant::now() }
    }

    /// Sets the amount of the next frame. Returns whether to update the title.
    fn next_frame(&mut self, within: &RangeInclusive<u32>) -> bool {
        let took = self.last.elapsed();
        self.last = Instant::now();
        let new = took.as_secs_f64() * 1000.0;
        self.milliseconds = if self.milliseconds == 0.0 { new } else { 0.9 * self.milliseconds + 0.1 * new };
        // Increases slowly and decreases fast.
        if took < BUDGET * 3 / 4 {
            self.amount = (self.amount + 1 + self.amount / 16).min(*within.end());
        } else if took > BUDGET {
            self.amount = (self.amount * 3 / 4).max(*within.start());
        }
        let title_is_due = self.last_title.elapsed() > Duration::from_millis(500);
        if title_is_due {
            self.last_title = Instant::now();
        }
        title_is_due
    }
}
