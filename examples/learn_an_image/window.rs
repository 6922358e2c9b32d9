//! Learning a picture in a window: the app owns the device, and as many training steps as fit a budget stand beside its own
//! passes in one encoder and one submission a frame. Their loss comes back some frames later; nothing waits.

mod painter;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use image::RgbImage;
use wgrad::{Gpu, wgpu};
use winit::application::ApplicationHandler;
use winit::dpi::{LogicalSize, PhysicalPosition, PhysicalSize};
use winit::event::{ElementState, MouseButton, MouseScrollDelta, WindowEvent};
use winit::event_loop::{ActiveEventLoop, ControlFlow, EventLoop, OwnedDisplayHandle};
use winit::window::{Window, WindowId};

use crate::common::Result;
use crate::{Args, Learner, decibels};
use painter::{LATTICES, Painter, View};

/// How long a frame may take, and what of it is for training.
const BUDGET: Duration = Duration::from_millis(33);
const TRAINING: Duration = Duration::from_millis(16);

pub fn run(args: &Args, picture: &RgbImage) -> Result<()> {
    let unavailable = |e| format!("cannot open a window ({e}): --headless needs none");
    let event_loop = EventLoop::new().map_err(unavailable)?;
    event_loop.set_control_flow(ControlFlow::Poll);
    let display = event_loop.owned_display_handle();
    let mut app = App { args, picture, display, session: None, error: None };
    event_loop.run_app(&mut app)?;
    app.error.map_or(Ok(()), Err)
}

struct App<'a> {
    args: &'a Args,
    picture: &'a RgbImage,
    display: OwnedDisplayHandle,
    session: Option<Session>,
    /// What ended it.
    error: Option<Box<dyn std::error::Error>>,
}

