//! A window around a network in training: the app owns the device, and its scene records what a frame is, the steps that fit a
//! budget and its own passes, into one encoder and one submission. Nothing waits.

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
use super::device::{DeviceChoice, described, no_gpu};

/// How long a frame may take, and what of it is for training.
const BUDGET: Duration = Duration::from_millis(33);
const TRAINING: Duration = Duration::from_millis(16);

/// What a window shows.
pub trait Scene: Sized {
    /// How much of its work a frame may do, by its own measure: as much as fits the budget, found by trying.
    const AMOUNT: RangeInclusive<u32>;

    /// The window's texels have this format, and it is so large.
    fn resize(&mut self, format: wgpu::TextureFormat, size: [u32; 2]) -> Result<()>;

    /// The mouse was dragged by so many pixels.
    fn drag(&mut self, by: [f64; 2]);

    /// The wheel was turned by so many lines, the mouse at this pixel.
    fn zoom(&mut self, lines: f64, at: [f64; 2]);

    fn training(&self) -> &Training;

    /// What stands before the training in a frame.
    fn record_before(&mut self, _: &mut wgpu::CommandEncoder, _amount: u32) {}

    /// What stands behind it, into the window's texture.
    fn record(&mut self, encoder: &mut wgpu::CommandEncoder, amount: u32, target: &wgpu::Texture);

    /// The loss in the words of the title.
    fn told(&self, loss: f64) -> String;
}

/// Opens a window and the device, makes the scene of it, and shows that until the window is closed.
pub fn run<S: Scene>(device: &DeviceChoice, open: impl FnOnce(Gpu) -> Result<S>) -> Result<()> {
    let event_loop = EventLoop::new().map_err(|error| {
        // Before the reason it tells where in its own source it stands.
        let error = error.to_string();
        format!("no display ({}): use -- --headless", error.rsplit(": ").next().unwrap_or(&error).trim_end_matches('.'))
    })?;
    event_loop.set_control_flow(ControlFlow::Poll);
    let display = event_loop.owned_display_handle();
    let mut app = App { device, open: Some(open), display, session: None, error: None };
    event_loop.run_app(&mut app)?;
    app.error.map_or(Ok(()), Err)
}

struct App<'a, S, F> {
    device: &'a DeviceChoice,
    /// Until there is a session.
    open: Option<F>,
    display: OwnedDisplayHandle,
    session: Option<Session<S>>,
    /// What ended it.
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
    /// The last loss that came back, as bits.
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
        println!("{}", described(&adapter.get_info()));

        let size = window.inner_size();
        let mut config = surface
            .get_default_config(&adapter, size.width.max(1), size.height.max(1))
            .ok_or("the adapter cannot draw into this window")?;
        // Colours are sRGB already.
        let formats = surface.get_capabilities(&adapter).formats;
        config.format = formats.iter().copied().find(|format| !format.is_srgb()).unwrap_or(config.format);
        surface.configure(gpu.device(), &config);

        let mut scene = open(gpu.clone())?;
        scene.resize(config.format, [config.width, config.height])?;
        let loss = Arc::new(AtomicU64::new(f64::NAN.to_bits()));
        let arrived = loss.clone();
        scene.training().on_frame(move |frame| arrived.store(frame.train.loss.to_bits(), Ordering::Relaxed));
        window.request_redraw();
        let (cursor, pace) = (PhysicalPosition::default(), Pace::new(*S::AMOUNT.start()));
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

    /// Trains some steps, draws and shows: one submission.
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
        self.scene.record_before(&mut encoder, self.pace.amount);
        let steps = self.scene.training().record_within(&mut encoder, TRAINING);
        self.scene.record(&mut encoder, self.pace.amount, &texture.texture);
        queue.submit([encoder.finish()]);
        queue.present(texture);
        // What has come back is told.
        device.poll(wgpu::PollType::Poll)?;
        self.steps += u64::from(steps);
        if self.pace.next_frame(&S::AMOUNT) {
            let told = self.scene.told(f64::from_bits(self.loss.load(Ordering::Relaxed)));
            let milliseconds = self.pace.milliseconds;
            let title = format!("{} steps: {told}; frame: {milliseconds:.0} ms, steps: {steps}", self.steps);
            self.window.set_title(&title);
        }
        Ok(())
    }
}

/// The device is the app's, with what wgrad's kernels like to have.
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

/// How much a frame does.
struct Pace {
    amount: u32,
    /// Of a frame, lately.
    milliseconds: f64,
    last: Instant,
    told: Instant,
}

impl Pace {
    fn new(amount: u32) -> Self {
        Self { amount, milliseconds: 0.0, last: Instant::now(), told: Instant::now() }
    }

    /// After a frame: plans the next. Returns whether it is time to tell how it goes.
    fn next_frame(&mut self, within: &RangeInclusive<u32>) -> bool {
        let took = self.last.elapsed();
        self.last = Instant::now();
        let new = took.as_secs_f64() * 1000.0;
        self.milliseconds = if self.milliseconds == 0.0 { new } else { 0.9 * self.milliseconds + 0.1 * new };
        // Up by little and down by much.
        if took < BUDGET * 3 / 4 {
            self.amount = (self.amount + 1 + self.amount / 16).min(*within.end());
        } else if took > BUDGET {
            self.amount = (self.amount * 3 / 4).max(*within.start());
        }
        let tells = self.told.elapsed() > Duration::from_millis(500);
        if tells {
            self.told = Instant::now();
        }
        tells
    }
}
