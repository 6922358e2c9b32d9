// A product whose A is not stored: row p of it holds what the taps of a convolution's kernel see at position p.
// Constants, as the compiler then makes multiplications of the divisions. src/ops/matmul/window.rs says what they are.

override CHANNELS: u32 = 1; // of what is read, [batch, HEIGHT, WIDTH, CHANNELS]
override HEIGHT: u32 = 1;
override WIDTH: u32 = 1;
override OUT_ROWS: u32 = 1; // positions
override OUT_COLUMNS: u32 = 1;
override TAP_ROWS: u32 = 1;
override TAP_COLUMNS: u32 = 1;
override DOWN_Y: u32 = 1; // the element of a tap: (position * DOWN + tap * STEP + FIRST) / UP
override DOWN_X: u32 = 1;
override UP_Y: u32 = 1;
override UP_X: u32 = 1;
override STEP_Y: i32 = 1;
override STEP_X: i32 = 1;
override FIRST_Y: i32 = 0;
override FIRST_X: i32 = 0;

// Whether B is that of the convolution the other way, [taps, n, CHANNELS] instead of [n, taps, CHANNELS].
override OTHER_WEIGHTS: bool = false;

const OUTSIDE: u32 = 0xffffffffu;

// What a column of A stands for: a tap, as its distance to a position's first element, and a channel.
struct Tap {
    y: i32,
    x: i32,
    channel: u32,
}

fn row_length() -> u32 {
    return TAP_ROWS * TAP_COLUMNS * CHANNELS;
}

fn tap_of(column: u32) -> Tap {
    let tap = column / CHANNELS;
    let y = i32(tap / TAP_COLUMNS) * STEP_Y + FIRST_Y;
    let x = i32(tap % TAP_COLUMNS) * STEP_X + FIRST_X;
    return Tap(y, x, column % CHANNELS);
}

// Where the element that a tap sees at a position lies in the tensor.
fn seen_by(position: u32, tap: Tap) -> u32 {
    let y = i32(position / OUT_COLUMNS % OUT_ROWS * DOWN_Y) + tap.y;
    let x = i32(position % OUT_COLUMNS * DOWN_X) + tap.x;
    let row = u32(y) / UP_Y; // a negative number becomes a large one
    let column = u32(x) / UP_X;
    let is_whole = u32(y) % UP_Y == 0u && u32(x) % UP_X == 0u;
    let sample = position / (OUT_ROWS * OUT_COLUMNS);
    let at = ((sample * HEIGHT + row) * WIDTH + column) * CHANNELS + tap.channel;
    return select(OUTSIDE, at, is_whole && y >= 0 && x >= 0 && row < HEIGHT && column < WIDTH);
}

// The same for element `index` of A.
fn seen(index: u32) -> u32 {
    return seen_by(index / row_length(), tap_of(index % row_length()));
}

// Where element `index` of B as a product has it lies in the tensor.
fn weight(index: u32, n: u32) -> u32 {
    if !OTHER_WEIGHTS {
        return index;
    }
    let column = index % row_length();
    return (column / CHANNELS * n + index / row_length()) * CHANNELS + column % CHANNELS;
}