impl ApplicationHandler for App<'_> {
    fn resumed(&mut self, event_loop: &ActiveEventLoop) {
        if self.session.is_none() {
            match Session::open(event_loop, self) {
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

impl App<'_> {
    fn end(&mut self, event_loop: &ActiveEventLoop, result: Result<()>) {
        if let Err(error) = result {
            self.error = Some(error);
            event_loop.exit();
        }
    }
}

/// A window and a network in training on one device.
struct Session {
    window: Arc<Window>,
    surface: wgpu::Surface<'static>,
    config: wgpu::SurfaceConfiguration,
    learner: Learner,
    painter: Painter,
    view: View,
    cursor: PhysicalPosition<f64>,
    dragging: bool,
    pace: Pace,
    steps: u64,
    /// The last loss that came back, as bits.
    loss: Arc<AtomicU64>,
}

impl Session {
    fn open(event_loop: &ActiveEventLoop, app: &App) -> Result<Self> {
        let side = LogicalSize::new(640, 640);
        let window =
            event_loop.create_window(Window::default_attributes().with_title("learning").with_inner_size(side))?;
        let window = Arc::new(window);
        let display = Box::new(app.display.clone());
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_with_display_handle_from_env(display));
        let surface = instance.create_surface(window.clone())?;
        let (adapter, gpu) = pollster::block_on(open_gpu(&instance, &surface))?;
        let info = adapter.get_info();
        println!("{} ({:?}), {}", info.name, info.device_type, info.backend);

        let size = window.inner_size();
        let mut config = surface
            .get_default_config(&adapter, size.width.max(1), size.height.max(1))
            .ok_or("the adapter cannot draw into this window")?;
        // The picture's values are sRGB already.
        let formats = surface.get_capabilities(&adapter).formats;
        config.format = formats.iter().copied().find(|format| !format.is_srgb()).unwrap_or(config.format);
        surface.configure(gpu.device(), &config);

        let learner = Learner::new(gpu, app.args, app.picture, None)?;
        let painter = Painter::new(&learner, config.format, [config.width, config.height])?;
        let (width, height) = app.picture.dimensions();
        let view = View::whole([width, height], [config.width, config.height]);
        let cursor = PhysicalPosition::default();
        let (pace, loss) = (Pace::new(), Arc::new(AtomicU64::new(f64::NAN.to_bits())));
        let arrived = loss.clone();
        learner.training.on_frame(move |frame| arrived.store(frame.train.loss.to_bits(), Ordering::Relaxed));
        window.request_redraw();
        Ok(Self { window, surface, config, learner, painter, view, cursor, dragging: false, pace, steps: 0, loss })
    }

    fn resize(&mut self, size: PhysicalSize<u32>) -> Result<()> {
        let size = [size.width.max(1), size.height.max(1)];
        if size != [self.config.width, self.config.height] {
            [self.config.width, self.config.height] = size;
            self.surface.configure(self.learner.gpu.device(), &self.config);
            self.painter = Painter::new(&self.learner, self.config.format, size)?;
            self.view.resize(size);
        }
        Ok(())
    }

    fn move_cursor(&mut self, to: PhysicalPosition<f64>) {
        if self.dragging {
            self.view.pan([to.x - self.cursor.x, to.y - self.cursor.y]);
            self.painter.start_over();
        }
        self.cursor = to;
    }

    fn zoom(&mut self, lines: f64) {
        self.view.zoom(1.15f64.powf(lines), [self.cursor.x, self.cursor.y]);
        self.painter.start_over();
    }

    /// Trains some steps, asks the network for some of the window's pixels and shows them: one submission.
    fn frame(&mut self) -> Result<()> {
        use wgpu::CurrentSurfaceTexture::{Lost, Outdated, Suboptimal, Success, Validation};
        self.window.request_redraw();
        let texture = match self.surface.get_current_texture() {
            Success(texture) | Suboptimal(texture) => texture,
            Outdated => {
                self.surface.configure(self.learner.gpu.device(), &self.config);
                return Ok(());
            }
            Lost | Validation => return Err("the window's surface was lost".into()),
            _ => return Ok(()),
        };
        let (device, queue) = (self.learner.gpu.device(), self.learner.gpu.queue());
        let mut encoder = device.create_command_encoder(&Default::default());
        let steps = self.learner.training.record_within(&mut encoder, TRAINING);
        self.painter.record(queue, &mut encoder, &self.view, self.pace.lattices, &texture.texture);
        queue.submit([encoder.finish()]);
        queue.present(texture);
        // What has come back is told.
        device.poll(wgpu::PollType::Poll)?;
        self.steps += u64::from(steps);
        if self.pace.next_frame() {
            let psnr = decibels(f64::from_bits(self.loss.load(Ordering::Relaxed)));
            let milliseconds = self.pace.milliseconds;
            let title = format!("{} steps: {psnr:.1} dB; frame: {milliseconds:.0} ms, steps: {steps}", self.steps);
            self.window.set_title(&title);
        }
        Ok(())
    }
}

/// The device is the app's, with what wgrad's kernels like to have.
async fn open_gpu(instance: &wgpu::Instance, surface: &wgpu::Surface<'_>) -> Result<(wgpu::Adapter, Gpu)> {
    let power_preference = wgpu::PowerPreference::HighPerformance;
    let compatible_surface = Some(surface);
    let options = wgpu::RequestAdapterOptions { power_preference, compatible_surface, ..Default::default() };
    let adapter = instance.request_adapter(&options).await?;
    let required_features = wgrad::optional_features(&adapter);
    let descriptor = wgpu::DeviceDescriptor { required_features, ..Default::default() };
    let (device, queue) = adapter.request_device(&descriptor).await?;
    Ok((adapter, Gpu::from_parts(device, queue)))
}

/// How much of the window a frame paints: as much as fits its budget, found by trying.
struct Pace {
    lattices: u32,
    /// Of a frame, lately.
    milliseconds: f64,
    last: Instant,
    told: Instant,
}

impl Pace {
    fn new() -> Self {
        Self { lattices: 2, milliseconds: 0.0, last: Instant::now(), told: Instant::now() }
    }

    /// After a frame: plans the next. Returns whether it is time to tell how it goes.
    fn next_frame(&mut self) -> bool {
        let took = self.last.elapsed();
        self.last = Instant::now();
        let new = took.as_secs_f64() * 1000.0;
        self.milliseconds = if self.milliseconds == 0.0 { new } else { 0.9 * self.milliseconds + 0.1 * new };
        // Up by little and down by much.
        if took < BUDGET * 3 / 4 {
            self.lattices = (self.lattices + 1 + self.lattices / 16).min(LATTICES);
        } else if took > BUDGET {
            self.lattices = (self.lattices * 3 / 4).max(2);
        }
        let tells = self.told.elapsed() > Duration::from_millis(500);
        if tells {
            self.told = Instant::now();
        }
        tells
    }
}
