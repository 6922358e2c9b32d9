//! A camera that orbits around the middle of a scene.

/// The camera. It looks at the middle of the scene.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Camera {
    /// Angle around the vertical axis, in radians.
    pub yaw: f32,
    /// Angle above the horizon, in radians.
    pub pitch: f32,
    /// Distance from the middle of the scene.
    pub distance: f32,
}

impl Camera {
    pub fn eye(&self) -> [f32; 3] {
        let flat = self.distance * self.pitch.cos();
        [flat * self.yaw.sin(), self.distance * self.pitch.sin(), flat * self.yaw.cos()]
    }

    /// Turns the camera by a drag of the mouse, in pixels.
    pub fn drag(&mut self, by: [f64; 2]) {
        self.yaw -= 0.01 * by[0] as f32;
        self.pitch = (self.pitch + 0.01 * by[1] as f32).clamp(-1.5, 1.5);
    }

    /// Changes the distance by a turn of the mouse wheel, within these limits.
    pub fn zoom(&mut self, lines: f64, nearest: f32, farthest: f32) {
        self.distance = (self.distance * 0.9f32.powf(lines as f32)).clamp(nearest, farthest);
    }
}
